"""Warnings about what is odd in a table's columns. Each is one line that says what to do.

An ordinary table has none. Each rule was tried on some forty well-known tables (docs/settings.md).
"""

import re
import sys

import numpy as np

from plumbline.profiling import belonging
from plumbline.profiling.alone import Alone, alone
from plumbline.profiling.profile import WHOLE, Column, line, share
from plumbline.tables import columns, duck, spelling
from plumbline.tables.encoding import FEWEST_ROWS
from plumbline.tables.fitted import Encoding
from plumbline.tables.store import PLACE, ROW, Table

TELLS = 0.95  # ROC AUC of a column alone above which there is a warning
IS, IS_BY_AREA = 0.98, 0.998  # recall, or ROC AUC, from which on it is nearly the target itself
FREQUENT = 100  # the most frequent values of a column that are looked at; all others are rare
POOLED = 0.75  # a column looks like an identifier if this share of its rows has a rare category
FLAT = 0.02  # or if its most frequent value has no more than this share
MOST = 0.8  # text reads as dates or measures if this share of the rows with a frequent value does
MEASURED = r"\s*[^\w\s]?\s?-?(?:0|[1-9]\d*)(?:[.,]\d+)?(\s?(?!(?:st|nd|rd|th)\b)[^\W\d_]+)\.?\s*"  # 66.7 kg, not 4th
FEWEST_MEASURES = 10  # different values of a column that reads as measures, at least
FEW_ROWS = 20  # the order of so few rows may be chance
RARE, RARE_ROWS = 0.01, 100  # a class of a smaller share and of fewer rows is rare
SHOWN = 10  # lines on the terminal, at most
NEAR = 3  # groups of nearly equal categories in a line, at most
NAMED_ID = r"(.*[_\W])?(id|ID|Id)|.*[a-z](Id|ID)"  # customer_id, ID, customerId


def judge(table: Table, found: list[Column], fitted: Encoding) -> list[Column]:
    """The profile `found` with its warnings: for each column the gravest one, and its nearly equal categories.

    If many rows repeat others, a last record is about the rows. A column that the encoding leaves out tells the model
    nothing: it is warned of only if it reads as dates or measures.
    """
    left_out = {left.name for left in fitted.left_out}
    inputs = [c.column for c in found if c.kind != "target" and c.column not in left_out]
    classes, y = table.facts.classes, table.classes()
    tells = alone(table, inputs, y)
    warned = []
    for column in found:
        if column.kind == "target":
            warning = of_target(column, classes, np.bincount(y, minlength=len(classes)).tolist())
        elif column.column in left_out:
            warning = read_otherwise(table, column) or dates_as_numbers(table, column)
        else:
            warning = of_input(table, column, tells.get(column.column))
        warned.append(column._replace(warning=warning or ""))
    if copied := belonging.within(table):
        warning = (
            f"{copied} of {len(table)} rows ({share(copied, len(table))}) repeat another row; remove the copies from "
            f"the table, or keep them in one part (split.group)"
        )
        warned.append(Column(WHOLE, "rows", 0, len(table) - copied, "", warning=warning))
    return warned


def lines(found: list[Column], file: str = "metrics/columns.csv") -> list[str]:
    """The warnings as they are printed, SHOWN of them; first those about the target, then columns that tell it.

    file: where the others are.
    """
    warned = sorted((c for c in found if c.warning), key=lambda c: (c.kind != "target", "the target" not in c.warning))
    said = [line(c.column, c.warning, c.kind == "target") for c in warned]
    more = [f"warning: and {len(said) - SHOWN} more, in {file}"] if len(said) > SHOWN else []
    return said[:SHOWN] + more


def tell(found: list[Column]) -> None:
    """Print the warnings on stderr."""
    for each in lines(found):
        print(each, file=sys.stderr)


# ---- a feature


def of_input(table: Table, column: Column, tells: Alone | None) -> str:
    """The gravest warning for a column that the model sees, and its nearly equal categories."""
    gravest = (
        (tells and leak(tells))
        or read_otherwise(table, column)
        or dates_as_numbers(table, column)
        or identifier(table, column, tells)
    )
    near = nearly_equal(table, column.column) if column.kind == "category" else None
    return "; it ".join(filter(None, [gravest, near]))


def leak(of: Alone) -> str | None:
    """The warning for a column that alone predicts the target."""
    if not of.significant or (of.area <= TELLS and of.recall < IS):
        return None
    what = f"alone tells the target (ROC AUC {of.area:.2f})"
    if of.recall >= IS or of.area >= IS_BY_AREA:
        what = f"is nearly the target itself (ROC AUC {of.area:.3f} alone)"
    return f"{what}; if it is not known when you predict, drop it (make_data.drop)"


