"""Parquet files that are one table, read where they lie: one, or those of a folder.

What Parquet has no word for, categories and durations, Arrow's writers (pyarrow, pandas, Polars) leave in the file's
metadata. pyarrow tells it, and the names as they stand in the file; the values are for DuckDB to read.
"""

import base64
import json
from pathlib import Path
from typing import NamedTuple

from plumbline.basics.errors import UserError
from plumbline.sources.rows import Keep, Rows, check_names, of_files, relation, unreadable
from plumbline.tables import columns, duck

A_SECOND = {"duration[s]": 1, "duration[ms]": 1_000, "duration[us]": 1_000_000, "duration[ns]": 1_000_000_000}
TEXT = 2**20  # bytes of a cell: more is a document, and no category
FILE = "file_index"  # the number of the file in which a row stands, from 0; DuckDB's name, which is reserved by that


class Partition(NamedTuple):
    """A column that the folders of files write: its value for each file, and its type."""

    values: list[str | None]
    kind: str

    @property
    def sql(self) -> str:
        """The value of a row."""
        values = ", ".join("NULL" if value is None else duck.text(value) for value in self.values)
        return f"([{values}]::{self.kind}[])[{FILE}::BIGINT + 1]"


def read(source: Path, paths: list[Path], keep: Keep, partitions: dict[str, Partition]) -> Rows:
    """The rows of files one after the other; UserError for one that is no Parquet, and for columns that do not fit.

    Files must have the same columns, in any order. A column takes the type that holds what every file has of it:
    BIGINT for INTEGER and BIGINT, DOUBLE for whole numbers and DOUBLE.
    """
    schemas = _schemas(paths)
    own = [name for name in next(iter(schemas)).names if name not in partitions]
    check_names([*own, *partitions], source)
    if source.is_dir() and FILE in own:
        raise UserError(f"{source} has a column named {FILE!r}, which is reserved in a folder; rename it")
    kept = keep([*own, *partitions])
    try:
        _check_alike(schemas)
        rows = of_files(paths)
        for alike in schemas.values():
            _check_exact(alike, rows.only(kept).types)
        for name in partitions.keys() & rows.types.keys():  # Polars writes the partitions' columns too
            _check_partition(rows, name, partitions[name])
        _check_texts(rows.only(kept))
    except duck.Error as error:
        raise unreadable(source, error) from None
    rows = as_declared(rows.only(own), list(schemas))
    rows = rows._replace(
        select=rows.select | {name: partition.sql for name, partition in partitions.items()},
        types=rows.types | {name: partition.kind for name, partition in partitions.items()},
        index=tuple(name for name in _index(paths[0]) if name in kept),
    ).only(kept)
    as_it_is = len(paths) == 1 and all(sql == duck.name(name) for name, sql in rows.select.items())
    return rows._replace(file=paths[0]) if as_it_is else rows


def as_declared(rows: Rows, schemas: list) -> Rows:
    """Categories are text even if their labels are numbers; durations are seconds; a column without a type is text.

    schemas: what Arrow says of the columns; it counts if all of them say the same.
    """
    select, types, declared = dict(rows.select), dict(rows.types), set()
    for name, kind in rows.types.items():
        said = {str(schema.field(name).type).partition("<")[0] for schema in schemas}
        said = said.pop() if len(said) == 1 else None
        if kind == "INTERVAL":
            select[name], types[name] = f"epoch({select[name]})", "DOUBLE"
        elif said in A_SECOND:
            select[name], types[name] = f"{select[name]}::DOUBLE / {A_SECOND[said]}", "DOUBLE"
        elif said == "dictionary" or kind == '"NULL"':
            select[name], types[name] = columns.label(select[name], kind), "VARCHAR"
            declared |= {name} if said == "dictionary" else set()
    return rows._replace(select=select, types=types, declared=frozenset(declared))


def _schemas(paths: list[Path]) -> dict:
    """The files by what Arrow says of their columns."""
    import pyarrow  # late, for it takes half a second, and most tables are none of its
    import pyarrow.parquet

    found = {}
    for path in paths:
        try:
            footer = pyarrow.parquet.read_metadata(path)
            schema, written = footer.schema.to_arrow_schema(), (footer.metadata or {}).get(b"ARROW:schema")
            if written:  # pyarrow's read_schema would leave out the categories that are numbers
                said = pyarrow.ipc.read_schema(pyarrow.py_buffer(base64.b64decode(written)))
                schema = said if said.names == schema.names else schema
        except (pyarrow.ArrowException, OSError) as error:
            raise unreadable(path, error) from None
        check_names(schema.names, path)
        found.setdefault(schema.remove_metadata(), []).append(path)
    return found


