"""Columns of text whose cells all are numbers, dates or times of day, however they are written, are read as such.

A column is taken as a whole: its cells must agree on one spelling. What they leave open, and the table with them, is
for make_data.dates and make_data.decimal to say, or is refused; nothing is guessed.
"""

import re
from typing import NamedTuple

from plumbline.basics.errors import UserError
from plumbline.sources.rows import Rows
from plumbline.tables import columns, duck, spelled
from plumbline.tables import spelling as s
from plumbline.tables.store import Spelling

SAMPLE = 1000  # rows, evenly spaced, that tell whether a column of text may be anything else
FEW, WORDS = 20, 3  # a cell of text in so many is a mistake among numbers; or where all such cells are of so few words
KINDS = {s.NUMBER: "numbers", s.DAY: "dates", s.CLOCK: "times of day", s.TRUTH: "truth values", s.TEXT: "text"}
SHOWN = 10  # lines about columns
MIXTURE = "a mixture"
MEASURE = re.compile(
    r"[<>~\u2248\u00b1]?\s*-?[0-9]+(?:[.,][0-9]{3})*(?:[.,][0-9]+)?\s*([^\W\d]{0,6}[^\w\s]{0,3}[^\W\d]{0,4})"
)
SHORT_DECIMALS = r"^[^0-9]*[1-9][0-9]*,[0-9]{1,2}[^0-9]*$"


class Seen(NamedTuple):
    """What a column's cells are: rows of each kind, bits of plumbline.tables.spelling, and a cell of each shape."""

    rows: dict[int, int]  # by NUMBER, DAY, CLOCK and TEXT
    bits: int
    shapes: list[tuple[str, int, str]]  # cell, bits, unit

    @property
    def present(self) -> int:
        """Rows that have a cell."""
        return sum(self.rows.values())

    @property
    def kind(self) -> int:
        """What most of them are but for text."""
        return max(KINDS, key=lambda kind: (kind != s.TEXT) * self.rows[kind])

    def such(self, bits: int) -> list[str]:
        """Cells that have one of some bits."""
        return [cell for cell, its, _ in self.shapes if its & bits]


def read(rows: Rows, source: str, but: set[str], decimal: str | None, dates: str | None) -> Rows:
    """The rows with such columns as numbers, dates or times of day; prints a line for each.

    but: columns that stay as they are. decimal, dates: as make_data has them. UserError for a column that could be read
    in two ways, or that mixes them.
    """
    texts = [name for name, kind in rows.types.items() if kind == "VARCHAR" and name not in but]
    some = {name: _seen(rows, name, SAMPLE) for name in texts}
    seen = {name: _seen(rows, name) for name, of in some.items() if _may_be_another(of)}
    mixed = [_Column(rows, name, f"{source}: column {name!r}", of) for name, of in seen.items()]
    kept = {column.name: why for column in mixed if (why := _why_text(column))}
    kept |= {name: why for name, of in some.items() if name not in seen and (why := _measured(rows, name, of))}
    whole = [column for column in mixed if column.name not in kept and column.of.present]
    numbers = [column.of.bits for column in whole if column.of.kind == s.NUMBER]
    point = rows.has_point or any(map(_of_point, numbers))
    comma = any(map(_of_comma, numbers))
    found = {}
    for column in whole:
        _, name, what, of = column
        if of.kind == s.NUMBER:
            by = _of_numbers(column, decimal, point, comma)
        elif of.kind == s.DAY:
            by = _of_dates(column, dates)
        else:
            by = Spelling("TIME" if of.kind == s.CLOCK else "BOOLEAN", of.such(of.kind)[0])
        if by and name in rows.declared:
            print(f"{what} is a category, as the file declares it, though its labels are {KINDS[of.kind]}")
        elif by:
            found[name] = by
        else:
            kept[name] = f"{column.example(s.PLUS)} has a plus, and none a minus"
    for name, why in [*kept.items()][:SHOWN]:
        if why != MIXTURE:
            print(f"{source}: column {name!r} stays text: {why}")
    for name, by in [*found.items()][:SHOWN]:
        print(f"{source}: column {name!r} is text, read as {spelled.in_words(by)}: {by.example!r} is {_read(by)}")
    if len(found) > SHOWN:
        print(f"{source}: {len(found) - SHOWN} more columns of text are read as numbers or dates")
    select = {name: _or_error(rows.select[name], name, by) for name, by in found.items()}
    types = {name: by.type for name, by in found.items()}
    return rows._replace(select=rows.select | select, types=rows.types | types, spellings=found)


# ---- what a column holds


