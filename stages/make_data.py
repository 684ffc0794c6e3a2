"""First stage: the table that everything else is about.

Reads make_data.source (a .csv, .csv.gz or .parquet table, a folder of Parquet files, or a .py file that makes a table),
checks it, and writes the rows that have a target to data/dataset.parquet, columns as they came without those of
make_data.drop, with the table's facts: target, classes, and where the stream of random numbers stands. A generator's or
a Parquet table goes through a row group at a time; a CSV, whose checks need its text, is read whole.

    python -m stages.make_data
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from stages import columns, labels, params, resources, sources, spill, stream, table
from stages.errors import UserError, run
from stages.table import ROW, Facts

OUTPUT = "data/dataset.parquet"
MOST_COUNTED = 2**16  # different labels: so many are none, and need no longer be counted


def main() -> None:
    settings = params.read()
    spill.beside("data")
    source, target, drop = settings.make_data.source, settings.make_data.target, settings.make_data.drop
    generator = stream.seeded(settings.seed) if source.endswith(".py") else None
    if Path(source).resolve() in Path(OUTPUT).resolve().parents:
        raise UserError(
            f"make_data.source {source} is a folder that holds what the stages write; put the table elsewhere"
        )
    if not Path(source).exists():
        raise UserError(
            f"make_data.source {source} is not there (in a --temp or --queue run it must be tracked: `git add` or "
            f"`dvc add` it); name a .parquet, .csv or .csv.gz file, a folder of .parquet files, or a .py that makes one"
        )
    if generator:
        rows = sources.generate(source, settings.make_data, generator)
    else:
        rows = sources.read(source, texts=[target])
    if isinstance(rows, table.Stored):
        resources.check_disk("make_data", rows.nbytes, "data", f"the rows of {source}")
        held = rows.least + rows.text_of_a_group
        resources.check_piece("make_data", held, f"{spill.LEAST} rows of {source} and a page of each column")
    with table.writing(OUTPUT) as writer:
        counts = Counter()
        for group in labelled(rows, source, target, drop):
            writer.write(group)
            counts.update({item["values"]: item["counts"] for item in group.column(target).value_counts().to_pylist()})
            if len(counts) > MOST_COUNTED:
                break
        labels.check(counts, source, target)
        classes = sorted(counts)
        position = stream.to_text(generator) if generator else None
        writer.facts = Facts(target, classes, [counts[label] for label in classes], position)
        dataset = writer.finish()
        columns.check(dataset, target)
    shares = ", ".join(f"{label}: {counts[label]}" for label in classes[:10])
    print(f"{source}: {len(dataset)} rows, {len(dataset.column_names) - 1} features, {target} {{{shares}}}")


def labelled(rows, source: str, target: str, drop: list[str]) -> Iterator[pa.Table]:
    """The rows that have a target, group by group, without the columns of make_data.drop.

    The target becomes labels: whole numbers, booleans or text as it was written. Of which kind is decided by the whole
    column, or by the first piece of a generator that yields several.
    """
    first = rows
    if isinstance(rows, Iterator):
        first = next(rows, None)
        if first is None:
            raise UserError(f"make of {source} yields no table; a model needs some rows of at least two classes")
        rows = itertools.chain([first], rows)
    check_columns(first, source, target, drop)
    pieces = (group.column(target) for group in table.groups(first, columns=[target]))
    kind = labels.kind_of(pieces, first.schema.field(target).type, source, target)
    missing = n = 0
    for group in rows if isinstance(rows, Iterator) else table.groups(rows):
        column = labels.of(group.column(target), kind, source, target)
        group = as_text(group)
        group = group.set_column(group.column_names.index(target), target, column).drop_columns([*set(drop)])
        n, missing = n + len(group), missing + column.null_count
        yield group.filter(pc.is_valid(column)) if column.null_count else group
    if not n:
        raise UserError(f"{source} has no rows below its header; a model needs some of at least two classes")
    if missing == n:
        raise UserError(f"{source}: the target {target!r} is missing in every row; choose another make_data.target")
    if missing:
        print(f"{source}: {missing} rows of {n} are left out, their {target!r} is missing")


def as_text(rows: pa.Table) -> pa.Table:
    """The rows with views of text as plain text, which alone can be taken from by number."""
    fields = [field.with_type(pa.string()) if pa.types.is_string_view(field.type) else field for field in rows.schema]
    return rows.cast(pa.schema(fields))


def check_columns(rows, source: str, target: str, drop: list[str]) -> None:
    """Refuse names that are not there, that are reserved, or leave no feature; and columns that nothing can encode."""
    names = rows.column_names
    for name in drop:
        if name not in names:
            hint = params.nearest(name, names)
            raise UserError(f"{source} has no column {name!r} to leave out (make_data.drop){hint}")
    kept = [name for name in names if name not in drop]
    if target not in kept:
        raise UserError(f"{source} has no column {target!r} (make_data.target){params.nearest(target, kept)}")
    if ROW in kept:
        raise UserError(f"{source} has a column named {ROW!r}, which is reserved for row numbers; rename it")
    if len(kept) < 2:
        raise UserError(f"{source} has no column beside the target {target!r}; a model needs at least one feature")
    columns.check(rows.schema.empty_table().select(kept), target)


if __name__ == "__main__":
    run(main)
