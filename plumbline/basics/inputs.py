"""What a stage has read must be what stands there when its outputs take their names.

DVC takes the hashes of a stage's dependencies after its command has ended (dvc#11058). A file edited in between would
be recorded as if it had made the outputs. So whoever reads an input watches it here, and `check` compares before
anything takes its final name. What remains is the moment between our renames and DVC's hashing, which no stage can see.

A file is the same if size, times and inode are. If they are not, it is compared by content: `touch` is no edit. A file
above LARGE is not hashed while it is read, for that would take as long as reading it; there any other time is an edit.
So it is for modules of a user's own that a generator or network imports.
"""

import hashlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from plumbline.basics.errors import UserError

LARGE = 2**26  # bytes; hashing so many takes some 0.1 s
YOUNG = 1.0  # seconds in which another change may leave the same time
SCRATCH = ".*.scratch"  # how temporary folders are called
CODE = Path(__file__).parents[2]  # the folder that holds plumbline/


class _Seen(NamedTuple):
    """A file as it was read, or a folder."""

    state: tuple  # inode, size and times in nanoseconds, none of a file that has just been written; of a folder names
    digest: bytes | None  # None for a large file, or a folder


_files: dict[Path, _Seen] = {}
_values: list[Callable[[], str | None]] = []
began = time.time()  # when this process did


def watch(path: str | Path) -> None:
    """Remember a file, or a folder and all files below it, as they are now: call it before they are read.

    What this process keeps in a scratch folder is its own.
    """
    path = Path(path).absolute()
    if path.exists() and not path.parent.match(SCRATCH):
        for each in (path, *path.rglob("*")):
            _files[each] = _seen(each)


def read(path: str | Path) -> bytes:
    """The content of a small file, which is watched as it was read."""
    path = Path(path).absolute()
    content = path.read_bytes()
    _files[path] = _Seen((), hashlib.sha256(content).digest())
    return content


def watch_value(changed: Callable[[], str | None]) -> None:
    """Ask `changed` at every check: it names what has another value by then, or gives None."""
    _values.append(changed)


def check() -> None:
    """A UserError names the first input that is not as it was read."""
    names = [_name(path) for path, seen in _files.items() if not _is_as(path, seen)]
    names += [str(path.relative_to(CODE)) for path in _code_in_use() if path in _code and not _is_as(path, _code[path])]
    names += [_name(path) for path in _beside() if path.stat().st_mtime > began]
    names += [name for changed in _values if (name := changed())]
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise UserError(
            f"{names[0]}{more} changed while this ran, and what is recorded would not be what was used; "
            f"nothing was written: run it again"
        )


def fingerprint() -> list[tuple[str, bytes | tuple]]:
    """The files that were read so far and the project's modules: each one's digest, or state where it is large."""
    beside = {path: _seen(path) for path in _beside()}
    return [(_name(path), seen.digest or seen.state) for path, seen in sorted((_files | _code | beside).items())]


def watched() -> list[Path]:
    """The files that were read so far, and the project's modules."""
    return [*(Path(_name(path)) for path in (*_files, *_beside()) if path.is_file()), *_code]


def forget() -> None:
    """Watch nothing any more, and begin anew: for a process that runs several stages, as the tests do."""
    global began
    began = time.time()
    for each in (_files, _values, _code):
        each.clear()
    _code.update(_code_as_it_is())


def _name(path: Path) -> str:
    """A path as a user says it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _seen(path: Path) -> _Seen:
    state = path.stat()
    if path.is_dir() or state.st_size > LARGE:
        return _Seen(_state(path), None)
    is_young = abs(time.time() - state.st_ctime) < YOUNG
    return _Seen(() if is_young else _state(path), digest(path))


def _is_as(path: Path, seen: _Seen) -> bool:
    try:
        return seen.state == _state(path) or (seen.digest is not None and seen.digest == digest(path))
    except OSError:
        return False


def _state(path: Path) -> tuple:
    """Of a large file without the time of its last change of any kind, which a new link, as DVC makes, is too."""
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
    """The project's modules; all of them, for one is imported when it is needed, and may have been edited by then."""
    folders = [CODE / "plumbline", CODE / "stages"]
    return {path: _seen(path) for folder in folders for path in folder.rglob("*.py")}


def _code_in_use() -> set[Path]:
    """The modules of the project and of the current folder that have been imported."""
    places, modules = (f"{CODE}/", f"{Path.cwd()}/"), list(sys.modules.values())
    files = [getattr(module, "__file__", None) or "" for module in modules]
    return {Path(file) for file in files if file.startswith(places) and "/site-packages/" not in file}


def _beside() -> set[Path]:
    """Those that are none of the project's, and were not read by it."""
    return {path for path in _code_in_use() - _code.keys() - _files.keys() if path.exists()}


_code = _code_as_it_is()
