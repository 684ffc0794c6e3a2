"""A Parquet table in and out, by row groups, with the facts that travel in its metadata.

The facts are what later stages must know of the whole table and cannot see in their part of it: the target, its
classes, and where the stream of random numbers stands. A table may be larger than memory: it is written and read a row
group at a time, or read a column at a time. Files are written uncompressed and floats without a dictionary: bytes then
depend on pyarrow's version alone, and columns of random digits do not shrink anyway.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages import resources, spill
from stages.errors import UserError, reason
from stages.files import replacing

ROWS = 2**20  # of a row group: so much of a table is in memory at a time
LISTS = 2**23  # most bytes of lists in a row group
TEXTS = 2**26  # bytes of text after which a row group ends
PAGE = 2**20  # bytes of a column's page, and of its dictionary: Parquet writers' usual limit
TEXT = 100  # bytes of a text in Python, beside its letters
FEW = 2**16  # rows up to which threads take longer to start than to read; a folder may have a thousand such files
ROW = "_row"  # the row's number in dataset.parquet, from 0; a reserved name
BUFFER = 2**20  # bytes of a column read at a time (of a file that is mapped all pages would count as memory)
MANY_COLUMNS = 64  # of which each is read less at a time
METADATA_KEY = b"plumbline"


class Facts(msgspec.Struct, frozen=True):
    """What travels with a table. `class_counts` are of the whole dataset, also in its parts."""

    target: str
    classes: list[bool | int | float | str]
    class_counts: list[int]
    stream: str | None  # stages.stream.to_text; none for a user's table, whose stream starts in split
    split_by: list[str] = []  # columns that split went by, which are no features


class Stored:
    """A Parquet table in its file, with what of a pyarrow table's methods can go column by column.

    `complaint` is the message about a file that cannot be read, with room for its name and the reason.
    """

    def __init__(self, path: str | Path | BinaryIO, name: str | Path, complaint: str):
        self._name, self._complaint = name, complaint
        with self._reading():
            # Through a small buffer, and not all at once: else a few rows take the memory of their whole row group.
            self._file = pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER)
            if self._file.metadata.num_columns > MANY_COLUMNS:  # each has a buffer of its own
                self._file = pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER // 16)
            self.schema = self._file.schema_arrow.remove_metadata()
            self.metadata = self._file.metadata.metadata or {}

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, MemoryError):
            raise
        except (pa.ArrowException, OSError) as error:
            raise UserError(self._complaint.format(self._name, reason(error))) from None

    def __len__(self) -> int:
        """Rows."""
        return self._file.metadata.num_rows

    @property
    def column_names(self) -> list[str]:
        """As a pyarrow table's."""
        return self.schema.names

    @property
    def nbytes(self) -> int:
        """Bytes of all columns, not compressed."""
        groups = self._file.metadata
        return sum(groups.row_group(i).total_byte_size for i in range(groups.num_row_groups))

    def column(self, name: str) -> pa.ChunkedArray:
        """One whole column."""
        return self.read([name]).column(name)

    def row_size(self, columns: list[str] | None = None) -> float:
        """About the bytes in memory of a row, or of some columns of it; of text by the first rows."""
        kinds = {
            name: self.schema.field(name).type for name in columns or self.column_names if name in self.schema.names
        }
        texts = [name for name, kind in kinds.items() if not is_fixed(kind)]
        size = sum(max(kind.bit_width // 8, 1) for name, kind in kinds.items() if name not in texts)
        if texts:
            with self._reading():
                first = next(self._file.iter_batches(1024, columns=texts), None)
            size += len(texts) * TEXT + (first.nbytes / max(len(first), 1) if first is not None else 0)
        return size

    @property
    def least(self) -> float:
        """About the bytes that going through it takes: spill.LEAST rows, and of every column a page with its dictionary
        as read and as decoded (of a few columns that is in resources.MARGIN).
        """
        groups = self._file.metadata
        if not groups.num_row_groups:
            return 0.0
        largest = groups.row_group(max(range(groups.num_row_groups), key=lambda i: groups.row_group(i).num_rows))
        chunks = (largest.column(i) for i in range(largest.num_columns))
        pages = sum(min(each.total_uncompressed_size, PAGE) * (4 if each.has_dictionary_page else 1) for each in chunks)
        return spill.LEAST * self.row_size() + max(pages - resources.MARGIN / 3, 0)

    @property
    def text_of_a_group(self) -> float:
        """About the bytes of text that a row group of it holds when it is written, and again in its pages."""
        texts = [name for name in self.column_names if not is_fixed(self.schema.field(name).type)]
        size = self.row_size(texts) - TEXT * len(texts) if texts else 0
        return 2 * min(size * min(len(self), ROWS), TEXTS)

    def groups(self, rows: int = ROWS, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The table, or some of its columns, in pieces of so many rows, at least one; smaller if memory is short."""
        rows = spill.rows_at_a_time(self.row_size(columns), min(rows, max(len(self), 1)))
        if len(self) <= rows:
            yield self.read(columns)
            return
        batches = self._file.iter_batches(rows, columns=columns)
        while True:
            with self._reading():
                batch = next(batches, None)
            if batch is None:
                return
            yield pa.Table.from_batches([batch]).replace_schema_metadata(None)

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """The whole table, or some of its columns."""
        with self._reading():
            return self._file.read(columns, use_threads=len(self) > FEW).replace_schema_metadata(None)


def is_fixed(kind: pa.DataType) -> bool:
    """Whether all values of a type take the same number of bytes."""
    try:
        return kind.bit_width > 0
    except ValueError:
        return False


def groups(rows: pa.Table | Stored, size: int = ROWS, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Any table in pieces of so many rows, at least one; of one in a file `columns` are all that is needed."""
    if isinstance(rows, Stored):
        return rows.groups(size, columns)
    return (rows.slice(start, size) for start in range(0, max(len(rows), 1), size))


def check_names(table: pa.Table | Stored, source: str | Path) -> None:
    """Refuse columns of the same name: which of them is meant cannot be told."""
    for name, count in Counter(table.column_names).items():
        if count > 1:
            raise UserError(f"{source} has {count} columns named {name!r}; names must differ, rename them")


def stored(path: str | Path | BinaryIO, name: str | None = None) -> tuple[Stored, Facts]:
    """A table that a stage wrote, and its facts; `name` is what messages call it, if not by its path."""
    name = name or path
    complaint = "{} is not a table that a stage wrote ({}); run `dvc repro`"
    try:
        rows = Stored(path, name, complaint)
        return rows, msgspec.json.decode(rows.metadata[METADATA_KEY], type=Facts)
    except FileNotFoundError:
        raise UserError(f"{name} is not there; `dvc repro` makes it, `dvc checkout` brings it back") from None
    except (KeyError, msgspec.MsgspecError) as error:
        raise UserError(complaint.format(name, reason(error))) from None


def read(path: str | Path | BinaryIO, name: str | None = None) -> tuple[pa.Table, Facts]:
    """A table that a stage wrote, whole in memory, and its facts."""
    rows, facts = stored(path, name)
    return rows.read(), facts


class Writer:
    """A table on its way to a file, row group by row group; `facts` may be set until it is finished.

    The bytes do not depend on the pieces in which it comes. What is held until a row group is full is in memory, or in
    a file if it does not fit.
    """

    def __init__(self, path: Path, facts: Facts | None):
        self.path, self.facts = path, facts
        self._held, self._mapped, self._rows, self._file = [], 0, 0, None
        self._text = 0  # bytes of text that are held

    def write(self, table: pa.Table) -> None:
        """Add rows; they are held until a row group is full."""
        most = _group_rows(table.schema)
        while (rest := self._rest(table, most)) is not None:
            self._hold(table.slice(0, rest))
            self._flush()
            table = table.slice(rest)
        self._hold(table)

    def _rest(self, table: pa.Table, most: int) -> int | None:
        """How many of the rows still go into the row group; None if all do and there is room for more."""
        rest = most - self._rows
        texts = [
            column
            for column in table.columns
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        ]
        if texts and len(table):
            lengths = (pc.fill_null(pc.binary_length(column), 0).to_numpy() for column in texts)
            ends = self._text + np.cumsum(sum(lengths, np.zeros(len(table), np.int64)))
            rest = min(rest, int(np.searchsorted(ends, TEXTS)) + 1 if self._text < TEXTS else 0)
            self._text = int(ends[-1])
        if rest >= len(table):
            return None
        self._text = 0
        return rest

    def finish(self) -> Stored:
        """Write what is held, and give the table back from the file."""
        encoded = {METADATA_KEY: msgspec.json.encode(self.facts)} if self.facts else None
        if self._file is None:  # one row group has the facts in its schema too: those bytes are in dvc.lock
            whole = self._taken().replace_schema_metadata(encoded)
            pq.write_table(whole, self.path, **_options(whole.schema))
        else:
            self._flush()
            self._file.add_key_value_metadata(encoded or {})
            self._file.close()
        return Stored(self.path, self.path, "{} cannot be read back ({}); run the stage again")

    def _hold(self, table: pa.Table) -> None:
        if len(table) or not self._held:
            self._held.append(table)
            self._rows += len(table)
        if not spill.may_hold(sum(piece.nbytes for piece in self._held[self._mapped :])):
            self._held[self._mapped :] = spill.tables([self._held[self._mapped :]])
            self._mapped = len(self._held)

    def _taken(self) -> pa.Table:
        """What is held as one table, every column in one piece: where pieces end Parquet may begin a new page."""
        table = pa.concat_tables(self._held)
        if self._mapped:
            columns = ([table.select([i]).combine_chunks()] for i in range(table.num_columns))
            table = spill.beside_each_other(columns)
        else:
            table = table.combine_chunks()
        self._held, self._mapped, self._rows = [], 0, 0
        return table

    def _flush(self) -> None:
        table = self._taken()
        if self._file is None:
            options = _options(table.schema)
            # Classes and row numbers shrink to a byte or less a row; in one row group the bytes are those of dvc.lock.
            whole = [field.name for field in table.schema if pa.types.is_integer(field.type) and field.name != ROW]
            options["use_dictionary"] += whole
            if ROW in table.column_names:
                options["column_encoding"] = {ROW: "DELTA_BINARY_PACKED"}
            self._file = pq.ParquetWriter(self.path, table.schema, **options)
        self._file.write_table(table, ROWS)


def _group_rows(schema: pa.Schema) -> int:
    """Rows of a row group; of lists fewer, for writing them takes ten times their own memory."""
    lists = [field.type for field in schema if pa.types.is_fixed_size_list(field.type)]
    size, rows = sum(kind.list_size * kind.value_type.bit_width // 8 for kind in lists), ROWS
    while rows * size > LISTS and rows > 1024:
        rows //= 2
    return rows


def _options(schema: pa.Schema) -> dict:
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    return {"compression": "none", "use_dictionary": texts}  # only text gets a dictionary


@contextlib.contextmanager
def writing(path: str | Path, facts: Facts | None = None) -> Iterator[Writer]:
    """Give a Writer; the table is there, whole, when the block ends well, or not at all. The block finishes it."""
    with replacing(path) as partial:
        yield Writer(partial, facts)


def write(table: pa.Table, path: str | Path, facts: Facts | None = None) -> None:
    """Write `table`, whole or not at all."""
    with writing(path, facts) as writer:
        writer.write(table)
        writer.finish()


def take(rows: Stored, numbers: np.ndarray) -> pa.Table:
    """Different rows of a table in any order; on the disk if they do not fit in memory, and then column by column."""
    if spill.may_hold(2 * rows.row_size() * len(rows)):
        return rows.read().take(numbers)
    return spill.beside_each_other(_taken(rows, name, numbers) for name in rows.column_names)


def _taken(rows: Stored, name: str, numbers: np.ndarray) -> Iterator[pa.Table]:
    """A column of `take` in pieces, for each of which the whole column goes through memory."""
    size = spill.rows_at_a_time(rows.row_size([name]), max(len(rows), 1))
    for start in range(0, max(len(numbers), 1), size):
        wanted = numbers[start : start + size]
        ordered, first, found = np.sort(wanted), 0, []
        for piece in rows.groups(size, [name]):
            here = slice(*ordered.searchsorted([first, first + len(piece)]))
            found.append(piece.take(ordered[here] - first))
            first += len(piece)
        yield pa.concat_tables(found).take(ordered.searchsorted(wanted))


def targets(table: pa.Table | Stored, facts: Facts) -> np.ndarray:
    """The target as class numbers in the order of `facts.classes`: int32 (n,)."""
    column = table.column(facts.target)
    return pc.index_in(column, pa.array(facts.classes, column.type)).to_numpy().astype(np.int32)


def class_numbers(rows: Stored, facts: Facts) -> np.ndarray:
    """The targets of a table in a file, piece by piece, in as few bytes as the classes take: unsigned (n,)."""
    y, first = spill.empty(len(rows), np.min_scalar_type(len(facts.classes) - 1)), 0
    for piece in rows.groups(columns=[facts.target]):
        y[first : first + len(piece)] = targets(piece, facts)
        first += len(piece)
    return y


def counted(classes: np.ndarray, least: int = 0) -> np.ndarray:
    """np.bincount of class numbers, of the first `least` classes at least; piece by piece, for it widens them: (k,)."""
    total = np.zeros(least, np.int64)
    for here in spill.pieces(len(classes), ROWS):
        counts = np.bincount(classes[here], minlength=len(total))
        counts[: len(total)] += total
        total = counts
    return total
