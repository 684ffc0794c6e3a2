"""Inputs must not change while a stage runs.

DVC hashes a stage's dependencies after its command has ended (dvc#11058). A file edited in between would be recorded
as if it had made the outputs. So a stage calls `watch` for each input before it reads it, and `check` compares all of
them before the outputs take their final names. Between that and DVC's hashing there remains a moment in which an edit
is not seen.

A file whose size, times and inode are the same is taken to be the same. Otherwise its content is compared, so that
`touch` is not an edit. A file larger than LARGE is not hashed, for hashing takes as long as reading. There a new time
counts as an edit, as it does for modules that a user's generator or network imports.
"""

import hashlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from plumbline.basics.errors import UserError

LARGE = 2**26  # bytes; hashing these takes about 0.1 s
YOUNG = 1.0  # seconds; a file that has just changed can change again and keep its time
SCRATCH = ".*.scratch"  # the names of temporary folders
CODE = Path(__file__).parents[2]  # the folder that holds plumbline/


class _Seen(NamedTuple):
    """A file or folder as it was when it was read."""

    state: tuple  # of a file inode, size and times in nanoseconds, or () if it is YOUNG; of a folder the names in it
    digest: bytes | None  # of a file its SHA-256; None for a large file or a folder


_files: dict[Path, _Seen] = {}
_values: list[Callable[[], str | None]] = []
began = time.time()  # when this process started


def watch(path: str | Path) -> None:
    """Remember a file, or a folder and all that is in it, as it is now. Call it before reading.

    Files in a scratch folder are left out: they are this process's own.
    """
    path = Path(path).absolute()
    if path.exists() and not path.parent.match(SCRATCH):
        for each in (path, *path.rglob("*")):
            _files[each] = _seen(each)


def read(path: str | Path) -> bytes:
    """Read a small file and watch it."""
    path = Path(path).absolute()
    content = path.read_bytes()
    _files[path] = _Seen((), hashlib.sha256(content).digest())
    return content


def watch_value(changed: Callable[[], str | None]) -> None:
    """Call `changed` at every check. It gives the name of a value that has changed, or None."""
    _values.append(changed)


def check() -> None:
    """UserError if an input is not as it was when it was read. It names the first such input."""
    names = [_name(path) for path, seen in _files.items() if not _is_same(path, seen)]
    modules = _code_in_use() & _code.keys()
    names += [str(path.relative_to(CODE)) for path in modules if not _is_same(path, _code[path])]
    names += [_name(path) for path in _own_modules() if path.stat().st_mtime > began]
    names += [name for changed in _values if (name := changed())]
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise UserError(
            f"{names[0]}{more} changed while this ran, and what is recorded would not be what was used; "
            f"nothing was written: run it again"
        )


def fingerprint() -> list[tuple[str, bytes | tuple]]:
    """Name and digest of each file read so far and of each module. A large file has its state instead."""
    own = {path: _seen(path) for path in _own_modules()}
    return [(_name(path), seen.digest or seen.state) for path, seen in sorted((_files | _code | own).items())]


def watched() -> list[Path]:
    """The files read so far, and the modules of the project and the user."""
    return [*(Path(_name(path)) for path in (*_files, *_own_modules()) if path.is_file()), *_code]


def forget() -> None:
    """Forget all inputs: for a process that runs several stages, as tests do."""
    global began
    began = time.time()
    for each in (_files, _values, _code):
        each.clear()
    _code.update(_code_as_it_is())


def _name(path: Path) -> str:
    """A path for a message: relative if it is below the current folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _seen(path: Path) -> _Seen:
    state = path.stat()
    if path.is_dir() or state.st_size > LARGE:
        return _Seen(_state(path), None)
    is_young = abs(time.time() - state.st_ctime) < YOUNG
    return _Seen(() if is_young else _state(path), digest(path))


def _is_same(path: Path, seen: _Seen) -> bool:
    try:
        return seen.state == _state(path) or (seen.digest is not None and seen.digest == digest(path))
    except OSError:
        return False


def _state(path: Path) -> tuple:
    """See `_Seen.state`. A large file's has no change time, for DVC sets a new one when it makes a hard link to it."""
    if path.is_dir():
        return tuple(sorted(each.name for each in path.iterdir()))
    state = path.stat()
    changed = () if state.st_size > LARGE else (state.st_ctime_ns,)
    return state.st_ino, state.st_size, state.st_mtime_ns, *changed


def digest(path: Path) -> bytes:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _code_as_it_is() -> dict[Path, _Seen]:
    """All modules of the project, imported or not: one that is imported late may have been edited by then."""
    folders = [CODE / "plumbline", CODE / "stages"]
    return {path: _seen(path) for folder in folders for path in folder.rglob("*.py")}


def _code_in_use() -> set[Path]:
    """The modules of the project and of the current folder that have been imported."""
    places, modules = (f"{CODE}/", f"{Path.cwd()}/"), list(sys.modules.values())
    files = [getattr(module, "__file__", None) or "" for module in modules]
    return {Path(file) for file in files if file.startswith(places) and "/site-packages/" not in file}


def _own_modules() -> set[Path]:
    """A user's own modules: imported, but neither the project's nor watched files."""
    return {path for path in _code_in_use() - _code.keys() - _files.keys() if path.exists()}


_code = _code_as_it_is()