def _index(path: Path) -> list[str]:
    """The columns that pandas says are a file's index, and no columns of the table."""
    import pyarrow.parquet

    try:
        said = json.loads((pyarrow.parquet.read_metadata(path).metadata or {}).get(b"pandas", b"{}"))
        return [name for name in said.get("index_columns", []) if isinstance(name, str)]
    except (ValueError, AttributeError, TypeError):  # no metadata of pandas
        return []


# ---- files that do not fit


def _check_alike(schemas: dict) -> None:
    """Refuse files when one has other columns, or columns of another kind."""
    alike = [(paths[0], duck.columns(relation(paths[:1]))) for paths in schemas.values()]
    first, names = alike[0][0], alike[0][1].keys()
    for path, types in alike:
        for name in sorted(names ^ types.keys()):
            has, lacks = (path, first) if name in types else (first, path)
            raise UserError(f"{has} has a column {name!r} and {lacks} has none; all files must have the same columns")
    for name in names:
        (one, where), *others = [(types[name], path) for path, types in alike]
        for other, path in others:
            if one == '"NULL"':  # nothing in it yet
                one, where = other, path
            if not _go_together(one, other):
                these, those = columns.in_words(one), columns.in_words(other)
                raise UserError(f"column {name!r} is {these} in {where} and {those} in {path}; write the files alike")


def _go_together(one: str, other: str) -> bool:
    """Whether one type can hold both without a loss, or at most that of an int64 among floats, which is looked for."""
    if one == other or other == '"NULL"':
        return True
    kind = columns.kind_of(one)
    if kind is None or kind != columns.kind_of(other) or "BOOLEAN" in (one, other):
        return False
    return ("Z" in one) == ("Z" in other)  # both with a zone, or none


def _check_exact(paths: list[Path], read_as: dict[str, str]) -> None:
    """Refuse whole numbers that are read as floats, because another file has floats, and would not be exact."""
    types = duck.columns(relation(paths[:1]))
    for name, kind in read_as.items():
        if types.get(name) in columns.INTEGERS and kind in columns.FLOATS:
            column = duck.name(name)
            inexact = f"{relation(paths)} WHERE {column}::{kind}::HUGEINT <> {column}"
            for file, value in duck.rows(f"SELECT {FILE}, {column} FROM {inexact} LIMIT 1"):
                raise UserError(
                    f"{paths[file]}: column {name!r} is of whole numbers here and cannot be {kind.lower()}, as in "
                    f"other files: {value} would not be exact; write the files alike"
                )


def _check_texts(rows: Rows) -> None:
    """Refuse a text that is too long for a cell.

    A dictionary has a text once for all rows, so that a small file may hold more of them than fits in any memory. To
    look at lengths takes none, and columns where no row group has so many bytes are not looked at.
    """
    files = duck.texts(map(duck.literal, rows.paths))
    listed = f"SELECT DISTINCT path_in_schema FROM parquet_metadata([{files}]) WHERE total_uncompressed_size > {TEXT}"
    for (name,) in duck.rows(listed):
        if rows.types.get(name) == "VARCHAR":
            longer = f"{rows.relation} WHERE strlen({duck.name(name)}) > {TEXT}"
            for file, size in duck.rows(f"SELECT {FILE}, strlen({duck.name(name)}) FROM {longer} LIMIT 1"):
                raise UserError(
                    f"{rows.paths[file]}: column {name!r} holds a text of {size:,} bytes, and a cell has {TEXT:,} at "
                    "most; shorten it, or leave the column out (make_data.drop)"
                )


def _check_partition(rows: Rows, name: str, partition: Partition) -> None:
    """Refuse a file that has a partition's column with other values than its folder's."""
    column = f"{duck.name(name)}::VARCHAR"
    differs = f"{column} IS DISTINCT FROM ({partition.sql})::VARCHAR"
    for file, value in duck.rows(f"SELECT {FILE}, {column} FROM {rows.relation} WHERE {differs} LIMIT 1"):
        raise UserError(
            f"{rows.paths[file]} holds {value!r} in its column {name!r} and lies in "
            f"{name}={partition.values[file] or ''}; mend one of the two, or write the files without that column"
        )
