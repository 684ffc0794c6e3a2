"""Reading cells by the spelling of their column: SQL of numbers, dates and times of day."""

import re

from plumbline.basics.errors import UserError
from plumbline.tables import columns, duck
from plumbline.tables.spelling import DATES, EVEN, GROUPS, HOURS, INT, MONTHS, NAME, POWER, UNEVEN, WEEKDAY, fits
from plumbline.tables.store import Spelling, Table

PLAIN = {  # of columns that were no text in training
    "number": Spelling("DOUBLE", ""),
    "duration": Spelling("DOUBLE", ""),
    "instant": Spelling("TIMESTAMP", ""),
    "time of day": Spelling("TIME", ""),
}
INSTANTS = ("DATE", "TIMESTAMP", "TIMESTAMPTZ")
CLOCKS = (*INSTANTS, "TIME")
IN_WORDS = {"dmy": "day first", "mdy": "month first", "ymd": "year first"}


def value(cell: str, by: Spelling, kind: str = "") -> str:
    """SQL of a cell's value by a column's spelling, NULL for one that is missing, or that does not fit.

    kind: DuckDB's type instead of the spelling's own.
    """
    kind = kind or by.type
    if by.type == "TIME":
        return _let("e__", _even(cell), _time("e__", kind))
    if by.type in INSTANTS:
        return _let("d__", _dated(_even(cell)), _instant(by, kind))
    if by.type == "BOOLEAN":
        return f"CASE lower({_even(cell)}) WHEN 'true' THEN true::{kind} WHEN 'false' THEN false::{kind} END"
    number = f"{INT}|" + "|".join(GROUPS[mark] for mark in by.thousands)
    mark, unit = re.escape(by.decimal), re.escape(by.unit)
    some = "(?:[0-9]{1,2}|[0-9]{4,})?" if by.thousands and by.type == "BIGINT" else "[0-9]*"  # 1.842 is a thousand?
    body = f"(?:(?:{number.rstrip('|')})(?:{mark}{some})?{POWER}?|{mark}[0-9]+{POWER}?)"
    before, after = (f"(?:{unit} ?)?", f"(?: ?{unit})?") if unit else ("", "")
    ways = [rf"{before}[-+]? ?{before}{body}{after}", rf"{before}{body}(?: ?-{after}|{after} ?-)"]
    ways.append(rf"\( ?{before}{body}{after} ?\)|{before}\( ?{body} ?\){after}")
    even = f"replace({_even(cell)}, {duck.text(by.unit)}, '')" if unit else _even(cell)
    other = "".join(mark for mark in ",. '()" if mark != by.decimal)
    digits = f"replace(translate({even}, {duck.text(other)}, ''), {duck.text(by.decimal)}, '.')"
    signed = (
        f"CASE WHEN contains({cell}, '(') THEN '-' || {digits} "
        f"WHEN {digits} LIKE '%.-' THEN left({digits}, -2) "  # 5.- is 5, without cents
        f"WHEN {digits} LIKE '%-' THEN '-' || left({digits}, -1) ELSE {digits} END"
    )
    is_one = fits(_even(cell), "|".join(ways))
    if by.unit == "%":
        is_one += f" AND (contains({_even(cell)}, '%') OR NOT regexp_matches({cell}, '[1-9]'))"
    return f"CASE WHEN {is_one} THEN try_cast({signed} AS {kind}) END"


def number(table: Table, name: str, kind: str, by: Spelling | None) -> str:
    """SQL of a column of text as DOUBLE, nan for missing, as `columns.number_or_nan` has it of others.

    kind: number, instant, time of day or duration. by: how the training table wrote it, if it was text there.
    UserError for the first cell that is not written so.
    """
    used = by or PLAIN[kind]
    read = value(f"{duck.name(name)}::VARCHAR", used, "" if used.type in CLOCKS else "DOUBLE")
    bad = columns.first(table, f"({read}) IS NULL AND {columns.text(name)} IS NOT NULL", duck.name(name))
    for row, cell in bad:
        such = f" such as {by.example!r}" if by else ""
        raise UserError(
            f"column {name!r} holds {cell!r} in {table.placed(row)}, and the model was trained on {in_words(used)}"
            f"{such} there; mend the row, or train anew"
        )
    return f"coalesce({f'epoch({read})' if used.type in CLOCKS else read}, 'nan'::DOUBLE)"


def in_words(by: Spelling) -> str:
    """What cells of a spelling are."""
    if by.type not in ("BIGINT", "DOUBLE"):
        thing = {"DATE": "dates", "TIME": "times of day", "BOOLEAN": "truth values"}.get(by.type, "dates with times")
        return f"{thing}, {IN_WORDS[by.order]}" if by.order else thing
    marks = {",": "decimal commas"}.get(by.decimal, "") if by.type == "DOUBLE" else ""
    return "numbers" + (f" with {marks}" if marks else "") + (f" in {by.unit}" if by.unit else "")


# ---- pieces of cells


def _let(name: str, of: str, sql: str) -> str:
    """SQL with a name for a value, which is so computed once."""
    return f"list_transform([{of}], lambda {name}: {sql})[1]"


def _even(cell: str) -> str:
    """A cell with one kind of space, of minus and of apostrophe, and no space around it."""
    return f"trim(translate({cell}, {duck.text(UNEVEN)}, {duck.text(EVEN)}))"


