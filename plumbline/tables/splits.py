"""The ways to cut a permutation of a table's rows into training, validation and test part.

Every way gives the number of each row's part, by its place in PARTS: int8 (n,).
"""

import numpy as np

from plumbline.basics.errors import UserError
from plumbline.basics.params import Split, nearest
from plumbline.tables import columns, duck
from plumbline.tables.store import PLACE, Facts, Table

PARTS = ("train", "validation", "test")


def cut(dataset: Table, order: np.ndarray, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Class by class, group by group, by time, or by shares of the permutation alone, as `split` says.

    Gives the order of the rows, by time where that counts, and each row's part. order: the permutation (n,). UserError
    where a part has no rows, or a class none to train on.
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
    """The permutation's three parts; like the notebook's, sizes are rounded down and the rest is test."""
    n = len(order)
    first, second = int(n * split.train), int(n * split.validation)
    part_of = np.empty(n, np.int8)
    part_of[order] = np.repeat(np.arange(3), [first, second, n - first - second])
    return part_of


def by_class(order: np.ndarray, classes: np.ndarray, split: Split) -> np.ndarray:
    """Each class cut by itself; its first row trains. classes: each row's class number (n,)."""
    shuffled, part_of = classes[order], np.empty(len(order), np.int8)
    for c, size in enumerate(np.bincount(classes).tolist()):
        ends = np.floor(np.multiply(size, [split.train, split.train + split.validation]) + 0.5)
        part = np.searchsorted(np.maximum(ends, 1), np.arange(size), side="right")
        part_of[order[shuffled == c]] = part
    return part_of


def by_group(order: np.ndarray, first: np.ndarray, split: Split) -> np.ndarray:
    """Whole groups, in the order in which the permutation has each group's first row, to the part their middle is in.

    One row stands for each group, so that large groups do not come first more often. first: the number of the first
    row of each row's group (n,).
    """
    groups = order[first[order] == order]  # every group once
    sizes = np.bincount(first)[groups]
    ends = [len(order) * split.train, len(order) * (split.train + split.validation)]
    part_of = np.empty(len(order), np.int8)
    part_of[groups] = np.searchsorted(ends, np.cumsum(sizes) - sizes / 2, side="right")
    return part_of[first]


def group_firsts(table: Table, name: str) -> np.ndarray:
    """The group of each row, by the number of its first row in the table: int32 (n,)."""
    _check_column(table, name, "split.group")
    return columns.first_of_equal(table, duck.name(name), f"{PLACE}::INTEGER")


def times(table: Table, name: str) -> np.ndarray:
    """Numbers, dates or times as they are to be sorted: integers or float64 (n,)."""
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
    """Refuse a column that is not there, or has gaps."""
    if name not in table.columns:
        raise UserError(f"{parameter} {name!r} is not a column of the table{nearest(name, table.columns)}")
    kind, column = table.columns[name], duck.name(name)
    absent = f"({column} IS NULL OR isnan({column}))" if kind in columns.FLOATS else f"({column} IS NULL)"
    for row, missing in columns.first(table, name, absent, "count(*) OVER ()"):
        raise UserError(
            f"{parameter} {name!r} is missing in {missing} rows (first in {table.placed(row)}), and every row "
            f"must fall on a side; fill it or drop those rows"
        )


def check(part_of: np.ndarray, split: Split) -> None:
    """Refuse a part that was asked for and got no rows."""
    for i, share in enumerate((split.train, split.validation, 1 - split.train - split.validation)):
        if share > 0 and not (part_of == i).any():
            what = f"{len(part_of)} rows" + (f" in groups of {split.group!r}" if split.group else "")
            raise UserError(f"the {PARTS[i]} part has no rows: a share of {share:g} of {what}; use a larger table")


def check_classes(trained: np.ndarray, facts: Facts) -> None:
    """Refuse a training part without a row of some class: nothing could be learnt of it. trained: class numbers."""
    for c, label in absent(trained, facts):
        raise UserError(
            f"{label} has {facts.class_counts[c]} rows and none is in the training part; "
            f"set split.stratify to true, or drop that class or join it to another"
        )


def absent(classes: np.ndarray, facts: Facts) -> list[tuple[int, str]]:
    """The classes that are not among some class numbers (n,): their own, and what messages call them."""
    counts = np.bincount(classes, minlength=len(facts.classes)).tolist()
    return [(c, f"class {facts.classes[c]!r} of {facts.target!r}") for c, rows in enumerate(counts) if not rows]
