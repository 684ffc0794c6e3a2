"""First stage: the table that everything else is about.

Reads make_data.source (a .csv, .csv.gz or .parquet table, a folder of Parquet files, or a .py file that makes a table),
checks it, and writes the rows that have a target to data/dataset.parquet, columns as they came without those of
make_data.drop, with the table's facts: target, classes, and where the stream of random numbers stands. A generator's or
a Parquet table goes through a row group at a time; a CSV, whose checks need its text, is read whole.

    python -m stages.make_data
"""

import importlib.util
import itertools
import math
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from stages import encoding, folder, params, resources, sources, spill, stream, table
from stages.errors import UserError, run
from stages.table import ROW, Facts

OUTPUT = "data/dataset.parquet"
MOST_CLASSES = 100
MOST_COUNTED = 2**16  # different labels: so many are none, and need no longer be counted
FEWEST_ROWS = 2  # of a class: one to train on and one to test on


def main() -> None:
    settings = params.read()
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
    rows = generate(source, settings.make_data, generator) if generator else sources.read(source, texts=[target])
    if isinstance(rows, table.Stored):
        resources.check_disk("make_data", rows.nbytes, "data", f"the rows of {source}")
        resources.check_piece("make_data", spill.LEAST * rows.row_size(), f"{spill.LEAST} rows of {source}")
    with table.writing(OUTPUT) as writer:
        counts = Counter()
        for group in labelled(rows, source, target, drop):
            writer.write(group)
            counts.update({item["values"]: item["counts"] for item in group.column(target).value_counts().to_pylist()})
            if len(counts) > MOST_COUNTED:
                break
        check(counts, source, target)
        classes = sorted(counts)
        position = stream.to_text(generator) if generator else None
        writer.facts = Facts(target, classes, [counts[label] for label in classes], position)
        dataset = writer.finish()
        encoding.check(dataset, target)
    shares = ", ".join(f"{label}: {counts[label]}" for label in classes[:10])
    print(f"{source}: {len(dataset)} rows, {len(dataset.column_names) - 1} features, {target} {{{shares}}}")


def generate(source: str, settings, generator) -> Iterator[pa.Table]:
    """The table that `make(settings, generator)` of a .py source returns, or the pieces that it yields."""
    if not Path(source).is_file():
        raise UserError(
            f"make_data.source {source} is not there; it must be a file that defines make(params, generator)"
        )
    spec = importlib.util.spec_from_file_location(Path(source).stem, Path(source).absolute())
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "make"):
            raise UserError(f"make_data.source {source} must define make(params, generator) and does not")
        made = module.make(settings, generator)
        schema = None
        for piece in made if isinstance(made, Iterator) else [made]:
            piece = as_table(piece, source)
            schema = schema or piece.schema
            if piece.schema != schema:
                kinds = [", ".join(str(each).splitlines()) for each in (schema, piece.schema)]
                raise UserError(
                    f"{source} yields tables of different columns ({kinds[0]}; {kinds[1]}); make them alike"
                )
            yield piece
    except UserError:
        raise
    except Exception as error:  # whatever the user's code raises, said in one line that leads to it
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == Path(source).absolute()] or [
            getattr(error, "lineno", None)
        ]
        place = f"{source} line {lines[-1]}" if lines[-1] else source
        raise UserError(
            f"{place}: {type(error).__name__}: {' '.join(str(error).split())}; mend the generator"
        ) from None


def as_table(made, source: str) -> pa.Table:
    """A generator's table or DataFrame as a table."""
    if not isinstance(made, pa.Table):
        import pandas as pd

        if not isinstance(made, pd.DataFrame):
            raise UserError(
                f"make of {source} must return or yield a pyarrow table or a DataFrame, not {type(made).__name__}"
            )
        made = pa.Table.from_pandas(made, preserve_index=False)
    table.check_names(made, source)
    return made.replace_schema_metadata(None)


