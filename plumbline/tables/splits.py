"""Ways to cut a table's rows, in the order of a permutation, into training, validation and test part.

Each way gives the part of every row, as its place in PARTS: int8 (n,).
"""

import numpy as np

from plumbline.basics.errors import UserError
from plumbline.basics.params import Split, nearest
from plumbline.tables import columns, duck
from plumbline.tables.store import PLACE, Facts, Table

PARTS = ("train", "validation", "test")


def cut(dataset: Table, order: np.ndarray, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Cut a dataset as `split` says. order: a permutation (n,).

    Gives the order of the rows, which is by time if `split.time` is set, and the part of each row. UserError if a part
    has no rows, or the training part lacks a class.
    """
    classes = dataset.classes()
    if split.stratify:
        part_of = by_class(order, classes, split)
    elif split.group:
        part_of = by_group(order, group_firsts(dataset, split.group), split)
    else:
        if split.time:  # earliest first; rows of the same time stay in the permutation's order
            order = order[np.argsort(times(dataset, split.time)[order], kind="stable")]
        part_of = by_shares(order, split)
    check(part_of, split)
    check_classes(classes[part_of == 0], dataset.facts)
    return order, part_of


def by_shares(order: np.ndarray, split: Split) -> np.ndarray:
    """Cut the permutation. As in the notebook, sizes are rounded down and the rest is the test part."""
    n = len(order)
    first, second = int(n * split.train), int(n * split.validation)
    part_of = np.empty(n, np.int8)
    part_of[order] = np.repeat(np.arange(3), [first, second, n - first - second])
    return part_of


def by_class(order: np.ndarray, classes: np.ndarray, split: Split) -> np.ndarray:
    """Cut each class by itself, with at least one row to train on. classes: each row's class number (n,)."""
    shuffled, part_of = classes[order], np.empty(len(order), np.int8)
    for c, size in enumerate(np.bincount(classes).tolist()):
        ends = np.floor(np.multiply(size, [split.train, split.train + split.validation]) + 0.5)
        part = np.searchsorted(np.maximum(ends, 1), np.arange(size), side="right")
        part_of[order[shuffled == c]] = part
    return part_of


def by_group(order: np.ndarray, first: np.ndarray, split: Split) -> np.ndarray:
    """Cut between groups: each goes to the part that its middle falls in. first: see `group_firsts`.

    Groups come in the order in which the permutation has their first rows. With any of their rows, large groups would
    come first more often.
    """
    groups = order[first[order] == order]  # every group once
    sizes = np.bincount(first)[groups]
    ends = [len(order) * split.train, len(order) * (split.train + split.validation)]
    part_of = np.empty(len(order), np.int8)
    part_of[groups] = np.searchsorted(ends, np.cumsum(sizes) - sizes / 2, side="right")
    return part_of[first]


def group_firsts(table: Table, name: str) -> np.ndarray:
    """The group of each row, as the number of the group's first row in the table: int32 (n,)."""
    _check_column(table, name, "split.group")
    return columns.first_of_equal(table, duck.name(name), f"{PLACE}::INTEGER")


def times(table: Table, name: str) -> np.ndarray:
    """The values of a column of numbers, dates or times, to sort by: integers or float64 (n,)."""
    _check_column(table, name, "split.time")
    kind, column = table.columns[name], duck.name(name)
    if columns.kind_of(kind) in (None, "category") or kind == "BOOLEAN":
        held = columns.in_words(kind)
        raise UserError(f"split.time {name!r} holds {held}, and must be dates, times or numbers; choose another column")
    if columns.kind_of(kind) != "number":
        value = f"epoch_ns({column})" if kind.endswith("_NS") else f"epoch_us({column})"
    else:
        value = column if kind in columns.INTEGERS else f"{column}::DOUBLE"
    return table.values(value)


def _check_column(table: Table, name: str, parameter: str) -> None:
    """UserError for a column that is not there, or has missing values."""
    if name not in table.columns:
        raise UserError(f"{parameter} {name!r} is not a column of the table{nearest(name, table.columns)}")
    kind, column = table.columns[name], duck.name(name)
    absent = f"({column} IS NULL OR isnan({column}))" if kind in columns.FLOATS else f"({column} IS NULL)"
    if found := columns.first(table, name, absent, "count(*) OVER ()"):
        row, missing = found
        raise UserError(
            f"{parameter} {name!r} is missing in {missing} rows (first in {table.placed(row)}), and every row "
            f"must fall on a side; fill it or drop those rows"
        )


def check(part_of: np.ndarray, split: Split) -> None:
    """UserError for a part that has a share and got no rows."""
    for i, share in enumerate((split.train, split.validation, 1 - split.train - split.validation)):
        if share > 0 and not (part_of == i).any():
            what = f"{len(part_of)} rows" + (f" in groups of {split.group!r}" if split.group else "")
            raise UserError(f"the {PARTS[i]} part has no rows: a share of {share:g} of {what}; use a larger table")


def check_classes(trained: np.ndarray, facts: Facts) -> None:
    """UserError for a class without training rows, of which nothing could be learnt. trained: their class numbers."""
    if lacking := absent(trained, facts):
        c, label = lacking
        raise UserError(
            f"{label} has {facts.class_counts[c]} rows and none is in the training part; "
            f"set split.stratify to true, or drop that class or join it to another"
        )


def absent(classes: np.ndarray, facts: Facts) -> tuple[int, str] | None:
    """The first class that is not among class numbers (n,): its number, and its name for a message. None if all are."""
    counts = np.bincount(classes, minlength=len(facts.classes))
    c = int(counts.argmin())
    return None if counts[c] else (c, f"class {facts.classes[c]!r} of {facts.target!r}")
