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
from stages.model import outputs_for
from stages.params import Train
from stages.rows import OnDisk, Pick, Rows
from stages.table import Facts, Stored

BESIDE = 20  # bytes a row beside its inputs where all are in memory: target, order, and a column on its way
PASSING = 16  # bytes an input of a row on its way: as it is read, picked out and put in order, and encoded
WINDOW = 40  # bytes a row of a window beside its inputs: target, place, and what sorting its number takes

STREAM = 4000  # bytes of a generator
FITTING = 60e6  # bytes that fitting an encoding leaves behind, in libraries above all

Part = tuple[np.ndarray | Rows, np.ndarray]


def check_memory(rows: int, sizes: tuple[int, int, int], settings: Train, to_come: float = 0.0) -> None:
    """Refuse what cannot be trained in the smallest windows either, of one batch of every network.

    sizes: features, hidden units and outputs of a network. to_come: bytes that the process itself will have taken then.
    """
    networks, together = _networks(sizes, settings), training.at_a_time(rows, settings)
    what = f"the order of {rows:,} rows and a window of {settings.batch_size:,} (train.batch_size)"
    if together > 1:
        what += f", for {together} networks"
    if networks > resources.MARGIN:
        what += f", {resources.gb(networks)} of weights (train.hidden_size, train.replicas, train.epochs)"
    held = networks + _orders(rows, settings) + _least(rows, sizes[0], settings)
    resources.check_piece("train", held + to_come, what)


def _networks(sizes: tuple[int, int, int], settings: Train) -> int:
    """Bytes of all networks' weights: initial, current with both moments, best and as a file; network 0's by epoch."""
    (d, h, k), replicas, epochs = sizes, settings.replicas, settings.epochs
    drawn = (STREAM + 8 * epochs) * replicas  # where each one's stream stands, and its shuffles' seeds
    return settings.members * (4 * (d * h + h + h * k + k) * (6 * replicas + 3 * epochs) + drawn)


def on_disk(sizes: tuple[int, int, int], settings: Train) -> int:
    """Bytes that train writes: all networks, and network 0 after every epoch."""
    d, h, k = sizes
    return 4 * (d * h + h + h * k + k) * settings.members * (settings.replicas + settings.epochs)


def _least(rows: int, width: int, settings: Train) -> int:
    """Bytes of the smallest window, and of the rows on their way to it."""
    window = min(training.at_a_time(rows, settings) * settings.batch_size, rows) * (4 * width + WINDOW)
    return window + PASSING * width * min(spill.LEAST, rows)


def _orders(rows: int, settings: Train) -> int:
    """Bytes of what is known of every row: target, place in every network's order, window, with held_out its part."""
    return (21 if settings.held_out else 7) * rows * training.at_a_time(rows, settings)


def encoded(part: Stored, watched: Stored, facts: Facts, fitted: Encoding, settings: Train, group=None) -> list[Part]:
    """x and y of the training and the validation part."""
    both, sizes = [part, watched], (fitted.width, settings.hidden_size, outputs_for(len(facts.classes)))
    networks = _networks(sizes, settings)
    held = spill.fits((networks + (4 * fitted.width + BESIDE) * sum(map(len, both))) * _workers_here(group))
    if held and group is None:
        return [(encoding.encode(fitted, rows), table.targets(rows, facts)) for rows in both]
    ys = [table.class_numbers(rows, facts) for rows in both]
    files = both if group is None else [watched]
    xs = [encoding.encode(fitted, rows) if held else _encoded(rows, fitted) for rows in files]
    # One room for all windows. Untouched memory costs nothing, and no window has more rows than there are.
    most, there = max(map(len, both)), resources.available_memory()
    if there is not None:
        left = there / _workers_here(group) - resources.MARGIN - _orders(len(part), settings) - networks
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
    size = spill.rows_at_a_time(PASSING * fitted.width, IN_CACHE)
    for piece in table.groups(rows, size, [column.name for column in fitted.columns]):
        x.write(first, encoding.encode(fitted, piece, first))
        first += len(piece)
    return x


def _scan_file(x: OnDisk, pick: Pick) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows that are picked out of a file, with their numbers."""
    buffer = np.empty((spill.rows_at_a_time(PASSING * x.width, IN_CACHE), x.width), np.float32)
    for first in range(0, x.rows, len(buffer)):
        piece = buffer[: x.rows - first]
        own = pick(first, len(piece))
        if len(own):
            x.read(first, piece)
            yield first + own, piece[own]


def _scan_table(part: Stored, fitted: Encoding, pick: Pick) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows that are picked out of the table, encoded anew."""
    first, rows = 0, spill.rows_at_a_time(PASSING * fitted.width, table.ROWS)
    for piece in table.groups(part, rows, [column.name for column in fitted.columns]):
        own = pick(first, len(piece))
        if len(own):
            yield first + own, encoding.encode(fitted, piece.take(own) if len(own) < len(piece) else piece, first)
        first += len(piece)