def _seen(rows: Rows, name: str, some: int | None = None) -> Seen:
    """What the cells of a column are, of all rows or at least some, evenly spaced."""
    cells = f"SELECT {rows.select[name]} AS cell FROM {rows.relation}"
    if some and rows.count > some:
        cells = f"SELECT cell FROM {_numbered(rows, name)} WHERE row % {rows.count // some} = 0"
    counted = f"SELECT min(cell), count(*) FROM ({cells}) WHERE cell IS NOT NULL GROUP BY {s.key('cell')} ORDER BY 1"
    counts, shapes, bits = dict.fromkeys(KINDS, 0), [], 0
    for cell, count in duck.rows(counted):
        shape, unit = s.shape(cell)
        bits |= shape
        for kind in KINDS:
            counts[kind] += count * bool(shape & kind)
        shapes.append((cell, shape, unit))
    return Seen(counts, bits, shapes)


def _may_be_another(of: Seen) -> bool:
    """Whether a column of text may be of another kind: most of its cells, or all but a word or three."""
    texts = of.rows[s.TEXT]
    return 2 * texts < max(of.present, 1) or (texts < of.present and len(of.such(s.TEXT)) <= WORDS)


def _measured(rows: Rows, name: str, of: Seen) -> str:
    """Of a column whose cells are numbers with a unit that is not read, or a sign before them: that they are."""
    cells = of.such(s.TEXT)
    found = [MEASURE.fullmatch(cell.strip()) for cell in cells]
    if not cells or not all(found) or len({each[1] for each in found}) > WORDS or _distinct(rows, name) <= columns.MANY:
        return ""
    return f"its cells are numbers with more, such as {cells[0]!r}; if it is a measure, write plain numbers"


def _distinct(rows: Rows, name: str) -> int:
    return duck.rows(f"SELECT count(DISTINCT hash({rows.select[name]})) FROM {rows.relation}")[0][0]


def _why_text(column: "_Column") -> str:
    """Why a column stays text, "" if its cells are of one kind; UserError where a few of another are a mistake."""
    rows, name, what, of = column
    others, kind = of.present - of.rows[of.kind], KINDS[of.kind]
    if not others:
        return f"{column.example(s.CODE)} is written as a code" if of.bits & s.CODE else ""
    words = of.such(sum(KINDS) - of.kind)
    if (others >= of.present / 2 and len(words) > WORDS) or name in rows.declared:
        return MIXTURE
    values = _distinct(rows, name) - len(words)
    wrong = of.such(s.WRONG) if of.kind in (s.DAY, s.CLOCK) else []
    if not wrong and values <= columns.MANY:
        return MIXTURE
    examples = [f"{cell!r} in {place}" for place, cell in _first(rows, name, (wrong or words)[:100], 5)]
    listed = ", ".join(examples) + ", ..." * (others > 5 and not wrong)
    mend = "mend or empty those cells, or leave the column out (make_data.drop)"
    if wrong:
        raise UserError(f"{what} holds {kind}, and some that there are not: {listed}; {mend}")
    if others <= of.present / FEW or len(words) <= WORDS:
        raise UserError(f"{what} holds {kind} and {others} cells of text ({listed}); {mend}")
    return f"of {of.present} cells {others} are no {kind}, such as {examples[0]}"


def _first(rows: Rows, name: str, cells: list[str], count: int = 1) -> list[tuple[str, str]]:
    """Where the first rows stand that have one of some cells, and these."""
    wanted = f"cell IN ({duck.texts(cells)})"
    found = duck.rows(f"SELECT row, cell FROM {_numbered(rows, name)} WHERE {wanted} ORDER BY row LIMIT {count}")
    return [*zip(rows.placed([row for row, _ in found]), (cell for _, cell in found))]


def _numbered(rows: Rows, name: str) -> str:
    """What stands behind FROM for a column's cells with their rows' numbers."""
    column = f"SELECT {rows.select[name]} AS cell FROM {rows.relation}"
    return f"(SELECT row, cell FROM range({rows.count}) AS r(row) POSITIONAL JOIN ({column}))"


class _Column(NamedTuple):
    """A column that is to be read, and how messages name it."""

    rows: Rows
    name: str
    what: str
    of: Seen

    def example(self, bits: int, pattern: str = "") -> str:
        """A cell with some bits, and where it stands."""
        cells = [cell for cell in self.of.such(bits) if re.search(pattern, cell)] or self.of.such(bits)
        place, cell = _first(self.rows, self.name, cells[:100])[0]
        return f"{cell!r} ({place})"


# ---- numbers


def _of_point(bits: int) -> bool:
    """Whether numbers so written surely have a decimal point, or a comma between thousands, which says the same."""
    return bool(bits & (s.POINT | s.COMMAS))


def _of_comma(bits: int) -> bool:
    return bool(bits & (s.COMMA | s.POINTS))


