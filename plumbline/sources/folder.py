"""A folder of Parquet files as one table, as Spark, DuckDB and others write it, partitioned or not.

Files are read one after the other in the byte order of their paths (`LC_ALL=C sort`): no file system or locale changes
it. In a partitioned table the folder year=2024 says that the column year is 2024 in all rows below it. Such a column
holds whole numbers, dates or text.

Files are listed and partitions read here, not by DuckDB. It would take the partition 01 for a number, and read files
of text beside files of numbers.
"""

import os
from pathlib import Path
from urllib.parse import unquote

from plumbline.basics import inputs
from plumbline.basics.errors import UserError
from plumbline.sources import parquet
from plumbline.sources.cells import are_all
from plumbline.sources.rows import Keep, Rows

MISSING = "__HIVE_DEFAULT_PARTITION__"  # what all of them write where a partition's value is missing
# In these tables some files no longer count. Which ones, a log in this folder says, and it is not read here.
LOGS = {"_delta_log": "Delta", ".hoodie": "Hudi"}


def read(folder: Path, keep: Keep) -> Rows:
    """The rows of all Parquet files in a folder."""
    inputs.watch(folder)
    paths = files(folder)
    return parquet.read(folder, paths, keep, _partitions(folder, paths))


def files(folder: Path) -> list[Path]:
    """The Parquet files of a folder, in the order in which they are read; UserError for none, and for other files."""
    paths = []
    for place, folders, names in os.walk(folder, onerror=_raise):
        for name in folders:
            path = Path(place, name)
            if name in LOGS:
                raise UserError(f"{folder} is a {LOGS[name]} table: {path} says which files count; write plain Parquet")
            if not _is_hidden(name) and path.is_symlink():
                raise UserError(f"{path} is a link to a folder, which DVC does not follow either; put the folder there")
        folders[:] = [name for name in folders if not _is_hidden(name)]
        for path in (Path(place, name) for name in names if not _is_hidden(name)):
            if path.suffix.lower() != ".parquet":
                raise UserError(f"{path} is no .parquet file, and {folder} is read as a folder of them; move it away")
            paths.append(path)
    if not paths:
        raise UserError(f"{folder} has no .parquet file in it; a folder of them can be a table")
    return sorted(paths, key=os.fsencode)


def _raise(error: OSError) -> None:
    raise error


def _is_hidden(name: str) -> bool:
    """Whether Spark would skip it: _SUCCESS, _metadata, .part-0.parquet.crc; but _year=2024 is a partition."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


# ---- partitions


def _partitions(folder: Path, paths: list[Path]) -> dict[str, parquet.Partition]:
    """The columns that folders' names add, by name."""
    values = []  # a dict a file: its value in each partition
    for path in paths:
        pairs = [part.split("=", 1) for part in path.relative_to(folder).parts[:-1] if "=" in part]
        values.append({unquote(name): None if text in ("", MISSING) else unquote(text) for name, text in pairs})
        if len(values[-1]) < len(pairs):
            raise UserError(f"{path} is in two folders of the same partition; names must differ, rename one")
        if list(values[-1]) != list(values[0]):
            these, those = (", ".join(names) or "none" for names in (values[-1], values[0]))
            raise UserError(f"{path} is in the partitions {these}, and {paths[0]} in {those}; all must be in the same")
    columns = {name: [each[name] for each in values] for name in values[0]}
    return {name: parquet.Partition(texts, _type(texts)) for name, texts in columns.items()}


def _type(texts: list[str | None]) -> str:
    """DuckDB's type for the values of a partition: the first of BIGINT, DATE and VARCHAR that suits all."""
    present = {text for text in texts if text is not None}
    return next((kind for kind in ("BIGINT", "DATE") if are_all(kind, present)), "VARCHAR")
