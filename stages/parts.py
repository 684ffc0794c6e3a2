"""The training and validation part as the network takes them: encoded, and in memory if there is room for them.

If there is not, they are encoded once into a file beside the outputs, and training goes through that in windows. A
worker of a group reads the rows of its own share anew from the table for every epoch, and holds no others.
"""

import functools
import os
from collections.abc import Iterator

import numpy as np

from stages import encoding, resources, spill, table, training
from stages.encoding import IN_CACHE, Encoding
from stages.params import Train
from stages.rows import OnDisk, Pick, Rows
from stages.table import Facts, Stored

BESIDE = 20  # bytes a row beside its inputs where all are in memory: target, order, and a column on its way
WINDOW = 40  # bytes a row of a window beside its inputs: target, place, and what sorting its number takes

Part = tuple[np.ndarray | Rows, np.ndarray]


def check_memory(rows: int, width: int, settings: Train) -> None:
    """Refuse what cannot be trained in the smallest windows either, of one batch of every network."""
    what = f"the order of {rows:,} rows and a window of {settings.batch_size:,} (train.batch_size)"
    if (networks := _together(rows, settings)) > 1:
        what += f", for {networks} networks"
    resources.check_piece("train", _orders(rows, settings) + _least(rows, width, settings), what)


def _least(rows: int, width: int, settings: Train) -> int:
    """Bytes of the smallest window."""
    return min(_together(rows, settings) * settings.batch_size, rows) * (4 * width + WINDOW)


def _together(rows: int, settings: Train) -> int:
    return min(training.at_a_time(rows, settings.members), settings.replicas * settings.members)


def _orders(rows: int, settings: Train) -> int:
    """Bytes of what is known of every row: target, place in every network's order, window, with held_out its part."""
    return (21 if settings.held_out else 7) * rows * _together(rows, settings)


def encoded(part: Stored, watched: Stored, facts: Facts, fitted: Encoding, settings: Train, group=None) -> list[Part]:
    """x and y of the training and the validation part."""
    both = [part, watched]
    held = spill.fits((4 * fitted.width + BESIDE) * sum(map(len, both)) * _workers_here(group))
    if held and group is None:
        return [(encoding.encode(fitted, rows), table.targets(rows, facts)) for rows in both]
    ys = [table.class_numbers(rows, facts) for rows in both]
    files = both if group is None else [watched]
    xs = [encoding.encode(fitted, rows) if held else _encoded(rows, fitted) for rows in files]
    # One room for all windows. Untouched memory costs nothing, and no window has more rows than there are.
    most, there = max(map(len, both)), resources.available_memory()
    if there is not None:
        left = there / _workers_here(group) - resources.MARGIN - _orders(len(part), settings)
        left = max(left - resources.MARGIN, left / 2)  # the rest keeps pages of files and of the code itself
        most = min(most, max(left, _least(len(part), fitted.width, settings)) / (4 * fitted.width + WINDOW))
    room = np.empty(int(most) * fitted.width, np.float32)
    elsewhere = functools.partial(Rows, width=fitted.width, room=room)
    xs = [elsewhere(functools.partial(_scan_file, x)) if isinstance(x, OnDisk) else x for x in xs]
    if group is not None:
        xs.insert(0, elsewhere(functools.partial(_scan_table, part, fitted)))
    return [(x, y.astype(np.int32) if isinstance(x, np.ndarray) else y) for x, y in zip(xs, ys)]


def _workers_here(group) -> int:
    """How many workers share this machine's memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if group else 1  # torchrun's


def _encoded(rows: Stored, fitted: Encoding) -> OnDisk:
    """All rows, in a file."""
    x, first = OnDisk(len(rows), fitted.width), 0
    for piece in table.groups(rows, IN_CACHE, [column.name for column in fitted.columns]):
        x.write(first, encoding.encode(fitted, piece, first))
        first += len(piece)
    return x


def _scan_file(x: OnDisk, pick: Pick) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows that are picked out of a file, with their numbers."""
    buffer = np.empty((IN_CACHE, x.width), np.float32)
    for first in range(0, x.rows, IN_CACHE):
        piece = buffer[: x.rows - first]
        own = pick(first, len(piece))
        if len(own):
            x.read(first, piece)
            yield first + own, piece[own]


def _scan_table(part: Stored, fitted: Encoding, pick: Pick) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows that are picked out of the table, encoded anew."""
    first, rows = 0, spill.rows_at_a_time(16 * fitted.width, table.ROWS)  # a column has up to 8 bytes in the table
    for piece in table.groups(part, rows, [column.name for column in fitted.columns]):
        own = pick(first, len(piece))
        if len(own):
            yield first + own, encoding.encode(fitted, piece.take(own) if len(own) < len(piece) else piece, first)
        first += len(piece)