def identifier(table: Table, column: Column, tells: Alone | None) -> str | None:
    """The warning for a column whose values name the rows, or what the rows are about.

    tells: how well the column alone predicts the target.
    """
    name, drop = column.column, "drop it (make_data.drop)"
    rest = f"{drop}, or keep the rows of each in one part (split.group)"
    if column.kind == "category":
        texts = columns.all_texts(table, name)
        rare = texts.present - sum(rows for _, rows in texts.frequent[:FREQUENT] if rows >= FEWEST_ROWS)
        most = texts.frequent[0][1]
        is_flat = rare >= POOLED * texts.present or most <= FLAT * texts.present
        if is_flat and texts.distinct > FREQUENT:
            of = f"{share(most, texts.present)} of the rows, and {share(rare, texts.present)} have a rare one"
            if tells and tells.significant:
                return (
                    f"has {texts.distinct} different values and tells of the target (ROC AUC {tells.area:.2f} alone); "
                    f"if new rows will have others, keep the rows of each in one part (split.group)"
                )
            return f"looks like an identifier: {texts.distinct} different values, the most frequent in {of}; {rest}"
    if table.columns[name] in columns.INTEGERS and column.distinct > FEW_ROWS:
        order, value = ROW if ROW in table.columns else PLACE, duck.name(name)  # the rows as they came
        steps = f"SELECT {value} > lag({value}) OVER (ORDER BY {order}) AS up FROM {table.numbered}"
        if column.distinct == len(table) and table.rows(f"SELECT min(up) = max(up) FROM ({steps})")[0][0]:
            return f"rises from row to row and never repeats; {drop}, or test on the latest rows by it (split.time)"
        if re.fullmatch(NAMED_ID, name):
            return f"is an identifier by its name, and taken as a measure: {column.distinct} different numbers; {rest}"
    return None


def nearly_equal(table: Table, name: str) -> str | None:
    """The warning for categories that differ so little that they are probably one."""
    pairs = columns.alike(dict(columns.all_texts(table, name).frequent))
    more = f"; and {len(pairs) - NEAR} more" if len(pairs) > NEAR else ""
    if not pairs:
        return None
    listed = "; ".join(pairs[:NEAR])
    return f"has categories that differ only in {columns.ALIKE}: {listed}{more}; write them alike if one is meant"


def read_otherwise(table: Table, column: Column) -> str | None:
    """The warning for text of which most values read as dates, or as numbers with one unit behind."""
    if column.kind != "category":
        return None
    frequent = columns.all_texts(table, column.column).frequent[:FREQUENT]
    most = MOST * sum(rows for _, rows in frequent)
    dates = [(text, rows) for text, rows in frequent if spelling.shape(text)[0] & spelling.DAY]
    if len(dates) > 1 and sum(rows for _, rows in dates) >= most:
        return (
            f"is text that reads as dates, such as {dates[0][0]!r}; write them as 2021-12-31, and they become seconds"
        )
    found = [(text, rows, match[1].strip()) for text, rows in frequent if (match := re.fullmatch(MEASURED, text))]
    units = {unit for _, _, unit in found}
    if len(units) == 1 and len(found) >= FEWEST_MEASURES and sum(rows for _, rows, _ in found) >= most:
        what = f"is text that reads as numbers with {units.pop()!r} behind, such as {found[0][0]!r}"
        return f"{what}; write the numbers alone, and they become a measure"
    return None


def dates_as_numbers(table: Table, column: Column) -> str | None:
    """The warning for whole numbers that all are days, such as 20211231."""
    if table.columns[column.column] not in columns.INTEGERS or column.distinct <= FEW_ROWS:
        return None
    value = duck.name(column.column)
    first, last = table.rows(f"SELECT min({value}), max({value}) FROM {table.relation}")[0]
    if first < 19000101 or last > 20991231:
        return None
    day = f"{value} IS NULL OR try_strptime({value}::VARCHAR, '%Y%m%d') IS NOT NULL"
    if not table.rows(f"SELECT bool_and({day}) FROM {table.relation}")[0][0]:
        return None
    return f"is numbers that read as dates, such as {first}; write them as 2021-12-31, and they become seconds"


# ---- the target


def of_target(column: Column, classes: list, counts: list[int]) -> str | None:
    """The warning for a target that is a measure, or that has a class of few rows; counts: the rows of each class."""
    if columns.is_measure(classes):
        return (
            f"looks like a measure: {column.distinct} different numbers, {column.values}; each would be a class of its "
            f"own; cut it into classes, or choose another make_data.target"
        )
    rows, fewest = sum(counts), min(counts)
    if fewest < RARE_ROWS and fewest < RARE * rows and 4 * fewest * len(counts) < rows:
        return (
            f"has {fewest} row{'s' if fewest > 1 else ''} of class {classes[counts.index(fewest)]!r}, "
            f"{share(fewest, rows)} of all: too few to learn much from; gather more, join it to another class, "
            f"or try train.class_weight balanced"
        )
    return None
