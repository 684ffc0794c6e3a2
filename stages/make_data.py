"""First stage: the table that everything else is about.

Reads make_data.source (a .csv or .parquet table, or a .py file that makes one), checks it, and writes
data/dataset.parquet with its facts: target, classes, and where the stream of random numbers stands.

    python -m stages.make_data
"""

import importlib.util
import traceback
from collections import Counter
from pathlib import Path

import pyarrow as pa

from stages import encoding, params, stream, table
from stages.errors import UserError, run
from stages.table import ROW, Facts

MOST_CLASSES = 100


def main() -> None:
    settings = params.read()
    source, target = settings.make_data.source, settings.make_data.target
    if source.endswith(".py"):
        generator = stream.seeded(settings.seed)
        dataset = generate(source, settings.make_data, generator)
        position = stream.to_text(generator)
    else:
        dataset = table.read_source(source)
        position = None
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
    return made.replace_schema_metadata(None)


def check(dataset: pa.Table, source: str, target: str) -> tuple[list, list[int]]:
    """The target's classes in order and their counts; UserError when the table cannot be trained on."""
    names = dataset.column_names
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"{source} has {count} columns named {name!r}; names must differ, rename them")
    if ROW in names:
        raise UserError(f"{source} has a column named {ROW!r}, which is reserved for row numbers; rename it")
    if target not in names:
        raise UserError(f"{source} has no column {target!r} (make_data.target){params.nearest(target, names)}")
    if len(names) < 2:
        raise UserError(f"{source} has no column beside the target {target!r}; a model needs at least one feature")
    column = dataset.column(target)
    if column.null_count:
        raise UserError(f"{source}: the target {target!r} is missing in {column.null_count} rows; fill or drop them")
    counts = {item["values"]: item["counts"] for item in column.value_counts().to_pylist()}
    if not 2 <= len(counts) <= MOST_CLASSES:
        raise UserError(
            f"{source}: the target {target!r} has {len(counts)} different values in {len(dataset)} rows, and "
            f"2 to {MOST_CLASSES} can be classes; choose another make_data.target"
        )
    classes = sorted(counts)
    return classes, [counts[label] for label in classes]


if __name__ == "__main__":
    run(main)
