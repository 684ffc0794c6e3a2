"""What a table's columns hold: their kinds, SQL for their values, and counts of texts.

`check` refuses a column that cannot be encoded.
"""

import functools
import itertools
import re
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from plumbline.basics.errors import UserError
from plumbline.tables import duck
from plumbline.tables.store import PLACE, WIDE, Table

MOST_CATEGORIES = 4096  # of one column that may have an input each: more cost Adam more than they teach
EXACT = 2**53  # up to here float64 represents every integer
INTEGERS = {f"{sign}{size}" for sign in ("", "U") for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")}
FLOATS = {"FLOAT", "DOUBLE"}
# The kind of each DuckDB type. What stands nowhere here cannot be encoded.
KINDS = dict.fromkeys(INTEGERS | FLOATS | {"BOOLEAN", "DECIMAL"}, "number")
KINDS |= dict.fromkeys(["DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"], "instant")
KINDS |= dict.fromkeys(["TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS"], "instant")
KINDS |= dict.fromkeys(["TIME", "TIME_NS", "TIME WITH TIME ZONE"], "time of day")
KINDS |= {"INTERVAL": "duration"}
KINDS |= dict.fromkeys(["VARCHAR", "ENUM", "UUID", '"NULL"'], "category")
# A cell of text is missing if it is one of these, with spaces around it or not, in CSV and Parquet alike.
MISSING = ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"]
MISSING += ["N/A", "NA", "NULL", "NaN", "n/a", "nan", "null"]
SPACES = "".join(letter for letter in map(chr, range(0x3001)) if letter.isspace())
SPACES += "\u200b\u200e\u200f\u202a\u202c\u202d\u2060\u2066\u2068\u2069\ufeff"  # and invisible characters
AS_SPACES = dict.fromkeys(map(ord, SPACES), " ")
BLANK = f"[{SPACES}]*({'|'.join(map(re.escape, MISSING))})[{SPACES}]*"  # a regular expression
ALIKE = "case, spaces or how accents are written"  # what `alike` overlooks
WHOLE = re.compile(r"-?[0-9]+")
TEXTS_A_BUCKET = 4  # of a hash, on average
MANY_CLASSES = 20  # a target of more different whole numbers, or half as many others, is a measure
MANY_NUMBERS = 20  # a column of text with so many different numbers was meant to hold numbers


def kind_of(kind: str) -> str | None:
    """The kind of a DuckDB type: number, instant, time of day, duration or category. None if it cannot be encoded."""
    return None if kind.endswith("]") else KINDS.get(kind.split("(")[0])


def in_words(kind: str) -> str:
    """A DuckDB type for a message."""
    return "text" if kind_of(kind) == "category" else kind.lower()


def described(kind: str) -> str:
    """A DuckDB type for a profile: number, boolean, category, date, date and time, time of day, or duration."""
    coarse = "date and time" if kind_of(kind) == "instant" else kind_of(kind)
    return kind.lower() if kind in ("BOOLEAN", "DATE") or not coarse else coarse


def number_or_nan(name: str, kind: str) -> str:
    """SQL of a column as DOUBLE, or FLOAT if it is one. Missing values are nan.

    Times are seconds, instants seconds since 1970 (UTC). A zero may be -0.0: add 0.0 to it.
    """
    if kind in FLOATS:
        return f"coalesce({duck.name(name)}, 'nan'::{kind})"
    value = f"{duck.name(name)}::DOUBLE" if kind_of(kind) == "number" else f"epoch({duck.name(name)})"
    return f"coalesce({value}, 'nan'::DOUBLE)"


def text(name: str) -> str:
    """SQL of a column as text. Missing and blank cells are NULL."""
    column = f"CAST({duck.name(name)} AS VARCHAR)"
    return f"CASE WHEN regexp_full_match({column}, {duck.text(BLANK)}) THEN NULL ELSE {column} END"


def code(name: str, kind: str, values: list[str]) -> str:
    """SQL of the place of a column's value among some texts, from 0. NULL for a value that is none of them."""
    if not values:
        return "NULL::INTEGER"
    cell = label(duck.name(name), kind) if kind.startswith("DECIMAL") else f"{duck.name(name)}::VARCHAR"
    known = known_as(values, kind == "BOOLEAN")
    place = _place(cell, list(known))
    return place if len(known) == len(values) else f"{list(known.values())}[{place} + 1]"


def known_as(values: list[str], boolean: bool = False) -> dict[str, int]:
    """The place of each text, and of the other way in which it may be written.

    In a column with gaps pandas writes 1.0 for 1, also to a CSV. It makes a boolean column of True and False.
    """
    known = {value: i for i, value in enumerate(values)}
    other = {f"{value}.0": value for value in values if WHOLE.fullmatch(value)}
    other = {"true": "True", "false": "False"} if boolean else other
    return known | {text: known[value] for text, value in other.items() if value in known and text not in known}


def _place(cell: str, values: list[str]) -> str:
    """SQL of a text's place among different texts, from 0. NULL if it is none of them.

    A cast to an ENUM of the texts gives the place. But if a cell is none of them, the cast searches for the most
    similar one to name in its error, which takes 0.1 ms where they are many. So the cell is first looked for in its
    bucket of a hash of the texts. A Python function takes as much CPU time and runs on one thread.
    """
    buckets = [[] for _ in range(len(values) // TEXTS_A_BUCKET + 1)]
    number = f"hash({{}}) % {len(buckets)}"
    numbers = duck.rows(f"SELECT {number.format('text')} FROM (SELECT unnest([{duck.texts(values)}]) AS text)")
    for value, (i,) in zip(values, numbers):
        buckets[i].append(value)
    lists = ", ".join(f"[{duck.texts(texts)}]::VARCHAR[]" for texts in buckets)
    is_one = f"list_contains([{lists}][({number.format(cell)} + 1)::BIGINT], {cell})"
    return f"enum_code(CASE WHEN {is_one} THEN {cell} END::ENUM ({duck.texts(values)}))::INTEGER"


def label(value: str, kind: str) -> str:
    """SQL of a value of DuckDB's type `kind` as a category's label. A whole number has no decimal point."""
    text = f"({value})::VARCHAR"
    return f"regexp_replace({text}, '\\.0+$', '')" if kind in FLOATS or kind.startswith("DECIMAL") else text


def first(table: Table, name: str, condition: str, value: str) -> tuple | None:
    """The first row that meets a condition on the column `name`: its number, and the SQL expression `value` in it.

    None if there is no such row.
    """
    source = table.holding(name)
    found = table.rows(f"SELECT {PLACE}, {value} FROM {source} WHERE {condition} ORDER BY {PLACE} LIMIT 1")
    return found[0] if found else None


def first_of_equal(table: Table, key: str, number: str) -> np.ndarray:
    """For each row the lowest `number` among the rows with the same `key`, both SQL expressions: (n,)."""
    with table.reading():
        return duck.arrays(f"SELECT min({number}) OVER (PARTITION BY {key}) FROM {table.numbered} ORDER BY {PLACE}")[0]


# ---- texts and labels


class Texts(NamedTuple):
    """Counts of a column of text."""

    present: int  # rows that are not missing
    missing: int
    distinct: int
    frequent: list[tuple[str, int]]  # the MOST_CATEGORIES most frequent ones with their rows; ties are sorted by text


@functools.cache
def all_texts(table: Table, name: str) -> Texts:
    """Count the texts of a column. The result is cached, for both fitting and the profile need it.

    Hashes of 64 bits are counted, not texts: many long texts would not fit in memory.
    """
    source, cell = table.holding(name), f"t.{duck.name(name)}::VARCHAR"
    cells = f"SELECT {text(name)} AS text, {PLACE} AS place FROM {source}"
    counts = "count(text) AS rows, count(*) - count(text) AS missing, min(place) AS first"
    totals = "coalesce(sum(rows), 0)::BIGINT, coalesce(sum(missing), 0)::BIGINT, count(*) FILTER (rows > 0)"
    firsts = f"{source} AS t JOIN _texts ON t.{PLACE} = _texts.first WHERE _texts.rows > 0"
    with table.reading():
        duck.run(f"CREATE OR REPLACE TEMP TABLE _texts AS SELECT {counts} FROM ({cells}) GROUP BY hash(text)")
        present, missing, distinct = duck.rows(f"SELECT {totals} FROM _texts")[0]
        most = f"ORDER BY _texts.rows DESC, {cell} LIMIT {MOST_CATEGORIES}"
        frequent = duck.rows(f"SELECT {cell}, _texts.rows FROM {firsts} {most}")
        duck.run("DROP TABLE _texts")
    return Texts(present, missing, distinct, frequent)


def alike(counts: Mapping[str, int]) -> list[str]:
    """Groups of texts that differ only as ALIKE says, in words with their counts. Those of most rows come first."""
    by_key = {}
    for text in counts:
        key = unicodedata.normalize("NFC", " ".join(text.translate(AS_SPACES).split())).casefold()
        by_key.setdefault(unicodedata.normalize("NFC", key), []).append(text)
    groups = [sorted(texts, key=lambda text: (-counts[text], text)) for texts in by_key.values() if len(texts) > 1]
    groups.sort(key=lambda texts: (-sum(map(counts.get, texts)), texts))
    return [" and ".join(f"{shown(text)} ({counts[text]} rows)" for text in texts) for texts in groups]


def shown(text: str) -> str:
    """A text in quotes. Where accents are characters of their own (not NFC) they are escaped, to be seen."""
    return repr(text) if unicodedata.normalize("NFC", text) == text else ascii(text)


def is_measure(labels) -> bool:
    """Whether a target's different labels are values of a measure, and not classes.

    They are if there are many numbers, given as such or as text. Whole numbers that count from 0 or 1 are classes, and
    whole numbers given as text, such as 01, are codes.
    """
    try:
        values = [float(label) for label in labels if not isinstance(label, bool)]
    except ValueError:
        return False
    if not all(value.is_integer() for value in values):
        return len(values) > MANY_CLASSES // 2
    are_codes = any(isinstance(label, str) for label in labels)
    count = values and min(values) in (0, 1) and max(values) - min(values) + 1 == len(values)
    return len(values) > MANY_CLASSES and not count and not are_codes


# ---- what is refused


def check(table: Table) -> None:
    """UserError for a column that cannot be encoded.

    Integers past 2^53 are refused too, unless all differ. Those are an identifier, which is left out later.
    """
    for name in table.features:
        if kind_of(table.columns[name]) is None:
            raise UserError(
                f"column {name!r} holds {table.columns[name]}, and a feature must be a number, text, date or time; "
                f"flatten it or leave it out (make_data.drop)"
            )
    past = {
        name: f"{duck.name(name)} NOT BETWEEN -{EXACT} AND {EXACT}"
        for name in table.features
        if table.columns[name] in INTEGERS
    }
    for start in range(0, len(past), WIDE):  # DuckDB compares all aggregates of a query pairwise
        some = list(past)[start : start + WIDE]
        large = table.rows(f"SELECT {', '.join(f'bool_or({past[name]})' for name in some)} FROM {table.relation}")[0]
        for name in itertools.compress(some, large):
            column = duck.name(name)
            if table.rows(f"SELECT count(DISTINCT {column}) < count({column}) FROM {table.relation}")[0][0]:
                row, value = first(table, name, past[name], column)
                raise UserError(
                    f"column {name!r} is {value} in {table.placed(row)}, past 2^53, where numbers are no longer exact; "
                    f"leave it out (make_data.drop) if it is an identifier, else write it in larger units"
                )
