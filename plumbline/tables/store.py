"""Tables in Parquet files, with facts in the file's metadata.

The facts are what later stages must know of the whole table and cannot see in their part of it: the target, its
classes, and the state of the stream of random numbers. A table may be larger than memory. It is read in pieces and
written by a query. A file's bytes depend only on its rows and on the version of DuckDB.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np

from plumbline.basics import files, inputs
from plumbline.basics.errors import UserError, reason
from plumbline.basics.params import Split
from plumbline.tables import duck

ROWS = 2**20  # most rows of a row group
VALUES = 2**22  # most values of a row group (about 32 MiB), so that a wide table's take no more than a narrow one's
VECTOR = 2048  # DuckDB works on so many rows at a time; row groups of other multiples come out uneven
PIECES = 4  # a piece has a quarter of a row group's values: larger ones are slower, for their memory is new each time
SMALL = 2**28  # bytes: a table whose file is larger is not small
WIDE = 64  # columns: a table that has more is read so many columns at a time
ROW = "_row"  # the column of a row's number in dataset.parquet, from 0; a reserved name
PLACE = "file_row_number"  # DuckDB's column of a row's number in its file, from 0; reserved, too
COMPLAINT = "{} is not a table that a stage wrote ({}); run `dvc repro`"


class Spelling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a column of text writes its numbers, dates or times of day (plumbline.tables.spelling)."""

    type: str  # DuckDB's: BIGINT, DOUBLE, DATE, TIMESTAMP, TIMESTAMPTZ, TIME or BOOLEAN
    example: str  # a cell of the training table
    decimal: str = "."  # the mark before decimals
    thousands: str = ""  # the marks between thousands: comma, point, or space (which an apostrophe counts as)
    unit: str = ""  # a currency, or %
    order: str = ""  # of dates in digits: dmy, mdy or ymd; a date that begins with four digits is ymd anyway


class Facts(msgspec.Struct, frozen=True):
    """What travels with a table."""

    target: str
    classes: list[bool | int | float | str]
    class_counts: list[int]  # rows of each class in the whole dataset, in its parts' files too
    stream: str | None  # state of the random numbers (bits.stream.to_text); None for a user's table before split
    split_by: list[str] = []  # columns that rows were split by, which are no features
    positive: bool | int | float | str | None = None  # which of two classes precision and recall are about
    folds: Split | None = None  # how a training part is cross-fitted
    spellings: dict[str, Spelling] = {}  # of columns that were text in the source

    def __post_init__(self):
        """ValueError for classes that no stage would write."""
        if self.classes or self.class_counts:  # a table without a target has none
            check_classes(self.classes, self.class_counts, self.positive)


def check_classes(classes: list, counts: list[int], positive: object) -> None:
    """ValueError for classes that no stage would write. They are different labels of one type, with a count each.

    When msgspec decodes a file it turns a ValueError into a ValidationError.
    """
    if not 2 <= len(classes) == len(set(classes)) or len(set(map(type, classes))) > 1:
        raise ValueError(f"classes {reason(classes)} are not two or more different labels of one kind")
    if len(counts) != len(classes) or min(counts) < 0:
        raise ValueError(f"{len(classes)} classes have the rows {reason(counts)}")
    if positive is not None and (positive not in classes[:2] or len(classes) > 2):
        raise ValueError(f"positive class {positive!r} is none of {reason(classes)}")


NO_FACTS = Facts("", [], [], None)  # of a table without a target


class _Metadata(msgspec.Struct, frozen=True):
    kind: str
    facts: Facts


