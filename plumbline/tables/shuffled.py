"""An epoch's rows, in the order of its shuffle, from a table that may be larger than memory.

A window is a whole number of batches, so that whoever carries its state from one window to the next computes the bits
of an epoch in memory. Rows are only ever read in the order in which they lie: read in the epoch's order every one of
them would be a page from the disk. One pass spreads them over a file in which each window's lie together.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from plumbline.basics import files, memory

WINDOW = 2**27  # most bytes of a window's rows
OF_MEMORY = 8  # the most that they take is one part of so many
PIECE = 2**23  # bytes of rows that are read together

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
    size = min(max(min(WINDOW, memory.limit() // OF_MEMORY) // batch, 1) * batch_size, count)
    yield from _spread(x, y, orders, size, folder)


def _spread(x: np.ndarray, y: np.ndarray, orders: np.ndarray, size: int, folder: str | Path) -> Iterator[Window]:
    """Lay every network's rows down window by window, and give the windows, one after the other in the same memory.

    One file has the inputs, one the targets and places in `orders`. They are not mapped: fresh pages of a mapped file
    cost more than the rows that are written to them.
    """
    (networks, count), width = orders.shape, x.shape[1]
    room = np.empty(networks * size * width, np.float32)
    with files.nameless(4 * orders.size * width, folder) as inputs, files.nameless(8 * orders.size, folder) as others:
        for r, order in enumerate(orders):
            _lay_down(x, y, order, size, r * count, (inputs, others))
        for start in range(0, count, size):
            length = min(size, count - start)
            rows = room[: networks * length * width].reshape(networks, length, width)
            beside = np.empty((networks, length, 2), np.int32)
            for r in range(networks):
                for file, own in ((inputs, rows[r]), (others, beside[r])):
                    file.seek((r * count + start) * own[0].nbytes)
                    file.readinto(own)
            places = np.empty((networks, length), orders.dtype)
            numbers = np.arange(networks * length, dtype=orders.dtype).reshape(networks, length)
            np.put_along_axis(places, beside[:, :, 1] - np.int32(start), numbers, axis=1)
            yield rows.reshape(-1, width), beside[:, :, 0].ravel(), places


def _lay_down(
    x: np.ndarray, y: np.ndarray, order: np.ndarray, size: int, first: int, into: tuple[BinaryIO, BinaryIO]
) -> None:
    """Write one network's rows window by window, in each as they lie in x; `first` is its first row's number."""
    place = np.full(len(x), -1, np.int32)  # of a row that is in none
    for start in range(0, len(order), PIECE):
        some = order[start : start + PIECE]
        place[some] = np.arange(start, start + len(some), dtype=np.int32)
    ends = np.arange(first, first + len(order), size)
    rows_a_piece = max(PIECE // (4 * x.shape[1]), 1)
    for start in range(0, len(x), rows_a_piece):
        here = slice(start, start + rows_a_piece)
        window = place[here] // size
        by = np.argsort(window.astype(np.min_scalar_type(-len(ends) - 1)), kind="stable")
        rows, beside = x[here][by], np.stack([y[here][by], place[here][by]], axis=1, dtype=np.int32)
        done, *counts = np.bincount(window + 1, minlength=len(ends) + 1).tolist()
        for i, found in enumerate(counts):
            for file, own in zip(into, (rows, beside)):
                file.seek(int(ends[i]) * own[0].nbytes)
                file.write(own[done : done + found])
            ends[i], done = ends[i] + found, done + found
