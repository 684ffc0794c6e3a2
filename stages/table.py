"""A Parquet table in and out, by row groups, with the facts that travel in its metadata; CSV and Parquet sources.

The facts are what later stages must know of the whole table and cannot see in their part of it: the target, its
classes, and where the stream of random numbers stands. A table may be larger than memory: it is written and read a row
group at a time, or read a column at a time. Files are written uncompressed and floats without a dictionary: bytes then
depend on pyarrow's version alone, and columns of random digits do not shrink anyway.
"""

import contextlib
import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages import resources, spill
from stages.errors import UserError
from stages.files import replacing

ROWS = 2**20  # of a row group: so much of a table is in memory at a time
LISTS = 2**23  # most bytes of lists in a row group
TEXT = 100  # bytes of a text in Python, beside its letters
FEW = 2**16  # rows up to which threads take longer to start than to read; a folder may have a thousand such files
ROW = "_row"  # the row's number in dataset.parquet, from 0; a reserved name
METADATA_KEY = b"plumbline"
SUFFIXES = (".parquet", ".csv", ".csv.gz")
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}
# What pyarrow's CSV reader takes for missing, so that it is the same in Parquet; and cells of nothing but spaces.
MISSING = {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"}
MISSING |= {"N/A", "NA", "NULL", "NaN", "n/a", "nan", "null"}


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
            # Mapped: otherwise reading a few rows takes the memory of their whole row group.
            self._file = pq.ParquetFile(path, pre_buffer=False, memory_map=isinstance(path, str | Path))
            self.schema = self._file.schema_arrow.remove_metadata()
            self.metadata = self._file.metadata.metadata or {}

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise UserError(self._complaint.format(self._name, " ".join(str(error).split()))) from None

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


def read_source(path: str | Path, texts: Iterable[str] = ()) -> pa.Table | Stored:
    """A user's table as it came, without metadata; UserError for what cannot be read as its name says.

    The columns named in `texts` are read from a CSV as the text that stands there: labels and categories.
    """
    path = Path(path)
    problem = None
    if path.is_dir():
        problem = "is a folder"
    elif not path.is_file():
        problem = "is not there (in a --temp or --queue run it must be tracked: `git add` or `dvc add` it)"
    elif not path.name.lower().endswith(SUFFIXES):
        problem = "is of no kind that is read here"
    elif not path.stat().st_size:
        problem = "is empty"
    if problem:
        raise UserError(f"{path} {problem}; a table is a file ({', '.join(SUFFIXES)}), or a .py file that makes one")
    complaint = "{} cannot be read as its name says: {}; save it anew"
    if path.suffix.lower() == ".parquet":
        rows = Stored(path, path, complaint)
    else:
        try:
            rows = _read_csv(path, texts).replace_schema_metadata(None)
        except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
            raise UserError(complaint.format(path, " ".join(str(error).split()))) from None
    check_names(rows, path)
    return rows


def check_names(table: pa.Table | Stored, source: str | Path) -> None:
    """Refuse columns of the same name: which of them is meant cannot be told."""
    for name, count in Counter(table.column_names).items():
        if count > 1:
            raise UserError(f"{source} has {count} columns named {name!r}; names must differ, rename them")


def _read_csv(path: Path, texts: Iterable[str]) -> pa.Table:
    """A CSV by pyarrow's reader, on one thread, where it tells the number of a bad row."""
    from pyarrow import csv as arrow  # 20 ms that only a CSV costs

    lower = "its rows, or save it as Parquet, which is read by row groups"
    resources.check_memory(f"reading {path} whole", 4 * path.stat().st_size, lower)  # as bytes, text and table
    data = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        data = gzip.decompress(data)
    separator = _separator(data, path)
    wrong = []
    parsing = arrow.ParseOptions(
        delimiter=separator,
        newlines_in_values=True,
        invalid_row_handler=lambda row: wrong.append(row) or "skip",
    )
    options = {"column_types": dict.fromkeys(texts, pa.string()), "strings_can_be_null": True}
    for decimal_point in ".,":  # where a comma does not separate cells it may be the decimal point
        table = arrow.read_csv(
            pa.BufferReader(data),
            read_options=arrow.ReadOptions(use_threads=False),
            parse_options=parsing,
            convert_options=arrow.ConvertOptions(decimal_point=decimal_point, **options),
        )
        if separator == "," or not any(_has_decimal_commas(table.column(i)) for i in range(table.num_columns)):
            break
    if wrong:
        row, line = wrong[0], _line_of(data, separator, wrong[0].number)
        raise UserError(
            f"{path} line {line}: {row.actual_columns} cells separated by {NAMES[separator]}, and the header has "
            f"{row.expected_columns}; mend that line"
        )
    return table


def _separator(data: bytes, path: Path) -> str:
    """The separator of a CSV's cells; UserError when the file is no text, or has a quote that is never closed."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path} line {line}: byte 0x{data[error.start]:02x} is not UTF-8 text; save the table as CSV in UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path} line {line}: a zero byte, so this is no UTF-8 text; save the table as CSV in UTF-8")
    if not text.strip():
        raise UserError(f"{path} is blank; its first line must name the columns")
    header = next(line for line in text.splitlines() if line.strip())
    separator = max(NAMES, key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))
    if data.count(b'"') % 2:
        _check_quotes(text, separator, path)
    return separator


def _check_quotes(text: str, separator: str, path: Path) -> None:
    """Refuse a quote that is never closed: pyarrow takes the rest of the file as one cell and says nothing."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        line = rows.line_num + 1
        try:
            if next(rows, None) is None:
                return
        except csv.Error as error:
            if "end of data" not in str(error):
                return
            raise UserError(f"{path} line {line}: a quote is opened and never closed; close it, or remove it") from None


def _line_of(data: bytes, separator: str, number: int) -> int:
    """The line at which the row of that number starts: pyarrow counts rows, not blank lines or lines in quotes."""
    rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=separator)
    line = 1
    for row in rows:
        number -= bool(row)
        if not number:
            return line
        line = rows.line_num + 1
    return line


