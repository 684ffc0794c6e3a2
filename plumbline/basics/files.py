"""Files that appear whole or not at all, and scratch files.

A file is written in a folder of its own beside its final name, which it takes at the end. That folder is locked while
its process lives, so whoever writes there next sees what killed ones have left, and removes it. The files of a block of
`together` are of one writer, whoever else writes them.
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
from typing import BinaryIO

import numpy as np

from plumbline.basics import errors, inputs
from plumbline.basics.errors import UserError

SMALL = 2**20  # bytes of an array that is not worth a file
DVC_LOCK = ".dvc/tmp/lock"  # DVC's own, which it holds whenever it works, but not while a stage runs
OF_DUCKDB = re.compile(r"\.duckdb\.(\d+)\.scratch")  # made by it when it must, of a process and without a lock

_block: tuple[contextlib.ExitStack, list[tuple[Path, Path]]] | None = None  # of `together`: folders; names, and finals
_ours: set[int] = set()  # inodes of what this process has written


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Files written in the block take their final names at its end, all or none.

    Before they do, what was printed must be out, every input must be as it was read (`inputs.check`), and none of the
    files written by another process since this one began: who ends first is right, and the other is told.
    """
    global _block
    with contextlib.ExitStack() as folders:
        _, waiting = _block = folders, []
        try:
            yield
            sys.stdout.flush()  # a full disk there is told while nothing is replaced
            with _alone({path.parent for _, path in waiting}):
                inputs.check()
                _check_unwritten([path for _, path in waiting])
                _take_names(waiting)
            errors.written += [str(path) for _, path in waiting]
        finally:
            _block = None


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; when the block ends well the file takes its final name, else it goes."""
    path = Path(path)
    block = None if path.parent.match(inputs.SCRATCH) else _block  # a scratch folder's file is needed in the block
    with contextlib.ExitStack() as own:
        with errors.named(path):
            partial = (block[0] if block else own).enter_context(scratch(path.parent)) / path.name
            yield partial
            partial.stat()
        block[1].append((partial, path)) if block else _take_names([(partial, path)])


def _take_names(files: list[tuple[Path, Path]]) -> None:
    """Give files their final names, or leave everything as it is.

    Of several the old ones go aside first. That shows whether each can be replaced, and no old file ever stands beside
    a new one, also when the process is killed.
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
        errors.written += [str(final) for partial, final in files if not os.path.lexists(partial)]
        with errors.named(path):
            raise
    _ours.update(path.stat().st_ino for _, path in files)


def _check_unwritten(paths: list[Path]) -> None:
    """Refuse to replace what another process has written while this one ran."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            state = path.lstat()
            if state.st_ctime > inputs.began and state.st_ino not in _ours and not path.is_dir():
                said = "was written by another process while this ran, and stays as it is; nothing was written"
                raise UserError(f"{path} {said}: run it again")


@contextlib.contextmanager
def _alone(folders: set[Path]) -> Iterator[None]:
    """In the block nobody else gives names in these folders, and DVC takes no hashes there, unless it runs this."""
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
    """A descriptor that holds the lock of a file or folder as long as it is open, which a dead process's is not.

    None where it is gone, or where there are no locks; BlockingIOError where another has it and `how` is not to wait.
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
    """A temporary folder in the folder `beside`, that of the outputs; it goes with all that is in it."""
    beside = Path(beside)
    beside.mkdir(parents=True, exist_ok=True)
    sweep(beside)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=".", suffix=".scratch", dir=beside))
        lock = _lock(folder)
        if folder.exists():  # without a lock where there are none
            break
        if lock is not None:  # another process swept it away before it was locked
            os.close(lock)
    try:
        yield folder
    except OSError as error:  # a full disk comes without a name
        raise OSError(error.errno, error.strerror, error.filename or str(beside)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def sweep(folder: Path) -> None:
    """Remove what processes that live no more have left in a folder under temporary names."""
    for path in folder.glob(inputs.SCRATCH):
        if owner := OF_DUCKDB.fullmatch(path.name):
            try:
                os.kill(int(owner[1]), 0)
            except ProcessLookupError:
                shutil.rmtree(path, ignore_errors=True)
            except PermissionError:  # another user's process lives
                pass
            continue
        with contextlib.suppress(BlockingIOError):  # its process lives
            if (lock := _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)) is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)


@contextlib.contextmanager
def nameless(size: int, folder: str | Path) -> Iterator[BinaryIO]:
    """A file of so many bytes without a name in `folder`; it goes with the block.

    Its room on the disk is taken first, so that a full disk is an error at the start, and no signal later.
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
    """`np.empty` on a nameless file in `folder`, whose pages the system may write back; a small array is in memory."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    with nameless(size, folder) as file:
        return np.frombuffer(mmap.mmap(file.fileno(), size), dtype).reshape(shape)
