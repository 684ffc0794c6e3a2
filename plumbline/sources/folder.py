"""A folder of Parquet files as one table: as Spark, DuckDB and others write it, partitioned or not.

Files are read one after the other in the byte order of their paths (`LC_ALL=C sort`), so neither the file system nor
the locale has a say. A folder named year=2024 adds a column: whole numbers, dates or text. What the files are, which
they are and what their partitions mean is told here, for DuckDB would take 01 for a number, and text beside numbers.
"""

import datetime
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from plumbline.basics import inputs
from plumbline.basics.errors import UserError
from plumbline.sources import arrow, parquet
from plumbline.sources.rows import Keep, Rows, check_names, literal, unreadable
from plumbline.tables import columns, duck

MISSING = "__HIVE_DEFAULT_PARTITION__"  # what all of them write where a partition's value is missing
WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")  # 01 stays text, and so does what int64 cannot hold
# Tables whose files do not all count: which of them do, a log says that is not read here.
LOGS = {"_delta_log": "Delta", ".hoodie": "Hudi"}


def read(folder: Path, keep: Keep) -> Rows:
    """The rows of all Parquet files in a folder.

    Files must have the same columns, in any order. A column takes the type that holds what every file has of it:
    BIGINT for INTEGER and BIGINT, DOUBLE for whole numbers and DOUBLE.
    """
    inputs.watch(folder)
    paths = sorted(_files(folder), key=os.fsencode)
    if not paths:
        raise UserError(f"{folder} has no .parquet file in it; a folder of them can be a table")
    partitions = _partitions(folder, paths)
    try:
        names = _same_columns(paths)
    except duck.Error:
        for path in paths:
            parquet.read(path, list)  # which of them it is
        raise
    own = [name for name in names if name not in partitions]
    check_names([*own, *partitions], folder)
    kept = set(keep([*own, *partitions]))
    for part in folder.parts:  # DuckDB takes it for a partition too
        if partitions and "=" in part and unquote(part.split("=", 1)[0]) in {*names, *partitions}:
            raise UserError(
                f"{folder} lies in {part}, and has a column of that name itself; rename the folder above it"
            )
    listed = f"[{duck.texts(map(literal, paths))}]"
    relation = f"read_parquet({listed}, union_by_name = true, hive_partitioning = {bool(partitions)}"
    relation += ", hive_types_autocast = false)" if partitions else ")"
    try:
        types = duck.columns(relation)
        count = duck.rows(f"SELECT sum(num_rows)::BIGINT FROM parquet_file_metadata({listed})")[0][0]
        select = {name: duck.name(name) for name in own}
        _check_exact(paths, {name: types[name] for name in own if name in kept})
        rows = parquet.as_declared(
            Rows(relation, select, {name: types[name] for name in own}, count), arrow.declared(paths)
        )
    except duck.Error as error:
        raise unreadable(folder, error) from None
    select, types = dict(rows.select), dict(rows.types)
    for name, (written, kind) in partitions.items():
        select[name] = f"nullif({duck.name(written)}, '')::{kind}"
        types[name] = kind
    for name in set(names) & partitions.keys():  # Polars writes the partitions' columns too
        _check_partition(folder, paths, name, *partitions[name])
    return rows._replace(
        select={name: sql for name, sql in select.items() if name in kept},
        types={name: kind for name, kind in types.items() if name in kept},
    )


def damaged(folder: Path) -> None:
    """UserError with the name of the file that cannot be read."""
    for path in sorted(_files(folder), key=os.fsencode):
        parquet.check(path, parquet.read(path, list))


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


# ---- partitions


def _partitions(folder: Path, paths: list[Path]) -> dict[str, tuple[str, str]]:
    """Of every partition, by its name, how the folders write that name, and the type of its values."""
    texts = []
    for path in paths:
        pairs = [part.split("=", 1) for part in path.relative_to(folder).parts[:-1] if "=" in part]
        if not all(name for name, _ in pairs):
            raise UserError(f"{path} is in a partition without a name; a partition's folder is NAME=VALUE, rename it")
        texts.append({name: _value(text) for name, text in pairs})
        if len({unquote(name) for name in texts[-1]}) < len(pairs):
            raise UserError(f"{path} is in two folders of the same partition; names must differ, rename one")
        if list(texts[-1]) != list(texts[0]):
            these, those = (", ".join(map(unquote, names)) or "none" for names in (texts[-1], texts[0]))
            raise UserError(
                f"{path} is in the partitions {these}, and {paths[0]} in {those}; all files must be in the same ones"
            )
    return {unquote(name): (name, _type([each[name] for each in texts])) for name in texts[0]}


