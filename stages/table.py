"""A Parquet table in and out, with the facts that travel in its metadata; CSV and Parquet sources.

The facts are what later stages must know of the whole table and cannot see in their part of it: the target, its
classes, and where the stream of random numbers stands. Files are written uncompressed and floats without a dictionary:
bytes then depend on pyarrow's version alone, and columns of random digits do not shrink anyway.
"""

from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.errors import UserError
from stages.files import replacing

ROW = "_row"  # the row's number in dataset.parquet, from 0; a reserved name
METADATA_KEY = b"plumbline"
SUFFIXES = (".parquet", ".csv", ".csv.gz")


class Facts(msgspec.Struct, frozen=True):
    """What travels with a table. `class_counts` are of the whole dataset, also in its parts."""

    target: str
    classes: list[bool | int | float | str]
    class_counts: list[int]
    stream: str | None  # stages.stream.to_text; none for a user's table, whose stream starts in split


def read_source(path: str | Path) -> pa.Table:
    """A user's table as it came, without metadata; UserError for what cannot be read as its name says."""
    path = Path(path)
    problem = None
    if path.is_dir():
        problem = "is a folder"
    elif not path.is_file():
        problem = "is not there"
    elif not path.name.lower().endswith(SUFFIXES):
        problem = "is of no kind that is read here"
    elif not path.stat().st_size:
        problem = "is empty"
    if problem:
        raise UserError(f"make_data.source {path} {problem}; it must be a table ({', '.join(SUFFIXES)}) or a .py file")
    try:
        if path.name.endswith(".parquet"):
            table = pq.ParquetFile(path).read()
        else:
            from pyarrow import csv

            table = csv.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"make_data.source {path} cannot be read as its name says: {reason}") from None
    return table.replace_schema_metadata(None)


def read(path: str | Path | BinaryIO, name: str | None = None) -> tuple[pa.Table, Facts]:
    """A table that a stage wrote, and its facts; `name` is what messages call it, if not by its path."""
    name = name or path
    try:
        table = pq.ParquetFile(path).read()
        facts = msgspec.json.decode(table.schema.metadata[METADATA_KEY], type=Facts)
    except FileNotFoundError:
        raise UserError(f"{name} is not there; `dvc repro` makes it, `dvc checkout` brings it back") from None
    except (pa.ArrowException, OSError, KeyError, TypeError, msgspec.MsgspecError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{name} is not a table that a stage wrote ({reason}); run `dvc repro`") from None
    return table, facts


def write(table: pa.Table, path: str | Path, facts: Facts | None = None) -> None:
    """Write `table`, whole or not at all; only text gets a dictionary."""
    table = table.replace_schema_metadata({METADATA_KEY: msgspec.json.encode(facts)} if facts else None)
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="none", use_dictionary=texts)


def targets(table: pa.Table, facts: Facts) -> np.ndarray:
    """The target as class numbers in the order of `facts.classes`: int32 (n,)."""
    column = table.column(facts.target)
    return pc.index_in(column, pa.array(facts.classes, column.type)).to_numpy().astype(np.int32)
