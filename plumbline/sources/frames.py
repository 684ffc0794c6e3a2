"""The frame of a table: what stands around it in a text file.

Exports add titles and comments above the header, Excel's `sep=;`, separators at the end of every line, spaces after
separators, units below the header, and totals in the last line. What is certainly none of the table is left out, and a
printed line says so. Where it is not certain, the file is refused.
"""

import contextlib
import csv
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from plumbline.basics.errors import UserError
from plumbline.sources.text import Line, Text
from plumbline.tables.columns import MISSING, SPACES

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
ROWS, CELLS = 100, 2**16  # the first rows, by which the frame is told: at most so many, with about so many cells
TAIL = 2**16  # bytes at a file's end that hold its last line
LETTERS = 40  # of a line that is quoted in a message
MARK = re.compile(r'"?sep=(.)"?[\s,;]*', re.IGNORECASE)
COMMENT = ("#", "//", "%", "--", "*", "|")
NUMBER = re.compile(r"\W*([A-Z]{3} ?)?\d[\d\W]*(e[-+]?\d+)?\W*[^\W\d_]{0,3}\W*|[-+]?(inf|nan)", re.IGNORECASE)
BRACKETS = re.compile(r"[\[(<{].*[\])>}]")
SIGN = re.compile(r"[^\W\d_]{0,5}[%‰°$€£¥/^²³µμ*·].{0,12}")
UNITS = re.compile(
    r"[munµμk]?[glmsnjvawk]|[kmgt]?(hz|pa|w|wh|j|cal|v)|[cdm]?[ml]|lbs?|oz|ft|in|inch|mi|yd|m?bar|psi|mmhg|m?mol|pp[mb]|"
    r"[br]pm|db|pct|percent|deg|rad|c|f|d|h|hrs?|min|secs?|yrs?|(second|minute|hour|day|week|month|year)s?|eur(os?)?|usd|"
    r"dollars?|gbp|chf|jpy|counts?|number",
    re.IGNORECASE,
)
TOTALS = {"total", "totals", "sum", "grand total", "subtotal", "average", "mean", "summe", "gesamt", "gesamtsumme"}
TOTALS |= {"overall", "all", "insgesamt", "mittelwert", "somme", "total général", "suma", "total general", "totale"}
TOTALS |= {"totaal", "toplam", "всего"}


class Frame(NamedTuple):
    """How a table stands in a text file."""

    text: Text
    names: list[str]
    separator: str
    skipped: int = 1  # lines above the first row; the header's count
    bare: bool = True  # whether there is nothing above the rows but a header
    trailing: int = 0  # blank cells at the end of each row, beyond the names
    spaced: bool = False  # whether spaces follow separators, which are no part of cells
    last: int | None = None  # the line of the totals, where the table ends

    @property
    def is_plain(self) -> bool:
        """Whether the rows can be read as they stand."""
        return self.bare and not (self.trailing or self.spaced or self.last)

    def rows(self) -> Iterator[Line]:
        """The rows of the table; UserError for one that has more or fewer cells than the header."""
        wanted = len(self.names) + self.trailing
        for line in self.text.lines(self.separator, self.skipped, self.spaced):
            if line.number == self.last:
                return
            where = self.text.at(line.number)
            if len(line.cells) != wanted:
                raise UserError(
                    f"{where}: {len(line.cells)} cells separated by {SEPARATORS[self.separator]}, and the header has "
                    f"{len(self.names)}{' and each line an end' if self.trailing else ''}; mend that {self.text.word}"
                )
            beyond = [cell for cell in line.cells[len(self.names) :] if cell.strip()]
            if beyond:
                raise UserError(f"{where}: {beyond[0]!r} stands below no name; name its column, or remove it")
            yield line._replace(cells=line.cells[: len(self.names)])


def found(text: Text) -> Frame:
    """The frame of a text file, told from its first rows and its last line. Prints what is left out."""
    word = text.word
    mark, is_said, spaced, lines = _sampled(text)
    said = [f"{word} 1 says what separates cells, and is left out"] if is_said else []
    at, width = _header(lines, text, mark)
    above, header, lines = lines[:at], lines[at], lines[at + 1 :]
    if above:
        numbers = f"{word} {above[0].number}" if at == 1 else f"{word}s {above[0].number} to {above[-1].number}"
        said.append(f"{numbers} above the header: left out ({_short(above[0], mark)})")
    names = list(header.cells[:width])
    whole = [line for line in lines if len(line.cells) == width]
    # A last column without a name and without a cell is what a separator at the end of each line makes
    while whole and len(names) > 1 and not any(row.cells[len(names) - 1].strip() for row in [header, *whole]):
        names.pop()
    trailing = width - len(names) if whole else 0
    if trailing:
        said.append(f"each {word} ends in a separator, which begins no column")
    if spaced:
        said.append("spaces behind separators are left out")
    odd = next((name for name in names if name != name.strip(SPACES)), None)
    if odd is not None:
        said.append(f"names are taken without the spaces around them, as of {odd!r}")
    names = [name.strip(SPACES) or f"column{i}" for i, name in enumerate(names)]
    skipped = header.end
    if units := _units(header, whole, text, mark):
        said.append(f"{word} {units.number} has units, and is left out ({_short(units, mark)})")
        skipped = units.end
    bare = header.number == 1 and skipped == header.end and len(header.cells) <= width
    frame = Frame(text, names, mark, skipped, bare, trailing, spaced)
    if total := _total(frame):
        said.append(f"{word} {total.number} has the totals of those above, and is left out ({_short(total, mark)})")
        frame = frame._replace(last=total.number)
    for each in said:
        print(f"{text.path}: {each}")
    return frame