def _of_numbers(column: _Column, decimal: str | None, point: bool, comma: bool) -> Spelling | None:
    """The spelling of a column of numbers; None where they are codes.

    point, comma: whether some column of the table surely has decimal points, or commas.
    """
    bits, what = column.of.bits, column.what
    fraction = s.POINT | s.COMMA | s.POINT_3 | s.COMMA_3
    if bits & s.PLUS and not bits & (s.MINUS | fraction):
        return None
    units = sorted({unit for *_, unit in column.of.shapes} - {""})
    if len(units) > 1:
        one, other = (next(cell for cell, _, its in column.of.shapes if its == unit) for unit in units[:2])
        raise UserError(f"{what} holds {one!r} and {other!r}; write it in one unit, or as plain numbers such as 1234.5")
    if bits & s.PERCENT and bits & s.BARE:
        raise UserError(
            f"{what} holds {column.example(s.BARE)} and {column.example(s.PERCENT)}: a share or a percentage? "
            f"write all of them alike"
        )
    if _of_point(bits) and _of_comma(bits):
        of_point, of_comma = column.example(s.POINT | s.COMMAS), column.example(s.COMMA | s.POINTS)
        raise UserError(f"{what} has a decimal point in {of_point} and a comma in {of_comma}; write all as 1234.5")
    # 1,250 is filled up with a zero and 1,5 is not: no program writes both
    sure = column.of.such(s.COMMA | s.POINTS)
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
    return Spelling(kind, _telling(column.of), mark, thousands, *units)


def _telling(of: Seen) -> str:
    """The cell of the longest shape."""
    return max(of.such(sum(KINDS)), key=len)


def _decimal(bits: int, asked: str | None, point: bool, comma: bool) -> str | None:
    """The decimal mark of a column of numbers; None where 1.842 or 1,842 may be read in two ways."""
    if _of_point(bits):
        return "."
    if _of_comma(bits):
        return ","
    if not bits & (s.POINT_3 | s.COMMA_3):
        return asked or ("," if comma and not point else ".")
    if asked:
        return asked
    if bits & s.POINT_3 and bits & s.COMMA_3:
        return None
    # A program that writes 800 does not fill up with zeros, and so writes 4.2, not 4.200
    are_thousands = bits & s.SHORT and not bits & s.LONG and bits & (s.ROUND_POINT | s.ROUND_COMMA)
    if bits & s.COMMA_3:  # where all have three decimals, if any, it is a matter of scale alone
        return "." if (point or are_thousands or not bits & (s.SHORT | s.LONG)) and not comma else None
    doubtful = comma or (not point and (are_thousands or bits & (s.CURRENCY | s.PERCENT)))
    return None if doubtful else "."


# ---- dates


def _of_dates(column: _Column, dates: str | None) -> Spelling:
    """The spelling of a column of dates."""
    bits, what = column.of.bits, column.what
    if bits & s.ZONED and bits & s.LOCAL:
        raise UserError(f"{what} has times with a zone and without: {column.example(s.LOCAL)}; write one with all")
    kind = "TIMESTAMPTZ" if bits & s.ZONED else "TIMESTAMP" if bits & s.TIMED else "DATE"
    fit = [order for order, fails in s.ORDERS.items() if not bits & fails]
    if not fit:
        one, other = column.example(s.NO_DMY), column.example(s.NO_MDY)
        raise UserError(f"{what} has dates of no one order: {one}, {other}; write them as 2021-12-31")
    marks = [mark for mark in (s.LED, *s.MARKS.values()) if bits & mark]
    if len(marks) > 1:  # as Excel has it where it took some days for months, and left the others as text
        one, other = (column.example(mark) for mark in marks[:2])
        raise UserError(
            f"{what} has dates written in two ways: {one}, {other}; in some of them day and month may be swapped; "
            f"write all as 2021-12-31"
        )
    clear = [order for order in fit if not bits & (s.OLD_A if order == "ymd" else s.OLD_C)]
    if not clear:
        short = column.example(s.OLD_C | s.OLD_A, "[^0-9](3[0-9]|[45][0-9]|6[0-8])([^0-9]|$)")
        raise UserError(f"{what}: the century of {short} cannot be told; write years with four digits")
    if marks in ([], [s.LED]) and len(clear) == len(s.ORDERS):  # no cell that its digits' order would change
        return Spelling(kind, _telling(column.of))
    if len(clear) > 1:
        asked = {"day-first": "dmy", "month-first": "mdy"}.get(dates)
        if asked not in clear:
            ways = " or ".join(spelled.IN_WORDS[order] for order in clear)
            raise UserError(
                f"{what}: {column.example(s.DAY)} and all others may be {ways}; set make_data.dates "
                f"to day-first or month-first, or write them as 2021-12-31"
            )
        clear = [asked]
    return Spelling(kind, _telling(column.of), order=clear[0])


def _read(by: Spelling) -> str:
    """What the example is read as."""
    return duck.rows(f"SELECT ({spelled.value(duck.text(by.example), by)})::VARCHAR")[0][0]


def _or_error(cell: str, name: str, by: Spelling) -> str:
    """SQL of a cell's value; an error for one that its shape belied, such as 25:61."""
    said = (
        f"{duck.text(f'column {name!r} holds ')} || {cell} || {duck.text(f', which is none of {spelled.in_words(by)}')}"
    )
    missing = f"{cell} IS NULL OR regexp_full_match({cell}, {duck.text(columns.BLANK)})"
    return f"coalesce({spelled.value(cell, by)}, CASE WHEN NOT ({missing}) THEN error({said}) END)"
