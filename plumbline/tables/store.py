"""A table in its Parquet file, with the facts that travel in the file's metadata.

The facts are what later stages must know of the whole table and cannot see in their part of it: the target, its
classes, and where the stream of random numbers stands. A table may be larger than memory: it is read in pieces, and
written in pieces or by a query. The bytes of a file depend on its rows and on DuckDB's version alone.
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

ROWS = 2**20  # most of a row group
SMALL = 2**28  # bytes of a table's file
VALUES = 2**22  # of a row group (some 32 MiB), so that a wide table takes no more than a narrow one
PIECES = 4  # of which a row group's values are: larger ones take longer, for their memory is given anew each time
WIDE = 64  # columns that are read together where a table has more
VECTOR = 2048  # rows that DuckDB works on together: of other multiples row groups come out uneven
ROW = "_row"  # the row's number in dataset.parquet, from 0; a reserved name
PLACE = "file_row_number"  # the row's number in its file, from 0; DuckDB's name, which is reserved by that
COMPLAINT = "{} is not a table that a stage wrote ({}); run `dvc repro`"


class Spelling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a column of text writes its numbers, dates or times of day (plumbline.tables.spelling)."""

    type: str  # DuckDB's: BIGINT, DOUBLE, DATE, TIMESTAMP, TIMESTAMPTZ, TIME or BOOLEAN
    example: str  # a cell of the training table
    decimal: str = "."
    thousands: str = ""  # the marks between them: a comma, a point, a space (which stands for an apostrophe as well)
    unit: str = ""  # a currency, or %
    order: str = ""  # of dates in digits: dmy, mdy or ymd; those that begin with four digits have their own


class Facts(msgspec.Struct, frozen=True):
    """What travels with a table. `class_counts` are of the whole dataset, also in its parts."""

    target: str
    classes: list[bool | int | float | str]
    class_counts: list[int]
    stream: str | None  # plumbline.bits.stream.to_text; none for a user's table, whose stream starts in split
    split_by: list[str] = []  # columns that split went by, which are no features
    positive: bool | int | float | str | None = None  # of two classes the one that precision and recall are of
    folds: Split | None = None  # of a training part that is cross-fitted
    spellings: dict[str, Spelling] = {}  # of columns that were text, and are numbers, dates or times of day

    def __post_init__(self):
        """ValueError for senseless classes."""
        if self.classes or self.class_counts:  # a table without a target has none
            check_classes(self.classes, self.class_counts, self.positive)