# ---- the header


def _sampled(text: Text) -> tuple[str, bool, bool, list[Line]]:
    """The separator, whether line 1 names it, whether spaces follow it, and the first rows, with what is above them.

    The separator is the one that cuts the first line into most cells. If most rows then have one cell, or the second or
    third row has another number of cells than most, it is the one by which most rows have the same number.
    """
    is_sheet = text.word == "row"
    with text.opened() as opened:
        first = opened.readline(TAIL)
    if "\0" in first:
        text.check()
    said = None if is_sheet else MARK.fullmatch(first.rstrip("\r\n"))
    if said and said[1] not in SEPARATORS:
        known = ", ".join(SEPARATORS.values())
        raise UserError(f"{text.at(1)} says that {said[1]!r} separates cells; save it with {known}")

    def cut(mark: str, spaced: bool = False) -> Iterator[Line]:
        return text.lines(mark, 1 if said else 0, spaced)

    marks = said[1] if said else "," if is_sheet else SEPARATORS
    ways = {mark: _some(cut(mark)) for mark in marks}
    mark = max(marks, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
    if not ways[mark]:
        next(cut(mark), None)  # raises what _some has suppressed
    if not any(cell.strip() for line in ways[mark] for cell in line.cells):
        raise UserError(
            f"{text.path} is blank in its first {text.word}s, and one must name the columns; name them there"
        )
    width = _width(ways[mark])[0]
    if width < 2 or any(len(line.cells) != width for line in ways[mark][1:3]):
        wide = [other for other in marks if _width(ways[other])[0] > 1]
        mark = max(wide, key=lambda other: _width(ways[other][1:])[::-1], default=mark)
        width = _width(ways[mark])[0]
    spaced = not is_sheet and _is_spaced([line.cells for line in ways[mark] if len(line.cells) == width])
    return mark, bool(said), spaced, _some(cut(mark, spaced))


def _some(lines: Iterator[Line]) -> list[Line]:
    """The first rows. They end before a row that cannot be read: that is told later, when all rows are read."""
    taken, cells = [], 0
    with contextlib.suppress(UserError):
        for line in lines:
            taken.append(line)
            cells += len(line.cells)
            if len(taken) >= ROWS or (cells > CELLS and len(taken) > 4):
                break
    return taken


def _width(lines: list[Line]) -> tuple[int, int]:
    """The most frequent number of cells, and how many rows have it."""
    return Counter(len(line.cells) for line in lines).most_common(1)[0] if lines else (0, 0)


def _is_spaced(rows: list[list[str]]) -> bool:
    """Whether a space follows each separator, at least in the header or in all rows below it."""
    begin = [[cell[:1] for cell in row[1:] if cell] for row in rows]
    is_so = [bool(first) and set(first) == {" "} for first in begin]
    return bool(is_so) and (is_so[0] or (len(is_so) > 1 and all(is_so[1:])))


def _header(lines: list[Line], text: Text, mark: str) -> tuple[int, int]:
    """The header's place among the rows, and how many cells the rows below it have.

    UserError if most rows have the same number of cells and the header has another.
    """
    width, agree = _width(lines)
    if agree < 2 or 2 * agree < len(lines):
        return 0, len(lines[0].cells)
    at = next((i for i, line in enumerate(lines) if not _is_above(line.cells, width)), 0)
    header, whole = lines[at].cells, [line.cells for line in lines[at + 1 :] if len(line.cells) == width]
    are_names = at == 0 or _is_no_data(header, whole) or not any(_is_number(cell) for cell in header)
    # What the longer one of header and rows has beyond the shorter one; blank cells there do no harm
    beyond = [*header[width:], *(cell for row in whole for cell in row[len(header) :])]
    if are_names and (len(header) == width or not any(cell.strip() for cell in beyond)):
        return at, width
    # Most rows below the header do not agree either: they are refused later, and not the header
    if len(header) != width and 2 * len(whole) <= len(lines) - at - 1:
        return at, len(header)
    blamed = lines[at if len(header) != width else at - 1]
    raise UserError(
        f"{text.at(blamed.number)}: the header has {len(blamed.cells)} cells separated by {SEPARATORS[mark]}, and "
        f"most {text.word}s below it have {width}; name each column there"
    )


def _is_above(cells: list[str], width: int) -> bool:
    """Whether a row is a title or a comment and not the header; width: how many cells most rows have."""
    there = sum(bool(cell.strip()) for cell in cells)
    if len(cells) == width:
        return there <= 1 and width > 2
    return cells[0].lstrip().startswith(COMMENT) or there <= max(1, width // 2)


# ---- the row below the header


def _units(header: Line, rows: list[Line], text: Text, mark: str) -> Line | None:
    """The row below the header if it has units; UserError if it is a second header."""
    if len(rows) <= 2 or not _is_no_data(rows[0].cells, [line.cells for line in rows[1:]]):
        return None
    cells = [cell.strip() for cell in rows[0].cells if not _is_blank(cell)]
    if all(UNITS.fullmatch(cell) or BRACKETS.fullmatch(cell) or SIGN.fullmatch(cell) for cell in cells):
        return rows[0]
    raise UserError(
        f"{text.path} {text.word}s {header.number} and {rows[0].number} are both names ({_short(header, mark)}, "
        f"{_short(rows[0], mark)}), for below them are numbers; make one header of them"
    )


def _is_no_data(row: list[str], below: list[list[str]]) -> bool:
    """Whether a row has only words in the columns where the rows below it have numbers."""
    columns = [[cell for cell in column if not _is_blank(cell)] for column in zip(*below)]
    numbers = [i for i, column in enumerate(columns) if len(column) > 1 and all(map(_is_number, column))]
    words = [row[i] for i in numbers if not _is_blank(row[i])]
    if not words or any(map(_is_number, words)):
        return False
    others = [cell for i, cell in enumerate(row) if i not in numbers and not _is_blank(cell)]
    return len(words) > 1 or (not others and len(row) > 1) or bool(BRACKETS.fullmatch(words[0].strip()))


def _is_number(cell: str) -> bool:
    """Whether a cell is a number, a date or a time, in whatever spelling."""
    return bool(NUMBER.fullmatch(cell.strip()))


def _is_blank(cell: str) -> bool:
    return cell.strip() in MISSING or not cell.strip(" -.")


# ---- the row below the table


def _total(frame: Frame) -> Line | None:
    """The last row if it is one of totals: a word such as Total, and sums, means or counts of the rows above.

    UserError for such a word beside other numbers.
    """
    with frame.text.file.open("rb") as opened:
        opened.seek(max(opened.seek(0, 2) - TAIL, 0))
        ending = opened.read().decode(errors="replace").rstrip().replace("\r", "\n")
    above, _, end = ending.rpartition("\n")
    if not above:
        frame.text.check()  # the last line is long, and DuckDB leaves out one that is longer than its buffer
    last = next(csv.reader([end], delimiter=frame.separator, skipinitialspace=frame.spaced), [])
    label = next((i for i, cell in enumerate(last[: len(frame.names)]) if cell.strip(" :*").casefold() in TOTALS), None)
    if label is None or len(last) != len(frame.names) + frame.trailing:
        return None
    sums, counts, rows, total = [0.0] * len(last), [0] * len(last), 0, None
    for row, after in itertools.pairwise(frame.rows()):
        if row.cells[label].strip() == last[label].strip():
            return None  # the word stands in another row too: it is a name there
        rows, total = rows + 1, after
        for i, cell in enumerate(row.cells):
            if (number := _number(cell)) is not None:
                sums[i], counts[i] = sums[i] + number, counts[i] + 1
    if not total:
        return None
    numbers = {i: number for i, cell in enumerate(total.cells) if (number := _number(cell)) is not None}
    wanted = {i: (sums[i], sums[i] / max(counts[i], 1), rows) for i in numbers}  # sum, mean, count of rows
    if numbers and all(any(math.isclose(numbers[i], each, rel_tol=1e-3) for each in wanted[i]) for i in numbers):
        return total
    if any(cell.strip() for cell in last[:label]):
        return None  # the word is not the first cell: an ordinary row may have it
    raise UserError(
        f"{frame.text.at(total.number)}: {total.cells[label]!r} is a word for totals, and its numbers are no "
        f"sums of those above; remove that {frame.text.word}, or write another word there"
    )


def _number(cell: str) -> float | None:
    """A number, read roughly from most spellings: only to compare a sum with it."""
    text = re.sub(r"[^\d.,-]", "", cell)
    try:
        return float(text.replace(",", "") if re.search(r",\d{3}(\D|$)", text) else text.replace(",", "."))
    except ValueError:
        return None


def _short(line: Line, mark: str) -> str:
    text = mark.join(line.cells)
    return repr(text if len(text) <= LETTERS else text[: LETTERS - 3] + "...")
