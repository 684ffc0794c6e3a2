"""First stage: the table that everything else is about.

Reads make_data.source (a .csv, .csv.gz or .parquet table, or a .py file that makes one), checks it, and writes the rows
that have a target to data/dataset.parquet, columns as they came without those of make_data.drop, with the table's
facts: target, classes, and where the stream of random numbers stands.

    python -m stages.make_data
"""

import importlib.util
import math
import re
import sys
import traceback
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from stages import encoding, params, stream, table
from stages.errors import UserError, run
from stages.table import ROW, Facts

MOST_CLASSES = 100
FEWEST_ROWS = 2  # of a class: one to train on and one to test on
WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")  # integers as Python writes them, within int64


def main() -> None:
    settings = params.read()
    source, target = settings.make_data.source, settings.make_data.target
    if source.endswith(".py"):
        generator = stream.seeded(settings.seed)
        dataset = generate(source, settings.make_data, generator)
        position = stream.to_text(generator)
    else:
        dataset = table.read_source(source, texts=[target])
        position = None
    dataset = with_labels(without(dataset, settings.make_data.drop, source), source, target)
    classes, counts = check(dataset, source, target)
    encoding.check(dataset, target)
    table.write(dataset, "data/dataset.parquet", Facts(target, classes, counts, position))
    shares = ", ".join(f"{label}: {count}" for label, count in zip(classes[:10], counts))
    print(f"{source}: {len(dataset)} rows, {dataset.num_columns - 1} features, {target} {{{shares}}}")


def generate(source: str, settings, generator) -> pa.Table:
    """The table that `make(settings, generator)` of a .py source returns."""
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
    if not isinstance(made, pa.Table):
        import pandas as pd

        if not isinstance(made, pd.DataFrame):
            raise UserError(f"make of {source} must return a pyarrow table or a DataFrame, not {type(made).__name__}")
        made = pa.Table.from_pandas(made, preserve_index=False)
    table.check_names(made, source)
    return made.replace_schema_metadata(None)


def without(dataset: pa.Table, names: list[str], source: str) -> pa.Table:
    """The table without the columns of make_data.drop."""
    for name in names:
        if name not in dataset.column_names:
            hint = params.nearest(name, dataset.column_names)
            raise UserError(f"{source} has no column {name!r} to leave out (make_data.drop){hint}")
    return dataset.drop_columns(names)


def with_labels(dataset: pa.Table, source: str, target: str) -> pa.Table:
    """The rows that have a target, and the target as labels: whole numbers, booleans or text as it was written."""
    if target not in dataset.column_names:
        hint = params.nearest(target, dataset.column_names)
        raise UserError(f"{source} has no column {target!r} (make_data.target){hint}")
    if not len(dataset):
        raise UserError(f"{source} has no rows below its header; a model needs some of at least two classes")
    column = dataset.column(target)
    kind = column.type
    if encoding.kind_of(kind) is None:
        raise UserError(f"{source}: the target {target!r} holds {kind}, which is no label; choose another column")
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        column = pa.chunked_array([pa.array(encoding.texts_of(column), pa.string())])
        texts = column.unique().drop_null().to_pylist()
        if all(WHOLE.fullmatch(text) for text in texts):  # a CSV's 0 and 1; but 01 is a label of its own
            column = column.cast(pa.int64())
    column = pc.if_else(pc.is_null(column, nan_is_null=True), None, column)
    dataset = dataset.set_column(dataset.column_names.index(target), target, column)
    if column.null_count == len(column):
        raise UserError(f"{source}: the target {target!r} is missing in every row; choose another make_data.target")
    if column.null_count:
        print(f"{source}: {column.null_count} rows of {len(column)} are left out, their {target!r} is missing")
        dataset = dataset.filter(pc.is_valid(column))
    return dataset


def check(dataset: pa.Table, source: str, target: str) -> tuple[list, list[int]]:
    """The target's classes in order and their counts; UserError when the table cannot be trained on."""
    names = dataset.column_names
    if ROW in names:
        raise UserError(f"{source} has a column named {ROW!r}, which is reserved for row numbers; rename it")
    if len(names) < 2:
        raise UserError(f"{source} has no column beside the target {target!r}; a model needs at least one feature")
    counts = {item["values"]: item["counts"] for item in dataset.column(target).value_counts().to_pylist()}
    n = len(dataset)
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
    classes = sorted(counts)
    return classes, [counts[label] for label in classes]


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
