"""A Parquet table in and out, with the facts that travel in its metadata; CSV and Parquet sources.

The facts are what later stages must know of the whole table and cannot see in their part of it: the target, its
classes, and where the stream of random numbers stands. Files are written uncompressed and floats without a dictionary:
bytes then depend on pyarrow's version alone, and columns of random digits do not shrink anyway.
"""

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.errors import UserError
from stages.files import replacing

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


def read_source(path: str | Path, texts: Iterable[str] = ()) -> pa.Table:
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
    try:
        parquet = path.suffix.lower() == ".parquet"
        table = pq.ParquetFile(path).read() if parquet else _read_csv(path, texts)
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as its name says: {reason}; save it anew") from None
    check_names(table, path)
    return table.replace_schema_metadata(None)


def check_names(table: pa.Table, source: str | Path) -> None:
    """Refuse columns of the same name: which of them is meant cannot be told."""
    for name, count in Counter(table.column_names).items():
        if count > 1:
            raise UserError(f"{source} has {count} columns named {name!r}; names must differ, rename them")


def _read_csv(path: Path, texts: Iterable[str]) -> pa.Table:
    """A CSV by pyarrow's reader, on one thread, where it tells the number of a bad row."""
    from pyarrow import csv as arrow  # 20 ms that only a CSV costs

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


def read(path: str | Path | BinaryIO, name: str | None = None) -> tuple[pa.Table, Facts]:
    """A table that a stage wrote, and its facts; `name` is what messages call it, if not by its path."""
    name = name or path
    try:
        table = pq.ParquetFile(path).read()
        facts = msgspec.json.decode(table.schema.metadata[METADATA_KEY], type=Facts)
    except FileNotFoundError:
        raise UserError(f"{name} is not there; `dvc repro` makes it, `dvc checkout` brings it back") from None
    except (pa.ArrowException, OSError, KeyError, TypeError, msgspec.MsgspecError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{name} is not a table that a stage wrote ({reason}); run `dvc repro`") from None
    return table, facts


def write(table: pa.Table, path: str | Path, facts: Facts | None = None) -> None:
    """Write `table`, whole or not at all; only text gets a dictionary."""
    table = table.replace_schema_metadata({METADATA_KEY: msgspec.json.encode(facts)} if facts else None)
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="none", use_dictionary=texts)


def targets(table: pa.Table, facts: Facts) -> np.ndarray:
    """The target as class numbers in the order of `facts.classes`: int32 (n,)."""
    column = table.column(facts.target)
    return pc.index_in(column, pa.array(facts.classes, column.type)).to_numpy().astype(np.int32)
