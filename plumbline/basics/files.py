"""Output files that appear whole or not at all, and scratch files.

A file is first written in a temporary folder beside its final name, and renamed at the end. The folder is locked while
its process lives. A folder that is not locked was left by a killed process, and whoever writes there next removes it.
"""

import contextlib
import fcntl
import math
import mmap
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from plumbline.basics import errors, inputs
from plumbline.basics.errors import UserError

SMALL = 2**20  # bytes: a smaller array is not worth a file
DVC_LOCK = ".dvc/tmp/lock"  # DVC holds it whenever it works, but not while a stage runs
# DuckDB's scratch folder, with the process's number. DuckDB makes it when it runs out of memory, and takes no lock.
OF_DUCKDB = re.compile(r"\.duckdb\.(\d+)\.scratch")


class _Block(NamedTuple):
    """The files of a block of `together`."""

    folders: contextlib.ExitStack  # their temporary folders
    waiting: list[tuple[Path, Path]]  # temporary and final name of each


_block: _Block | None = None  # the block that is open
_ours: set[int] = set()  # inodes of the files that this process has written


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Files written in the block take their final names at its end, all or none.

    UserError where an input has changed since it was read (`inputs.check`), or where another process has written one of
    the files since this one began. No file is replaced then.
    """
    global _block
    with contextlib.ExitStack() as folders:
        waiting = []
        _block = _Block(folders, waiting)
        try:
            yield
            sys.stdout.flush()  # if standard output is a full disk, fail before anything is replaced
            with _alone({path.parent for _, path in waiting}):
                inputs.check()
                _check_unwritten([path for _, path in waiting])
                _take_names(waiting)
            errors.written += [str(path) for _, path in waiting]
        finally:
            _block = None


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary name for the file `path`. If the block succeeds the file is renamed to `path`, else removed.

    Within `together` it is renamed when that block ends.
    """
    path = Path(path)
    block = None if path.parent.match(inputs.SCRATCH) else _block  # a scratch file is read before `together` ends
    with contextlib.ExitStack() as own:
        with errors.named(path):
            folders = block.folders if block else own
            partial = folders.enter_context(scratch(path.parent)) / path.name
            yield partial
            partial.stat()  # an error if the block has not written it
        if block:
            block.waiting.append((partial, path))
        else:
            _take_names([(partial, path)])


def _take_names(files: list[tuple[Path, Path]]) -> None:
    """Rename files, temporary to final name, or leave everything as it is.

    If there are several, the old files are moved aside first. That shows whether each can be replaced. And no old file
    stands beside a new one, even if the process is killed in between.
    """
    aside = [(path, partial.with_name(".old")) for partial, path in files if len(files) > 1 and os.path.lexists(path)]
    moved, path = [], Path()
    try:
        for source, target in aside + files:
            path = source if target.name == ".old" else target
            if path.is_dir():
                raise UserError(f"{path} is a folder, and a file is to be written under that name; move it away")
            moved.append((source, target))
            source.replace(target)
    except BaseException:
        for source, target in reversed(moved):
            with contextlib.suppress(OSError):
                if not os.path.lexists(source):
                    target.replace(source)
        not_undone = [str(final) for partial, final in files if not os.path.lexists(partial)]
        errors.written += not_undone
        with errors.named(path):
            raise
    _ours.update(path.stat().st_ino for _, path in files)


def _check_unwritten(paths: list[Path]) -> None:
    """UserError for a file that another process has written while this one ran."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            state = path.lstat()
            if state.st_ctime > inputs.began and state.st_ino not in _ours and not path.is_dir():
                said = "was written by another process while this ran, and stays as it is; nothing was written"
                raise UserError(f"{path} {said}: run it again")


@contextlib.contextmanager
def _alone(folders: set[Path]) -> Iterator[None]:
    """While the block runs, no other process renames files in these folders, and DVC does not hash them.

    A DVC that runs this process waits for it anyway.
    """
    places = [] if "DVC_STAGE" in os.environ else [Path.cwd(), *Path.cwd().parents]
    locks = []
    try:
        for path in [*(lock for place in places if (lock := place / DVC_LOCK).exists()), *sorted(folders)]:
            try:
                locks.append(_lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB))
            except BlockingIOError:
                print(f"waiting for another process, which has locked {path}", file=sys.stderr, flush=True)
                locks.append(_lock(path))
        yield
    finally:
        for lock in filter(None, locks):
            os.close(lock)


def _lock(path: Path, how: int = fcntl.LOCK_EX) -> int | None:
    """Lock a file or folder. Gives a descriptor, which holds the lock until it is closed or its process ends.

    None if `path` is gone, or its file system has no locks. BlockingIOError if another process holds the lock and `how`
    has LOCK_NB.
    """
    try:
        held = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(held, how)
    except OSError as error:
        os.close(held)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return held


@contextlib.contextmanager
def scratch(beside: str | Path) -> Iterator[Path]:
    """A temporary folder within `beside`, the folder of the outputs. It is removed when the block ends."""
    beside = Path(beside)
    beside.mkdir(parents=True, exist_ok=True)
    sweep(beside)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=".", suffix=".scratch", dir=beside))
        lock = _lock(folder)
        if folder.exists():  # `lock` may be None, where the file system has no locks
            break
        if lock is not None:  # another process removed the folder before it was locked
            os.close(lock)
    try:
        yield folder
    except OSError as error:  # on a full disk it has no name
        raise OSError(error.errno, error.strerror, error.filename or str(beside)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def sweep(folder: Path) -> None:
    """Remove the temporary folders that killed processes have left in a folder."""
    for path in folder.glob(inputs.SCRATCH):
        if owner := OF_DUCKDB.fullmatch(path.name):
            try:
                os.kill(int(owner[1]), 0)
            except ProcessLookupError:
                shutil.rmtree(path, ignore_errors=True)
            except PermissionError:  # it lives, and is another user's
                pass
            continue
        with contextlib.suppress(BlockingIOError):  # the process that locked it lives
            if (lock := _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)) is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)


@contextlib.contextmanager
def nameless(size: int, folder: str | Path) -> Iterator[BinaryIO]:
    """A file of `size` bytes in `folder` that has no name. It is removed when the block ends.

    Its disk space is allocated first: a full disk is an error here, and not a SIGBUS when a mapped page is written.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder, prefix=".") as file:
        with errors.named(folder):
            if hasattr(os, "posix_fallocate") and size:
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
        yield file


def mapped(shape: tuple[int, ...], dtype, folder: str | Path) -> np.ndarray:
    """`np.empty`, for an array that may be larger than memory: it is mapped to a nameless file in `folder`."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    with nameless(size, folder) as file:
        return np.frombuffer(mmap.mmap(file.fileno(), size), dtype).reshape(shape)
