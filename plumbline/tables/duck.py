"""DuckDB, the engine that reads, counts and writes tables. No other module imports it.

It works on tables larger than memory, keeps the order of rows except in a join, and writes the same bytes with any
number of threads. Its sums of floats depend on the threads and are not used. Counts, order statistics and sums of
integers do not.

Most functions take SQL. `name`, `text` and the others at the end of this file quote what is put into it.
"""

import contextlib
import errno
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import duckdb
import numpy as np

from plumbline.basics import memory
from plumbline.basics.errors import reason

Error = duckdb.Error
# Without the last two options writing takes twice as long, and 600 KB of memory for each column
PARQUET = "FORMAT parquet, COMPRESSION uncompressed, DICTIONARY_SIZE_LIMIT 1_000, WRITE_BLOOM_FILTER false"
SHARE = 0.4  # DuckDB's limit, as a share of the memory; it takes more than that, and arrays need the rest
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)  # errors of a disk or folder
A_THREAD = 2**27  # bytes that each thread needs: https://duckdb.org/docs/stable/guides/performance/environment
ARROW_ERRORS = {"Out of Memory": duckdb.OutOfMemoryException, "IO": duckdb.IOException}


def connect() -> duckdb.DuckDBPyConnection:
    """The process's connection. A forked process gets a new one, for DuckDB's threads are not forked."""
    return _connection(os.getpid())


@functools.cache
def _connection(process: int) -> duckdb.DuckDBPyConnection:
    """A connection that spills what does not fit in memory to a scratch folder beside the outputs.

    DuckDB removes the folder when the process ends, and `files.sweep` what a killed process has left.
    """
    folder = Path("data" if Path("data").is_dir() else ".").absolute()
    connection = _opened(threads(), folder / f".duckdb.{process}.scratch")
    connection.execute("SET disabled_optimizers = 'in_clause'")  # it makes joins, which keep no order
    return connection


def _opened(threads: int, spilled: Path) -> duckdb.DuckDBPyConnection:
    settings = {
        "memory_limit": f"{_share()}B",
        "threads": threads,
        "temp_directory": str(spilled),
        "preserve_insertion_order": True,
        "autoinstall_known_extensions": False,  # nothing is fetched from the network
        "TimeZone": "UTC",
    }
    connection = duckdb.connect(config=settings)
    connection.execute("SET enable_progress_bar = false")
    return connection


@functools.cache
def _share() -> int:
    """Bytes that DuckDB may take. Read once, so that they stay the same for the whole process."""
    return int(memory.limit() * SHARE)