def labelled(rows, source: str, target: str, drop: list[str]) -> Iterator[pa.Table]:
    """The rows that have a target, group by group, without the columns of make_data.drop.

    The target becomes labels: whole numbers, booleans or text as it was written. Which of them, the whole column says;
    of a table that comes in pieces the first.
    """
    first = rows
    if isinstance(rows, Iterator):
        first = next(rows, None)
        if first is None:
            raise UserError(f"make of {source} yields no table; a model needs some rows of at least two classes")
        rows = itertools.chain([first], rows)
    check_columns(first, source, target, drop)
    pieces = (group.column(target) for group in table.groups(first, columns=[target]))
    kind = kind_of_labels(pieces, first.schema.field(target).type, source, target)
    missing = n = 0
    for group in rows if isinstance(rows, Iterator) else table.groups(rows):
        column = labels(group.column(target), kind, source, target)
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
    encoding.check(rows.schema.empty_table().select(kept), target)


def kind_of_labels(pieces: Iterator[pa.ChunkedArray], kind: pa.DataType, source: str, target: str) -> pa.DataType:
    """Numbers and booleans stay what they are; all else is text, or whole numbers if all of it reads so."""
    if encoding.kind_of(kind) is None:
        raise UserError(f"{source}: the target {target!r} holds {kind}, which is no label; choose another column")
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return kind
    texts = (text for piece in pieces for text in set(encoding.texts_of(piece)) - {None})
    whole = all(folder.WHOLE.fullmatch(text) for text in texts)  # but 01 is a label of its own
    return pa.int64() if whole else pa.string()


def labels(column: pa.ChunkedArray, kind: pa.DataType, source: str, target: str) -> pa.ChunkedArray:
    """A piece of the target as labels of that kind, null where they are missing."""
    if pa.types.is_float16(column.type):
        column = column.cast(kind)
    if column.type != kind or pa.types.is_string(kind):
        try:
            column = pa.chunked_array([pa.array(encoding.texts_of(column), pa.string())]).cast(kind)
        except pa.ArrowInvalid as error:
            raise UserError(
                f"{source}: the target {target!r} is whole numbers at first, and later is not ({error}); "
                f"yield labels of one kind"
            ) from None
    elif pa.types.is_floating(kind):
        column = pc.add(column, pa.scalar(0.0, kind))  # -0.0 and 0.0 are one label
    return pc.if_else(pc.is_null(column, nan_is_null=True), None, column)


def check(counts: Counter, source: str, target: str) -> None:
    """Refuse labels, by how often each comes, that are no classes."""
    n = counts.total()
    if not 2 <= len(counts) <= MOST_CLASSES or (len(counts) == n and n > 2):
        measure = len(counts) > 2 and all(encoding.is_number(str(label)) for label in counts)
        thing = "a measure; cut it into classes, or choose" if measure else "not classes; choose"
        raise UserError(
            f"{source}: the target {target!r} has {len(counts)} different values in {n} rows, and 2 to {MOST_CLASSES} "
            f"that come more than once can be classes; this is {thing} another make_data.target"
        )
    if any(isinstance(label, float) and math.isinf(label) for label in counts):
        raise UserError(f"{source}: the target {target!r} is infinite in some rows, which is no label; mend them")
    rare = [label for label in counts if counts[label] < FEWEST_ROWS]
    if rare:
        raise UserError(
            f"{source}: class {rare[0]!r} of the target {target!r} has {counts[rare[0]]} row, too few to train on and "
            f"test on; drop it or join it to another"
        )
    warn_of_likenesses(counts, source, target)


def warn_of_likenesses(counts: dict, source: str, target: str) -> None:
    """One line on stderr when labels differ in case or in spaces around them alone: often one class was meant."""
    alike = {}
    for label in counts:
        if isinstance(label, str):
            alike.setdefault(label.strip().casefold(), []).append(label)
    pairs = [" and ".join(map(repr, sorted(labels))) for labels in alike.values() if len(labels) > 1]
    if pairs:
        listed = ", ".join(f"{label!r} ({counts[label]} rows)" for label in sorted(counts))
        print(
            f"warning: {source}: labels of {target!r} differ only in case or spaces: {'; '.join(pairs)}; "
            f"they are kept apart; the classes are {listed}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    run(main)
