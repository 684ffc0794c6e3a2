"""How loops are compiled: by Numba for this CPU, once per machine, without freedom to reorder or contract.

Importing this module takes 0.3 s, so whoever has little to compute does without (plumbline.bits.stream and scoring).

Numba keys its cache by the folder of the source, so every clone and every `dvc exp run --temp` would compile anew. Here
the key is the content of the compiled sources and the CPU, under one user-wide folder (`~/.cache/plumbline`, or under
NUMBA_CACHE_DIR or XDG_CACHE_HOME).

Of Numba's own settings those count that change no bit (OURS). Others are of another project: what they would make lay
in the cache as if it were this one's.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import sys
import types
from pathlib import Path

from plumbline.basics import files
from plumbline.basics.errors import UserError, reason
from plumbline.bits import arithmetic

MOST_THREADS = 4096  # hundreds of thousands end the process by a signal
OURS = ("NUMBA_NUM_THREADS", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT")
for _other in [name for name in os.environ if name.startswith("NUMBA_") and name not in OURS]:
    del os.environ[_other]
_threads = os.environ.get("NUMBA_NUM_THREADS", "1").strip()
if not _threads.isdecimal() or not 0 < float(_threads) <= MOST_THREADS:  # importing Numba would be a traceback
    raise UserError(f"NUMBA_NUM_THREADS is {_threads!r}, and must be a whole number from 1 to {MOST_THREADS}; unset it")

# Numba looks for SciPy, and for its BLAS, by importing them, which takes 0.1 s; nothing here may use one.
_scipy, sys.modules["scipy"] = sys.modules.get("scipy"), None

import llvmlite.binding  # noqa: E402
import numba  # noqa: E402
import numba.extending  # noqa: E402
import numba.np.arraymath  # noqa: E402
from numba import prange as prange  # noqa: E402
from numba.core.compiler import CompileResult  # noqa: E402
from numba.core.cpu import CPUTargetOptions  # noqa: E402
from numba.core.runtime import rtsys  # noqa: E402
from numba.core.serialize import dumps  # noqa: E402

if _scipy is None:
    del sys.modules["scipy"]
else:
    sys.modules["scipy"] = _scipy

SEAL = hashlib.sha256().digest_size


class Cache:
    """The compiled forms of a function in files; the interface of Numba's own caches.

    Each begins with a SHA-256 of its place and the rest, so that none is taken for another, altered or not. It does
    without Numba's registries of types, which take 0.2 s to fill and which only compiling needs.
    """

    def __init__(self, function):
        self._name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"

    def load_overload(self, signature, target):
        """The compiled function, or None: then Numba compiles it."""
        with contextlib.suppress(Exception):  # whatever is wrong with it
            path = self._path(signature)
            content = path.read_bytes()
            if content[:SEAL] == _seal(path, content[SEAL:]):
                rtsys.initialize(target)  # all that compiled code needs of Numba
                return CompileResult._rebuild(target, *pickle.loads(content[SEAL:]))
        if not any(_folder().glob("*")):
            _say("compiling the arithmetic for this CPU (once per machine, some seconds)")
        return None

    def save_overload(self, signature, result):
        """Keep a compiled function, whole or not at all; what hinders that is told in one line."""
        path = self._path(signature)
        try:
            body = dumps(result._reduce())
            with files.replacing(path) as partial:
                partial.write_bytes(_seal(path, body) + body)
        except Exception as error:
            why = getattr(error, "strerror", reason(error))
            _say(f"{path.parent} does not take what was compiled ({why}); every run compiles until it does")

    def _path(self, signature) -> Path:
        return _folder() / f"{self._name}-{hashlib.sha256(repr(signature).encode()).hexdigest()[:16]}"


@functools.cache
def _say(line: str) -> None:
    """Once, however many functions it is about."""
    print(line, file=sys.stderr, flush=True)


def _seal(path: Path, body: bytes) -> bytes:
    return hashlib.sha256(f"{path.parent.name}/{path.name}\n".encode() + body).digest()


@functools.cache
def _folder() -> Path:
    """The folder of these sources on this kind of CPU, for machines may share a home.

    A compiled function holds the code of those it calls, and all of them are in the folder of this file.
    """
    of = [source.read_bytes() for source in sorted(Path(__file__).parent.glob("*.py"))]
    cpu = numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name()
    features = numba.config.CPU_FEATURES
    if features is None:
        features = llvmlite.binding.get_host_cpu_features().flatten()
    of.append(f"{sys.implementation.cache_tag} {numba.__version__} {cpu} {features}".encode())
    home = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):  # a container's user may have no home
        home = home or Path("~/.cache").expanduser()
    return Path(home or os.devnull, "plumbline", hashlib.sha256(b"".join(of)).hexdigest()[:16])


# How long a thread of GNU's OpenMP, which Numba takes, spins at a barrier before it sleeps. At its own 300,000 two
# threads beside another busy process were ten to a hundred times slower than one; at this they lose 5 % when alone.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


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
    dispatcher._cache = Cache(function)
    return dispatcher


def threads() -> int:
    """How many threads may call compiled functions at the same time; Numba's layer "workqueue" bears one."""
    cores = numba.get_num_threads()
    return 1 if numba.threading_layer() == "workqueue" else cores


def alone() -> None:
    """Let compiled functions that this thread calls use no other: others do the same beside it."""
    numba.set_num_threads(1)


compiled_apart = functools.partial(compiled, noalias=True)


@numba.extending.overload(arithmetic.select)
def _select(condition, yes, no):
    return lambda condition, yes, no: yes if condition else no


exp, log, sincos = compiled(arithmetic.exp), compiled(arithmetic.log), compiled(arithmetic.sincos)
