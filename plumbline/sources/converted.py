"""Excel sheets, JSON lines and SQLite tables: written as a CSV into a scratch folder, and then read as any CSV is.

So a cell means the same in whatever file it stood. A whole number is written without a point, a truth value as True or
False.
"""

import contextlib
import csv
import datetime
import gzip
import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from plumbline.basics.errors import UserError, reason
from plumbline.basics.params import nearest
from plumbline.sources import frames
from plumbline.sources.frames import Frame
from plumbline.sources.rows import unreadable
from plumbline.sources.text import LONGEST, Text
from plumbline.tables import duck

SHEETS = (".xlsx",)
LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
DATABASES = (".sqlite", ".sqlite3", ".db")
SUFFIXES = SHEETS + LINES + DATABASES
EXAMPLE = 'write a row a line, such as {"age": 31}'

Placed = Iterator[tuple[int, Sequence]]  # rows: the number of each, from 1, and its cells


def read(path: Path, folder: Path, sheet: str | None) -> Frame:
    """A table as a CSV in `folder`, with its frame. A sheet may have a title above its header; the others have none.

    sheet: the name of the sheet, or of the table of a database; None: there is only one.
    """
    name, text = path.name.lower(), Text(folder / "converted.csv", path, "row")
    if name.endswith(SHEETS):
        _write(text, _of_sheet(path, sheet))
        return frames.found(text)
    if name.endswith(LINES):
        names, rows = _of_lines(path)
        _write(text, rows)
    else:
        with _of_database(path, sheet) as (names, rows):
            _write(text, rows)
    return Frame(text, names, ",", skipped=0)


def _write(text: Text, rows: Placed) -> None:
    with text.file.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, cells in rows:
            try:
                writer.writerow(map(_cell, cells))
            except ValueError as error:  # of _cell, or UnicodeEncodeError
                raise UserError(f"{text.at(number)}: {reason(error)}; write a value a cell") from None


def _cell(value: object) -> object:
    """A value as a CSV has it; ValueError for a list, an object, bytes, and text with a zero byte."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list | dict | bytes) or (isinstance(value, str) and "\0" in value):
        raise ValueError(f"{reason(repr(value))[:40]} is no single number or text")
    return value.total_seconds() if isinstance(value, datetime.timedelta) else value


def _chosen(name: str | None, there: list[str], path: Path, what: str) -> str:
    """The sheet or table that is meant: the named one, or the only one; UserError if it is not there.

    what: "sheet" or "table".
    """
    if name is None and len(there) == 1:
        return there[0]
    if not there:
        raise UserError(f"{path} has no {what} with anything in it; save it anew, or name another file")
    if name is None:
        raise UserError(f"{path} has the {what}s {', '.join(map(repr, there))}; say which (make_data.sheet, --sheet)")
    if name not in there:
        raise UserError(f"{path} has no {what} {name!r} (make_data.sheet, --sheet){nearest(name, there)}")
    return name


# ---- an Excel sheet


def _of_sheet(path: Path, name: str | None) -> Placed:
    """The rows of a sheet, with the blank ones above and between them: so they are numbered as Excel numbers them."""
    import python_calamine as calamine  # late, for few tables are sheets

    try:
        book = calamine.CalamineWorkbook.from_path(str(path))
        there = [each for each in book.sheets_metadata if each.typ == calamine.SheetTypeEnum.WorkSheet]
        if name is None:  # hidden and empty sheets do not count
            there = [each for each in there if each.visible == calamine.SheetVisibleEnum.Visible]
            there = [each for each in there if book.get_sheet_by_name(each.name).start]
        sheet = book.get_sheet_by_name(_chosen(name, [each.name for each in there], path, "sheet"))
        rows = sheet.to_python(skip_empty_area=True)
    except (calamine.CalamineError, OSError) as error:
        raise unreadable(path, error) from None
    while rows and not any(cell != "" for cell in rows[-1]):
        rows.pop()
    above = sheet.start[0] if sheet.start else 0  # blank rows, which it has left out
    return enumerate([[]] * above + rows, 1)


# ---- JSON lines


def _of_lines(path: Path) -> tuple[list[str], Placed]:
    """The names, in the order in which they first appear, and the values of each object."""
    names = [*dict.fromkeys(name for values in _objects(path) for name in values)]
    if not names:
        raise UserError(f"{path} has no line with an object in it; {EXAMPLE}")
    return names, enumerate(([*map(values.get, names)] for values in _objects(path)), 1)


def _objects(path: Path) -> Iterator[dict]:
    """The object of each line that is not blank. Numbers are the text that stands there: 1.50 stays 1.50."""
    number = 0

    def without_twins(pairs: list[tuple]) -> dict:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a name stands there twice")
        return dict(pairs)

    decoder = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=without_twins)
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        try:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST + 1), b""), 1):
                if len(line) > LONGEST:
                    raise ValueError(f"it has more than {LONGEST:,} bytes")
                if line.strip():
                    value = decoder.decode(line.decode("utf-8-sig" if number == 1 else "utf-8").strip())
                    if not isinstance(value, dict):
                        raise ValueError("it is no object")
                    yield value
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path} line {number}: not one JSON object ({reason(error)}); {EXAMPLE}") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise unreadable(path, error) from None


# ---- a SQLite table


@contextlib.contextmanager
def _of_database(path: Path, name: str | None) -> Iterator[tuple[list[str], Placed]]:
    """For the block, the names of a table and its rows. They come in the order of SQLite's rowid, if there is one."""
    for more in ("-wal", "-journal"):
        beside = path.with_name(path.name + more)
        if beside.exists() and beside.stat().st_size:
            raise UserError(f"{beside} has changes that {path} has not yet; close what writes it, and run this again")
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    kinds = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND substr(name, 1, 7) <> 'sqlite_'"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
            there = [name for (name,) in database.execute(f"{kinds} ORDER BY name")]
            table = duck.name(_chosen(name, there, path, "table"))
            try:
                found = database.execute(f"SELECT * FROM {table} ORDER BY rowid")
            except sqlite3.OperationalError:  # a view, or a table without row numbers
                found = database.execute(f"SELECT * FROM {table}")
            yield [column[0] for column in found.description], enumerate(found, 1)
    except sqlite3.Error as error:
        raise unreadable(path, error) from None
