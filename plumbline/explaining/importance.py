"""Permutation importance: what the networks lose when one column of the table no longer belongs to its rows.

A column's values are shuffled, so that they tell nothing of the row any more. By so much as the log loss grows, the
networks went by the column (Breiman, Machine Learning 45 (2001) 5). A column that says the same as another has a small
drop: the networks still have the other.

No row is scored by a network that was trained or stopped by it. The work is counted before it is done, and cut by
fewer rows and then fewer columns, never by the clock: what comes out is the same everywhere.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plumbline.basics import files, formats
from plumbline.bits import rows as encoded
from plumbline.bits import stream
from plumbline.explaining import answers
from plumbline.explaining.answers import Answered
from plumbline.model.folds import Folds
from plumbline.model.model import Model
from plumbline.model.network import SHIPPED
from plumbline.scores import intervals, metrics
from plumbline.tables import encoding, store
from plumbline.tables.fitted import Category, Number

COLUMNS = ("column", "drop", "low", "high", "inputs", "part", "rows", "networks")  # of the file
SHUFFLES = 5  # of a column, as scikit-learn's n_repeats
MOST_NETWORKS = 8
MOST_ROWS = 2**13
FEWEST_ROWS = 2**9  # columns are left out before there are fewer rows
MOST_WORK = 2**37  # products in the networks' layers: half a minute on two cores
TOGETHER = 2**22  # numbers of rows that are scored together
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


def write(path: str | Path, asked: bool, saved: Model, judges: Folds, scored: dict[str, Answered]) -> None:
    """Write the columns with their drops, the largest first, and print what was done; only the header if not asked."""
    lines = []
    if asked:
        # A part that no network was trained or stopped by, as the validation part may be
        last = "validation" if len(scored["validation"].table) and not saved.card.watched else "test"
        name = "out-of-fold" if "out-of-fold" in scored else last
        work = affordable(saved, len(scored[name].table))
        drops = measured_on(saved, judges, scored[name], work, Path(path).parent)
        lines = [(*drop, name, work.rows, work.networks) for drop in sorted(drops, key=lambda drop: -drop.drop)]
        every, cut = len(saved.card.encoding.columns), ""
        if work.columns < every:
            chosen_by = "largest first-layer weights" if saved.card.network == SHIPPED else "first places in the table"
            cut = f"; only the {work.columns} of {every} columns with the {chosen_by}, to limit the work"
        print(f"importance of {work.columns} columns on {work.rows} {name} rows, {work.networks} networks{cut}")
    formats.write_csv(COLUMNS, lines, path)


def affordable(saved: Model, rows: int) -> Work:
    """The rows, networks and columns that MOST_WORK buys, of a part of so many rows."""
    (d, h, k), is_shipped = saved.card.sizes, saved.card.network == SHIPPED
    d = encoded.terms(saved.card.encoding.layout) if is_shipped else d
    columns, networks = len(saved.card.encoding.columns), min(saved.networks, MOST_NETWORKS)
    of_row = SHUFFLES * networks * saved.card.members * h * (d + k)  # for each column
    rows = min(rows, max(min(MOST_ROWS, MOST_WORK // (of_row * columns)), FEWEST_ROWS))
    return Work(rows, networks, min(columns, max(1, MOST_WORK // (of_row * rows))))


def measured_on(saved: Model, judges: Folds, scored: Answered, work: Work, folder: Path) -> list[Drop]:
    """The drops on a part. Out-of-fold rows are shuffled within their fold, and scored by those who score them."""
    saved, (table, rows, *_) = saved.first(work.networks), scored
    with files.scratch(folder) as scratch:
        some, place = store.evenly(table, work.rows, scratch / "some.parquet")
        columns, target = chosen(saved, work.columns), rows.target[place]
        pairs = np.zeros((len(columns), work.networks, work.rows))
        fold_of = None if rows.fold is None else rows.fold[: work.networks, place]
        for model, networks, own in answers.judges_of(saved, judges, fold_of):
            x = encoding.encode(model.card.encoding, some)[own]
            pairs[:, networks, own] = changes(model, x, target[own], columns)
    return [drop_of(column, each, fold_of) for column, each in zip(columns, pairs)]


def drop_of(column: Number | Category, pairs: np.ndarray, fold: np.ndarray | None = None) -> Drop:
    """What `changes` (R, n) say of a column. fold: of out-of-fold rows (R, n).

    A shuffle gives row i the value of row s(i). What it costs depends on both rows, so it is counted half to each: else
    the interval would be too narrow, for a row that loses much by another's value often costs others much by its own.
    phi is then the mean plus the influence function of a mean over pairs of rows (Hoeffding's decomposition); its mean
    over rows is the drop.
    """
    mean = pairs.sum(axis=1, keepdims=True) / (2 * SHUFFLES * pairs.shape[1])  # (R, 1)
    estimate = intervals.cross_fitted(intervals.estimate(pairs / SHUFFLES - mean), fold)
    estimate = estimate._replace(mean=sum(mean[:, 0].tolist()) / len(mean))  # of exact sums
    low, high, _ = estimate.student()
    return Drop(column.name, estimate.mean, low, high, column.width)


def changes(saved: Model, x: np.ndarray, target: np.ndarray, columns: list) -> np.ndarray:
    """What shuffling each of the columns costs, at both rows of each pair and over all shuffles: float64 (C, R, n)."""
    whole, orders = losses(saved, x, target), shuffles(len(x))  # (R, n), (SHUFFLES, n)
    of, beside = saved.card.encoding, min(max(TOGETHER // max(x.size, 1), 1), SHUFFLES)
    mixed, targets = np.tile(x, (beside, 1)), np.tile(target, beside)
    found, where = np.zeros((len(columns), *whole.shape)), dict(zip([each.name for each in of.columns], of.places))
    for pairs, column in zip(found, columns):
        if column.name not in where:  # an encoding of its own leaves it out, and the network does without
            continue
        stored = where[column.name]
        for start in range(0, SHUFFLES, beside):
            some = orders[start : start + beside]
            mixed[: some.size, stored] = x[some.reshape(-1, 1), stored]
            after = losses(saved, mixed[: some.size], targets[: some.size]).reshape(len(whole), *some.shape)
            for i, order in enumerate(some):
                more = after[:, i] - whole
                pairs += more
                pairs[:, order] += more
        mixed[:, stored] = np.tile(x[:, stored], (beside, 1))
    return found


def losses(saved: Model, x: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Log losses of all networks, rounded to the grid: float64 (R, n)."""
    return np.stack([np.rint(metrics.log_losses(p, target) * GRID) / GRID for p in saved.probabilities(x)])


def shuffles(n: int) -> np.ndarray:
    """The orders of n rows that every column is shuffled by: (SHUFFLES, n), always the same."""
    texts = [f"importance/{number}" for number in range(SHUFFLES)]
    hashed = [int(hashlib.sha256(text.encode()).hexdigest(), 16) & 0xFFFFFFFF for text in texts]
    return stream.permutations(np.array(hashed), n)


def chosen(saved: Model, count: int) -> list[Number | Category]:
    """So many columns: those of the largest first-layer weight, where not all are asked.

    Of a network of a user's own the first columns are taken.
    """
    of = saved.card.encoding
    found = of.columns
    if count < len(found) and saved.card.network == SHIPPED:
        weights = np.abs(saved.weights["net.0.weight"]).max(axis=(0, 1))  # (d,)
        largest = np.array([weights[encoded.inputs_of(of.layout, own)].max() for own in of.places])  # (columns,)
        found = [found[i] for i in np.argsort(-largest, kind="stable")]
    return found[:count]
