"""Which columns of a training part are left out, because they can teach nothing."""

import re

from plumbline.tables import columns, duck
from plumbline.tables.columns import Texts
from plumbline.tables.robust import Numbers
from plumbline.tables.store import Table

MEASURE = re.compile(r"\W*\d+(\W+\d*)+", re.ASCII)  # text such as 31.12.2021, 1,234.50 $ or 45 %


def of_numbers(table: Table, name: str, seen: Numbers) -> str | None:
    """Why a column of numbers is left out, or None if it is not."""
    if not seen.present:
        return "it is empty"
    if seen.present == len(table) and seen.distinct == 1:
        value = table.rows(f"SELECT CAST({duck.name(name)} AS VARCHAR) FROM {table.holding(name)} LIMIT 1")[0][0]
        return f"it is {value} in every training row"
    if table.columns[name] in columns.INTEGERS and _is_numbering(seen):
        return "an identifier: whole numbers, different on every row"
    return None


def _is_numbering(seen: Numbers) -> bool:
    """Whether whole numbers that all differ are an identifier, such as row numbers.

    If n numbers were drawn at random from their range, all would differ with a probability of about exp(-n^2 / (2
    range)) (the birthday problem). Below exp(-10) that was not chance. Numbers past 2^53 are an identifier if they all
    differ, for a measure would be a float there.
    """
    likely_to_repeat = seen.present * seen.present > 20 * (seen.high - seen.low + 1)
    return seen.distinct == seen.present and (likely_to_repeat or max(-seen.low, seen.high) > columns.EXACT)


def of_text(texts: Texts) -> str | None:
    """Why a column of text is left out, or None if it is not."""
    if not texts.present:
        return "it is empty"
    example = texts.frequent[0][0]
    if texts.distinct == 1 and not texts.missing:
        return f"it is {example!r} in every training row"
    if texts.distinct > max(texts.present / 2, 10):
        words = sum(len(text.split()) for text, _ in texts.frequent)
        thing, hint = "free text" if words >= 3 * len(texts.frequent) else "an identifier", ""
        if MEASURE.fullmatch(example):
            thing, hint = "text", f", such as {example!r}; write a measure as a number, and a date as 2021-12-31"
        return f"{thing}: {texts.distinct} different values in {texts.present} rows{hint}"
    return None
