"""The profile of a table: for each column a record of what was seen in it, for a person to read.

It has counts, order statistics and integers alone. So it is the same text on every machine, with any number of threads.
"""

from typing import NamedTuple

from plumbline.tables import columns, duck, encoding, robust
from plumbline.tables.columns import kind_of
from plumbline.tables.fitted import Encoding, Number
from plumbline.tables.store import ROW, Table

WHOLE = "(rows)"  # stands in place of a column's name in a record about whole rows
SHOWN = 3  # most frequent values of a column
POOLED = 5  # columns with rare categories that are named, at most
LETTERS = 24  # letters of a value that are shown
MOST_LABELS = 20  # a target with more different numbers is shown by its range


class Column(NamedTuple):
    """A line of metrics/columns.csv: what was seen in one column, and what becomes of it."""

    column: str
    kind: str  # number, boolean, category, date, date and time, time of day, duration, target; else DuckDB's type
    missing: int  # rows without a value; nan and blank text are none
    distinct: int  # different values
    values: str  # range and median of numbers, range of dates, else the most frequent values
    becomes: str = ""  # the inputs that it becomes, or why it is left out; for the target, how many classes
    inputs: int = 0  # of the network
    warning: str = ""


def profile(table: Table, target: str, fitted: Encoding | None = None) -> list[Column]:
    """A record for each column, in the table's order. fitted: the encoding, without which `becomes` is empty."""
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


def tell(table: Table, fitted: Encoding) -> None:
    """Print what has no input of its own: columns that are left out, and rare categories."""
    for left in fitted.left_out:
        print(f"column {left.name!r} is left out: {left.why}")
    shared = [f"{name!r} {many} ({rows} rows)" for name, (many, rows) in encoding.pooled(fitted, table).items()]
    if shared:
        more = ", ..." if len(shared) > POOLED else ""
        print(f"rare categories that share an input: {', '.join(shared[:POOLED])}{more}")


# ---- what the rows say


def _range(table: Table, name: str, of: robust.Numbers) -> tuple[int, int, str]:
    """For a column of numbers, dates or times: missing, distinct and values, as Column has them."""
    values = ""
    if of.present and kind_of(table.columns[name]) == "number":
        values = f"{_number(of.low)} to {_number(of.high)}, median {_number(of.median)}"
    elif of.present:
        column = duck.name(name)
        ends = f"SELECT min({column})::VARCHAR, max({column})::VARCHAR FROM {table.holding(name)}"
        values = " to ".join(table.rows(ends)[0])
    return len(table) - of.present, of.distinct, values


def _frequent(table: Table, name: str) -> tuple[int, int, str]:
    """The same for any other column, with its most frequent values. Ties are in alphabetical order."""
    texts = columns.all_texts(table, name)
    frequent = texts.frequent[:SHOWN]
    shown = [f"{_short(value)} ({share(rows, len(table) - texts.missing)})" for value, rows in frequent]
    return texts.missing, texts.distinct, ", ".join(shown) + (", ..." if texts.distinct > SHOWN else "")


# ---- in words


def share(part: int, whole: int) -> str:
    """A share in percent, with one decimal below 1 % and above 99 %."""
    percent = 100 * part / max(whole, 1)
    if percent < 0.1 and part:
        return "under 0.1 %"
    return f"{percent:.0f} %" if 1 <= percent <= 99 or percent in (0, 100) else f"{percent:.1f} %"


def _number(value: float | int) -> str:
    """A number with six digits, or with all that stand before the point."""
    if isinstance(value, int):
        return str(value)
    whole = value.is_integer() or abs(value) >= 1e6
    return f"{value:.0f}" if whole and abs(value) < columns.EXACT else f"{value:.6g}"


def _short(text: str) -> str:
    """A value on one line, cut after LETTERS; in quotes if a space begins or ends it."""
    text = " ".join(text.split()) if text == text.strip() else repr(text)
    return text if len(text) <= LETTERS else text[: LETTERS - 3] + "..."


def _becomes(table: Table, fitted: Encoding) -> dict[str, tuple[str, int]]:
    """What becomes of each column, in words, and how many inputs that is."""
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
    """The profile as a table for the terminal: first the target, then columns with a warning, then those left out.

    lines: how many columns are shown. file: where the others are.
    """
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
    """A warning as it is printed. name: the column, or WHOLE."""
    of = "" if name == WHOLE else f"{'the target' if is_target else 'column'} {name!r} "
    return f"warning: {of}{warning}"