def _value(text: str) -> str | None:
    return None if text in ("", MISSING) else unquote(text)


def _type(texts: list[str | None]) -> str:
    """The type that suits all values of a partition, as DuckDB has it."""
    present = [text for text in texts if text is not None]
    if present and all(WHOLE.fullmatch(text) for text in present):
        return "BIGINT"
    if present and all(re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) for text in present):
        try:
            for text in present:
                datetime.date.fromisoformat(text)
        except ValueError:  # the 30th of February: text
            return "VARCHAR"
        return "DATE"
    return "VARCHAR"


def _check_partition(folder: Path, paths: list[Path], name: str, written: str, kind: str) -> None:
    """Refuse a file that has a partition's column with other values than its folder's."""
    for path in paths:
        parts = path.relative_to(folder).parts[:-1]
        (text,) = (part.split("=", 1)[1] for part in parts if part.split("=", 1)[0] == written)
        value = _value(text)
        expected = "NULL" if value is None else f"{duck.text(value)}::{kind}"
        column = duck.name(name)
        found = duck.rows(
            f"SELECT {column}::VARCHAR FROM read_parquet({duck.text(literal(path))}, hive_partitioning = false) "
            f"WHERE {column}::VARCHAR IS DISTINCT FROM {expected}::VARCHAR LIMIT 1"
        )
        if found:
            raise UserError(
                f"{path} holds {found[0][0]!r} in its column {name!r} and lies in {written}={text}; mend one of the "
                f"two, or write the files without that column"
            )


# ---- columns


def _same_columns(paths: list[Path]) -> list[str]:
    """The columns' names; UserError when a file has others, or one of another kind."""
    listed = f"[{duck.texts(map(literal, paths))}]"
    found = duck.rows(f"SELECT file_name, name, duckdb_type, coalesce(num_children, 0) FROM parquet_schema({listed})")
    schemas: dict[str, list[tuple]] = {}
    for row in found:
        schemas.setdefault(row[0], []).append(row)
    first_of = {}  # the first file of every schema
    for path, schema in zip(paths, schemas.values()):
        first_of.setdefault(tuple((name, kind) for _, name, kind, _ in parquet.top(schema)), path)
    (fields, first), *others = first_of.items()
    check_names([name for name, _ in fields], first)
    known = {name: (kind, first) for name, kind in fields}
    for fields, path in others:
        check_names([name for name, _ in fields], path)
        its = dict(fields)
        for name in [*(name for name in known if name not in its), *(name for name in its if name not in known)][:1]:
            has, lacks = (path, first) if name in its else (first, path)
            raise UserError(f"{has} has a column {name!r} and {lacks} has none; all files must have the same columns")
        for name, kind in fields:
            before, where = known[name]
            if not _go_together(before, kind):
                raise UserError(
                    f"column {name!r} is {columns.in_words(before)} in {where} and {columns.in_words(kind)} in {path}; "
                    f"write the files alike"
                )
            if before == '"NULL"':  # nothing in it yet
                known[name] = kind, path
    return list(known)


def _go_together(one: str, other: str) -> bool:
    """Whether one type can hold both without a loss, or at most that of an int64 among floats, which is looked for."""
    if one == other or '"NULL"' in (one, other):
        return True
    kind = columns.kind_of(one)
    if kind is None or kind != columns.kind_of(other) or "BOOLEAN" in (one, other):
        return False
    zoned = [each for each in (one, other) if "TZ" in each or "ZONE" in each]
    wide = [each for each in (one, other) if each == "UBIGINT"]
    return len(zoned) != 1 and (len(wide) != 1 or not {one, other} & {"TINYINT", "SMALLINT", "INTEGER", "BIGINT"})


def _check_exact(paths: list[Path], types: dict[str, str]) -> None:
    """Refuse whole numbers that are read as floats, because another file has floats, and would not be exact."""
    for name in (name for name, kind in types.items() if kind in columns.FLOATS):
        for path in paths:
            source = f"read_parquet({duck.text(literal(path))}, hive_partitioning = false)"
            kind, column = duck.columns(source)[name], duck.name(name)
            if kind in columns.INTEGERS:
                found = duck.rows(f"SELECT {column} FROM {source} WHERE {column}::{types[name]}::HUGEINT <> {column}")
                if found:
                    raise UserError(
                        f"{path}: column {name!r} is {kind.lower()} here and cannot be {types[name].lower()}, as in "
                        f"other files: {found[0][0]} would not be exact; write the files alike"
                    )
