"""A table as it came: a Parquet file, a folder of them, a CSV of any usual form, or what a generator makes.

A Parquet table goes through by row groups. A CSV is read whole, for its checks need all its text: whether it is UTF-8,
what separates its cells, and at which line a quote is opened that is never closed.
"""

import csv
import gzip
import importlib.util
import io
import re
import traceback
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from stages import folder, resources
from stages.errors import UserError, reason
from stages.table import Stored, check_names

SUFFIXES = (".parquet", ".csv", ".csv.gz")
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}
PIECE = 2**24  # bytes of a CSV that are read before it is asked whether there is memory for more


def read(path: str | Path, texts: Iterable[str] = ()) -> pa.Table | Stored:
    """The table without metadata; UserError for what cannot be read as its name says.

    The columns named in `texts` are read from a CSV as the text that stands there: labels and categories.
    """
    path = Path(path)
    if path.is_dir():
        return folder.Folder(path)
    problem = None
    if not path.is_file():
        problem = "is not there"
    elif not path.name.lower().endswith(SUFFIXES):
        problem = "is of no kind that is read here"
    elif not path.stat().st_size:
        problem = "is empty"
    if problem:
        raise UserError(f"{path} {problem}; a table is a file ({', '.join(SUFFIXES)}), or a folder of .parquet files")
    complaint = "{} cannot be read as its name says: {}; save it anew"
    if path.suffix.lower() == ".parquet":
        rows = Stored(path, path, complaint)
    else:
        try:
            rows = _read_csv(path, texts).replace_schema_metadata(None)
        except MemoryError:
            raise
        except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
            raise UserError(complaint.format(path, reason(error))) from None
    check_names(rows, path)
    return rows


def generate(source: str, settings, generator) -> Iterator[pa.Table]:
    """The table that `make(settings, generator)` of a .py source returns, or the pieces that it yields."""
    if not Path(source).is_file():
        raise UserError(
            f"make_data.source {source} is not there; it must be a file that defines make(params, generator)"
        )
    spec = importlib.util.spec_from_file_location(Path(source).stem, Path(source).absolute())
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "make"):
            raise UserError(f"make_data.source {source} must define make(params, generator) and does not")
        made = module.make(settings, generator)
        schema = None
        for piece in made if isinstance(made, Iterator) else [made]:
            piece = as_table(piece, source)
            schema = schema or piece.schema
            if piece.schema != schema:
                kinds = [", ".join(str(each).splitlines()) for each in (schema, piece.schema)]
                raise UserError(
                    f"{source} yields tables of different columns ({kinds[0]}; {kinds[1]}); make them alike"
                )
            yield piece
    except (UserError, MemoryError):
        raise
    except Exception as error:  # whatever the user's code raises, said in one line that leads to it
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == Path(source).absolute()] or [
            getattr(error, "lineno", None)
        ]
        place = f"{source} line {lines[-1]}" if lines[-1] else source
        raise UserError(f"{place}: {type(error).__name__}: {reason(error)}; mend the generator") from None


def as_table(made, source: str) -> pa.Table:
    """A generator's table or DataFrame as a table."""
    if not isinstance(made, pa.Table):
        import pandas as pd

        if not isinstance(made, pd.DataFrame):
            raise UserError(
                f"make of {source} must return or yield a pyarrow table or a DataFrame, not {type(made).__name__}"
            )
        made = pa.Table.from_pandas(made, preserve_index=False)
    check_names(made, source)
    return made.replace_schema_metadata(None)


def _read_csv(path: Path, texts: Iterable[str]) -> pa.Table:
    """A CSV by pyarrow's reader, on one thread, where it tells the number of a bad row."""
    from pyarrow import csv as arrow  # 20 ms that only a CSV costs

    lower = "its rows, or save it as Parquet, which is read by row groups"
    resources.check_memory(f"reading {path} whole", 4 * path.stat().st_size, lower)  # as bytes, text and table
    data, zipped = bytearray(), path.name.lower().endswith(".gz")
    with gzip.open(path) if zipped else path.open("rb") as file:
        while piece := file.read(PIECE):
            data += piece
            if zipped:  # what it holds only it says
                resources.check_memory(f"reading {path} whole", 3 * len(data), lower)
    separator = _separator(data, path)
    wrong = []
    parsing = arrow.ParseOptions(
        delimiter=separator,
        newlines_in_values=True,
        invalid_row_handler=lambda row: wrong.append(row) or "skip",
    )
    options = {"column_types": dict.fromkeys(texts, pa.string()), "strings_can_be_null": True}

    def parsed(decimal_point: str) -> pa.Table:
        wrong.clear()
        return arrow.read_csv(
            pa.BufferReader(data),
            read_options=arrow.ReadOptions(use_threads=False),
            parse_options=parsing,
            convert_options=arrow.ConvertOptions(decimal_point=decimal_point, **options),
        )

    table = parsed(".")
    if separator != "," and text_columns(table):
        table = min(table, parsed(","), key=text_columns)  # a comma that separates no cells may be the decimal point
    if wrong:
        row, line = wrong[0], _line_of(data, separator, wrong[0].number)
        raise UserError(
            f"{path} line {line}: {row.actual_columns} cells separated by {NAMES[separator]}, and the header has "
            f"{row.expected_columns}; mend that line"
        )
    return table


def text_columns(table: pa.Table) -> int:
    """How many columns are text."""
    return sum(map(pa.types.is_string, table.schema.types))


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
    if not (header := re.search(r"[^\r\n]*\S[^\r\n]*", text)):
        raise UserError(f"{path} is blank; its first line must name the columns")
    separator = max(NAMES, key=lambda mark: len(next(csv.reader([header[0]], delimiter=mark), [])))
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
