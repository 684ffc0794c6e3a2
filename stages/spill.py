"""Arrays and tables that need not fit in memory: on the disk beside the outputs, mapped, when it does not suffice.

A mapped file's pages are the file cache: the system writes them back and takes them when memory runs short, and reads
them again when they are asked for. What is computed on such an array is the same to the bit. The file has no name, so
that a killed process leaves none behind; an array's room on the disk is taken first: a full disk is an error line.
"""

import contextlib
import itertools
import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from stages import resources
from stages.errors import UserError

SMALL = 2**20  # bytes for which nobody is asked: the answer takes a dozen reads of /proc and of the cgroups
RESERVE = resources.BASE  # bytes that arrays leave free, for what else the work takes
LEAST = 1024  # rows that go through memory at a time in any case
PIECE = 2**16  # rows at a time of what is computed row by row: what is made of them on the way stays in the cache
PIECES = 8  # what goes through memory in pieces is so many times as large in all its forms, at most

_folder = Path()  # of what does not fit
_promised: dict[int, int] = {}  # bytes of the ordinary arrays that live: pages never touched count as free until then
_at_first: int | None = None  # memory there was before the first of them


def beside(folder: str | Path) -> None:
    """From here on what does not fit lies in this folder: that of the outputs."""
    global _folder
    _folder = Path(folder)


def empty(shape: int | tuple[int, ...], dtype) -> np.ndarray:
    """`np.empty`; mapped on a file without a name, if there is not memory enough."""
    shape, dtype = (shape,) if isinstance(shape, int) else shape, np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    if fits(size):
        array = np.empty(shape, dtype)
        _promised[id(array)] = size
        weakref.finalize(array, _promised.pop, id(array)).atexit = False
        return array
    with nameless(size) as file:
        return np.frombuffer(_mapped(file, mmap.ACCESS_WRITE), dtype).reshape(shape)


def pieces(n: int, size: int = PIECE) -> list[slice]:
    """n rows, so many at a time."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def fits(size: float) -> bool:
    """Whether so many bytes more can be had and leave enough for what else the work takes."""
    left = _left()
    return left is None or size + RESERVE <= left


def may_hold(size: float) -> bool:
    """Whether so many bytes may be held on their way through."""
    left = _left() if size > SMALL else None
    return left is None or size <= left / PIECES


def rows_at_a_time(row: float, most: int) -> int:
    """How many rows of so many bytes may go through memory at a time: at most `most`, LEAST times a power of two."""
    left = _left() if row * most > SMALL else None
    rows = most if left is None else max(left, 0) / PIECES / max(row, 1.0)
    return most if rows >= most else min(most, LEAST * 2 ** int(math.log2(max(rows / LEAST, 1.0))))


def _left() -> int | None:
    """Memory that is left, when all that was promised is taken."""
    global _at_first
    left = resources.available_memory()
    if left is None:
        return None
    if not _promised:
        _at_first = left
    return min(left, _at_first - sum(_promised.values()))


def tables(made: Iterable[Iterable[pa.Table]]) -> list[pa.Table]:
    """Tables mapped on a file without a name; each comes in pieces, of which one is in memory at a time."""
    with tempfile.TemporaryFile(dir=_folder, prefix=".spill-") as file:
        sink, ends = pa.PythonFile(file, mode="w"), [0]
        for pieces in made:
            with contextlib.ExitStack() as stack:
                stream = None
                for piece in pieces:
                    stream = stream or stack.enter_context(pa.ipc.new_stream(sink, piece.schema))
                    stream.write_table(piece)
                    del piece
                    pa.default_memory_pool().release_unused()  # by itself it keeps what was freed
            ends.append(sink.tell())
        file.flush()
        data = pa.py_buffer(_mapped(file, mmap.ACCESS_READ))
    return [pa.ipc.open_stream(data.slice(a, b - a)).read_all() for a, b in itertools.pairwise(ends)]


def beside_each_other(columns: Iterable[Iterable[pa.Table]]) -> pa.Table:
    """One mapped table of columns that are made one after the other, each in pieces."""
    mapped = tables(columns)
    fields = [field for table in mapped for field in table.schema]
    return pa.Table.from_arrays([column for table in mapped for column in table.columns], schema=pa.schema(fields))


def _mapped(file: BinaryIO, access: int) -> mmap.mmap:
    try:
        return mmap.mmap(file.fileno(), 0, access=access)
    except OSError as error:  # no addresses are left
        raise MemoryError(f"a file cannot be mapped: {error.strerror}; is `ulimit -v` set?") from None


def nameless(size: int) -> BinaryIO:
    """A file without a name, its bytes taken; UserError where the disk does not have them."""
    _folder.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.ExitStack() as until_taken:
            file = until_taken.enter_context(tempfile.TemporaryFile(dir=_folder, prefix=".spill-", buffering=0))
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            until_taken.pop_all()
            return file
    except OSError as error:
        raise UserError(
            f"{resources.gb(size)} do not fit in memory, and the disk of {_folder} does not take them "
            f"({os.strerror(error.errno or 0)}); make room there, or give more memory"
        ) from None
