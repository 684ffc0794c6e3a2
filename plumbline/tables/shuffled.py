"""An epoch's rows, in the order of its shuffle, from a table that may be larger than memory.

A window is a whole number of batches, so that whoever carries its state from one window to the next computes the bits
of an epoch in memory. Rows are only ever read in the order in which they lie: read in the epoch's order every one of
them would be a page from the disk. One pass spreads them over a file in which each window's lie together.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from plumbline.basics import files, memory

WINDOW = 2**27  # bytes of a window's rows
PIECE = 2**23  # bytes of rows that are spread together

Window = tuple[np.ndarray, np.ndarray, np.ndarray]  # x (m, d), y (m,), and numbers of rows in these (R, w)


def windows(
    x: np.ndarray, y: np.ndarray, orders: np.ndarray, batch_size: int, folder: str | Path = "data"
) -> Iterator[Window]:
    """The rows x (n, d) and y (n,) in `orders` (R, count): pieces of that, each with its own x and y.

    All at once, as they are, if x takes no more than half of the memory. Else in windows of whole batches, which are
    laid down in a nameless file in `folder` first. A window is used up before the next is asked for.
    """
    if x.nbytes <= memory.limit() // 2:
        yield x, y, orders
        return
    networks, count = orders.shape
    batch = networks * batch_size * x.shape[1] * x.itemsize  # bytes
    size = min(max(WINDOW // batch, 1) * batch_size, count)
    ordered = _ascends(orders)
    spread = None if ordered else _spread(x, orders, size, folder)
    for start in range(0, count, size):
        rows = orders[:, start : start + size]
        here, places = _sorted(rows)
        if ordered:
            own = x[here]
        else:
            own = spread[:, start : start + size].reshape(-1, x.shape[1])
        yield np.ascontiguousarray(own), y[here], places


def _ascends(orders: np.ndarray) -> bool:
    """Whether every network takes its rows in the order in which they lie."""
    starts = range(0, orders.shape[1], PIECE)
    return all((np.diff(orders[:, start : start + PIECE + 1]) > 0).all() for start in starts)


def _sorted(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows (R, w) of each network as they lie, network after network: (R * w,); and the place of each in these."""
    sorting = np.argsort(rows, axis=1, kind="stable")
    places = np.empty_like(rows)
    numbers = np.arange(rows.size, dtype=rows.dtype).reshape(rows.shape)
    np.put_along_axis(places, sorting, numbers, axis=1)
    return np.take_along_axis(rows, sorting, axis=1).ravel(), places


def _spread(x: np.ndarray, orders: np.ndarray, size: int, folder: str | Path) -> np.ndarray:
    """Every network's rows window by window, in each as they lie in x: (R, count, d), in a file."""
    networks, count = orders.shape
    starts = np.arange(0, count, size)
    spread = files.mapped((networks, count, x.shape[1]), x.dtype, folder)
    window = np.empty(len(x), np.min_scalar_type(len(starts)))
    rows_a_piece = max(PIECE // (x.shape[1] * x.itemsize), 1)
    for order, out in zip(orders, spread):
        window[:] = len(starts)  # of a row that is in none
        for i, start in enumerate(starts):
            window[order[start : start + size]] = i
        ends = starts.copy()
        for first in range(0, len(x), rows_a_piece):
            own = window[first : first + rows_a_piece]
            piece, done = x[first : first + rows_a_piece][np.argsort(own, kind="stable")], 0
            for i, found in enumerate(np.bincount(own, minlength=len(starts))[: len(starts)].tolist()):
                out[ends[i] : ends[i] + found] = piece[done : done + found]
                ends[i] += found
                done += found
    return spread
