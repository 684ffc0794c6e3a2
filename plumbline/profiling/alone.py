"""How well one column alone predicts the target. A column that predicts it nearly without error may be a leak.

A column's values are levels: a category is one, a number is one, and a gap is one. If there are many different numbers,
they are cut into at most 64 groups of equal size instead. The rates of the classes at each level are fitted on half of
the rows and judged on the other half, and then the other way round. So a column of many values is not overrated.

At most ROWS rows are looked at, evenly spaced in the table.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from plumbline.tables import columns, duck
from plumbline.tables.columns import kind_of
from plumbline.tables.store import PLACE, VALUES, Table

ROWS = 2**18  # rows that are looked at, at most
WORK = 2**26  # and values, in all columns together
LEVELS = 100  # levels of a column of numbers at most, before it is cut into groups; and classes of the target
TEXTS = columns.MOST_CATEGORIES  # levels of a column of text; all categories that are less frequent share one more
GROUPS = 64  # groups of a column of numbers, at most
A_LEVEL = 10  # rows of a level of numbers, at least, in the mean
FEWEST = 10  # rows of a class, at least, for it to be judged
ODD = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: its multiples' high bits look like chance


class Alone(NamedTuple):
    """How well one column alone predicts the target."""

    area: float  # ROC AUC; for several classes the mean of one-versus-rest
    recall: float  # the mean over classes: the share of a class's rows that are predicted rightly
    significant: bool  # whether so large an area, among so many columns, is more than chance


def alone(table: Table, names: list[str], y: np.ndarray) -> dict[str, Alone]:
    """For each of these columns how well it predicts y, the class numbers (n,).

    Empty if the target has more than LEVELS classes, or fewer than two of at least FEWEST rows.
    """
    k = len(table.facts.classes)
    if not names or not 2 <= k <= LEVELS:
        return {}
    looked_at = min(ROWS, max(WORK // len(names), 2**12))
    every = max(math.ceil(len(table) / looked_at), 1)
    y = y[::every]
    rows = np.bincount(y, minlength=k)
    classes = np.flatnonzero(rows >= FEWEST)
    if len(classes) < 2:
        return {}
    half = (np.arange(len(y), dtype=np.uint64) * np.uint64(ODD) >> np.uint64(63)).astype(np.int64)
    fewest = int(rows[classes].min())
    chance = (len(y) + 1) / (12 * fewest * (len(y) - fewest))  # the variance of the AUC of a column of pure noise
    judged = {}
    for name, values in _sampled(table, names, every):
        codes, by_rank = _levels(values, y if k == 2 else None)
        area, recall = _judge(codes, y, k, half, classes)
        area = max(area, by_rank)
        judged[name] = Alone(area, recall, (area - 0.5) ** 2 > 2 * math.log(20 * len(names)) * chance)
    return judged


def _sampled(table: Table, names: list[str], every: int) -> Iterator[tuple[str, np.ndarray]]:
    """Each column in every `every`-th row: float64 (m,) with nan for gaps, or hashes of text with 0 for gaps."""
    at_once = max(VALUES * every // len(table), 1)
    for start in range(0, len(names), at_once):
        some = names[start : start + at_once]
        values = []
        for name in some:
            text, kind = columns.text(name), table.columns[name]
            hashed = f"CASE WHEN ({text}) IS NULL THEN 0 ELSE hash({text}) END"
            values.append(hashed if kind_of(kind) == "category" else columns.number_or_nan(name, kind))
        with table.reading():
            found = duck.arrays(f"SELECT {', '.join(values)} FROM {table.numbered} WHERE {PLACE} % {every} = 0")
        yield from zip(some, map(np.ma.getdata, found))


def _levels(values: np.ndarray, y: np.ndarray | None) -> tuple[np.ndarray, float]:
    """The level of each row (m,), and the ROC AUC of the numbers as a score: 0.5 for text, and without y.

    y: the class numbers (m,) of two classes, else None.
    """
    if values.dtype.kind != "f":
        _, level, counts = np.unique(values, return_inverse=True, return_counts=True)
        frequent = np.argsort(-counts, kind="stable")[:TEXTS]
        place = np.full(len(counts), len(frequent))
        place[frequent] = np.arange(len(frequent))
        return place[level], 0.5
    there = ~np.isnan(values)
    different, places = np.unique(values[there], return_inverse=True)
    level = np.full(len(values), len(different))  # gaps come last
    level[there] = places
    by_rank = 0.5
    if y is not None:
        counts = np.bincount(2 * level + y, minlength=2 * len(different) + 2).reshape(-1, 2)
        gaps_first = np.roll(counts, 1, axis=0)
        by_rank = max(max(area, 1.0 - area) for area in (_area(counts), _area(gaps_first)))
    fewer = max(len(places) // A_LEVEL, 1)
    if len(different) > min(LEVELS, fewer):
        sizes = np.bincount(places)
        groups = min(GROUPS, fewer)
        level[there] = ((np.cumsum(sizes) - sizes) * groups // len(places))[places]
        level[~there] = groups
    return level, by_rank


def _area(counts: np.ndarray) -> float:
    """The ROC AUC of levels in ascending order. counts: the rows of both classes at each level (L, 2)."""
    below = np.cumsum(counts[:, 0]) - counts[:, 0]
    pairs = int(counts[:, 0].sum()) * int(counts[:, 1].sum())
    return float((counts[:, 1] * (below + 0.5 * counts[:, 0])).sum()) / pairs if pairs else 0.5


def _judge(codes: np.ndarray, y: np.ndarray, k: int, half: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """ROC AUC and recall, means over the classes and over both ways to take the halves.

    codes: the level of each row (m,). y: its class number (m,). half: 0 or 1 (m,). classes: those that are judged.
    """
    levels = int(codes.max()) + 1
    counts = np.bincount((half * levels + codes) * k + y, minlength=2 * levels * k).reshape(2, levels, k)
    areas, recalls = [], []
    for fit, tested in (counts, counts[::-1]):
        shares = fit.sum(axis=0) / max(fit.sum(), 1)
        rates = (fit + shares) / (fit.sum(axis=1, keepdims=True) + 1)  # (L, k); the shares for a level never seen
        order = np.argsort(rates, axis=0, kind="stable")
        own = np.take_along_axis(tested, order, axis=0)  # rows of the class, from its lowest rate to its highest
        rest = np.take_along_axis(np.broadcast_to(tested.sum(axis=1, keepdims=True), rates.shape), order, axis=0) - own
        pairs = own.sum(axis=0) * rest.sum(axis=0)
        area = (own * (np.cumsum(rest, axis=0) - 0.5 * rest)).sum(axis=0) / np.maximum(pairs, 1)
        areas.append(area[classes].mean())
        right = np.where(rates.argmax(axis=1)[:, None] == np.arange(k), tested, 0).sum(axis=0)
        recalls.append((right / np.maximum(tested.sum(axis=0), 1))[classes].mean())
    return float(np.mean(areas)), float(np.mean(recalls))