def check_classes(classes: list, counts: list[int], positive: object) -> None:
    """ValueError for what a stage would not take for classes: different labels of one kind, each with its rows.

    msgspec has it as one of its own where a file is read.
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
    """A Parquet table in its file, or in a user's files as their `rows` (plumbline.sources.rows) say.

    columns: DuckDB's type of each column, by name. relation: what stands behind FROM. numbered: the same with PLACE.
    places: where rows stand in the file that they came from.
    """

    def __init__(self, path: str | Path, facts: Facts, rows=None):
        self.path, self.facts, self.places, self._of = Path(path), facts, rows and rows.places, rows
        if rows and not rows.file:
            self.relation, self.numbered = f"({rows.query})", rows.numbered
            self.columns, self._rows = rows.types, rows.count
        else:
            self.relation, self.numbered = duck.parquet([path]), duck.parquet([path], f"{PLACE} = true")
            self.columns = duck.columns(self.relation)
            self._rows = duck.rows(f"SELECT num_rows FROM parquet_file_metadata({duck.text(duck.literal(path))})")[0][0]
        self._bytes = sum(file.stat().st_size for file in (rows.paths if rows else [self.path]))
        self._held = None  # which columns `holding` holds

    def __len__(self) -> int:
        """Rows."""
        return self._rows

    def placed(self, number: int) -> str:
        """In words, where a row stands."""
        return self.places([number])[0] if self.places else f"row {number}"

    @property
    def is_small(self) -> bool:
        """Whether it is held in memory without a thought: as the notebook's is, in the permutation's order."""
        return len(self) <= ROWS and self._bytes <= SMALL

    @property
    def features(self) -> list[str]:
        """The columns beside target and row number."""
        return [name for name in self.columns if name not in (self.facts.target, ROW)]

    def holding(self, name: str) -> str:
        """What stands behind FROM for queries on one column, with PLACE.

        Any query on a Parquet file reads what it says of all its columns, so that one a column would take time by
        the square of their number: of a small wide table WIDE columns at a time are copied to memory. It is good until
        the next call with another column.
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
        """SQL of numbers, by name, as arrays of at most so many rows, in order; of an empty table one.

        Arrays are masked where values are missing.
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
        """What an SQL expression is in each row (n,)."""
        with self.reading():
            return duck.arrays(f"SELECT {sql} FROM {self.relation}")[0]

    def rows(self, sql: str) -> list[tuple]:
        """What a query about it finds, as Python values: for few rows."""
        with self.reading():
            return duck.rows(sql)

    def classes(self) -> np.ndarray:
        """The target as class numbers in the order of the facts' classes: int32 (n,)."""
        listed = ", ".join(map(duck.value, self.facts.classes))
        return self.values(f"(list_position([{listed}], {duck.name(self.facts.target)}) - 1)::INTEGER")

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Whatever goes wrong in the block is said of the file."""
        try:
            yield
        except duck.Error as error:
            inputs.check()  # a file that was replaced meanwhile is no damaged one
            if self._of:
                raise self._of.unreadable(self.path, error) from None
            raise UserError(COMPLAINT.format(self.path, reason(error))) from None


def rows_of(values: int) -> int:
    """Rows of a row group of so many values a row."""
    return min(ROWS, max(VALUES // max(values, 1) // VECTOR, 1) * VECTOR)


def open(path: str | Path, kind: str | None = None) -> Table:
    """A table that a stage wrote; UserError where it is not there, or holds other rows than its name (or kind) says."""
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
    """Write what a query finds, in its order, whole or not at all; duck.Error is the caller's to explain.

    values: as `values_of` has them of a like query, if that takes less work.
    """
    with copying(sql, path, kind, facts, values):
        pass


@contextlib.contextmanager
def copying(
    sql: str, path: str | Path, kind: str, facts: Facts = NO_FACTS, values: int | None = None
) -> Iterator[Table]:
    """As `copy`, and give the block the table before it has its name: the block may yet refuse it."""
    metadata = msgspec.json.encode(_Metadata(kind, facts)).decode()
    with files.replacing(path) as partial:
        duck.copy(sql, partial, rows_of(values or values_of(sql)), metadata)
        yield Table(partial, facts)


def counted(relation: str, count: int) -> str:
    """What stands behind FROM for all rows of a relation beside their numbers, numbers.PLACE.

    DuckDB's counter comes in full vectors, and what stands beside it does too, whatever it came from, with any memory
    and threads: pages and row groups of Parquet end with vectors. Of whole files, or a table, no row is held in memory.
    """
    return f"range({count}) AS numbers({PLACE}) POSITIONAL JOIN {relation}"


def take(table: Table, rows: np.ndarray, path: str | Path, kind: str, facts: Facts) -> None:
    """Write some rows of a table, each with its number as ROW: their numbers in any order, or a mask of all rows (n,).

    A mask is for large tables: these go through once, in their own order.
    """
    if rows.dtype == bool:
        chosen, source, behind = {"taken": rows}, "POSITIONAL JOIN", "WHERE _chosen.taken"
    else:
        chosen, source = {"row": rows, "place": np.arange(len(rows), dtype=rows.dtype)}, "JOIN"
        behind = f"ON t.{PLACE} = _chosen.row ORDER BY _chosen.place"
    named = ", ".join(f"t.{duck.name(name)}" for name in table.columns if name != ROW)
    number = ROW if ROW in table.columns else PLACE  # a part's rows keep the dataset's numbers
    with duck.registered(_chosen=chosen), table.reading():
        sql = f"SELECT t.{number}::BIGINT AS {ROW}, {named} FROM {table.numbered} AS t {source} _chosen {behind}"
        copy(sql, path, kind, facts, values_of(f"FROM {table.relation}"))


def part_of(table: Table, mask: np.ndarray, path: str | Path) -> Table:
    """Some rows of a table (a mask of all, (n,)) as a table of their own, in their order."""
    take(table, mask, path, "chosen", table.facts)
    return Table(path, table.facts)


def evenly(table: Table, count: int, path: str | Path) -> tuple[Table, np.ndarray]:
    """So many rows, evenly spaced in a table, as a table of their own, and their places in it (count,)."""
    place, mask = np.arange(count) * len(table) // max(count, 1), np.zeros(len(table), bool)
    mask[place] = True
    return part_of(table, mask, path), place


def values_of(sql: str) -> int:
    """Numbers of which as many take the room of a row that a query finds.

    Texts count by their length in the first rows: a row group of long ones would not fit in memory.
    """
    kinds = duck.columns(f"({sql})")
    texts = [f"coalesce(strlen({duck.name(name)}), 0)" for name, kind in kinds.items() if kind == "VARCHAR"]
    if not texts:
        return len(kinds)
    first = f"SELECT {' + '.join(texts)} AS bytes FROM ({sql}) LIMIT {VECTOR}"
    return len(kinds) + duck.rows(f"SELECT coalesce(sum(bytes) // count(*) // 8, 0)::BIGINT FROM ({first})")[0][0]
