"""How the arithmetic is compiled: by Numba for this CPU, once per machine, without freedom to reorder or contract.

Numba keys its cache by the folder of the source, so every clone and every `dvc exp run --temp` would compile anew.
Here the key is the content of the compiled sources and the CPU, under one user-wide folder (`~/.cache/plumbline`, or
under XDG_CACHE_HOME). Threads are Numba's own setting: NUMBA_NUM_THREADS.
"""

import functools
import hashlib
import os
import sys
import types
from pathlib import Path

import llvmlite.binding
import numba
from numba.core import event
from numba.core.caching import UserWideCacheLocator
from numba.core.cpu import CPUTargetOptions


class SharedCache(UserWideCacheLocator):
    """A cache folder shared by every copy of the same sources on the same kind of CPU."""

    def __init__(self, py_func, py_file):
        super().__init__(py_func, py_file)
        code = hashlib.sha256()
        # A compiled function holds the code of those it calls, and what is called across files is the arithmetic.
        for source in (py_file, Path(__file__).with_name("arithmetic.py"), __file__):
            code.update(Path(source).read_bytes())
        # The CPU is in the folder's name too, so that machines that share a home never race for one index file.
        code.update(llvmlite.binding.get_host_cpu_name().encode())
        code.update(llvmlite.binding.get_host_cpu_features().flatten().encode())
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        self._stamp = code.hexdigest()
        self._cache_path = str(home / "plumbline" / self._stamp[:16])

    def get_source_stamp(self):
        """What Numba compares to tell a fresh cache from a stale one."""
        return self._stamp


class _Announcement(event.Listener):
    """Says once that compiling takes a moment; nothing is said when the cache has it."""

    said = False

    def on_start(self, event):
        if not self.said:
            print("compiling the arithmetic for this CPU (once per machine, some seconds)", file=sys.stderr, flush=True)
            _Announcement.said = True

    def on_end(self, event):
        pass


event.register("numba:compile", _Announcement())
# How long a thread of GNU's OpenMP, which Numba takes, spins at a barrier before it sleeps. At its own 300,000 two
# threads beside another busy process were ten to a hundred times slower than one; at this they lose 5 % when alone.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
numba.config.CACHE_LOCATOR_CLASSES = f"{__name__}.SharedCache"
_can_cache = SharedCache.from_function(_Announcement.on_end, __file__) is not None


# Numba has this flag for its own use, and no name for it in njit.
CPUTargetOptions.noalias = CPUTargetOptions.Mapping("noalias")


def compiled(function, *, parallel: bool = False, noalias: bool = False):
    """Decorator: compile with IEEE 754 arithmetic as written (no fastmath), free of the interpreter's lock.

    `noalias` promises that no two arguments share memory: then several rows can be written in one vectorized loop.
    """
    if parallel:  # Numba's cache tells functions apart by name, not by options: both forms may exist
        function = types.FunctionType(function.__code__, function.__globals__)
        function.__qualname__ += "_parallel"
    options = {"nogil": True, "error_model": "numpy", "fastmath": False, "parallel": parallel, "noalias": noalias}
    return numba.njit(cache=_can_cache, **options)(function)


compiled_apart = functools.partial(compiled, noalias=True)
