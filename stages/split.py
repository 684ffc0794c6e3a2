"""Second stage: one random permutation of the rows, cut into training, validation and test part, in that order.

Reads data/dataset.parquet; writes data/train.parquet, data/validation.parquet and data/test.parquet, each with `_row`,
the row's number in the dataset. The stream's position goes on with the training part alone. The permutation may be cut
class by class (split.stratify), group by group (split.group), or put in the order of time first (split.time).

    python -m stages.split
"""

import contextlib
from collections.abc import Iterator
from itertools import chain

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages import files, ordering, params, resources, spill, stream, table
from stages.errors import UserError, run
from stages.table import ROW, counted

PARTS = ("train", "validation", "test")
HIGH = np.uint64(2**63)


def main() -> None:
    settings = params.read()
    spill.beside("data")
    dataset, facts = table.stored("data/dataset.parquet")
    split, n = settings.split, len(dataset)
    resources.check_disk("split", dataset.nbytes + 8 * n, "data", "make_data.samples or the table's rows")
    held, what = dataset.least + dataset.text_of_a_group, "rows of data/dataset.parquet and a page of each column"
    resources.check_piece("split", held, f"{spill.LEAST} {what}")
    generator = stream.from_text(facts.stream) if facts.stream else stream.seeded(settings.seed)
    order = stream.permutation(generator, n, spill.empty(n, np.int32 if n <= 2**31 else np.int64))
    position = stream.to_text(generator)
    if split.stratify:
        part_of = cut_by_class(order, table.class_numbers(dataset, facts), split)
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
    with files.together(), contextlib.ExitStack() as stack:
        writers = []
        for part in PARTS:
            part_facts = msgspec.structs.replace(facts, stream=position if part == "train" else None)
            writers.append(stack.enter_context(table.writing(f"data/{part}.parquet", part_facts)))
        if len(dataset) <= table.ROWS:
            for i, writer in enumerate(writers):
                rows = order[part_of[order] == i]
                part = table.take(dataset, rows)
                trained += np.bincount(table.targets(part, facts), minlength=len(trained)) * (i == 0)
                writer.write(part.add_column(0, ROW, pa.array(rows.astype(np.int64))))
        else:
            for group in dataset.groups():
                here = part_of[start : start + len(group)]
                trained += np.bincount(table.targets(group, facts)[here == 0], minlength=len(trained))
                for i, writer in enumerate(writers):
                    rows = np.flatnonzero(here == i)
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
    part_of = spill.empty(n, np.int8)
    for part, (start, end) in enumerate([(0, first), (first, second), (second, n)]):
        for here in spill.pieces(end - start):
            part_of[order[start:end][here]] = part
    return part_of


def cut_by_class(order: np.ndarray, classes: np.ndarray, split) -> np.ndarray:
    """Each class cut by itself; its first row trains."""
    sizes, part_of = counted(classes), spill.empty(len(order), np.int8)
    ends = np.multiply.outer(sizes, [split.train, split.train + split.validation])
    ends, seen = np.maximum(np.floor(ends + 0.5).astype(np.int64), 1), np.zeros(len(sizes), np.int64)
    for here in spill.pieces(len(order)):
        rows, found = order[here], classes[order[here]]
        for c in np.unique(found):
            own = rows[found == c]
            part_of[own] = np.searchsorted(ends[c], np.arange(seen[c], seen[c] + len(own)), side="right")
            seen[c] += len(own)
    return part_of


def cut_by_group(order: np.ndarray, groups: np.ndarray, split) -> np.ndarray:
    """Whole groups, in the order in which the permutation has each group's first row, to the part their middle is in.

    One row stands for each group, so that large groups do not come first more often.
    """
    sizes, is_first = counted(groups), spill.empty(len(order), bool)
    firsts = np.empty(len(sizes), order.dtype)
    for here in spill.pieces(len(groups))[::-1]:
        rows = np.arange(here.start, here.stop, dtype=order.dtype)
        firsts[groups[here][::-1]] = rows[::-1]  # the last one written stays
        is_first[here] = False
    is_first[firsts] = True
    rows_of = (order[here] for here in spill.pieces(len(order)))
    shuffled = np.concatenate([groups[rows[is_first[rows]]] for rows in rows_of])
    middles = np.cumsum(sizes[shuffled]) - sizes[shuffled] / 2
    part_of_group, part_of = np.empty(len(sizes), np.int8), spill.empty(len(order), np.int8)
    ends = [len(order) * split.train, len(order) * (split.train + split.validation)]
    part_of_group[shuffled] = np.searchsorted(ends, middles, side="right")
    for here in spill.pieces(len(groups)):
        part_of[here] = part_of_group[groups[here]]
    return part_of


