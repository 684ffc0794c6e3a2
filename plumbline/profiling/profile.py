"""What was seen in a table's columns: a record a column, for a person to read.

Counts, order statistics and integers alone: the same text on every machine and with any number of threads.
"""

from collections.abc import Iterator
from typing import NamedTuple

from plumbline.tables import columns, duck, encoding, robust
from plumbline.tables.columns import kind_of
from plumbline.tables.fitted import Encoding, Number
from plumbline.tables.store import ROW, Table

WHOLE = "(rows)"  # stands for a column in what is said of whole rows
SHOWN = 3  # most frequent values of a column
POOLED = 5  # columns with rare categories that are named
LETTERS = 24  # of a value that is shown
MOST_LABELS = 20  # a target of more different numbers is shown by its range


class Column(NamedTuple):
    """What was seen in one column and what becomes of it, as metrics/columns.csv has it."""

    column: str
    kind: str  # number, boolean, category, date, date and time, time of day, duration, target; else DuckDB's type
    missing: int  # rows without a value, nan and blank text among them
    distinct: int  # different values
    values: str  # of numbers the range and the median, of dates the range, else the most frequent
    becomes: str = ""  # inputs of the network, or why it is left out; of the target, its classes
    inputs: int = 0
    warning: str = ""


def profile(table: Table, target: str, fitted: Encoding | None = None) -> list[Column]:
    """A record a column, in the table's order; what becomes of it only with the encoding."""
    becomes, numbers = _becomes(table, fitted) if fitted else {}, robust.numbers(table)
    found = []
    for name, kind in table.columns.items():
        if name == ROW:
            continue
        of = numbers.get(name)
        by_range = of and kind != "BOOLEAN" and not (name == target and of.distinct <= MOST_LABELS)
        missing, distinct, values = _range(table, name, of) if by_range else _frequent(table, name)
        words = columns.described(kind)
        if name == target:
            words, becomes[name] = "target", (f"{distinct} classes", 0)
        found.append(Column(name, words, missing, distinct, values, *becomes.get(name, ("", 0))))
    return found


def left_out_or_pooled(table: Table, fitted: Encoding) -> Iterator[str]:
    """What of the columns does not become an input of its own, in lines: left out columns, and rare categories."""
    for left in fitted.left_out:
        yield f"column {left.name!r} is left out: {left.why}"
    shared = [f"{name!r} {many} ({rows} rows)" for name, (many, rows) in encoding.pooled(fitted, table).items()]
    if shared:
        more = ", ..." if len(shared) > POOLED else ""
        yield f"rare categories that share an input: {', '.join(shared[:POOLED])}{more}"


# ---- what the rows say


def _range(table: Table, name: str, of: robust.Numbers) -> tuple[int, int, str]:
    """Of a column that has an order: rows without a value, different values, and the range, of numbers the median."""
    values = ""
    if of.present and kind_of(table.columns[name]) == "number":
        values = f"{_number(of.low)} to {_number(of.high)}, median {_number(of.median)}"
    elif of.present:
        column = duck.name(name)
        ends = f"SELECT min({column})::VARCHAR, max({column})::VARCHAR FROM {table.holding(name)}"
        values = " to ".join(table.rows(ends)[0])
    return len(table) - of.present, of.distinct, values


def _frequent(table: Table, name: str) -> tuple[int, int, str]:
    """The same of any other column, in words: its most frequent values, of equally frequent ones by the letters."""
    texts = columns.all_texts(table, name)
    frequent = texts.frequent[:SHOWN]
    shown = [f"{_short(value)} ({share(rows, len(table) - texts.missing)})" for value, rows in frequent]
    return texts.missing, texts.distinct, ", ".join(shown) + (", ..." if texts.distinct > SHOWN else "")


# ---- in words


def share(part: int, whole: int) -> str:
    """A share in percent, with a decimal where it is small or nearly all."""
    percent = 100 * part / max(whole, 1)
    if percent < 0.1 and part:
        return "under 0.1 %"
    return f"{percent:.0f} %" if 1 <= percent <= 99 or percent in (0, 100) else f"{percent:.1f} %"


def _number(value: float | int) -> str:
    """Six digits of a number, and all before the point."""
    if isinstance(value, int):
        return str(value)
    whole = value.is_integer() or abs(value) >= 1e6
    return f"{value:.0f}" if whole and abs(value) < columns.EXACT else f"{value:.6g}"


def _short(text: str) -> str:
    """A value on one line and not for ever."""
    text = " ".join(text.split())
    return text if len(text) <= LETTERS else text[: LETTERS - 3] + "..."


def _becomes(table: Table, fitted: Encoding) -> dict[str, tuple[str, int]]:
    """What becomes of each column, and how many inputs."""
    told = {left.name: (f"left out: {left.why}", 0) for left in fitted.left_out}
    pooled = encoding.pooled(fitted, table)
    for column in fitted.columns:
        if isinstance(column, Number):
            words = {"number": "one input", "instant": "seconds since 1970"}.get(column.kind, "seconds")
            words += f", {len(column.edges) - 1} bins" if column.edges else ""
        else:
            words = f"{len(column.values)} categories"
            words += ", {} more pooled ({} rows)".format(*pooled[column.name]) if column.pools_others else ""
            words += ", target statistics" if column.counts else ""
        told[column.name] = (words + (", gaps marked" if column.marks_missing else ""), column.width)
    return told


# ---- on a terminal


def screen(found: list[Column], lines: int = 25, file: str = "metrics/columns.csv") -> str:
    """A table of at most so many columns, the most telling first: the target, those with a warning, those left out."""
    told = [column for column in found if column.column != WHOLE]  # its warning says all
    ordered = sorted(told, key=lambda c: (c.kind != "target", not c.warning, not c.becomes.startswith("left out")))
    rows = [("column", "kind", "missing", "distinct", "values", "becomes")]
    rows += [(c.column, c.kind, str(c.missing), str(c.distinct), c.values, c.becomes) for c in ordered[:lines]]
    widths = [min(max(len(row[i]) for row in rows), most) for i, most in enumerate((24, 13, 9, 9, 44, 60))]
    text = ["  ".join(_cell(row[i], widths[i], i in (2, 3)) for i in range(6)).rstrip() for row in rows]
    if len(ordered) > lines:
        text.append(f"... and {len(ordered) - lines} more columns in {file}")
    return "\n".join(text)


def _cell(text: str, width: int, to_the_right: bool) -> str:
    text = text if len(text) <= width else text[: width - 3] + "..."
    return text.rjust(width) if to_the_right else text.ljust(width)


def line(name: str, warning: str, is_target: bool = False) -> str:
    """A column's warning as it is printed, or that about whole rows."""
    of = "" if name == WHOLE else f"{'the target' if is_target else 'column'} {name!r} "
    return f"warning: {of}{warning}"