def threads() -> int:
    """The number of threads: as many as there are cores, if there is memory for them."""
    return max(min(os.cpu_count() or 1, _share() // A_THREAD), 1)


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn errors of memory, disk and Ctrl-C into Python's own. Others stay duck.Error, for the caller to explain."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise MemoryError(reason(error)) from None
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except duckdb.IOException as error:
        for number in DISK:
            if os.strerror(number) in str(error):
                raise OSError(number, os.strerror(number)) from None
        raise


def function(call: Callable[[str | None], str | None]) -> str:
    """Make a Python function callable from SQL, on one thread at a time. Gives its name there."""
    return _registered(connect(), call)


@functools.cache
def _registered(connection: duckdb.DuckDBPyConnection, call: Callable) -> str:
    text = duckdb.sqltype("VARCHAR")
    name = f"python_{id(call)}"  # no other function gets this id: the cache keeps `call` alive
    connection.create_function(name, call, [text], text, null_handling="special")
    return name


def run(sql: str) -> None:
    """Run a statement."""
    with _plain_errors():
        connect().execute(sql)


def rows(sql: str) -> list[tuple]:
    """A query's rows as Python values: for few rows."""
    with _plain_errors():
        return connect().execute(sql).fetchall()


def arrays(sql: str) -> list[np.ndarray]:
    """A query's columns as arrays (n,). Missing values are masked; texts are objects."""
    with _plain_errors():
        return list(connect().execute(sql).fetchnumpy().values())  # columns of equal names have been renamed


def streamed(sql: str, rows: int) -> Iterator[list[np.ndarray]]:
    """As `arrays`, at most `rows` rows at a time, for columns of numbers. Other queries may run in between."""
    with _plain_errors():
        try:
            for batch in connect().cursor().sql(sql).to_arrow_reader(rows):
                yield [_array(column) for column in batch.columns]
        except OSError as error:  # Arrow makes an OSError of any error of DuckDB's
            kind = str(error).partition(" Error: ")[0]
            raise ARROW_ERRORS.get(kind, duckdb.Error)(str(error)) from None


def _array(column) -> np.ndarray:
    """A column of numbers from pyarrow as a NumPy array. pyarrow's own conversion would import pandas."""
    gaps, values = column.buffers()
    found = np.from_dlpack(column.from_buffers(column.type, len(column), [None, values], 0, column.offset))
    if not column.null_count:
        return found
    there = np.unpackbits(np.frombuffer(gaps, np.uint8), bitorder="little")[column.offset :][: len(column)]
    return np.ma.masked_array(found, there == 0)


def parquet(paths: Iterable[str | Path], *options: str) -> str:
    """SQL to put after FROM: the rows of Parquet files, one file after the other."""
    words = [f"[{texts(map(literal, paths))}]", "hive_partitioning = false", *options]
    return f"read_parquet({', '.join(words)})"


def columns(relation: str) -> dict[str, str]:
    """The columns of what stands after FROM: DuckDB's type of each, by name."""
    return {name: kind for name, kind, *_ in rows(f"DESCRIBE SELECT * FROM {relation}")}


@contextlib.contextmanager
def registered(**tables: Mapping[str, np.ndarray]) -> Iterator[None]:
    """Let queries in the block use tables by name. A table has an array (n,) for each column, or is pyarrow's.

    Masked values are NULL.
    """
    try:
        for view, table in tables.items():
            if isinstance(table, Mapping):  # DuckDB takes NumPy's own type of text for categories
                table = {name: a.astype(object) if a.dtype.kind == "U" else a for name, a in table.items()}
            connect().register(view, table)
        yield
    finally:
        for view in tables:
            connect().unregister(view)


@contextlib.contextmanager
def collected(pieces: Iterable[Mapping[str, np.ndarray]]) -> Iterator[str]:
    """Collect pieces of a table, each as in `registered`. The block gets the name of the whole table in SQL."""
    try:
        for number, piece in enumerate(pieces):
            with registered(_piece=piece):
                run(f"{'INSERT INTO _collected' if number else 'CREATE TEMP TABLE _collected AS'} FROM _piece")
        yield "_collected"
    finally:
        run("DROP TABLE IF EXISTS _collected")


def copy(sql: str, path: str | Path, rows_a_group: int, metadata: str) -> None:
    """Write a query's rows in order as uncompressed Parquet. `metadata` is a text, kept under the key "plumbline"."""
    options = f"{PARQUET}, ROW_GROUP_SIZE {rows_a_group}, KV_METADATA {{plumbline: {text(metadata)}}}"
    run(f"COPY ({sql}) TO {text(path)} ({options})")


def answer(sql: str, views: Mapping[str, str], path: Path, rows_a_group: int, readable: list[Path] | None) -> list[str]:
    """Write the rows of a user's SELECT as `copy` does. Gives the names of its columns.

    It runs on a connection of its own with one thread, so that joins keep an order. views: the queries that it may use
    as tables, by name. readable: the files and folders that it may read, or None for all.
    """
    with _plain_errors(), _opened(1, path.with_name("spilled")) as connection:
        connection.execute("SET autoload_known_extensions = false")
        for view, query in views.items():
            connection.execute(f"CREATE TEMP VIEW {name(view)} AS {query}")
        if readable is not None:
            connection.execute(f"SET allowed_paths = [{texts(each for each in readable if not each.is_dir())}]")
            folders = [path.parent, *(each for each in readable if each.is_dir())]
            connection.execute(f"SET allowed_directories = [{texts(folders)}]")
            connection.execute("SET enable_external_access = false")
        names = [column[0] for column in connection.execute(f"DESCRIBE {sql}").fetchall()]
        connection.execute(f"COPY ({sql}\n) TO {text(path)} ({PARQUET}, ROW_GROUP_SIZE {rows_a_group})")
    return names


def metadata(path: str | Path) -> str:
    """The text that `copy` put into a Parquet file. KeyError if there is none."""
    found = rows(f"SELECT decode(key), decode(value) FROM parquet_kv_metadata({text(literal(path))})")
    return dict(found)["plumbline"]


def name(column: str) -> str:
    """A column's name, quoted for SQL."""
    return '"' + column.replace('"', '""') + '"'


def text(value: object) -> str:
    """A text, quoted for SQL."""
    return "'" + str(value).replace("'", "''") + "'"


def literal(path: str | Path) -> str:
    """Escape a path that is to be read, so that DuckDB does not take it for a glob pattern."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))


def texts(values) -> str:
    """Texts, quoted and separated by commas."""
    return ", ".join(map(text, values))


def value(of: bool | int | float | str) -> str:
    """A value as SQL, a float to its last digit."""
    if isinstance(of, float):
        return f"'{of!r}'::DOUBLE"
    return text(of) if isinstance(of, str) else str(of)