class Table:
    """A table that a stage wrote, or a user's (`rows`, see plumbline.sources.rows).

    columns: DuckDB's type of each column, by name.
    relation: SQL to put after FROM.
    numbered: the same with the column PLACE.
    places: gives where rows stand in the user's file, in words, or is None.
    """

    def __init__(self, path: str | Path, facts: Facts, rows=None):
        self.path, self.facts, self._source = Path(path), facts, rows
        self.places = rows.places if rows else None
        if rows and not rows.file:
            self.relation, self.numbered = f"({rows.query})", rows.numbered
            self.columns, self._rows = rows.types, rows.count
        else:
            self.relation, self.numbered = duck.parquet([path]), duck.parquet([path], f"{PLACE} = true")
            self.columns = duck.columns(self.relation)
            self._rows = duck.rows(f"SELECT num_rows FROM parquet_file_metadata({duck.text(duck.literal(path))})")[0][0]
        self._bytes = sum(file.stat().st_size for file in (rows.paths if rows else [self.path]))
        self._held = None  # the first of the columns that `holding` has in memory

    def __len__(self) -> int:
        """Number of rows."""
        return self._rows

    def placed(self, number: int) -> str:
        """Where a row stands, in words."""
        return self.places([number])[0] if self.places else f"row {number}"

    @property
    def is_small(self) -> bool:
        """Whether it surely fits in memory. `split` writes a small table's rows in the order of the permutation."""
        return len(self) <= ROWS and self._bytes <= SMALL

    @property
    def features(self) -> list[str]:
        """The columns other than the target and the row number."""
        return [name for name in self.columns if name not in (self.facts.target, ROW)]

    def holding(self, name: str) -> str:
        """SQL to put after FROM for queries on one column and PLACE. Valid until the next call.

        Every query on a Parquet file reads the metadata of all its columns. A query for each column would take time by
        the square of their number. So WIDE columns at a time of a small wide table are copied to memory.
        """
        if len(self.columns) <= WIDE or not self.is_small:
            return self.numbered
        held, names = f"_held{id(self)}", [*self.columns]
        start = names.index(name) // WIDE * WIDE
        if self._held != start:
            listed = ", ".join(map(duck.name, names[start : start + WIDE]))
            with self.reading():
                duck.run(f"CREATE OR REPLACE TEMP TABLE {held} AS SELECT {listed}, {PLACE} FROM {self.numbered}")
            self._held = start
        return held

    def pieces(self, select: Mapping[str, str], rows: int | None = None) -> Iterator[dict[str, np.ndarray]]:
        """Values of SQL expressions for all rows in order, in pieces of at most `rows` rows.

        select: expressions of numbers, by name. A piece has an array (m,) for each, masked where values are missing. An
        empty table gives one empty piece.
        """
        rows = rows or rows_of(PIECES * len(select))
        listed = ", ".join(f"{sql} AS c{i}" for i, sql in enumerate(select.values()))
        sql = f"SELECT {listed} FROM {self.relation}"
        with self.reading():
            for found in duck.streamed(sql, rows) if rows < len(self) else [duck.arrays(sql)]:
                yield dict(zip(select, found))

    def column(self, name: str) -> np.ndarray:
        """One whole column (n,)."""
        return self.values(duck.name(name))

    def values(self, sql: str) -> np.ndarray:
        """The value of an SQL expression in each row (n,)."""
        with self.reading():
            return duck.arrays(f"SELECT {sql} FROM {self.relation}")[0]

    def rows(self, sql: str) -> list[tuple]:
        """A query's rows as Python values: for few rows."""
        with self.reading():
            return duck.rows(sql)

    def classes(self) -> np.ndarray:
        """The number of each row's class, in the order of `facts.classes`: int32 (n,)."""
        listed = ", ".join(map(duck.value, self.facts.classes))
        return self.values(f"(list_position([{listed}], {duck.name(self.facts.target)}) - 1)::INTEGER")

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Turn a duck.Error in the block into a UserError that names the file."""
        try:
            yield
        except duck.Error as error:
            inputs.check()  # if the file was replaced meanwhile, say that
            if self._source:
                raise self._source.unreadable(self.path, error) from None
            raise UserError(COMPLAINT.format(self.path, reason(error))) from None


def rows_of(values: int) -> int:
    """The number of rows of a row group, if a row has so many values."""
    return min(ROWS, max(VALUES // max(values, 1) // VECTOR, 1) * VECTOR)


def open(path: str | Path, kind: str | None = None) -> Table:
    """Open a table that a stage wrote. UserError if it is not there, or holds rows of another kind.

    kind: such as "train", the part that the rows are. By default the file's name says it.
    """
    kind = kind or Path(path).stem
    inputs.watch(path)
    if not Path(path).exists():
        raise UserError(f"{path} is not there; `dvc repro` makes it, `dvc checkout` brings it back")
    try:
        found = msgspec.json.decode(duck.metadata(path), type=_Metadata)
        table = Table(path, found.facts)
    except (duck.Error, KeyError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise UserError(COMPLAINT.format(path, reason(error))) from None
    if found.kind != kind:
        raise UserError(f"{path} holds the {found.kind} rows, and must hold the {kind} rows; run `dvc repro`")
    return table


def copy(sql: str, path: str | Path, kind: str, facts: Facts = NO_FACTS, values: int | None = None) -> None:
    """Write a query's rows, in order, to a file that appears whole or not at all. duck.Error if the query fails.

    values: the result of `values_of` for a similar query that costs less.
    """
    with copying(sql, path, kind, facts, values):
        pass


@contextlib.contextmanager
def copying(
    sql: str, path: str | Path, kind: str, facts: Facts = NO_FACTS, values: int | None = None
) -> Iterator[Table]:
    """As `copy`, but the block gets the table before the file takes its name, and may still refuse it."""
    metadata = msgspec.json.encode(_Metadata(kind, facts)).decode()
    with files.replacing(path) as partial:
        duck.copy(sql, partial, rows_of(values or values_of(sql)), metadata)
        yield Table(partial, facts)


def counted(relation: str, count: int) -> str:
    """SQL to put after FROM: all rows of a relation, with their numbers in numbers.PLACE.

    DuckDB's range comes in full vectors. So do the rows joined to it, with any source, memory and number of threads.
    The same pages and row groups of Parquet follow, for these end with vectors. A relation that is whole files or a
    table is not held in memory.
    """
    return f"range({count}) AS numbers({PLACE}) POSITIONAL JOIN {relation}"


def take(table: Table, rows: np.ndarray, path: str | Path, kind: str, facts: Facts) -> None:
    """Write some rows of a table, with their numbers in the column ROW.

    rows: their numbers, in the order to write them, or a mask (n,). With a mask they keep the table's order, and a
    large table is gone through only once.
    """
    if rows.dtype == bool:
        chosen = {"taken": rows}
        joined = "POSITIONAL JOIN _chosen WHERE _chosen.taken"
    else:
        chosen = {"row": rows, "place": np.arange(len(rows), dtype=rows.dtype)}
        joined = f"JOIN _chosen ON t.{PLACE} = _chosen.row ORDER BY _chosen.place"
    named = ", ".join(f"t.{duck.name(name)}" for name in table.columns if name != ROW)
    number = ROW if ROW in table.columns else PLACE  # rows of a part keep their numbers in the dataset
    with duck.registered(_chosen=chosen), table.reading():
        sql = f"SELECT t.{number}::BIGINT AS {ROW}, {named} FROM {table.numbered} AS t {joined}"
        copy(sql, path, kind, facts, values_of(f"FROM {table.relation}"))


def part_of(table: Table, mask: np.ndarray, path: str | Path) -> Table:
    """Write the rows of a mask (n,) as a table of their own."""
    take(table, mask, path, "chosen", table.facts)
    return Table(path, table.facts)


def evenly(table: Table, count: int, path: str | Path) -> tuple[Table, np.ndarray]:
    """Write `count` evenly spaced rows as a table of their own. Gives it and the rows' places in `table` (count,)."""
    place, mask = np.arange(count) * len(table) // max(count, 1), np.zeros(len(table), bool)
    mask[place] = True
    return part_of(table, mask, path), place


def values_of(sql: str) -> int:
    """The size of a row that a query gives, in values of 8 bytes.

    Texts count by their length in the first rows, for a row group of long ones would not fit in memory.
    """
    kinds = duck.columns(f"({sql})")
    texts = [f"coalesce(strlen({duck.name(name)}), 0)" for name, kind in kinds.items() if kind == "VARCHAR"]
    if not texts:
        return len(kinds)
    first = f"SELECT {' + '.join(texts)} AS bytes FROM ({sql}) LIMIT {VECTOR}"
    return len(kinds) + duck.rows(f"SELECT coalesce(sum(bytes) // count(*) // 8, 0)::BIGINT FROM ({first})")[0][0]
