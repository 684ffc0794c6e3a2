"""Target statistics: a few numbers say what a category's training rows tell of the classes (Micci-Barreca 2001).

They replace an input for each category, which would need many rows to learn from. For each class there is the
difference between its log odds in the category's rows and in all rows. Of two classes only the second is taken. The
category's rows are smoothed by M more rows that are like all rows. A last number says how far they can be trusted:

    log((s + M q) / (n - s + M (1 - q))) - log(q / (1 - q))        n / (n + M)

n is the number of the category's rows, s of these are in the class, and q is the class's share of all rows.

A training row's statistics are out-of-fold: counted on the rows of other folds. Otherwise a network would learn to read
the row's own label from them. A new row's are counted on all training rows.

All is computed from integer counts with +, -, *, / and our own logarithm on float64, so that the bits are the same on
every machine.
"""

import numpy as np

from plumbline.bits.arithmetic import log
from plumbline.tables import columns, duck
from plumbline.tables.store import PLACE, Table

FREQUENT = 20  # rows: a category that has so many keeps an input beside its statistics
MANY_CATEGORIES = 50  # a column has statistics if more of its categories are not frequent (docs/encoding.md)
M = 10  # rows, for smoothing
FOLDS = 5
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: the high bits of its multiples look random


def width(classes: int) -> int:
    """How many statistics a category has."""
    return (1 if classes == 2 else classes) + 1


def statistics(counts: np.ndarray) -> np.ndarray:
    """Statistics of each of m categories, and of one never seen: float32 (m + 1, width).

    counts: rows by category and class, of all categories: int64 (m, k).
    """
    counts = np.concatenate([counts, np.zeros_like(counts[:1])])
    n, of_all = counts.sum(axis=1, keepdims=True), counts.sum(axis=0)
    share = (of_all + 1.0) / (of_all.sum() + len(of_all))  # above 0 even for a class without rows
    odds = (counts + M * share) / (n - counts + M * (1.0 - share))
    more = log(odds) - log(share / (1.0 - share))
    return np.concatenate([more[:, 1:] if len(of_all) == 2 else more, n / (n + float(M))], axis=1).astype(np.float32)


def counted(code: np.ndarray, y: np.ndarray, codes: int, classes: int) -> np.ndarray:
    """Count rows by category and class: int64 (codes, classes)."""
    return np.bincount(code.astype(np.int64) * classes + y, minlength=codes * classes).reshape(codes, classes)


def out_of_fold(code: np.ndarray, y: np.ndarray, fold: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Statistics of training rows, each counted on the rows of other folds: float32 (n, width).

    code, y, fold: category, class and fold of each row (n,). counts: their rows by category and class (m, k).
    """
    m, k = counts.shape
    own = counted(fold * m + code, y, FOLDS * m, k).reshape(FOLDS, m, k)
    return np.stack([statistics(counts - each) for each in own])[fold, code]


def folds(table: Table) -> np.ndarray:
    """The fold of each row, computed from its place: int64 (n,).

    Groups that the split keeps whole are kept whole here too, for new rows will be of other groups.
    """
    place = np.arange(len(table))
    if together := table.facts.split_by:
        first = columns.first_of_equal(table, ", ".join(map(duck.name, together)), PLACE)
        place = np.unique(first, return_inverse=True)[1]
    return ((place.astype(np.uint64) * ODD >> np.uint64(32)) % np.uint64(FOLDS)).astype(np.int64)
