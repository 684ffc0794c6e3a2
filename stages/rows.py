"""Rows that are not all in memory: an epoch's rows a window at a time, in the epoch's order.

A window is a whole number of batches, so that whoever carries its state from one window to the next computes the bits
of an epoch in memory. Rows are only ever read in the order in which they lie: read in the epoch's order every one of
them would be a page from the disk. A few windows are filled by a pass over all rows each; for many, one pass spreads
the rows over a file in which each window's lie together. OnDisk is such a file.
"""

import weakref
from collections.abc import Callable, Iterator

import numpy as np

from stages import spill
from stages.table import counted

FEW = 3  # windows that are filled by a pass each: spreading the rows first reads them twice and writes them once
NOWHERE = 2**16 - 1  # the window of a row that is in none

Window = tuple[np.ndarray, np.ndarray, np.ndarray]  # x (m, d), y (m,), and numbers of rows in these (R, w)
Pick = Callable[[int, int], np.ndarray]  # of the rows from one on, so many: which of these are wanted, ascending
Scan = Callable[[Pick], Iterator[tuple[np.ndarray, np.ndarray]]]  # numbers of wanted rows and these, piece by piece


class OnDisk:
    """Float32 rows (rows, width) in a file without a name, read and written in pieces.

    It is not mapped: a fault in a mapped file reads megabytes around the page, and where memory is short those push
    out what the next piece needs. Its room on the disk is taken first: a full disk is an error line at the start.
    """

    def __init__(self, rows: int, width: int):
        self.rows, self.width = rows, width
        self._file = spill.nameless(max(4 * rows * width, 1))
        weakref.finalize(self, self._file.close)

    def write(self, first: int, x: np.ndarray) -> None:
        """Put the rows x, C-contiguous, where row `first` is."""
        self._go_through(first, x, self._file.write)

    def read(self, first: int, x: np.ndarray) -> None:
        """Fill x, C-contiguous, with the rows from `first` on."""
        self._go_through(first, x, self._file.readinto)

    def _go_through(self, first: int, x: np.ndarray, some: Callable[[memoryview], int]) -> None:
        self._file.seek(4 * first * self.width)
        left = memoryview(x.reshape(-1)).cast("B") if x.size else memoryview(b"")
        while left:  # no system call moves more than two gigabytes
            left = left[some(left) :]


class Rows:
    """Encoded rows somewhere else: `scan(pick)` goes through them and gives those that are wanted.

    room: float32, for a window's rows; several parts may share it, for a window is used up before the next one.
    """

    def __init__(self, scan: Scan, width: int, room: np.ndarray):
        self.scan, self.width, self.room, self.spread = scan, width, room, None

    def windows(self, y: np.ndarray, orders: np.ndarray, step: int, own=None) -> Iterator[Window]:
        """As `windows` below; y may be of any integers."""
        networks, count = orders.shape
        most, fit = count, self.room.size // self.width
        if fit < len(y):  # which is more than any window has different rows
            each = max(int(own(networks, n).sum()) for n in (step, count % step)) if own else networks * step
            most = max(fit // max(each, 1), 1) * step
        starts = range(0, count, most)
        apart = FEW < len(starts) < NOWHERE and networks == 1 and orders[0, :most].max() > orders[0, most:].min()
        ends = self._spread(len(y), orders[0], most, own) if apart else None
        for i, start in enumerate(starts):
            order = orders[:, start : start + most]
            mine = own(*order.shape) if own else ...
            numbers, places = _found(order[mine].ravel(), len(y))
            order = np.zeros(order.shape, orders.dtype)
            order[mine] = places if own else places.reshape(order.shape)
            del mine, places
            x = self.room[: len(numbers) * self.width].reshape(-1, self.width)
            if apart:
                self.spread.read(int(ends[i]) - len(x), x)
            else:
                self._fetch(numbers, x)
            yield x, y[numbers].astype(np.int32, copy=False), order

    def _fetch(self, numbers: np.ndarray, out: np.ndarray) -> None:
        """The rows of these numbers, ascending, into `out`."""

        def pick(first: int, count: int) -> np.ndarray:
            ends = np.array([first, first + count], numbers.dtype)  # of another kind all numbers would be converted
            return numbers[slice(*numbers.searchsorted(ends))] - first

        done = 0
        for _, x in self.scan(pick):
            out[done : done + len(x)] = x
            done += len(x)

    def _spread(self, rows: int, order: np.ndarray, most: int, own) -> np.ndarray:
        """Lay the rows of an epoch down window by window, in each in the order they have here; returns its ends."""
        window = np.full(rows, NOWHERE, np.uint16)
        for i, start in enumerate(range(0, len(order), most)):
            some = order[start : start + most]
            window[some[own(1, len(some))[0]] if own else some] = i
        ends = np.cumsum(counted(window, NOWHERE + 1)[:NOWHERE])
        if self.spread is None or self.spread.rows < ends[-1]:
            self.spread = OnDisk(int(ends[-1]), self.width)
        places = ends - np.diff(ends, prepend=0)
        for numbers, x in self.scan(lambda first, count: np.flatnonzero(window[first : first + count] != NOWHERE)):
            own_window = window[numbers]
            x, first = x[np.argsort(own_window, kind="stable")], 0
            for i, count in enumerate(np.bincount(own_window).tolist()):
                self.spread.write(int(places[i]), x[first : first + count])
                places[i] += count
                first += count
        return ends


def _found(order: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """np.unique with its inverse, of numbers of so many rows; of most of them without sorting."""
    if order.size < rows // 4:
        return np.unique(order, return_inverse=True)
    there = np.zeros(rows, bool)
    there[order] = True
    places = np.cumsum(there, dtype=order.dtype)
    places -= 1
    return np.flatnonzero(there), places[order]


def windows(x: np.ndarray | Rows, y: np.ndarray, orders: np.ndarray, step: int, own=None) -> Iterator[Window]:
    """The rows x and y in `orders` (R, n): pieces of that, each a multiple of `step` long and with its own x and y.

    What is in memory comes in one piece as it is. own(R, n): a mask of the rows of a piece that are needed, or None
    for all; other places of `orders` then mean nothing.
    """
    if isinstance(x, Rows):
        yield from x.windows(y, orders, step, own)
    else:
        yield x, y, orders
