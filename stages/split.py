"""Second stage: one random permutation of the rows, cut into training, validation and test part, in that order.

Reads data/dataset.parquet; writes data/train.parquet, data/validation.parquet and data/test.parquet, each with `_row`,
the row's number in the dataset. The stream's position goes on with the training part alone. The permutation may be cut
class by class (split.stratify), group by group (split.group), or put in the order of time first (split.time).

    python -m stages.split
"""

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages import params, stream, table
from stages.errors import UserError, run
from stages.table import ROW


def main() -> None:
    settings = params.read()
    dataset, facts = table.read("data/dataset.parquet")
    split = settings.split
    generator = stream.from_text(facts.stream) if facts.stream else stream.seeded(settings.seed)
    order = stream.permutation(generator, len(dataset))
    position = stream.to_text(generator)
    if split.stratify:
        parts = cut_by_class(order, table.targets(dataset, facts), split)
    elif split.group:
        parts = cut_by_group(order, group_numbers(dataset, split.group), split)
    elif split.time:
        parts = cut(by_time(order, dataset, split.time), split)
    else:
        parts = cut(order, split)
    check_classes(table.targets(dataset, facts)[parts["train"]], facts)
    facts = msgspec.structs.replace(facts, split_by=[name for name in (split.group, split.time) if name])
    for part, rows in parts.items():
        taken = dataset.take(rows).add_column(0, ROW, pa.array(rows, pa.int64()))
        part_facts = msgspec.structs.replace(facts, stream=position if part == "train" else None)
        table.write(taken, f"data/{part}.parquet", part_facts)
        print(f"{part}: {len(taken)} rows")


def cut(order: np.ndarray, split) -> dict[str, np.ndarray]:
    """The permutation's three parts; like the notebook's, sizes are rounded down and the rest is test."""
    n = len(order)
    first = int(n * split.train)
    second = first + int(n * split.validation)
    parts = {"train": order[:first], "validation": order[first:second], "test": order[second:]}
    check_rows(parts, split, n)
    return parts


def cut_by_class(order: np.ndarray, classes: np.ndarray, split) -> dict[str, np.ndarray]:
    """Each class cut by itself; its first row trains, and the rows of a part keep the permutation's order."""
    part_of = np.empty(len(order), np.int8)
    for c in range(classes.max() + 1):
        rows = order[classes[order] == c]
        ends = np.array([split.train, split.train + split.validation]) * len(rows)
        first, second = np.maximum(np.floor(ends + 0.5).astype(np.int64), 1)
        part_of[rows[:first]], part_of[rows[first:second]], part_of[rows[second:]] = 0, 1, 2
    return parts_of(order, part_of, split)


def cut_by_group(order: np.ndarray, groups: np.ndarray, split) -> dict[str, np.ndarray]:
    """Whole groups, in the order in which the permutation has each group's first row, to the part their middle is in.

    One row stands for each group, so that large groups do not come first more often.
    """
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    _, firsts, sizes = np.unique(groups, return_index=True, return_counts=True)
    shuffled = np.argsort(place[firsts])
    middles = np.cumsum(sizes[shuffled]) - sizes[shuffled] / 2
    part_of_group = np.empty(len(firsts), np.int8)
    ends = [len(order) * split.train, len(order) * (split.train + split.validation)]
    part_of_group[shuffled] = np.searchsorted(ends, middles, side="right")
    return parts_of(order, part_of_group[groups], split)


def parts_of(order: np.ndarray, part_of: np.ndarray, split) -> dict[str, np.ndarray]:
    """The permutation's rows by the number of the part they are in."""
    parts = {part: order[part_of[order] == i] for i, part in enumerate(("train", "validation", "test"))}
    check_rows(parts, split, len(order))
    return parts


def group_numbers(dataset: pa.Table, name: str) -> np.ndarray:
    """Groups numbered from 0 as they first occur in the dataset: int64 (n,)."""
    column = column_to_split_by(dataset, name, "split.group").combine_chunks()
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    _, groups = np.unique(column.indices.to_numpy(zero_copy_only=False), return_inverse=True)
    return groups


def by_time(order: np.ndarray, dataset: pa.Table, name: str) -> np.ndarray:
    """The rows from the earliest to the latest; those of the same time in the permutation's order."""
    column = column_to_split_by(dataset, name, "split.time")
    kind = column.type
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not (numbers or pa.types.is_temporal(kind)):
        raise UserError(f"split.time {name!r} holds {kind}, and must be dates, times or numbers; choose another column")
    ranks = pc.rank(column.combine_chunks(), tiebreaker="min").to_numpy()
    return order[np.argsort(ranks[order], kind="stable")]


def column_to_split_by(dataset: pa.Table, name: str, parameter: str) -> pa.ChunkedArray:
    """The column that a parameter names, without gaps."""
    if name not in dataset.column_names:
        raise UserError(
            f"{parameter} {name!r} is not a column of the table{params.nearest(name, dataset.column_names)}"
        )
    column = dataset.column(name)
    missing = pc.is_null(column, nan_is_null=True)
    if pc.any(missing).as_py():
        row = pc.index(missing, True).as_py()
        raise UserError(
            f"{parameter} {name!r} is missing in {pc.sum(missing).as_py()} rows (first in row {row}), and every row "
            f"must fall on a side; fill it or drop those rows"
        )
    return column


def check_rows(parts: dict[str, np.ndarray], split, n: int) -> None:
    """Refuse a part that was asked for and got no row."""
    wanted = {"train": split.train, "validation": split.validation, "test": 1 - split.train - split.validation}
    for part, rows in parts.items():
        if not len(rows) and wanted[part] > 0:
            what = f"{n} rows" + (f" in groups of {split.group!r}" if split.group else "")
            raise UserError(f"the {part} part has no rows: a share of {wanted[part]:g} of {what}; use a larger table")


def check_classes(trained: np.ndarray, facts: table.Facts) -> None:
    """Refuse a training part without a row of some class: nothing could be learnt of it."""
    without = [c for c, count in enumerate(np.bincount(trained, minlength=len(facts.classes))) if not count]
    if without:
        c = without[0]
        raise UserError(
            f"class {facts.classes[c]!r} of {facts.target!r} has {facts.class_counts[c]} rows and none is in the "
            f"training part; set split.stratify to true, or drop that class or join it to another"
        )


if __name__ == "__main__":
    run(main)
