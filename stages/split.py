"""Second stage: one random permutation of the rows, cut into training, validation and test part, in that order.

Reads data/dataset.parquet; writes data/train.parquet, data/validation.parquet and data/test.parquet, each with `_row`,
the row's number in the dataset. The stream's position goes on with the training part alone. The permutation may be cut
class by class (split.stratify), group by group (split.group), or put in the order of time first (split.time).

    python -m stages.split
"""

import contextlib

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages import params, resources, stream, table
from stages.errors import UserError, run
from stages.table import ROW

PARTS = ("train", "validation", "test")


def main() -> None:
    settings = params.read()
    dataset, facts = table.stored("data/dataset.parquet")
    split, n = settings.split, len(dataset)
    row = 70 if split.group or split.time else 35 if split.stratify else 14
    resources.check_memory("split", row * n, "make_data.samples or the table's rows")
    resources.check_disk("split", dataset.nbytes + 8 * n, "data", "make_data.samples or the table's rows")
    generator = stream.from_text(facts.stream) if facts.stream else stream.seeded(settings.seed)
    order = stream.permutation(generator, n)
    position = stream.to_text(generator)
    if split.stratify:
        part_of = cut_by_class(order, table.targets(dataset, facts), split)
    elif split.group:
        part_of = cut_by_group(order, group_numbers(dataset, split.group), split)
    else:
        if split.time:
            order = by_time(order, dataset, split.time)
        part_of = cut(order, split)
    sizes = check_rows(part_of, split)
    facts = msgspec.structs.replace(facts, split_by=[name for name in (split.group, split.time) if name])
    write(dataset, facts, order, part_of, position)
    for part, size in zip(PARTS, sizes):
        print(f"{part}: {size} rows")


def write(dataset: table.Stored, facts: table.Facts, order: np.ndarray, part_of: np.ndarray, position: str) -> None:
    """Write the parts, row group by row group, all or none.

    A table of one row group keeps the permutation's order, the notebook's; a larger one the dataset's, so that a row
    group at a time is enough. Training shuffles either.
    """
    trained, start = np.zeros(len(facts.classes), np.int64), 0
    with contextlib.ExitStack() as stack:
        writers = []
        for part in PARTS:
            part_facts = msgspec.structs.replace(facts, stream=position if part == "train" else None)
            writers.append(stack.enter_context(table.writing(f"data/{part}.parquet", part_facts)))
        for group in dataset.groups():
            here = part_of[start : start + len(group)]
            trained += np.bincount(table.targets(group, facts)[here == 0], minlength=len(trained))
            for i, writer in enumerate(writers):
                rows = order[here[order] == i] if len(dataset) <= table.ROWS else np.flatnonzero(here == i)
                writer.write(group.take(rows).add_column(0, ROW, pa.array(rows + np.int64(start))))
            start += len(group)
        check_classes(trained, facts)
        for writer in writers:
            writer.finish()


def cut(order: np.ndarray, split) -> np.ndarray:
    """The permutation's three parts; like the notebook's, sizes are rounded down and the rest is test.

    As with every way to cut, it is the number of each row's part, by its place in PARTS: int8 (n,).
    """
    n = len(order)
    first = int(n * split.train)
    second = first + int(n * split.validation)
    part_of = np.full(n, 2, np.int8)
    part_of[order[:first]], part_of[order[first:second]] = 0, 1
    return part_of


def cut_by_class(order: np.ndarray, classes: np.ndarray, split) -> np.ndarray:
    """Each class cut by itself; its first row trains."""
    part_of = np.empty(len(order), np.int8)
    for c in range(classes.max() + 1):
        rows = order[classes[order] == c]
        ends = np.array([split.train, split.train + split.validation]) * len(rows)
        first, second = np.maximum(np.floor(ends + 0.5).astype(np.int64), 1)
        part_of[rows[:first]], part_of[rows[first:second]], part_of[rows[second:]] = 0, 1, 2
    return part_of


def cut_by_group(order: np.ndarray, groups: np.ndarray, split) -> np.ndarray:
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
    return part_of_group[groups]


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


def check_rows(part_of: np.ndarray, split) -> list[int]:
    """The rows of each part; refuse one that was asked for and got none."""
    n, sizes = len(part_of), np.bincount(part_of, minlength=3).tolist()
    for part, size, share in zip(PARTS, sizes, (split.train, split.validation, 1 - split.train - split.validation)):
        if not size and share > 0:
            what = f"{n} rows" + (f" in groups of {split.group!r}" if split.group else "")
            raise UserError(f"the {part} part has no rows: a share of {share:g} of {what}; use a larger table")
    return sizes


def check_classes(trained: np.ndarray, facts: table.Facts) -> None:
    """Refuse a training part without a row of some class, by the rows of each: nothing could be learnt of it."""
    without = [c for c, count in enumerate(trained) if not count]
    if without:
        c = without[0]
        raise UserError(
            f"class {facts.classes[c]!r} of {facts.target!r} has {facts.class_counts[c]} rows and none is in the "
            f"training part; set split.stratify to true, or drop that class or join it to another"
        )


if __name__ == "__main__":
    run(main)
