"""A folder of Parquet files as one table: as Spark, DuckDB and others write it, partitioned or not.

Files are read one after the other, by row groups, in the byte order of their paths (`LC_ALL=C sort`), so neither the
file system nor the locale has a say. A folder named year=2024 adds a column: whole numbers, dates or text, as DuckDB
tells them apart. pyarrow.dataset has no dates among them, reads 01 as 1, and takes 0.3 s to import.
"""

import datetime
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa

from stages import spill, table
from stages.errors import UserError, reason

MISSING = "__HIVE_DEFAULT_PARTITION__"  # what all of them write where a partition's value is missing
WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")  # 01 stays text, and so does what int64 cannot hold
# Tables whose files do not all count: which of them do, a log says that is not read here.
LOGS = {"_delta_log": "Delta", ".hoodie": "Hudi"}


class Folder(table.Stored):
    """The table of all Parquet files in a folder, with the methods of one in a file.

    Files must have the same columns, in any order. A column takes the type that holds what every file has of it: int64
    for int32 and int64, float64 for whole numbers and float64.
    """

    def __init__(self, folder: Path):
        self._paths = sorted(_files(folder), key=os.fsencode)
        if not self._paths:
            raise UserError(f"{folder} has no .parquet file in it; a folder of them can be a table")
        self._values, types = _partitions(folder, self._paths)
        self._rows, self._bytes, self.metadata = [], 0, {}
        first_of = {}  # the first file of every schema
        for path in self._paths:
            file = self._open(path)
            self._rows.append(len(file))
            self._bytes += file.nbytes
            if file.schema not in first_of:
                table.check_names(file, path)
                first_of[file.schema] = path
        fields = _together(first_of)
        self._twice = {field.name for field in fields} & types.keys()  # Polars writes the partitions' columns too
        fields = [field for field in fields if field.name not in types]
        self.schema = pa.schema([*fields, *map(pa.field, types, types.values())])
        self._bytes += 8 * len(types) * len(self)
        self._largest = self._paths[self._rows.index(max(self._rows))]

    def __len__(self) -> int:
        """Rows."""
        return sum(self._rows)

    @property
    def nbytes(self) -> int:
        """Bytes of all columns, not compressed."""
        return self._bytes

    @property
    def least(self) -> float:
        """About the bytes that going through it takes, by the file that has the most rows."""
        return self._open(self._largest).least

    @property
    def text_of_a_group(self) -> float:
        """About the bytes of text that a row group holds when it is written, and again in its pages."""
        return self._open(self._largest).text_of_a_group

    def row_size(self, columns: list[str] | None = None) -> float:
        """About the bytes in memory of a row, or of some columns of it, by the file that has the most rows."""
        columns = columns or self.column_names
        own = [name for name in columns if name not in self._values[0]]
        return (self._open(self._largest).row_size(own) if own else 0) + table.TEXT * (len(columns) - len(own))

    def groups(self, rows: int = table.ROWS, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """As a file's: pieces of so many rows wherever the files end, at least one; smaller if memory is short."""
        rows = spill.rows_at_a_time(self.row_size(columns), min(rows, max(len(self), 1)))
        yield from self._cut(rows, columns or self.column_names)

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """The whole table, or some of its columns."""
        return next(self._cut(max(len(self), 1), columns or self.column_names))

    def _cut(self, rows: int, columns: list[str]) -> Iterator[pa.Table]:
        waiting, count = [], 0
        for piece in self._pieces(rows, columns):
            while count + len(piece) > rows:
                yield _joined([*waiting, piece.slice(0, rows - count)])
                piece = piece.slice(rows - count)
                waiting, count = [], 0
            waiting.append(piece)
            count += len(piece)
        yield _joined(waiting)

    def _pieces(self, rows: int, columns: list[str]) -> Iterator[pa.Table]:
        """The files' rows, at most so many at a time, with the partitions' columns and the whole table's types."""
        for path, values, length in zip(self._paths, self._values, self._rows):
            own = [name for name in columns if name not in values or name in self._twice]
            if not own:
                pieces = (min(rows, length - start) for start in range(0, max(length, 1), rows))
            elif length <= rows:
                pieces = [self._open(path).read(own)]
            else:
                pieces = self._open(path).groups(rows, own)
            for piece in pieces:
                yield self._complete(piece, columns, values, path)

    def _complete(self, piece: pa.Table | int, columns: list[str], values: dict, path: Path) -> pa.Table:
        n = len(piece) if isinstance(piece, pa.Table) else piece  # a number of rows when no column is the file's own
        arrays = {}
        for name in columns:
            kind = self.schema.field(name).type
            if name in values:
                arrays[name] = pa.repeat(pa.scalar(values[name], kind), n)
                if name in self._twice:
                    _check_same(name, piece.column(name), arrays[name], path)
                continue
            column = piece.column(name)
            try:
                if pa.types.is_dictionary(column.type) and column.type != kind:
                    column = column.cast(column.type.value_type)
                arrays[name] = column.cast(kind)
            except MemoryError:
                raise
            except pa.ArrowException as error:
                raise UserError(
                    f"{path}: column {name!r} is {column.type} here and cannot be {kind}, which other files need "
                    f"({reason(error)}); write them alike"
                ) from None
        return pa.table(arrays, pa.schema([self.schema.field(name) for name in columns]))

    def _open(self, path: Path) -> table.Stored:
        return table.Stored(path, path, "{} cannot be read as its name says: {}; save it anew, or take it away")


def _check_same(name: str, column: pa.ChunkedArray, partition: pa.Array, path: Path) -> None:
    """Refuse a file whose column is not what the folder's name says of it: which is meant cannot be told."""
    value = partition[:1].to_pylist()
    found = {str(each) for each in column.unique().to_pylist()} - {str(each) for each in value}
    if found:
        raise UserError(
            f"{path} holds {min(found)!r} in its column {name!r} and lies in {name}={value[0]}, and which is meant "
            f"cannot be told; write the files without that column"
        )


def _joined(pieces: list[pa.Table]) -> pa.Table:
    """Pieces as one, in one chunk a column: categories of different files get the same numbers."""
    return pa.concat_tables(pieces).combine_chunks()


def _files(folder: Path) -> Iterator[Path]:
    """The Parquet files; UserError for what else is there, but for what engines themselves do not take for data."""
    for place, folders, names in os.walk(folder, onerror=_raise):
        for name in folders:
            path = Path(place, name)
            if name in LOGS:
                raise UserError(
                    f"{folder} is a {LOGS[name]} table, whose log ({path}) says which of its files count; write it out "
                    f"as plain Parquet"
                )
            if not _is_hidden(name) and path.is_symlink():
                raise UserError(f"{path} is a link to a folder, which DVC does not follow either; put the folder there")
        folders[:] = [name for name in folders if not _is_hidden(name)]
        for name in names:
            path = Path(place, name)
            if _is_hidden(name):
                continue
            if not name.lower().endswith(".parquet"):
                raise UserError(f"{path} is no .parquet file, and {folder} is read as a folder of them; move it away")
            yield path


def _raise(error: OSError) -> None:
    raise error


def _is_hidden(name: str) -> bool:
    """As Spark has it: _SUCCESS, _metadata, .part-0.parquet.crc; but _year=2024 is a partition."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _partitions(folder: Path, paths: list[Path]) -> tuple[list[dict], dict[str, pa.DataType]]:
    """Of every file its partitions' values by name, and each partition's type."""
    texts = []
    for path in paths:
        pairs = [part.split("=", 1) for part in path.relative_to(folder).parts[:-1] if "=" in part]
        if not all(name for name, _ in pairs):
            raise UserError(f"{path} is in a partition without a name; a partition's folder is NAME=VALUE, rename it")
        texts.append({unquote(name): None if text in ("", MISSING) else unquote(text) for name, text in pairs})
        if len(texts[-1]) < len(pairs):
            raise UserError(f"{path} is in two folders of the same partition; names must differ, rename one")
        if list(texts[-1]) != list(texts[0]):
            these, those = (", ".join(names) or "none" for names in (texts[-1], texts[0]))
            raise UserError(
                f"{path} is in the partitions {these}, and {paths[0]} in {those}; all files must be in the same ones"
            )
    columns = {name: _typed([each[name] for each in texts]) for name in texts[0]}
    values = [{name: column[i] for name, (column, _) in columns.items()} for i in range(len(paths))]
    return values, {name: kind for name, (_, kind) in columns.items()}


def _typed(texts: list[str | None]) -> tuple[list, pa.DataType]:
    """A partition's values with the type that suits all of them, as DuckDB has it."""
    present = [text for text in texts if text is not None]
    if present and all(WHOLE.fullmatch(text) for text in present):
        return [None if text is None else int(text) for text in texts], pa.int64()
    if present and all(re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) for text in present):
        try:
            dates = [None if text is None else datetime.date.fromisoformat(text) for text in texts]
        except ValueError:  # the 30th of February: text
            return texts, pa.string()
        return dates, pa.date32()
    return texts, pa.string()


def _together(first_of: dict[pa.Schema, Path]) -> list[pa.Field]:
    """The columns of the first file, each with a type that holds those of all; UserError where there is none."""
    (schema, first), *others = first_of.items()
    columns = {field.name: (field.type, field.nullable, first) for field in schema}
    for schema, path in others:
        for name in [*columns.keys() - set(schema.names), *set(schema.names) - columns.keys()][:1]:
            has, lacks = (path, first) if name in schema.names else (first, path)
            raise UserError(f"{has} has a column {name!r} and {lacks} has none; all files must have the same columns")
        for field in schema:
            kind, nullable, where = columns[field.name]
            both = _common(kind, field.type)
            if both is None:
                raise UserError(
                    f"column {field.name!r} is {kind} in {where} and {field.type} in {path}; write the files alike"
                )
            columns[field.name] = (both, nullable or field.nullable, where if both == kind else path)
    return [pa.field(name, kind, nullable) for name, (kind, nullable, _) in columns.items()]


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds two, None if there is none."""
    if one == other:
        return one
    kinds = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in (one, other)]
    try:
        fields = [pa.schema([("", kind)]) for kind in kinds]
        return pa.unify_schemas(fields, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None
