"""Reads columns of text as numbers, dates or times of day where all of their cells are such, however they are written.

The cells of a column must agree on one spelling. If they can be read in two ways, the other columns may decide, or
make_data.dates and make_data.decimal do. Else the table is refused: nothing is guessed.
"""

import re
from typing import NamedTuple

from plumbline.basics.errors import UserError
from plumbline.sources.rows import Rows
from plumbline.tables import columns, duck
from plumbline.tables import spelling as s
from plumbline.tables.store import Spelling

SAMPLE = 1000  # rows, evenly spaced, that tell whether a column of text may be anything else
FEW = 20  # of so many cells one of text may be a mistake; more are a mixture
WORDS = 3  # but any number of cells may be, if they are of no more than so many different words
KINDS = {s.NUMBER: "numbers", s.DAY: "dates", s.CLOCK: "times of day", s.TRUTH: "truth values", s.TEXT: "text"}
SHOWN = 10  # lines about columns
SHORT_DECIMALS = r"^[^0-9]*[1-9][0-9]*,[0-9]{1,2}[^0-9]*$"


class Column(NamedTuple):
    """A column of text, and what its cells are."""

    rows: Rows
    name: str
    what: str  # how messages name it
    counts: dict[int, int]  # rows with a cell of each of KINDS
    bits: int  # those of all cells, or-ed; plumbline.tables.spelling has them
    shapes: list[tuple[str, int, str]]  # for each shape of cells an example, its bits, its unit

    @property
    def present(self) -> int:
        """Rows that have a cell."""
        return sum(self.counts.values())

    @property
    def kind(self) -> int:
        """The most frequent of KINDS, apart from text."""
        return max(KINDS, key=lambda kind: (kind != s.TEXT) * self.counts[kind])

    def such(self, bits: int) -> list[str]:
        """The examples that have one of these bits."""
        return [cell for cell, its, _ in self.shapes if its & bits]

    @property
    def longest(self) -> str:
        """The longest example."""
        return max(self.such(sum(KINDS)), key=len)

    def first(self, cells: list[str], count: int = 1) -> list[tuple[str, str]]:
        """The first rows that have one of these cells: where each stands, and its cell."""
        found = duck.rows(
            f"SELECT row, cell FROM {self.rows.cells(self.name)} WHERE cell IN ({duck.texts(cells[:100])}) "
            f"ORDER BY row LIMIT {count}"
        )
        return [*zip(self.rows.placed([row for row, _ in found]), (cell for _, cell in found))]

    def example(self, bits: int, pattern: str = "") -> str:
        """In words, an example that has one of these bits, and where it stands. One with the pattern is preferred."""
        cells = [cell for cell in self.such(bits) if re.search(pattern, cell)] or self.such(bits)
        place, cell = self.first(cells)[0]
        return f"{cell!r} ({place})"


def read(rows: Rows, source: str, but: set[str], decimal: str | None, dates: str | None) -> Rows:
    """The rows, with such columns as numbers, dates, times of day or truth values. Prints a line for each.

    source: the table's name in messages. but: columns that stay text. decimal, dates: as in make_data. UserError for a
    column that can be read in two ways, or that mixes spellings.
    """
    texts = [name for name, kind in rows.types.items() if kind == "VARCHAR" and name not in but]
    likely = [name for name in texts if _may_be_another(_column(rows, source, name, SAMPLE))]
    judged = [_column(rows, source, name) for name in likely]
    kept = {column.name: why for column in judged if (why := _why_text(column)) is not None}
    whole = [column for column in judged if column.name not in kept and column.present]
    numbers = [column.bits for column in whole if column.kind == s.NUMBER]
    point = rows.has_point or any(bits & s.SURE_POINT for bits in numbers)
    comma = any(bits & s.SURE_COMMA for bits in numbers)
    found = {}
    for column in whole:
        if column.kind == s.NUMBER:
            by = _of_numbers(column, decimal, point, comma)
        elif column.kind == s.DAY:
            by = _of_dates(column, dates)
        else:
            by = Spelling("TIME" if column.kind == s.CLOCK else "BOOLEAN", column.such(column.kind)[0])
        if by and column.name in rows.declared:
            print(f"{column.what} is a category, as the file declares it, though its labels are {KINDS[column.kind]}")
        elif by:
            found[column.name] = by
        else:
            kept[column.name] = f"{column.example(s.PLUS)} has a plus, and none a minus"
    _say(source, kept, found)
    select = {name: _or_error(rows.select[name], name, by) for name, by in found.items()}
    types = {name: by.type for name, by in found.items()}
    return rows._replace(select=rows.select | select, types=rows.types | types, spellings=found)