def _has_decimal_commas(column: pa.ChunkedArray) -> bool:
    """Whether a column is text only because its numbers are written with a comma."""
    if not pa.types.is_string(column.type) or column.null_count == len(column):
        return False
    return pc.all(pc.match_substring_regex(column, r"^\s*[-+]?\d*(,\d+)?([eE][-+]?\d+)?\s*$")).as_py()


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
        raise UserError(complaint.format(name, " ".join(str(error).split()))) from None


def read(path: str | Path | BinaryIO, name: str | None = None) -> tuple[pa.Table, Facts]:
    """The same with the whole table in memory."""
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

    def write(self, table: pa.Table) -> None:
        """Add rows; they are held until a row group is full."""
        most = _group_rows(table.schema)
        while self._rows + len(table) > most:
            rest = most - self._rows
            self._hold(table.slice(0, rest))
            self._flush()
            table = table.slice(rest)
        self._hold(table)

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
        if not spill.passes(sum(piece.nbytes for piece in self._held[self._mapped :])):
            self._held[self._mapped :] = spill.tables(self._held[self._mapped :], self.path.parent)
            self._mapped = len(self._held)

    def _taken(self) -> pa.Table:
        """What is held as one table, every column in one piece: where pieces end Parquet may begin a new page."""
        table = pa.concat_tables(self._held)
        if self._mapped:
            columns = (table.select([i]).combine_chunks() for i in range(table.num_columns))
            table = spill.beside_each_other(columns, self.path.parent)
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


def take(rows: Stored, numbers: np.ndarray, folder: str | Path) -> pa.Table:
    """Rows of a table in any order; on the disk if they do not fit in memory, and then made column by column."""
    if spill.passes(2 * rows.row_size() * len(rows)):
        return rows.read().take(numbers)
    return spill.beside_each_other((rows.read([name]).take(numbers) for name in rows.column_names), folder)


def targets(table: pa.Table | Stored, facts: Facts) -> np.ndarray:
    """The target as class numbers in the order of `facts.classes`: int32 (n,)."""
    column = table.column(facts.target)
    return pc.index_in(column, pa.array(facts.classes, column.type)).to_numpy().astype(np.int32, copy=False)