def _struct(text: str, pattern: str) -> str:
    """The named groups of a pattern that must fit the whole text; all of them '' where it does not."""
    names = re.findall(r"\?P<(\w+)>", pattern)
    return f"regexp_extract({text}, {duck.text(f'^(?:{pattern})$')}, [{duck.texts(names)}])"


def _time(even: str, kind: str) -> str:
    """SQL of a time of day, NULL for what is none."""
    is_one = "d__.h <> '' AND d__.z = ''"
    return _let(
        "d__", _struct(f"lower({even})", HOURS), f"CASE WHEN {is_one} THEN try_cast({_clock_text()} AS {kind}) END"
    )


def _clock_text() -> str:
    """SQL of a clock's text as ISO 8601 has it."""
    hour = (
        "CASE WHEN d__.m = '' THEN d__.h WHEN try_cast(d__.h AS INTEGER) NOT BETWEEN 1 AND 12 THEN '99' "
        "ELSE (try_cast(d__.h AS INTEGER) % 12 + CASE WHEN left(d__.m, 1) = 'p' THEN 12 ELSE 0 END)::VARCHAR END"
    )
    second = "CASE WHEN d__.k = '' THEN '00' ELSE replace(d__.k, ',', '.') END"
    return f"lpad({hour}, 2, '0') || ':' || d__.i || ':' || {second}"


def _dated(even: str) -> str:
    """SQL of a date's pieces, the name of a month being a number."""
    text = f"regexp_replace(lower(strip_accents({even})), {duck.text(WEEKDAY)}, '')"
    name = f"regexp_extract(text__, {duck.text(f'(?:^|[^a-z])({NAME})(?:[^a-z]|$)')}, 1)"
    number = " ".join(f"WHEN name__ IN ({duck.texts(line.split())}) THEN '{i}'" for i, line in enumerate(MONTHS, 1))
    named = f"CASE WHEN name__ <> '' THEN replace(text__, name__, '~' || CASE {number} END || '_') ELSE text__ END"
    return _let("text__", text, _let("name__", name, _struct(named, DATES)))


def _day(order: str) -> str:
    """SQL of a date's text as ISO 8601 has it, its digits being in an order, 'dmy', 'mdy', 'ymd' or '' for none."""
    by_digits = "NULL"
    if order:
        first, last = ("= 2", "IN (1, 2)") if order == "ymd" else ("< 3", "IN (2, 4)")
        lengths = f"length(d__.a) {first} AND length(d__.c) {last}"
        year, month, day = (f"d__.{'abc'[order.index(part)]}" for part in "ymd")
        by_digits = f"CASE WHEN {lengths} THEN {_century(year)} || '-' || {month} || '-' || {day} END"
    year, day = _century("(d__.y1 || d__.y2 || d__.y3 || d__.y4)"), "d__.d1 || d__.d2 || d__.d3"
    named = f"{year} || '-' || {MONTH_OF_D} || '-' || coalesce(nullif({day}, ''), '1')"
    return (
        f"CASE WHEN {MONTH_OF_D} <> '' THEN {named} "
        f"WHEN d__.s <> d__.t THEN NULL "
        f"WHEN length(d__.a) = 4 AND length(d__.c) < 3 THEN d__.a || '-' || d__.b || '-' || d__.c ELSE {by_digits} END"
    )


def _century(year: str) -> str:
    """SQL of a year in four digits, of two on which programs agree: Excel turns at 30, POSIX at 69."""
    return f"CASE WHEN length({year}) = 4 THEN {year} WHEN {year} < '30' THEN '20' || {year} ELSE '19' || {year} END"


def _old(year: str) -> str:
    """SQL of whether two digits are of a year whose century programs do not agree on."""
    return f"(length({year}) = 2 AND {year} BETWEEN '30' AND '68')"


def _stamp(order: str) -> str:
    """SQL of a date with its clock and zone, if it has them, as ISO 8601 has it; NULL where it is no such date."""
    zone = r"regexp_replace(d__.z, '^(?:utc|gmt)?([-+][0-9][0-9]):?([0-9]*)$', '\1:\2')"
    zone = f"CASE WHEN d__.z = '' THEN '' WHEN d__.z IN ('z', 'utc', 'gmt') THEN '+00:00' ELSE rpad({zone}, 6, '0') END"
    return f"({_day(order)}) || CASE WHEN d__.h = '' THEN '' ELSE ' ' || {_clock_text()} || {zone} END"


def _instant(by: Spelling, kind: str) -> str:
    """SQL of a date's value."""
    zone = {"TIMESTAMPTZ": "d__.z <> ''", "TIMESTAMP": "d__.z = ''", "DATE": "d__.h = ''"}[by.type]
    last = f"length(d__.a) < 4 AND {_old('d__.c')}"  # of 2021-12-31 these are the day
    old = [NAMED_OLD, *([_old("d__.a") if by.order == "ymd" else last] if by.order else [])]
    return f"CASE WHEN {zone} AND NOT ({' OR '.join(old)}) THEN try_cast({_stamp(by.order)} AS {kind}) END"


MONTH_OF_D = "(d__.n1 || d__.n2 || d__.n3 || d__.n4)"
NAMED_OLD = f"{_old('d__.y1')} OR {_old('d__.y2')}"
