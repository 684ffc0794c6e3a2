"""One Parquet file, or those of a folder, as a table that is read where it lies.

DuckDB reads the values. pyarrow reads the files' metadata: the names as they stand there, and which columns are
categories or durations. Parquet has no types for these, and Arrow's writers (pyarrow, pandas, Polars) note them there.
"""

import base64
from pathlib import Path
from typing import NamedTuple

from plumbline.basics.errors import UserError
from plumbline.sources.rows import Keep, Rows, check_names, of_files, relation, unreadable
from plumbline.tables import columns, duck

A_SECOND = {"duration[s]": 1, "duration[ms]": 1_000, "duration[us]": 1_000_000, "duration[ns]": 1_000_000_000}
TEXT = 2**20  # bytes of a cell at most: a longer text is a document, and no category
FILE = "file_index"  # DuckDB's name for the number of a row's file, from 0; so no column may have it


class Partition(NamedTuple):
    """A column that the names of folders give, such as year=2024."""

    values: list[str | None]  # one a file
    kind: str  # DuckDB's type

    @property
    def sql(self) -> str:
        """SQL of a row's value."""
        values = ", ".join("NULL" if value is None else duck.text(value) for value in self.values)
        return f"([{values}]::{self.kind}[])[{FILE}::BIGINT + 1]"


def read(source: Path, paths: list[Path], keep: Keep, partitions: dict[str, Partition]) -> Rows:
    """The rows of files, one after the other; UserError for a file that is no Parquet, and for columns that do not fit.

    Files must have the same columns, in any order. If a column is of two types, it takes the one that holds both:
    BIGINT for INTEGER and BIGINT, DOUBLE for BIGINT and DOUBLE.

    source: the file or folder, for messages. partitions: columns that the names of folders give.
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
    is_as_stored = len(paths) == 1 and all(sql == duck.name(name) for name, sql in rows.select.items())
    return rows._replace(file=paths[0]) if is_as_stored else rows


def as_declared(rows: Rows, schemas: list) -> Rows:
    """The same rows with the types that Arrow declares.

    Categories are text, even if their labels are numbers. Durations are seconds. A column without a type is text.

    schemas: Arrow's schemas of the files. What they say of a column counts if all say the same.
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
    """Arrow's schemas, and for each the files that have it."""
    import pyarrow  # late, for it takes half a second, and a CSV does without
    import pyarrow.parquet

    found = {}
    for path in paths:
        try:
            footer = pyarrow.parquet.read_metadata(path)
            schema, written = footer.schema.to_arrow_schema(), (footer.metadata or {}).get(b"ARROW:schema")
            if written:  # pyarrow's own read_schema drops categories whose labels are numbers
                said = pyarrow.ipc.read_schema(pyarrow.py_buffer(base64.b64decode(written)))
                schema = said if said.names == schema.names else schema
        except (pyarrow.ArrowException, OSError) as error:
            raise unreadable(path, error) from None
        check_names(schema.names, path)
        found.setdefault(schema.remove_metadata(), []).append(path)
    return found


def _index(path: Path) -> list[str]:
    """The columns that are the index of a pandas table, by the file's metadata."""
    import pyarrow.parquet

    try:
        said = pyarrow.parquet.read_schema(path).pandas_metadata or {}
        return [name for name in said.get("index_columns", []) if isinstance(name, str)]
    except (ValueError, AttributeError, TypeError):  # metadata that pandas did not write
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
            if one == '"NULL"':  # all missing so far
                one, where = other, path
            if not _go_together(one, other):
                these, those = columns.in_words(one), columns.in_words(other)
                raise UserError(f"column {name!r} is {these} in {where} and {those} in {path}; write the files alike")


def _go_together(one: str, other: str) -> bool:
    """Whether two types can be one column. Whole numbers and floats can: `_check_exact` looks at their values."""
    if one == other or other == '"NULL"':
        return True
    kind = columns.kind_of(one)
    if kind is None or kind != columns.kind_of(other) or "BOOLEAN" in (one, other):
        return False
    return ("Z" in one) == ("Z" in other)  # both with a zone, or none


def _check_exact(paths: list[Path], read_as: dict[str, str]) -> None:
    """Refuse whole numbers that would not be exact as floats, where another file makes the column one of floats."""
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

    A dictionary stores a text once for all rows, so a small file may hold more text than fits in memory. Lengths are
    asked for without holding the texts, and only in columns that have a row group of so many bytes.
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
    """Refuse a file that has the partition's column itself, with another value than its folder's name."""
    column = f"{duck.name(name)}::VARCHAR"
    differs = f"{column} IS DISTINCT FROM ({partition.sql})::VARCHAR"
    for file, value in duck.rows(f"SELECT {FILE}, {column} FROM {rows.relation} WHERE {differs} LIMIT 1"):
        raise UserError(
            f"{rows.paths[file]} holds {value!r} in its column {name!r} and lies in "
            f"{name}={partition.values[file] or ''}; mend one of the two, or write the files without that column"
        )
