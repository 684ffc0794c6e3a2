"""What is odd about the test part: values that training never saw, rows that also train, classes of too few rows."""

import sys
from typing import NamedTuple

import numpy as np

from plumbline.basics import formats
from plumbline.profiling import belonging
from plumbline.profiling.profile import WHOLE, line, share
from plumbline.tables import columns, duck, encoding
from plumbline.tables.fitted import Category, Encoding, Number
from plumbline.tables.store import Table

NEW, OUTSIDE, GAPS = 0.1, 0.1, 0.02  # shares of the test rows from which on there is a warning
LEAST = 5  # rows with a new category, at least: a few are new by chance in a small table
CHANCE = 0.01  # at most how likely it is that any column of numbers is warned of, if test rows are like training rows
FEWEST = 10  # test rows of a class, at least, without a warning
NAMED = 5  # classes in a line, at most
ALWAYS = " in every training row"


class Column(NamedTuple):
    """A line of metrics/test_columns.csv."""

    column: str
    missing: float = 0.0  # share of the test rows without a value
    new: float = 0.0  # share with a category that training never saw
    outside: float = 0.0  # share beyond the training rows' range
    warning: str = ""


def write(path: str, test: Table, train: Table, fitted: Encoding) -> None:
    """Write metrics/test_columns.csv, and print its warnings on stderr."""
    found = unseen(test, train, fitted)
    formats.write_csv(Column._fields, found, path)
    for warning in warned(found, test.facts.target):
        print(warning, file=sys.stderr)


def unseen(test: Table, train: Table, fitted: Encoding) -> list[Column]:
    """A line about the rows of the test part, one about the target, and one for each feature."""
    fits = {column.name: column for column in fitted.columns}
    left_out = {left.name: left.why for left in fitted.left_out}
    n, tried = len(test), sum(isinstance(column, Number) for column in fitted.columns)
    lines = [Column(WHOLE, warning=_of_rows(test, train))] if n else []
    for name in test.facts.target, *test.features:
        column = fits.get(name)
        if name == test.facts.target:
            lines.append(Column(name, warning=_of_classes(test)))
        elif isinstance(column, Number):
            missing, outside = encoding.beyond(column, test)
            is_odd = chance(outside, n, len(train)) * tried < CHANCE
            lines.append(_judged(n, column, missing, outside=outside, is_odd=is_odd))
        elif column:
            missing, new = _missing_and_new(test, train, name)
            lines.append(_judged(n, column, missing, new=new))
        else:
            missing = test.rows(f"SELECT count(*) - count({duck.name(name)}) FROM {test.holding(name)}")[0][0]
            lines.append(Column(name, missing / max(n, 1), warning=_of_constant(test, train, name, left_out[name])))
    return lines


def warned(found: list[Column], target: str) -> list[str]:
    """The warnings as they are printed."""
    return [line(c.column, c.warning, c.column == target) for c in found if c.warning]


# ---- a feature


def chance(outside: int, test_rows: int, train_rows: int) -> float:
    """How likely it is, at most, that so many test rows lie beyond the training range, if all rows are drawn alike.

    Rows beyond the range are the outermost rows of both parts together, some at either end; and all of them are test
    rows. The chance of that is summed over the ways to share them out to the two ends.
    """
    drawn = np.arange(outside)
    return (outside + 1) * float(np.prod((test_rows - drawn) / (test_rows + train_rows - drawn)))


def _missing_and_new(test: Table, train: Table, name: str) -> tuple[int, int]:
    """How many test rows have no category, and how many have one that no training row has."""
    text = columns.text(name)
    known = f"SELECT DISTINCT hash({text}) AS h FROM {train.holding(name)}"
    cells = f"SELECT {text} AS text FROM {test.holding(name)}"
    new = f"({cells}) ANTI JOIN ({known}) AS known ON hash(text) = known.h WHERE text IS NOT NULL"
    counts = f"SELECT (SELECT count(*) - count(text) FROM ({cells})), (SELECT count(*) FROM {new})"
    return test.rows(counts)[0]


def _judged(
    n: int, column: Number | Category, missing: int, new: int = 0, outside: int = 0, is_odd: bool = False
) -> Column:
    """A feature's line.

    n: test rows. missing, new, outside: how many of them are so. is_odd: whether so many outside are more than chance.
    """
    n, warning = max(n, 1), ""
    if outside >= OUTSIDE * n and is_odd:
        warning = (
            f"is beyond the training rows' {column.low:g} to {column.high:g} in {share(outside, n)} of the test rows, "
            f"where the model guesses; drop it (make_data.drop) if it runs with time, or train on later rows"
        )
    elif new >= max(NEW * n, LEAST):
        warning = (
            f"has a category that training never saw in {share(new, n)} of the test rows, and it tells nothing of "
            f"them; drop it (make_data.drop), or write broader categories"
        )
    elif missing >= GAPS * n and not column.marks_missing:
        warning = (
            f"is missing in {share(missing, n)} of the test rows and in no training row; the model takes the mean "
            f"there, so drop it (make_data.drop) or mend it"
        )
    return Column(column.name, missing / n, new / n, outside / n, warning)


def _of_constant(test: Table, train: Table, name: str, why: str) -> str:
    """The warning for a column that is left out as constant in training, if it is not constant in the test part."""
    if not why.startswith("it is "):
        return ""
    value = columns.text(name)
    differs = f"{value} IS DISTINCT FROM (SELECT min({value}) FROM {train.holding(name)})"
    others = test.rows(f"SELECT count(*) FROM {test.holding(name)} WHERE {differs}")[0][0]
    if not others:
        return ""
    return (
        f"{why.removeprefix('it ').removesuffix(ALWAYS)}{ALWAYS}, and not so in {others} test rows: it is left out; "
        f"split so that such rows train too, or drop it (make_data.drop)"
    )


# ---- rows and classes


def _of_rows(test: Table, train: Table) -> str:
    if not (found := belonging.across(test, train)):
        return ""
    return (
        f"{found} of {len(test)} test rows ({share(found, len(test))}) stand in the training part as well, "
        f"and say nothing of new rows; remove the copies from the table, or keep them in one part (split.group)"
    )


def _of_classes(test: Table) -> str:
    classes = test.facts.classes
    rows = np.bincount(test.classes(), minlength=len(classes)).tolist()
    few = [(classes[c], count) for c, count in enumerate(rows) if count < FEWEST]
    if not few or not len(test):
        return ""
    listed = ", ".join(f"{label!r}: {count}" for label, count in few[:NAMED]) + (", ..." if len(few) > NAMED else "")
    return (
        f"has fewer than {FEWEST} test rows of a class ({listed}), and a figure of so few is mostly luck; leave a "
        f"larger share to the test (split.train), stratify (split.stratify), or join classes"
    )
