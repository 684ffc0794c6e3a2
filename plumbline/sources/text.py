"""A text file: letters in UTF-8, in lines that end, with cells between separators.

A file is looked at byte by byte only where that costs nothing, as it is unpacked, or where something is wrong with it:
most files are read once, by DuckDB.
"""

import codecs
import contextlib
import csv
import gzip
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from plumbline.basics.errors import UserError
from plumbline.sources.rows import unreadable

PIECE = 2**18  # bytes of a file that are looked at together
LONGEST = 2**24  # letters of a line, or a cell: one that goes on for longer was never meant


class Line(NamedTuple):
    """A row as it stands in a file: its first line, from 1, its last, and its cells."""

    number: int
    end: int
    cells: list[str]


class Text(NamedTuple):
    """A text file, and how users know it."""

    file: Path
    path: Path
    word: str = "line"  # or row: of a sheet, where a cell may have several lines

    def at(self, number: int) -> str:
        """In words, where something stands."""
        return f"{self.path} {self.word} {number}"

    @contextlib.contextmanager
    def opened(self) -> Iterator[TextIO]:
        """The file's letters, for the block; UserError with the line where its bytes are none."""
        with self.file.open(encoding="utf-8-sig", newline="") as opened:
            try:
                yield opened
            except UnicodeDecodeError:
                self.check()
                raise

    def lines(self, separator: str, skipped: int, spaced: bool) -> Iterator[Line]:
        """The rows below so many lines, blank ones left out; UserError for a quote that is in no right place.

        spaced: whether spaces behind separators are no part of cells.
        """
        csv.field_size_limit(LONGEST)
        with self.opened() as opened:
            for _ in range(skipped):
                opened.readline()
            start = skipped + 1
            rows = csv.reader(self._ending(opened), delimiter=separator, strict=True, skipinitialspace=spaced)
            try:
                for row in rows:
                    end = skipped + rows.line_num if self.word == "line" else start
                    if row:
                        yield Line(start, end, row)
                    start = end + 1
            except csv.Error as error:
                problem = f"a quote is closed and its cell goes on ({error}); write a quote in a cell twice"
                if "end of data" in str(error) or "field larger" in str(error):
                    problem = "a quote is opened and never closed; close it, or remove it"
                raise UserError(f"{self.at(start)}: {problem}") from None

    def check(self) -> None:
        """UserError for the first byte that is no text, and for a line without an end."""
        with self.file.open("rb") as file:
            for _ in pieces(file, self.path):
                pass

    def _ending(self, opened: TextIO) -> Iterator[str]:
        """The lines; one without an end is not kept in memory."""
        for line in iter(lambda: opened.readline(LONGEST + PIECE + 1), ""):
            if len(line) > LONGEST + PIECE:
                self.check()
            yield line


def unpacked(path: Path, folder: Path) -> Path:
    """The file as plain text: itself, or of a .gz a copy in `folder`."""
    if not path.name.lower().endswith(".gz"):
        return path
    plain = folder / "unpacked.csv"
    try:
        with gzip.open(path) as packed, plain.open("wb") as file:
            file.writelines(pieces(packed, path))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise unreadable(path, error) from None
    return plain


def pieces(file: BinaryIO, path: Path) -> Iterator[bytes]:
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
        line += piece.count(b"\n")
        length = len(piece) - end - 1 if end >= 0 else length + len(piece)
        if length > LONGEST:
            raise UserError(f"{path} line {line} has more than {LONGEST:,} bytes; end it where its row ends")
        yield piece


def _no_text(path: Path, line: int, what: str) -> UserError:
    return UserError(f"{path} line {line}: {what} is not UTF-8 text; save the table as CSV in UTF-8")
