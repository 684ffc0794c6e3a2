"""How loops are compiled: by Numba for this CPU, once per machine, without freedom to reorder or contract operations.

Importing this module takes 0.3 s, so small jobs do without it (plumbline.bits.stream and scoring).

Numba's own cache is keyed by the folder of the source, so every clone and every `dvc exp run --temp` would compile
anew. The cache here is keyed by the content of the sources and by the CPU. It is one folder per user:
`~/.cache/plumbline`, or `plumbline` under NUMBA_CACHE_DIR or XDG_CACHE_HOME.

Numba reads settings from the environment. Only those in OURS are kept, for they change no bit. All others are deleted:
they are meant for another project, and code compiled with them would stay in the cache.
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

MOST_THREADS = 4096  # with hundreds of thousands the process is ended by a signal
OURS = ("NUMBA_NUM_THREADS", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT")
for _other in [name for name in os.environ if name.startswith("NUMBA_") and name not in OURS]:
    del os.environ[_other]
_threads = os.environ.get("NUMBA_NUM_THREADS", "1").strip()
if not _threads.isdecimal() or not 0 < float(_threads) <= MOST_THREADS:  # Numba's import would raise a traceback
    raise UserError(f"NUMBA_NUM_THREADS is {_threads!r}, and must be a whole number from 1 to {MOST_THREADS}; unset it")

# Numba imports SciPy, to find a BLAS, which takes 0.1 s. Nothing here may use a BLAS, so SciPy is hidden meanwhile.
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
    """The compiled forms of a function, one file each, with the interface of Numba's own caches.

    A file begins with a SHA-256 of its path and its content, so an altered or a moved file is not used. Loading one
    does not fill Numba's registries of types: that takes 0.2 s, and only compiling needs them.
    """

    def __init__(self, function):
        self._name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"

    def load_overload(self, signature, target):
        """The compiled function, or None, upon which Numba compiles it."""
        with contextlib.suppress(Exception):  # whatever is wrong with the file, it can be compiled anew
            path = self._path(signature)
            content = path.read_bytes()
            if content[:SEAL] == _seal(path, content[SEAL:]):
                rtsys.initialize(target)  # all that compiled code needs of Numba
                return CompileResult._rebuild(target, *pickle.loads(content[SEAL:]))
        if not any(_folder().glob("*")):
            _say("compiling the arithmetic for this CPU (once per machine, some seconds)")
        return None

    def save_overload(self, signature, result):
        """Write a compiled function, whole or not at all. If that fails, one line says so and the run goes on."""
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
    """Print a line once, however many functions it is about."""
    print(line, file=sys.stderr, flush=True)


def _seal(path: Path, body: bytes) -> bytes:
    return hashlib.sha256(f"{path.parent.name}/{path.name}\n".encode() + body).digest()


@functools.cache
def _folder() -> Path:
    """The cache's folder for these sources and this kind of CPU: machines with different CPUs may share a home.

    All sources of this folder count, because a compiled function contains the code of those that it calls.
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


# How long a thread of GNU's OpenMP, which Numba uses, spins at a barrier before it sleeps. At the default of 300,000
# two threads beside another busy process were 10 to 100 times slower than one. At 1,000 they lose 5 % when alone.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


# Numba has this flag for its own use, and no name for it in njit.
CPUTargetOptions.noalias = CPUTargetOptions.Mapping("noalias")


def compiled(function, *, parallel: bool = False, noalias: bool = False):
    """Decorator: compile with IEEE 754 arithmetic as written (no fastmath), free of the interpreter's lock.

    `noalias` promises that no two arguments share memory: then several rows can be written in one vectorized loop.
    """
    if parallel:  # the cache tells functions apart by name, not by options, and both forms may exist
        function = types.FunctionType(function.__code__, function.__globals__)
        function.__qualname__ += "_parallel"
    options = {"nogil": True, "error_model": "numpy", "fastmath": False, "parallel": parallel, "noalias": noalias}
    dispatcher = numba.njit(**options)(function)
    dispatcher._cache = Cache(function)
    return dispatcher


def threads() -> int:
    """How many threads may call compiled functions at the same time: one where Numba's layer is "workqueue"."""
    cores = numba.get_num_threads()
    return 1 if numba.threading_layer() == "workqueue" else cores


def alone() -> None:
    """Compiled functions that this thread calls shall use no other thread, for others run beside it."""
    numba.set_num_threads(1)


compiled_apart = functools.partial(compiled, noalias=True)
compiled_parallel = functools.partial(compiled, parallel=True)


@numba.extending.overload(arithmetic.select)
def _select(condition, yes, no):
    return lambda condition, yes, no: yes if condition else no


exp, log, sincos = compiled(arithmetic.exp), compiled(arithmetic.log), compiled(arithmetic.sincos)
