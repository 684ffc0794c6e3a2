"""Rows that a network holds out of its training part to watch them: every network draws its own.

So no row is lost to all of them, and their mean gains more than that of networks which watch the same rows. What a
network draws depends on its seed alone.
"""

import numpy as np

from stages import stream
from stages.errors import UserError
from stages.table import counted


def counts(classes: np.ndarray, share: float) -> np.ndarray:
    """How many rows of each class a network holds out: the share, rounded, and never the last one; int64 (k,)."""
    rows = counted(classes)
    held_out = np.minimum(np.floor(rows * share + 0.5), np.maximum(rows - 1, 0)).astype(np.int64)
    if share and not held_out.any():
        raise UserError(
            f"train.held_out {share} of {len(classes)} training rows is no row to watch; raise it, or set it to 0"
        )
    return held_out


def draw(seeds: np.ndarray, classes: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows to train on (R, n - m) and of those held out (R, m).

    seeds: (R,), each of a fresh generator; classes: of the n rows, from 0.
    """
    number, orders = counts(classes, share), stream.permutations(seeds, len(classes))
    held_out = np.zeros(orders.shape, bool)
    for order, mask in zip(orders, held_out):
        for c in range(len(number)):
            mask[np.flatnonzero(classes[order] == c)[: number[c]]] = True
    return orders[~held_out].reshape(len(orders), -1), orders[held_out].reshape(len(orders), -1)
