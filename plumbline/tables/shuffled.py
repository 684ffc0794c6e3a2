"""The rows of an epoch in shuffled order, from a table that may be larger than memory.

Rows of a mapped file that are read at random cost a page from the disk each. So a large table is read in its own order,
and written to a scratch file in windows: the rows of a window stand together there, and a window fits in memory. A
window has whole batches, so training sees the same batches, and gives the same bits, as in memory.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from plumbline.basics import files, memory

WINDOW = 2**27  # bytes: the most that a window has
OF_MEMORY = 8  # a window has at most this fraction, one eighth, of the memory
PIECE = 2**23  # bytes of rows that are read at a time

Window = tuple[np.ndarray, np.ndarray, np.ndarray]  # x (m, d), y (m,), and the order of their rows (R, w)


def windows(
    x: np.ndarray, y: np.ndarray, orders: np.ndarray, batch_size: int, folder: str | Path = "data"
) -> Iterator[Window]:
    """Cut the orders (R, count), in which R networks see the rows x (n, d) and y (n,), into windows.

    If x takes at most half of the memory there is one window, with x, y and orders themselves. Else windows are written
    to scratch files in `folder`. Each is read into the same memory, so it must be used before the next is asked for.
    """
    if x.nbytes <= memory.limit() // 2:
        yield x, y, orders
        return
    networks, count = orders.shape
    batch = networks * batch_size * x.shape[1] * x.itemsize  # bytes
    size = min(max(min(WINDOW, memory.limit() // OF_MEMORY) // batch, 1) * batch_size, count)
    yield from _spread(x, y, orders, size, folder)


def _spread(x: np.ndarray, y: np.ndarray, orders: np.ndarray, size: int, folder: str | Path) -> Iterator[Window]:
    """Write every network's rows in windows of `size` rows to scratch files, and read these window by window.

    One file has the inputs, the other each row's target and its place in the order. They are not mapped: new pages of a
    mapped file cost more than writing the rows.
    """
    (networks, count), width = orders.shape, x.shape[1]
    room = np.empty(networks * size * width, np.float32)
    with files.nameless(4 * orders.size * width, folder) as inputs, files.nameless(8 * orders.size, folder) as others:
        for r, order in enumerate(orders):
            _write(x, y, order, size, r * count, (inputs, others))
        for start in range(0, count, size):
            length = min(size, count - start)
            rows = room[: networks * length * width].reshape(networks, length, width)
            target_and_place = np.empty((networks, length, 2), np.int32)
            for r in range(networks):
                for file, own in ((inputs, rows[r]), (others, target_and_place[r])):
                    file.seek((r * count + start) * own[0].nbytes)
                    file.readinto(own)
            window = np.empty((networks, length), orders.dtype)  # the order of the window's rows
            numbers = np.arange(networks * length, dtype=orders.dtype).reshape(networks, length)
            np.put_along_axis(window, target_and_place[:, :, 1] - np.int32(start), numbers, axis=1)
            yield rows.reshape(-1, width), target_and_place[:, :, 0].ravel(), window


def _write(
    x: np.ndarray, y: np.ndarray, order: np.ndarray, size: int, first: int, into: tuple[BinaryIO, BinaryIO]
) -> None:
    """Write one network's rows in windows, each in the order of x, from the row number `first` of the files on."""
    place = np.full(len(x), -1, np.int32)  # -1: a row that is not in the order
    for start in range(0, len(order), PIECE):
        some = order[start : start + PIECE]
        place[some] = np.arange(start, start + len(some), dtype=np.int32)
    ends = np.arange(first, first + len(order), size)  # of what is written of each window so far
    rows_a_piece = max(PIECE // (4 * x.shape[1]), 1)
    for start in range(0, len(x), rows_a_piece):
        here = slice(start, start + rows_a_piece)
        window = place[here] // size  # -1: none
        by_window = np.argsort(window.astype(np.min_scalar_type(-len(ends) - 1)), kind="stable")
        rows = x[here][by_window]
        target_and_place = np.stack([y[here][by_window], place[here][by_window]], axis=1, dtype=np.int32)
        done, *counts = np.bincount(window + 1, minlength=len(ends) + 1).tolist()  # rows of no window come first
        for i, found in enumerate(counts):
            for file, own in zip(into, (rows, target_and_place)):
                file.seek(int(ends[i]) * own[0].nbytes)
                file.write(own[done : done + found])
            ends[i] += found
            done += found
