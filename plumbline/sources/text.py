"""A text file in UTF-8: its lines, the cells in them, and what is wrong with its bytes.

Most files are read only once, by DuckDB. Python looks at all bytes of a file only while it unpacks it, or to find what
is wrong with it.
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
LONGEST = 2**24  # bytes of a line and letters of a cell at most: something is wrong with a longer one


class Line(NamedTuple):
    """A row as it stands in a file. A quoted cell may go on over several lines."""

    number: int  # of its first line, from 1
    end: int  # the number of its last line
    cells: list[str]


class Text(NamedTuple):
    """A text file, and what messages call it."""

    file: Path  # the plain text, maybe in a scratch folder
    path: Path  # the user's file
    word: str = "line"  # or "row", if the user's file has no lines of text: then rows are numbered, not lines

    def at(self, number: int) -> str:
        """In words, where something stands."""
        return f"{self.path} {self.word} {number}"

    @contextlib.contextmanager
    def opened(self) -> Iterator[TextIO]:
        """The file, opened for reading in the block; UserError with the line if its bytes are not UTF-8."""
        with self.file.open(encoding="utf-8-sig", newline="") as opened:
            try:
                yield opened
            except UnicodeDecodeError:
                self.check()
                raise

    def lines(self, separator: str, skipped: int, spaced: bool) -> Iterator[Line]:
        """The rows that are not blank; UserError for a quote in the wrong place.

        skipped: lines to leave out at the beginning. spaced: whether spaces behind separators are no part of cells.
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
        """UserError for the first byte that is not UTF-8 text, and for a line without an end."""
        with self.file.open("rb") as file:
            for _ in _pieces(file, self.path):
                pass

    def _ending(self, opened: TextIO) -> Iterator[str]:
        """The lines; UserError before a line without an end fills the memory."""
        for line in iter(lambda: opened.readline(LONGEST + PIECE + 1), ""):
            if len(line) > LONGEST + PIECE:
                self.check()
            yield line


def unpacked(path: Path, folder: Path) -> Path:
    """The file as plain text: itself, or for a .gz file a copy in `folder`."""
    if not path.name.lower().endswith(".gz"):
        return path
    plain = folder / "unpacked.csv"
    try:
        with gzip.open(path) as packed, plain.open("wb") as file:
            file.writelines(_pieces(packed, path))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise unreadable(path, error) from None
    return plain


def _pieces(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """The bytes of a file, piece by piece; UserError for what is not UTF-8 text, and for a line without an end.

    A zero byte is refused too, though DuckDB takes it for a letter. Each piece is checked before it is given out: a
    small .gz file may unpack to one line that fills the disk.
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
