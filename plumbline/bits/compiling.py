"""How loops are compiled: by Numba for this CPU, once per machine, without freedom to reorder or contract.

Importing this module takes 0.3 s, so whoever has little to compute does without (plumbline.bits.stream and scoring).

Numba keys its cache by the folder of the source, so every clone and every `dvc exp run --temp` would compile anew.
Here the key is the content of the compiled sources and the CPU, under one user-wide folder (`~/.cache/plumbline`, or
under XDG_CACHE_HOME). A damaged entry is compiled anew, and where nothing can be written every run compiles.
Threads are Numba's own setting: NUMBA_NUM_THREADS.
"""

import contextlib
import functools
import hashlib
import os
import sys
import types
from pathlib import Path

from plumbline.basics.errors import UserError
from plumbline.bits import arithmetic

if not os.environ.get("NUMBA_NUM_THREADS", "1").strip().lstrip("0").isdecimal():  # importing Numba would be a traceback
    raise UserError(f"NUMBA_NUM_THREADS is {os.environ['NUMBA_NUM_THREADS']!r}, and must be a whole number above 0")

# Numba looks for SciPy, and for its BLAS, by importing them, which takes 0.1 s; nothing here may use one.
_scipy, sys.modules["scipy"] = sys.modules.get("scipy"), None

import llvmlite.binding  # noqa: E402
import numba  # noqa: E402
import numba.extending  # noqa: E402
import numba.np.arraymath  # noqa: E402
from numba import prange as prange  # noqa: E402
from numba.core import event  # noqa: E402
from numba.core.caching import FunctionCache, UserWideCacheLocator  # noqa: E402
from numba.core.cpu import CPUTargetOptions  # noqa: E402

if _scipy is None:
    del sys.modules["scipy"]
else:
    sys.modules["scipy"] = _scipy


class SharedFolder(UserWideCacheLocator):
    """A cache folder shared by every copy of the same sources on the same kind of CPU."""

    def __init__(self, py_func, py_file):
        super().__init__(py_func, py_file)
        code = hashlib.sha256()
        # A compiled function holds the code of those it calls, and all of them are in this folder.
        for source in sorted(Path(__file__).parent.glob("*.py")):
            code.update(source.read_bytes())
        # The CPU is in the folder's name too, so that machines that share a home never race for one index file.
        features = numba.config.CPU_FEATURES
        if features is None:
            features = llvmlite.binding.get_host_cpu_features().flatten()
        code.update(f"{numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name()} {features}".encode())
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        self._stamp = code.hexdigest()
        self._cache_path = str(home / "plumbline" / self._stamp[:16])

    @classmethod
    def from_function(cls, py_func, py_file):
        """Numba asks this once a function; whether the folder can be written shows when something is."""
        return cls(py_func, py_file)

    def get_source_stamp(self):
        """What Numba compares to tell a fresh cache from a stale one."""
        return self._stamp


class OptionalCache(FunctionCache):
    """Numba's cache of a function, which may fail: then the function is compiled."""

    said = False

    def load_overload(self, sig, target_context):
        """The compiled function, or None."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # an entry cut by a loss of power or a full disk unpickles to anything
            with contextlib.suppress(OSError):
                Path(self._cache_file._index_path).unlink()
            return None

    def save_overload(self, sig, data):
        """Keep a compiled function; a disk that does not take it is told in one line."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            if not self.said:
                what = f"{self.cache_path} does not take what was compiled ({error.strerror})"
                print(f"{what}; every run compiles until it does", file=sys.stderr)
                OptionalCache.said = True


class _Announcement(event.Listener):
    """Says that compiling takes a moment, once per machine and version of the code: when its cache is still empty."""

    said = False

    def on_start(self, event):
        if not self.said and not any(Path(exp._cache.cache_path).glob("*.nbi")):
            print("compiling the arithmetic for this CPU (once per machine, some seconds)", file=sys.stderr, flush=True)
        _Announcement.said = True

    def on_end(self, event):
        pass


event.register("numba:compile", _Announcement())
# How long a thread of GNU's OpenMP, which Numba takes, spins at a barrier before it sleeps. At its own 300,000 two
# threads beside another busy process were ten to a hundred times slower than one; at this they lose 5 % when alone.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
numba.config.CACHE_LOCATOR_CLASSES = f"{__name__}.SharedFolder"


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
    dispatcher = numba.njit(**options)(function)
    dispatcher._cache = OptionalCache(function)  # what njit(cache=True) does with Numba's own
    return dispatcher


compiled_apart = functools.partial(compiled, noalias=True)


@numba.extending.overload(arithmetic.select)
def _select(condition, yes, no):
    return lambda condition, yes, no: yes if condition else no


exp, log, sincos = compiled(arithmetic.exp), compiled(arithmetic.log), compiled(arithmetic.sincos)