def group_numbers(dataset: table.Stored, name: str) -> np.ndarray:
    """Groups numbered from 0 as they first occur in the dataset: int32 or int64 (n,)."""
    n, start = len(dataset), 0
    groups = spill.empty(n, np.int32 if n <= 2**31 else np.int64)
    known = None
    for column in column_to_split_by(dataset, name, "split.group"):
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        found = pc.unique(column)
        known = found if known is None else known
        known = pa.concat_arrays([known, found.filter(pc.invert(pc.is_in(found, known)))])
        groups[start : start + len(column)] = pc.index_in(column, known).to_numpy()
        start += len(column)
        held, there = 2 * known.nbytes + 80 * len(known), resources.available_memory()  # looked up, and counted by
        if there is not None and held + resources.MARGIN > there:
            more = n / start  # as many as there may be, so that what is told is told once
            what = f"up to {int(more * len(known)):,} different values of split.group"
            resources.check_piece("split", held * more, what)
    return groups


def by_time(order: np.ndarray, dataset: table.Stored, name: str) -> np.ndarray:
    """The rows from the earliest to the latest; those of the same time in the permutation's order."""
    columns = column_to_split_by(dataset, name, "split.time")
    kind = dataset.schema.field(name).type
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not (numbers or pa.types.is_temporal(kind)):
        raise UserError(f"split.time {name!r} holds {kind}, and must be dates, times or numbers; choose another column")
    if pa.types.is_decimal(kind):
        resources.check_memory("split by decimals", 56 * len(order), "the rows, or make split.time a column of floats")
        column = pa.chunked_array(chain.from_iterable(each.chunks for each in columns), kind)
        keys = pc.rank(column.combine_chunks(), tiebreaker="min").to_numpy()
    else:
        keys, start = spill.empty(len(order), np.uint64), 0
        for column in columns:
            keys[start : start + len(column)] = moments(column)
            start += len(column)
    return ordering.sorted_by(keys, order)


def moments(column: pa.ChunkedArray) -> np.ndarray:
    """Numbers or times as whole numbers in the same order: uint64 (n,)."""
    if pa.types.is_unsigned_integer(column.type):
        return column.to_numpy().astype(np.uint64)
    if pa.types.is_floating(column.type):
        bits = (column.cast(pa.float64()).to_numpy() + 0.0).view(np.uint64)  # a zero has no sign
        return np.where(bits & HIGH, ~bits, bits | HIGH)
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
    return column.to_numpy().astype(np.int64).view(np.uint64) ^ HIGH


def column_to_split_by(dataset: table.Stored, name: str, parameter: str) -> Iterator[pa.ChunkedArray]:
    """The column that a parameter names, without gaps, piece by piece."""
    if name not in dataset.column_names:
        raise UserError(
            f"{parameter} {name!r} is not a column of the table{params.nearest(name, dataset.column_names)}"
        )
    missing = rows = 0
    first = None
    for group in dataset.groups(columns=[name]):
        absent = pc.is_null(group.column(name), nan_is_null=True)
        if first is None and pc.any(absent).as_py():
            first = rows + pc.index(absent, True).as_py()
        missing, rows = missing + (pc.sum(absent).as_py() or 0), rows + len(group)
    if missing:
        raise UserError(
            f"{parameter} {name!r} is missing in {missing} rows (first in row {first}), and every row "
            f"must fall on a side; fill it or drop those rows"
        )
    return (group.column(name) for group in dataset.groups(columns=[name]))


def check_rows(part_of: np.ndarray, split) -> list[int]:
    """The rows of each part; refuse one that was asked for and got none."""
    n, sizes = len(part_of), counted(part_of, 3).tolist()
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
