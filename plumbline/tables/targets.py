"""Target statistics: what a category's training rows say of the classes, in a few numbers instead of an input each.

Of each class, of two classes of the second alone, by how much it is more likely in the category's n training rows than
in all rows, in log odds, as if M rows more were like all (Micci-Barreca 2001), beside how far these n can be trusted:

    log((s + M q) / (n - s + M (1 - q))) - log(q / (1 - q))        n / (n + M)

for s of the n rows in the class, and q its share of all rows. A training row's numbers are counted on the rows of other
folds: else its own label would be among them, and a network would learn to read it there. A new row's are counted on
all training rows.

Integer counts, then +, -, *, / and a logarithm of our own on float64: the same bits on every machine.
"""

import numpy as np

from plumbline.bits.arithmetic import log
from plumbline.tables import columns, duck
from plumbline.tables.store import PLACE, Table

FREQUENT = 20  # rows from which on a category has an input beside: it may change what other columns mean
MANY = 50  # a column of more categories that are not frequent has statistics (docs/encoding.md)
M = 10  # rows
FOLDS = 5
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: its multiples' high bits look like chance


def width(classes: int) -> int:
    """Numbers of a category."""
    return (1 if classes == 2 else classes) + 1


def numbers(counts: np.ndarray) -> np.ndarray:
    """Of the rows by category and class (m, k) the numbers of each category, and of one never seen: float32 (m + 1, w).

    counts: int64, of all rows that there are.
    """
    counts = np.concatenate([counts, np.zeros_like(counts[:1])])
    n, of_all = counts.sum(axis=1, keepdims=True), counts.sum(axis=0)
    share = (of_all + 1.0) / (of_all.sum() + len(of_all))  # of a class without rows above 0
    odds = (counts + M * share) / (n - counts + M * (1.0 - share))
    more = log(odds) - log(share / (1.0 - share))
    return np.concatenate([more[:, 1:] if len(of_all) == 2 else more, n / (n + float(M))], axis=1).astype(np.float32)


def counted(code: np.ndarray, y: np.ndarray, codes: int, classes: int) -> np.ndarray:
    """Rows by category and class: int64 (codes, classes)."""
    return np.bincount(code.astype(np.int64) * classes + y, minlength=codes * classes).reshape(codes, classes)


def out_of_fold(code: np.ndarray, y: np.ndarray, fold: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The numbers of training rows, each by the rows of the other folds: float32 (n, w).

    code, y, fold: category, class and fold of each row (n,). counts: as `numbers` takes them, of these rows.
    """
    m, k = counts.shape
    own = counted(fold * m + code, y, FOLDS * m, k).reshape(FOLDS, m, k)
    return np.stack([numbers(counts - each) for each in own])[fold, code]


def folds(table: Table) -> np.ndarray:
    """The fold of each row of a table, by its place.

    Rows that the split keeps together are in one fold, for the rows to come are not of their group.
    """
    place = np.arange(len(table))
    if together := table.facts.split_by:
        first = columns.first_of_equal(table, ", ".join(map(duck.name, together)), PLACE)
        place = np.unique(first, return_inverse=True)[1]
    return ((place.astype(np.uint64) * ODD >> np.uint64(32)) % np.uint64(FOLDS)).astype(np.int64)
