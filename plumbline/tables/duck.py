"""DuckDB, the one engine that reads, counts and writes tables; no other module imports it.

It reads and writes what is larger than memory, keeps the order of rows, and gives the same bytes with any number of
threads. Its sums of floats are not used: they change with the threads. Counts, order statistics and integers do not.
A join keeps no order of rows.
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
# Without the last two writing takes twice the time, and 600 KB a column
PARQUET = "FORMAT parquet, COMPRESSION uncompressed, DICTIONARY_SIZE_LIMIT 1_000, WRITE_BLOOM_FILTER false"
SHARE = 0.4  # of the memory that DuckDB may take; the rest is for arrays, and for what it takes beyond its limit
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)  # what a disk or folder says no with
A_THREAD = 2**27  # bytes that a thread works well with: https://duckdb.org/docs/stable/guides/performance/environment
OF_ARROW = {"Out of Memory": duckdb.OutOfMemoryException, "IO": duckdb.IOException}


def connect() -> duckdb.DuckDBPyConnection:
    """The process's connection; a process that was forked has its own, for threads are not forked."""
    return _connection(os.getpid())


@functools.cache
def _connection(process: int) -> duckdb.DuckDBPyConnection:
    """What does not fit in memory goes to a folder beside the outputs, and with the process.

    Its name is that of a scratch folder, so that `files.sweep` removes what a killed process left.
    """
    folder = Path("data" if Path("data").is_dir() else ".").absolute()
    connection = _opened(threads(), folder / f".duckdb.{process}.scratch")
    connection.execute("SET disabled_optimizers = 'in_clause'")  # which makes a join, and a join keeps no order
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
    """Bytes for DuckDB, as the process found them first."""
    return int(memory.limit() * SHARE)


def threads() -> int:
    """As many as there are cores, and memory for."""
    return max(min(os.cpu_count() or 1, _share() // A_THREAD), 1)


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """What is no table's fault as Python names it; any other duck.Error goes on to whoever can say what it is about."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise MemoryError(reason(error)) from None
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except duckdb.IOException as error:
        of_disk = [number for number in DISK if os.strerror(number) in str(error)]
        if of_disk:
            raise OSError(of_disk[0], os.strerror(of_disk[0])) from None
        raise


def function(call: Callable[[str | None], str | None]) -> str:
    """The name by which SQL calls a Python function of a text that gives a text; on one thread at a time."""
    return _registered(connect(), call)


@functools.cache
def _registered(connection: duckdb.DuckDBPyConnection, call: Callable) -> str:
    text, name = duckdb.sqltype("VARCHAR"), f"python_{id(call)}"  # which it keeps, for the cache keeps it alive
    connection.create_function(name, call, [text], text, null_handling="special")
    return name


def run(sql: str) -> None:
    """Run a statement."""
    with _plain_errors():
        connect().execute(sql)


def rows(sql: str) -> list[tuple]:
    """What a query finds, as Python values: for few rows."""
    with _plain_errors():
        return connect().execute(sql).fetchall()


def arrays(sql: str) -> list[np.ndarray]:
    """What a query finds, an array (n,) a column: masked where values are missing, objects for text."""
    with _plain_errors():
        return list(connect().execute(sql).fetchnumpy().values())  # it renames those of one name


def streamed(sql: str, rows: int) -> Iterator[list[np.ndarray]]:
    """As `arrays`, of numbers, at most so many rows at a time; on a cursor that no other query ends."""
    with _plain_errors():
        try:
            for batch in connect().cursor().sql(sql).to_arrow_reader(rows):
                yield [_array(column) for column in batch.columns]
        except OSError as error:  # Arrow's name for all that goes wrong
            kind = str(error).partition(" Error: ")[0]
            raise OF_ARROW.get(kind, duckdb.Error)(str(error)) from None


def _array(column) -> np.ndarray:
    """Numbers of pyarrow's, whose own way to NumPy imports pandas."""
    gaps, values = column.buffers()
    found = np.from_dlpack(column.from_buffers(column.type, len(column), [None, values], 0, column.offset))
    if not column.null_count:
        return found
    there = np.unpackbits(np.frombuffer(gaps, np.uint8), bitorder="little")[column.offset :][: len(column)]
    return np.ma.masked_array(found, there == 0)


def parquet(paths: Iterable[str | Path], *options: str) -> str:
    """What stands behind FROM for Parquet files, one after the other."""
    words = [f"[{texts(map(literal, paths))}]", "hive_partitioning = false", *options]
    return f"read_parquet({', '.join(words)})"


def columns(relation: str) -> dict[str, str]:
    """Names and DuckDB's types of what may stand behind FROM."""
    return {name: kind for name, kind, *_ in rows(f"DESCRIBE SELECT * FROM {relation}")}


@contextlib.contextmanager
def registered(**tables: Mapping[str, np.ndarray]) -> Iterator[None]:
    """In the block, tables under names that queries know: arrays (n,) by column, masked for gaps, or of pyarrow."""
    try:
        for view, table in tables.items():
            if isinstance(table, Mapping):  # texts as objects, for NumPy's own are categories to DuckDB
                table = {name: a.astype(object) if a.dtype.kind == "U" else a for name, a in table.items()}
            connect().register(view, table)
        yield
    finally:
        for view in tables:
            connect().unregister(view)


@contextlib.contextmanager
def collected(pieces: Iterable[Mapping[str, np.ndarray]]) -> Iterator[str]:
    """In the block, the name of a table of all pieces' rows, as `registered` has them: in memory, or on the disk."""
    try:
        for number, piece in enumerate(pieces):
            with registered(_piece=piece):
                run(f"{'INSERT INTO _collected' if number else 'CREATE TEMP TABLE _collected AS'} FROM _piece")
        yield "_collected"
    finally:
        run("DROP TABLE IF EXISTS _collected")


def copy(sql: str, path: str | Path, rows_a_group: int, metadata: str) -> None:
    """Write a query's rows, in their order, as uncompressed Parquet with the text `metadata` under "plumbline"."""
    options = f"{PARQUET}, ROW_GROUP_SIZE {rows_a_group}, KV_METADATA {{plumbline: {text(metadata)}}}"
    run(f"COPY ({sql}) TO {text(path)} ({options})")


def answer(sql: str, views: Mapping[str, str], path: Path, rows_a_group: int, readable: list[Path] | None) -> list[str]:
    """Write what one SELECT of a user's finds, as `copy` does, and give its columns' names.

    On a connection of its own, on one thread, so that joins keep an order. views: queries by the names that it may use
    for them. readable: files and folders that it may read; None: all there are.
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
    """The text that `copy` put into a Parquet file; KeyError if there is none."""
    found = rows(f"SELECT decode(key), decode(value) FROM parquet_kv_metadata({text(literal(path))})")
    return dict(found)["plumbline"]


def name(column: str) -> str:
    """A column's name as SQL has it."""
    return '"' + column.replace('"', '""') + '"'


def text(value: object) -> str:
    """A text as SQL has it."""
    return "'" + str(value).replace("'", "''") + "'"


def literal(path: str | Path) -> str:
    """A path as DuckDB takes it for one file, whatever letters it has; for what it reads, not for what it writes."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))


def texts(values) -> str:
    """Texts, at least one, as they stand between the brackets of SQL."""
    return ", ".join(map(text, values))


def value(of: bool | int | float | str) -> str:
    """A value as SQL has it, to the last digit."""
    if isinstance(of, float):
        return f"'{of!r}'::DOUBLE"
    return text(of) if isinstance(of, str) else str(of)
