"""CSV files: .csv and .csv.gz, cells separated by commas, semicolons or tabs.

DuckDB reads every cell as text, strictly: nothing is skipped, nothing is padded. What a cell holds is decided here, in
SQL. A column is typed by its first rows; a cell further down that says otherwise stops the reading, all rows are looked
at, and it starts anew. So a column's type depends on all of its cells, and hardly ever costs a pass of its own.

A file with more around its table than a header is written anew as plain rows first (sources/frames.py).
"""

import codecs
import csv
import gzip
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from plumbline.basics.errors import UserError
from plumbline.sources import cells, frames
from plumbline.sources.frames import LONGEST, Frame, Text
from plumbline.sources.rows import STAGED, Keep, Rows, check_names, of_files, unreadable
from plumbline.tables import duck

PIECE = 2**18  # bytes of a file that are looked at together: they stay in the second-level cache
NEWLINE = ord("\n")
SAMPLE = 2**18  # cells of the first rows, from which columns' types are first told
NEVER = "\x01 stands in no cell \x01"  # what DuckDB takes for missing: it would let an empty cell too many pass


def read(path: Path, folder: Path, keep: Keep, texts: set[str]) -> Rows:
    """The rows of a CSV, as a Parquet file in `folder`; columns named in `texts` as the text that stands there."""
    return of_text(frames.found(Text(_unpacked(path, folder), path)), folder, keep, texts)


def of_text(frame: Frame, folder: Path, keep: Keep, texts: set[str]) -> Rows:
    """The rows of a text file in a frame."""
    path, names, separator = frame.text.path, frame.names, frame.separator
    check_names(names, path)
    kept = set(keep(names))
    columns = {f"c{i}": name for i, name in enumerate(names) if name in kept}
    plain = frame.text.file if frame.is_plain else folder / "framed.csv"
    if not frame.is_plain:
        with plain.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=separator, lineterminator="\n")
            writer.writerows(line.cells for line in frame.rows())

    # The file as DuckDB reads it, all text: everything that it would guess is said
    staged, types = folder / "staged.parquet", {f"c{i}": "VARCHAR" for i in range(len(names))}
    relation = (
        f"read_csv({duck.text(duck.literal(plain))}, auto_detect = false, strict_mode = true, columns = {types}, "
        f"header = {frame.is_plain and frame.skipped > 0}, delim = {duck.text(separator)}, quote = '\"', "
        f"escape = '\"', comment = '', nullstr = {duck.text(NEVER)})"
    )
    as_text = {column: cells.TEXT for column, name in columns.items() if name in texts}
    try:
        kinds = cells.kinds(relation, columns, separator != ",", SAMPLE // len(columns) + 1) | as_text
        try:
            duck.copy(cells.query(relation, columns, kinds), staged, STAGED, "")
        except duck.Error:  # a cell of another kind, or a bad line
            kinds = cells.kinds(relation, columns, separator != ",") | as_text
            duck.copy(cells.query(relation, columns, kinds), staged, STAGED, "")
    except duck.Error as error:
        _check_rows(frame)
        raise unreadable(path, error) from None

    def places(numbers: list[int]) -> list[str]:
        """Where rows of these numbers, from 0 and in order, stand in the file."""
        wanted, rows = set(numbers), enumerate(frame.rows())
        found = (line for i, line in rows if i in wanted)
        return [f"{frame.text.word} {line.number}" for line in itertools.islice(found, len(wanted))]

    has_point = separator == "," or any(kind & cells.REAL for kind in kinds.values())
    return of_files([staged])._replace(file=staged, places=places, has_point=has_point)


# ---- the text of a file


def _unpacked(path: Path, folder: Path) -> Path:
    """The file as plain text: itself, or a copy in `folder`."""
    if not path.name.lower().endswith(".gz"):
        with path.open("rb") as file:
            for _ in _pieces(file, path):
                pass
        return path
    plain = folder / "unpacked.csv"
    try:
        with gzip.open(path) as packed, plain.open("wb") as unpacked:
            unpacked.writelines(_pieces(packed, path))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise unreadable(path, error) from None
    return plain


def _pieces(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """The bytes of a file; UserError for what is no UTF-8 text, and for a line without an end.

    A zero byte is none, though DuckDB takes it for a letter. A file may be small and say as much as no memory holds:
    what packs to nothing is looked at before it is kept.
    """
    decoder, line, length = codecs.getincrementaldecoder("utf-8")(), 1, 0
    for piece in itertools.chain(iter(lambda: file.read(PIECE), b""), [b""]):
        if (zero := piece.find(b"\0")) >= 0:
            raise _no_text(path, line + piece.count(b"\n", 0, zero), "a zero byte")
        try:
            decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            at, byte = line + error.object.count(b"\n", 0, error.start), error.object[error.start]
            raise _no_text(path, at, f"byte 0x{byte:02x}") from None
        end = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
        line += np.count_nonzero(np.frombuffer(piece, np.uint8) == NEWLINE)  # faster than bytes.count
        length = len(piece) - end - 1 if end >= 0 else length + len(piece)
        if length > LONGEST:
            raise UserError(f"{path} line {line} has more than {LONGEST:,} bytes; end it where its row ends")
        yield piece


def _no_text(path: Path, line: int, what: str) -> UserError:
    return UserError(f"{path} line {line}: {what} is not UTF-8 text; save the table as CSV in UTF-8")


def _check_rows(frame: Frame) -> None:
    """Refuse the first row that has other cells than the header, a quote that is never closed, and mixed line ends."""
    for _ in frame.rows():
        pass
    with frame.text.file.open(encoding="utf-8-sig", newline="") as file:
        for _ in iter(lambda: file.read(PIECE), ""):
            pass
        if isinstance(file.newlines, tuple):
            ends = " and ".join(map(repr, file.newlines))
            raise UserError(f"{frame.text.path} has lines that end in {ends}; save it anew with line ends of one kind")
