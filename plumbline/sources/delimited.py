"""CSV files: .csv and .csv.gz, cells separated by commas, semicolons or tabs.

DuckDB reads every cell as text, strictly: nothing is skipped, nothing is padded. What a cell holds is decided here, in
SQL. A column is typed by its first rows; a cell further down that says otherwise stops the reading, all rows are looked
at, and it starts anew. So a column's type depends on all of its cells, and hardly ever costs a pass of its own.
"""

import csv
import gzip
import itertools
import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path

from plumbline.basics import inputs
from plumbline.basics.errors import UserError, reason
from plumbline.sources.cells import Cells
from plumbline.sources.rows import STAGED, Keep, Rows, check_names, of_files, unreadable
from plumbline.tables import duck

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
PIECE = 2**20  # bytes of a file that are looked at together
SAMPLE = 2**18  # cells of the first rows, from which columns' types are first told
LONGEST = 2**24  # letters of a cell: a quote that goes on for longer was never meant
NEVER = "\x01 stands in no cell \x01"  # what DuckDB takes for missing: it would let an empty cell too many pass


def read(path: Path, folder: Path, keep: Keep, texts: set[str]) -> Rows:
    """The rows of a CSV, as a Parquet file in `folder`; columns named in `texts` as the text that stands there."""
    inputs.watch(path)
    plain = _unpacked(path, folder)
    try:
        names, separator = _header(plain, path)
    except UnicodeDecodeError:
        _check_text(plain, path)
        raise
    check_names(names, path)
    kept = set(keep(names))
    columns = {f"c{i}": name for i, name in enumerate(names) if name in kept}
    cells = Cells(columns, texts, decimal_comma=separator != ",")
    staged = folder / "staged.parquet"

    def relation(numbers: Iterable[str] = ()) -> str:
        """The file as DuckDB reads it, all text but for `numbers`: everything that it would guess is said."""
        types = {f"c{i}": "VARCHAR" for i in range(len(names))} | dict.fromkeys(numbers, "DOUBLE")
        return (
            f"read_csv({duck.text(duck.literal(plain))}, auto_detect = false, strict_mode = true, header = true, "
            f"delim = {duck.text(separator)}, quote = '\"', escape = '\"', comment = '', nullstr = {duck.text(NEVER)}, "
            f"columns = {types})"
        )

    def copy(kinds: dict[str, int], numbers: list[str]) -> None:
        duck.copy(f"SELECT {cells.select(kinds, numbers)} FROM {relation(numbers)}", staged, STAGED, "")

    try:
        kinds = cells.kinds(relation(), SAMPLE // len(columns) + 1)
        try:
            copy(kinds, cells.plain(kinds))
        except duck.Error:  # a cell of another kind, or a bad line
            copy(cells.kinds(relation()), [])
    except duck.Error as error:
        _check_text(plain, path)
        _check_cells(plain, names, separator, path)
        raise unreadable(path, error) from None
    return of_files([staged], file=staged)


# ---- the text of a file


def _unpacked(path: Path, folder: Path) -> Path:
    """The file as plain text: itself, or a copy in `folder`."""
    if not path.name.lower().endswith(".gz"):
        return path
    plain = folder / "unpacked.csv"
    try:
        with gzip.open(path) as packed, plain.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, PIECE)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise unreadable(path, error) from None
    return plain


def _header(plain: Path, path: Path) -> tuple[list[str], str]:
    """The columns' names and what separates them; UserError where there are none, or a quote is not closed."""
    with plain.open("rb") as file:
        if any(b"\0" in piece for piece in iter(lambda: file.read(PIECE), b"")):  # DuckDB takes it for a letter
            _check_text(plain, path)
    with plain.open(encoding="utf-8-sig", newline="") as file:
        line = file.readline()
        if not line.strip():
            raise UserError(f"{path} is blank in its first line, which must name the columns; write their names there")
        separator = max(SEPARATORS, key=lambda mark: len(next(csv.reader([line], delimiter=mark))))
        try:
            names = next(csv.reader(itertools.chain([line], file), delimiter=separator, strict=True))
        except csv.Error as error:
            raise _bad_quote(path, 1, error) from None
    return [name or f"column{i}" for i, name in enumerate(names)], separator


# ---- what is refused, with its line


def _check_text(plain: Path, path: Path) -> None:
    """Refuse what is no UTF-8 text, or has a zero byte."""
    with plain.open("rb") as file:
        for number, line in enumerate(file, 1):
            problem = "a zero byte, so this is no UTF-8 text" if b"\0" in line else None
            try:
                line.decode()
            except UnicodeDecodeError as error:
                problem = f"byte 0x{line[error.start]:02x} is not UTF-8 text"
            if problem:
                raise UserError(f"{path} line {number}: {problem}; save the table as CSV in UTF-8")


def _check_cells(plain: Path, names: list[str], separator: str, path: Path) -> None:
    """Refuse the first row that has other cells than the header, a quote that is never closed, and mixed line ends."""
    line = 1
    csv.field_size_limit(LONGEST)
    with plain.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=separator, strict=True)
        try:
            for row in rows:
                if row and len(row) != len(names):
                    raise UserError(
                        f"{path} line {line}: {len(row)} cells separated by {SEPARATORS[separator]}, and the "
                        f"header has {len(names)}; mend that line"
                    )
                line = rows.line_num + 1
        except csv.Error as error:
            raise _bad_quote(path, line, error) from None
        if isinstance(file.newlines, tuple):
            ends = " and ".join(map(repr, file.newlines))
            raise UserError(f"{path} has lines that end in {ends}; save it anew with line ends of one kind")


def _bad_quote(path: Path, line: int, error: csv.Error) -> UserError:
    """What is said of a quote that is in no right place."""
    if "end of data" in str(error) or "field larger" in str(error):
        return UserError(f"{path} line {line}: a quote is opened and never closed; close it, or remove it")
    return UserError(
        f"{path} line {line}: a quote is closed and its cell goes on ({reason(error)}); write a quote in a cell twice"
    )
