"""Rows that are not all in memory: an epoch's rows a window at a time, in the epoch's order.

A window is a whole number of batches, so that whoever carries its state from one window to the next computes the bits
of an epoch in memory. Its rows are fetched in the order in which they lie, one pass over them a window: fetched in the
epoch's order every one of them would be a page from the disk.
"""

from collections.abc import Callable, Iterator

import numpy as np

Window = tuple[np.ndarray, np.ndarray, np.ndarray]  # x (m, d), y (m,), and numbers of rows in these (R, w)


PIECE = 2**20  # class numbers that are counted at a time: NumPy widens them to 64 bits


def counted(classes: np.ndarray, least: int = 0) -> np.ndarray:
    """np.bincount of any number of class numbers, of the first `least` classes at least; int64 (k,)."""
    pieces = (classes[start : start + PIECE] for start in range(0, max(len(classes), 1), PIECE))
    counts = [np.bincount(piece, minlength=least) for piece in pieces]
    total = np.zeros(max(map(len, counts)), np.int64)
    for count in counts:
        total[: len(count)] += count
    return total


class Rows:
    """Encoded rows somewhere else: `take(numbers, out)` fetches those with these ascending numbers into `out` (m, d).

    They are fetched into `room`, float32, which several parts may share: a window is used up before the next one.
    """

    def __init__(self, take: Callable[[np.ndarray, np.ndarray], None], width: int, room: np.ndarray):
        self.take, self.width, self.room = take, width, room

    def windows(self, y: np.ndarray, orders: np.ndarray, step: int, own=None) -> Iterator[Window]:
        """As `windows` below."""
        networks, count = orders.shape
        most, fit = count, self.room.size // self.width
        if fit < len(y):  # which is more than any window has different rows
            each = int(own(networks, step).sum()) if own else networks * step
            most = max(fit // max(each, 1), 1) * step
        for start in range(0, count, most):
            order = orders[:, start : start + most]
            mine = own(*order.shape) if own else np.full(order.shape, True)
            numbers, places = np.unique(order[mine], return_inverse=True)
            order = np.zeros(order.shape, orders.dtype)
            order[mine] = places
            del mine, places
            x = self.room[: len(numbers) * self.width].reshape(-1, self.width)
            self.take(numbers, x)
            yield x, y[numbers], order


def windows(x: np.ndarray | Rows, y: np.ndarray, orders: np.ndarray, step: int, own=None) -> Iterator[Window]:
    """The rows x and y in `orders` (R, n): pieces of that, each a multiple of `step` long and with its own x and y.

    What is in memory comes in one piece as it is. own(R, n): a mask of the rows of a piece that are needed, or None
    for all; other places of `orders` then mean nothing.
    """
    if isinstance(x, Rows):
        yield from x.windows(y, orders, step, own)
    else:
        yield x, y, orders