def _say(source: str, kept: dict[str, str], found: dict[str, Spelling]) -> None:
    """Print which columns stay text and why, and how the others are read."""
    said = [f"column {name!r} stays text: {why}" for name, why in kept.items() if why][:SHOWN]
    for name, by in [*found.items()][:SHOWN]:
        ((value,),) = duck.rows(f"SELECT {s.value(duck.text(by.example), by)}::VARCHAR")
        said.append(f"column {name!r} is text, read as {s.in_words(by)}: {by.example!r} is {value}")
    if len(found) > SHOWN:
        said.append(f"{len(found) - SHOWN} more columns of text are read as numbers or dates")
    for line in said:
        print(f"{source}: {line}")


# ---- what a column holds


def _column(rows: Rows, source: str, name: str, some: int | None = None) -> Column:
    """What a column holds, by all of its rows, or by at least `some` of them, evenly spaced."""
    step = max(rows.count // some, 1) if some else 1
    cells = f"SELECT cell FROM {rows.cells(name)} WHERE cell IS NOT NULL AND row % {step} = 0"
    counted = f"SELECT min(cell), count(*) FROM ({cells}) GROUP BY {s.key('cell')} ORDER BY 1"
    counts, shapes, bits = dict.fromkeys(KINDS, 0), [], 0
    for cell, count in duck.rows(counted):
        shape, unit = s.shape(cell)
        bits |= shape
        for kind in KINDS:
            counts[kind] += count * bool(shape & kind)
        shapes.append((cell, shape, unit))
    return Column(rows, name, f"{source}: column {name!r}", counts, bits, shapes)


def _may_be_another(column: Column) -> bool:
    """Whether a column may be of another kind than text.

    It may be if most of its cells are, or all but a few different words; also if only gaps were looked at.
    """
    texts = column.counts[s.TEXT]
    return 2 * texts < max(column.present, 1) or (texts < column.present and len(column.such(s.TEXT)) <= WORDS)


def _why_text(column: Column) -> str | None:
    """Why a column stays text: a reason to print, "" for a mixture that needs none, None if it does not stay text.

    UserError if the cells of text in it look like mistakes.
    """
    others, kind = column.present - column.counts[column.kind], KINDS[column.kind]
    if not others:
        return f"{column.example(s.CODE)} is written as a code" if column.bits & s.CODE else None
    words = column.such(sum(KINDS) - column.kind)
    if (others >= column.present / 2 and len(words) > WORDS) or column.name in column.rows.declared:
        return ""
    cells = f"SELECT count(DISTINCT hash({column.rows.select[column.name]})) FROM {column.rows.relation}"
    wrong = column.such(s.WRONG) if column.kind in (s.DAY, s.CLOCK) else []
    if not wrong and duck.rows(cells)[0][0] - len(words) <= columns.MANY_NUMBERS:
        return ""
    examples = [f"{cell!r} in {place}" for place, cell in column.first(wrong or words, 5)]
    listed = ", ".join(examples) + ", ..." * (others > 5 and not wrong)
    mend = "mend or empty those cells, or leave the column out (make_data.drop)"
    if wrong:
        raise UserError(f"{column.what} holds {kind}, and some that there are not: {listed}; {mend}")
    if others <= column.present / FEW or len(words) <= WORDS:
        raise UserError(f"{column.what} holds {kind} and {others} cells of text ({listed}); {mend}")
    return f"of {column.present} cells {others} are no {kind}, such as {examples[0]}"


# ---- numbers


def _of_numbers(column: Column, decimal: str | None, point: bool, comma: bool) -> Spelling | None:
    """The spelling of a column of numbers; None if they are codes.

    point, comma: whether some column of the table surely has decimal points, or decimal commas.
    """
    bits, what = column.bits, column.what
    fraction = s.POINT | s.COMMA | s.POINT_3 | s.COMMA_3
    if bits & s.PLUS and not bits & (s.MINUS | fraction):
        return None
    units = sorted({unit for *_, unit in column.shapes} - {""})
    if len(units) > 1:
        one, other = (next(cell for cell, _, its in column.shapes if its == unit) for unit in units[:2])
        raise UserError(f"{what} holds {one!r} and {other!r}; write it in one unit, or as plain numbers such as 1234.5")
    if bits & s.PERCENT and bits & s.BARE:
        raise UserError(
            f"{what} holds {column.example(s.BARE)} and {column.example(s.PERCENT)}: a share or a percentage? "
            f"write all of them alike"
        )
    if bits & s.SURE_POINT and bits & s.SURE_COMMA:
        of_point, of_comma = column.example(s.SURE_POINT), column.example(s.SURE_COMMA)
        raise UserError(f"{what} has a decimal point in {of_point} and a comma in {of_comma}; write all as 1234.5")
    # 1,5 is not padded to three decimals, so 1,250 beside it is no padded 1,25: its comma may mark a thousand
    sure = column.such(s.SURE_COMMA)
    is_uneven = bits & s.ROUND_COMMA and not decimal and all(re.search(SHORT_DECIMALS, cell) for cell in sure)
    mark = _decimal(bits & ~s.COMMA if is_uneven else bits, decimal, point, comma)
    if not mark:
        raise UserError(
            f"{what}: {column.example(s.POINT_3 | s.COMMA_3)} may be over a thousand, or have three decimals; set "
            f"make_data.decimal to '.' or ',', the mark before decimals, or write it without a mark of thousands"
        )
    group = s.COMMAS | s.COMMA_3 if mark == "." else s.POINTS | s.POINT_3
    thousands = ("," if mark == "." else ".") * bool(bits & group) + " " * bool(bits & s.SPACES)
    kind = "DOUBLE" if bits & fraction & ~group else "BIGINT"
    return Spelling(kind, column.longest, mark, thousands, *units)


def _decimal(bits: int, asked: str | None, point: bool, comma: bool) -> str | None:
    """The decimal mark of a column of numbers; None if 1.842 or 1,842 can be read in two ways."""
    if bits & (s.SURE_POINT | s.SURE_COMMA):
        return "." if bits & s.SURE_POINT else ","
    if not bits & (s.POINT_3 | s.COMMA_3):
        return asked or ("," if comma and not point else ".")
    if asked:
        return asked
    if bits & s.POINT_3 and bits & s.COMMA_3:
        return None
    # A program that writes 800 does not pad with zeros: it would write 4.2, so 4.200 is a thousand
    are_thousands = bits & s.SHORT and not bits & s.LONG and bits & (s.ROUND_POINT | s.ROUND_COMMA)
    if bits & s.COMMA_3:  # if all cells are such as 1,842, both ways differ by a factor of 1000 alone
        return "." if (point or are_thousands or not bits & (s.SHORT | s.LONG)) and not comma else None
    doubtful = comma or (not point and (are_thousands or bits & (s.CURRENCY | s.PERCENT)))
    return None if doubtful else "."


# ---- dates


def _of_dates(column: Column, dates: str | None) -> Spelling:
    """The spelling of a column of dates."""
    bits, what = column.bits, column.what
    if bits & s.ZONED and bits & s.LOCAL:
        raise UserError(f"{what} has times with a zone and without: {column.example(s.LOCAL)}; write one with all")
    kind = "TIMESTAMPTZ" if bits & s.ZONED else "TIMESTAMP" if bits & s.TIMED else "DATE"
    fit = [order for order, fails in s.ORDERS.items() if not bits & fails]
    if not fit:
        one, other = column.example(s.NO_DMY), column.example(s.NO_MDY)
        raise UserError(f"{what} has dates of no one order: {one}, {other}; write them as 2021-12-31")
    marks = [mark for mark in (s.LED, *s.MARKS.values()) if bits & mark]
    if len(marks) > 1:  # Excel leaves this behind: it swaps day and month where it can, and keeps the others as text
        one, other = (column.example(mark) for mark in marks[:2])
        raise UserError(
            f"{what} has dates written in two ways: {one}, {other}; in some of them day and month may be swapped; "
            f"write all as 2021-12-31"
        )
    clear = [order for order in fit if not bits & (s.OLD_A if order == "ymd" else s.OLD_C)]
    if not clear:
        short = column.example(s.OLD_C | s.OLD_A, "[^0-9](3[0-9]|[45][0-9]|6[0-8])([^0-9]|$)")
        raise UserError(f"{what}: the century of {short} cannot be told; write years with four digits")
    if marks in ([], [s.LED]) and len(clear) == len(s.ORDERS):  # no order of digits would change a cell
        return Spelling(kind, column.longest)
    if len(clear) > 1:
        asked = {"day-first": "dmy", "month-first": "mdy"}.get(dates)
        if asked not in clear:
            ways = " or ".join(s.IN_WORDS[order] for order in clear)
            raise UserError(
                f"{what}: {column.example(s.DAY)} and all others may be {ways}; set make_data.dates "
                f"to day-first or month-first, or write them as 2021-12-31"
            )
        clear = [asked]
    return Spelling(kind, column.longest, order=clear[0])


def _or_error(cell: str, name: str, by: Spelling) -> str:
    """SQL of a cell's value, NULL for a missing cell; an error for a cell that does not fit the spelling after all."""
    before, behind = duck.text(f"column {name!r} holds "), duck.text(f", which is none of {s.in_words(by)}")
    missing = f"{cell} IS NULL OR regexp_full_match({cell}, {duck.text(columns.BLANK)})"
    wrong = f"CASE WHEN NOT ({missing}) THEN error({before} || {cell} || {behind}) END"
    return f"coalesce({s.value(cell, by)}, {wrong})"
