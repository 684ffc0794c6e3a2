"""Permutation importance: what the networks lose when one column of the table no longer belongs to its rows.

A column's values are shuffled, so that they tell nothing of the row any more. By so much as
the log loss grows, the networks went by the column (Breiman, Machine Learning 45 (2001) 5). A column that says the same
as another has a small drop: the networks still have the other.

The rows are of a part that no network was trained or stopped by. The work is counted before it is done, and cut by
fewer rows and then fewer columns, never by the clock: what comes out is the same everywhere.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plumbline.basics import files
from plumbline.bits import rows as encoded
from plumbline.bits import stream
from plumbline.model.model import Model
from plumbline.model.network import SHIPPED
from plumbline.scores import intervals, metrics
from plumbline.tables import encoding
from plumbline.tables.encoding import Category, Number
from plumbline.tables.store import Table

COLUMNS = ("column", "drop", "low", "high", "inputs", "part", "rows", "networks")  # of the file
SHUFFLES = 5  # of a column, as scikit-learn's n_repeats
MOST_NETWORKS = 8
MOST_ROWS = 2**13
FEWEST_ROWS = 2**9  # columns are left out before there are fewer rows
MOST_WORK = 2**37  # products in the networks' layers: half a minute on two cores
GRID = 2.0**26  # losses are whole multiples of its inverse: their sums are exact, and so the same in any order


class Work(NamedTuple):
    """What is done of what could be: so many rows, networks and columns."""

    rows: int
    networks: int
    columns: int


class Drop(NamedTuple):
    """By how much the log loss grows without a column, about 95 % around it, and the inputs that the column has."""

    column: str
    drop: float
    low: float
    high: float
    inputs: int


def write(path: str | Path, asked: bool, saved: Model, parts: dict[str, Table]) -> None:
    """Write the columns with their drops, the largest first, and print what was done; only the header if not asked."""
    lines = []
    if asked:
        name = deciding_part(saved, parts)
        work = affordable(saved, len(parts[name]))
        x, target = encoding.some_rows(saved.card.encoding, parts[name], work.rows)
        drops = measured(saved.first(work.networks), x, target, work.columns)
        lines = [(*drop, name, work.rows, work.networks) for drop in sorted(drops, key=lambda drop: -drop.drop)]
        print(described(work, name, saved))
    files.write_csv(COLUMNS, lines, path)


def described(work: Work, part: str, saved: Model) -> str:
    """What was done, in words."""
    every, cut = len(saved.card.encoding.columns), ""
    if work.columns < every:
        chosen = "largest first-layer weights" if saved.card.network == SHIPPED else "first places in the table"
        cut = f"; only the {work.columns} of {every} columns with the {chosen}, to limit the work"
    return f"importance of {work.columns} columns on {work.rows} {part} rows, {work.networks} networks{cut}"


# ---- what it is measured on


def deciding_part(saved: Model, parts: dict[str, Table]) -> str:
    """The validation part where no network watched it, else the test part."""
    return "validation" if len(parts["validation"]) and not saved.card.watched else "test"


def affordable(saved: Model, rows: int) -> Work:
    """The rows, networks and columns that MOST_WORK buys, of a part of so many rows."""
    (d, h, k), is_shipped = saved.card.sizes, saved.card.network == SHIPPED
    d = encoded.terms(saved.card.encoding.layout) if is_shipped else d
    columns, networks = len(saved.card.encoding.columns), min(saved.networks, MOST_NETWORKS)
    of_row = SHUFFLES * networks * saved.card.members * h * (d + k)  # for each column
    rows = min(rows, max(min(MOST_ROWS, MOST_WORK // (of_row * columns)), FEWEST_ROWS))
    return Work(rows, networks, min(columns, max(1, MOST_WORK // (of_row * rows))))


# ---- the measurement


def measured(saved: Model, x: np.ndarray, target: np.ndarray, columns: int) -> list[Drop]:
    """The drops of so many columns of the encoded rows x (n, c), by all of the networks.

    A shuffle gives row i the value of row s(i). What it costs depends on both rows, so it is counted half to each: else
    the interval would be too narrow, for a row that loses much by another's value often costs others much by its own.
    phi is then the mean plus the influence function of a mean over pairs of rows (Hoeffding's decomposition); its mean
    over rows is the drop.
    """
    whole = losses(saved, x, target)  # (R, n)
    orders, mixed, drops = shuffles(len(x)), x.copy(), []
    for column, stored in chosen(saved, columns):
        pairs = np.zeros(whole.shape)
        for order in orders:
            mixed[:, stored] = x[order, stored]
            more = losses(saved, mixed, target) - whole
            pairs += more
            pairs[:, order] += more
        mixed[:, stored] = x[:, stored]
        mean = pairs.sum(axis=1, keepdims=True) / (2 * SHUFFLES * len(x))  # (R, 1)
        estimate = intervals.estimate(pairs / SHUFFLES - mean)
        estimate = estimate._replace(mean=sum(mean[:, 0].tolist()) / len(mean))  # of exact sums
        low, high, _ = estimate.student()
        drops.append(Drop(column.name, estimate.mean, low, high, column.width))
    return drops


def losses(saved: Model, x: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Log losses of all networks, rounded to the grid: float64 (R, n)."""
    return np.stack([np.rint(metrics.log_losses(p, target) * GRID) / GRID for p in saved.probabilities(x)])


def shuffles(n: int) -> np.ndarray:
    """The orders of n rows that every column is shuffled by: (SHUFFLES, n), always the same."""
    texts = [f"importance/{number}" for number in range(SHUFFLES)]
    hashed = [int(hashlib.sha256(text.encode()).hexdigest(), 16) & 0xFFFFFFFF for text in texts]
    return stream.permutations(np.array(hashed), n)


def chosen(saved: Model, columns: int) -> list[tuple[Number | Category, slice]]:
    """So many columns and where they are in the rows: those of the largest first-layer weight, where not all are asked.

    Of a network of a user's own the first columns are taken.
    """
    found, start = [], 0
    for column in saved.card.encoding.columns:
        found.append((column, slice(start, start + len(column.stored))))
        start += len(column.stored)
    if columns < len(found) and saved.card.network == SHIPPED:
        weights = np.abs(saved.weights["net.0.weight"]).max(axis=(0, 1))  # (d,)
        widths = [column.width for column, _ in found]
        largest = np.maximum.reduceat(weights, np.cumsum([0, *widths[:-1]]))  # (columns,)
        found = [found[i] for i in np.argsort(-largest, kind="stable")]
    return found[:columns]
