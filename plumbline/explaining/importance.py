"""Permutation importance: how much worse the networks become when the values of one column are shuffled.

Shuffled values tell nothing about their rows any more. The rise of the log loss says how much the networks go by the
column (Breiman, Machine Learning 45 (2001) 5). It is called the column's drop. Where two columns say the same both
drops are small, for the networks still have the other column.

No row is scored by a network that was trained or stopped by it. The work is counted in advance. If it is too much,
fewer rows are taken, and then fewer columns. No clock decides, so the result is the same everywhere.
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
FEWEST_ROWS = 2**9  # rather than take fewer rows, columns are left out
MOST_WORK = 2**37  # products in the networks' layers: half a minute on two cores
TOGETHER = 2**22  # so many encoded numbers are scored at a time
GRID = 2.0**26  # losses are rounded to multiples of 1 / GRID: their sums are exact, so the same in any order


class Work(NamedTuple):
    """How many rows, networks and columns are taken."""

    rows: int
    networks: int
    columns: int


class Drop(NamedTuple):
    """The rise of the log loss when a column is shuffled, its 95 % interval, and the column's number of inputs."""

    column: str
    drop: float
    low: float
    high: float
    inputs: int


def write(path: str | Path, asked: bool, saved: Model, judges: Folds, scored: dict[str, Answered]) -> None:
    """Write the columns with their drops, the largest first, and print what was done; only the header if not asked."""
    lines = []
    if asked:
        # A part that no network was trained or stopped by: the validation part, unless it was watched
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
    """How many rows, networks and columns MOST_WORK allows, of a part of so many rows."""
    (d, h, k), is_shipped = saved.card.sizes, saved.card.network == SHIPPED
    d = encoded.terms(saved.card.encoding.layout) if is_shipped else d  # the kernel skips products with 0
    columns, networks = len(saved.card.encoding.columns), min(saved.networks, MOST_NETWORKS)
    of_row = SHUFFLES * networks * saved.card.members * h * (d + k)  # for each column
    rows = min(rows, max(min(MOST_ROWS, MOST_WORK // (of_row * columns)), FEWEST_ROWS))
    return Work(rows, networks, min(columns, max(1, MOST_WORK // (of_row * rows))))


def measured_on(saved: Model, judges: Folds, scored: Answered, work: Work, folder: Path) -> list[Drop]:
    """The drops on a part. Out-of-fold rows are shuffled within their fold, and scored by the networks of the fold."""
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
    """A column's drop. pairs: of this column, from `changes` (R, n). fold: the fold of out-of-fold rows (R, n).

    A shuffle gives row i the value of row s(i). The rise of i's loss depends on both rows, so half of it is counted to
    each. Counted to i alone the interval would be too narrow: a row that loses much by another's value often costs
    others much by its own. phi is then the mean plus the influence function of a mean over pairs of rows (Hoeffding's
    decomposition). Its mean over rows is the drop.
    """
    mean = pairs.sum(axis=1, keepdims=True) / (2 * SHUFFLES * pairs.shape[1])  # (R, 1)
    estimate = intervals.cross_fitted(intervals.estimate(pairs / SHUFFLES - mean), fold)
    estimate = estimate._replace(mean=sum(mean[:, 0].tolist()) / len(mean))  # of exact sums
    low, high, _ = estimate.student()
    return Drop(column.name, estimate.mean, low, high, column.width)


def changes(saved: Model, x: np.ndarray, target: np.ndarray, columns: list) -> np.ndarray:
    """By how much shuffling each of C columns raises the losses: float64 (C, R, n), summed over all shuffles.

    The rise of a row's loss is counted twice: to the row, and to the row that its value came from.
    """
    whole, orders = losses(saved, x, target), shuffles(len(x))  # (R, n), (SHUFFLES, n)
    of, beside = saved.card.encoding, min(max(TOGETHER // max(x.size, 1), 1), SHUFFLES)
    mixed, targets = np.tile(x, (beside, 1)), np.tile(target, beside)
    found, where = np.zeros((len(columns), *whole.shape)), dict(zip([each.name for each in of.columns], of.places))
    for pairs, column in zip(found, columns):
        if column.name not in where:  # this fold's encoding leaves the column out: its network cannot lose by it
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
    """The log loss of each row by each network, rounded to the grid: float64 (R, n)."""
    return np.stack([np.rint(metrics.log_losses(p, target) * GRID) / GRID for p in saved.probabilities(x)])


def shuffles(n: int) -> np.ndarray:
    """The permutations of n rows that every column is shuffled by: (SHUFFLES, n), always the same."""
    texts = [f"importance/{number}" for number in range(SHUFFLES)]
    hashed = [int(hashlib.sha256(text.encode()).hexdigest(), 16) & 0xFFFFFFFF for text in texts]
    return stream.permutations(np.array(hashed), n)


def chosen(saved: Model, count: int) -> list[Number | Category]:
    """So many columns: with the shipped network those of the largest first-layer weights, else the first ones."""
    of, found = saved.card.encoding, saved.card.encoding.columns
    if count < len(found) and saved.card.network == SHIPPED:
        weights = np.abs(saved.weights["net.0.weight"]).max(axis=(0, 1))  # (d,)
        largest = np.array([weights[encoded.inputs_of(of.layout, own)].max() for own in of.places])  # (columns,)
        found = [found[i] for i in np.argsort(-largest, kind="stable")]
    return found[:count]
