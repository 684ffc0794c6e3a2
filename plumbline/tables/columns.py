"""What a table's columns hold, as SQL that counts it and never holds a column: kinds, numbers, texts.

And what no encoding can take, refused before anything is made of it.
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

MOST_CATEGORIES = 4096  # that one column of text may have an input for: more cost Adam more than they teach
EXACT = 2**53  # up to here float64 tells integers apart
INTEGERS = {f"{sign}{size}" for sign in ("", "U") for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")}
FLOATS = {"FLOAT", "DOUBLE"}
KINDS = dict.fromkeys(INTEGERS | FLOATS | {"BOOLEAN", "DECIMAL"}, "number")
KINDS |= dict.fromkeys(["DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"], "instant")
KINDS |= dict.fromkeys(["TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS"], "instant")
KINDS |= dict.fromkeys(["TIME", "TIME_NS", "TIME WITH TIME ZONE"], "time of day")
KINDS |= {"INTERVAL": "duration"}
KINDS |= dict.fromkeys(["VARCHAR", "ENUM", "UUID", '"NULL"'], "category")
# What stands for nothing in a cell of text, the same in CSV and Parquet; and cells of nothing but spaces.
MISSING = ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"]
MISSING += ["N/A", "NA", "NULL", "NaN", "n/a", "nan", "null"]
SPACES = "".join(letter for letter in map(chr, range(0x3001)) if letter.isspace())
SPACES += "\u200b\u200e\u200f\u202a\u202c\u202d\u2060\u2066\u2068\u2069\ufeff"  # and what nobody sees
AS_SPACES = dict.fromkeys(map(ord, SPACES), " ")
BLANK = f"[{SPACES}]*({'|'.join(map(re.escape, MISSING))})[{SPACES}]*"  # a regular expression
ALIKE = "case, spaces or how accents are written"  # what two texts of one meaning may differ in
WHOLE = re.compile(r"-?[0-9]+")
A_HASH = 4  # texts that are asked for one after the other
MANY_CLASSES = 20  # different whole numbers that can still be those of classes; of other numbers half as many
MANY = 20  # different numbers from which on a column of text was meant to hold numbers


def kind_of(kind: str) -> str | None:
    """number, instant, time of day, duration or category, of DuckDB's type; None for what cannot be encoded."""
    return None if kind.endswith("]") else KINDS.get(kind.split("(")[0])


def in_words(kind: str) -> str:
    """A DuckDB type as a message names it."""
    return "text" if kind_of(kind) == "category" else kind.lower()


def described(kind: str) -> str:
    """A DuckDB type as profiles name it: number, boolean, category, date, date and time, time of day, duration."""
    coarse = "date and time" if kind_of(kind) == "instant" else kind_of(kind)
    return kind.lower() if kind in ("BOOLEAN", "DATE") or not coarse else coarse


def number_or_nan(name: str, kind: str) -> str:
    """SQL of a column as DOUBLE, nan for missing: times as seconds, instants as those since 1970 (UTC).

    A FLOAT column stays one. A zero may have a sign: add 0.0 to it.
    """
    if kind in FLOATS:
        return f"coalesce({duck.name(name)}, 'nan'::{kind})"
    value = f"{duck.name(name)}::DOUBLE" if kind_of(kind) == "number" else f"epoch({duck.name(name)})"
    return f"coalesce({value}, 'nan'::DOUBLE)"


def text(name: str) -> str:
    """SQL of a column as text, NULL for missing or blank."""
    column = f"CAST({duck.name(name)} AS VARCHAR)"
    return f"CASE WHEN regexp_full_match({column}, {duck.text(BLANK)}) THEN NULL ELSE {column} END"


def code(name: str, kind: str, values: list[str]) -> str:
    """SQL of a column's number among some texts, as which it may have been written; NULL for another."""
    if not values:
        return "NULL::INTEGER"
    cell = label(duck.name(name), kind) if kind.startswith("DECIMAL") else f"{duck.name(name)}::VARCHAR"
    known = known_as(values, kind == "BOOLEAN")
    place = _place(cell, list(known))
    return place if len(known) == len(values) else f"{list(known.values())}[{place} + 1]"


def known_as(values: list[str], boolean: bool = False) -> dict[str, int]:
    """Texts, and in what other way each may come, with their numbers.

    pandas makes 1.0 of 1 where a column has gaps, also in a CSV, and of True and False a boolean column.
    """
    known = {value: i for i, value in enumerate(values)}
    other = {f"{value}.0": value for value in values if WHOLE.fullmatch(value)}
    other = {"true": "True", "false": "False"} if boolean else other
    return known | {text: known[value] for text, value in other.items() if value in known and text not in known}


def _place(cell: str, values: list[str]) -> str:
    """SQL of a text's place among some, all different; NULL for another.

    A cast alone would look for the most similar value for every cell that is none, which takes a tenth of a
    millisecond where they are many: whether it is one is asked first, of the few with the same hash. A function in
    Python takes as much CPU, but on one thread.
    """
    hashed = f"hash({{}}) % {len(values) // A_HASH + 1}"
    places = duck.rows(f"SELECT {hashed.format('text')} FROM (SELECT unnest([{duck.texts(values)}]) AS text)")
    few = [[] for _ in range(len(values) // A_HASH + 1)]
    for value, (place,) in zip(values, places):
        few[place].append(value)
    lists = ", ".join(f"[{duck.texts(texts)}]::VARCHAR[]" for texts in few)
    is_one = f"list_contains([{lists}][({hashed.format(cell)} + 1)::BIGINT], {cell})"
    return f"enum_code(CASE WHEN {is_one} THEN {cell} END::ENUM ({duck.texts(values)}))::INTEGER"


def label(value: str, kind: str) -> str:
    """SQL of a value of DuckDB's type `kind` as a category's label, a whole number without a point."""
    text = f"({value})::VARCHAR"
    return f"regexp_replace({text}, '\\.0+$', '')" if kind in FLOATS or kind.startswith("DECIMAL") else text


def first(table: Table, name: str, condition: str, value: str) -> list[tuple]:
    """The first row in which a condition on a column is true: its number in the table, and the value of an SQL text."""
    source = table.holding(name)
    return table.rows(f"SELECT {PLACE}, {value} FROM {source} WHERE {condition} ORDER BY {PLACE} LIMIT 1")


def first_of_equal(table: Table, key: str, number: str) -> np.ndarray:
    """Of each row the lowest number of a row with the same key, both SQL expressions: (n,)."""
    with table.reading():
        return duck.arrays(f"SELECT min({number}) OVER (PARTITION BY {key}) FROM {table.numbered} ORDER BY {PLACE}")[0]


# ---- profiles


class Texts(NamedTuple):
    """What there is to know of a column of text."""

    present: int  # rows that have one
    missing: int
    distinct: int
    frequent: list[tuple[str, int]]  # the MOST_CATEGORIES that come most often, of equally frequent ones by the letters


@functools.cache
def all_texts(table: Table, name: str) -> Texts:
    """Counts of all texts of a column, which a table is gone through for once: fitting and the profile need them.

    They are counted by their hashes of 64 bits: long texts, all different, would not fit in memory.
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
    """Texts that differ in nothing but what ALIKE says, in words with their counts; those of most rows first."""
    by_key = {}
    for text in counts:
        key = unicodedata.normalize("NFC", " ".join(text.translate(AS_SPACES).split())).casefold()
        by_key.setdefault(unicodedata.normalize("NFC", key), []).append(text)
    groups = [sorted(texts, key=lambda text: (-counts[text], text)) for texts in by_key.values() if len(texts) > 1]
    groups.sort(key=lambda texts: (-sum(map(counts.get, texts)), texts))
    return [" and ".join(f"{shown(text)} ({counts[text]} rows)" for text in texts) for texts in groups]


def shown(text: str) -> str:
    """A text in quotes; one whose accents are letters of their own so that these are seen."""
    return repr(text) if unicodedata.normalize("NFC", text) == text else ascii(text)


def is_measure(labels) -> bool:
    """Whether so many different numbers, or texts of them, are no classes.

    Those of classes are whole, and mostly count from 0 or 1; whole ones in text, as 01, are codes.
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
    """Refuse a column that no encoding can take, by its name, first row and what to do.

    An identifier may be of any size, for it is left out later; of a measure float64 must hold each number.
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
    for start in range(0, len(past), WIDE):  # DuckDB compares every aggregate of a query with every other
        some = list(past)[start : start + WIDE]
        large = table.rows(f"SELECT {', '.join(f'bool_or({past[name]})' for name in some)} FROM {table.relation}")[0]
        for name in itertools.compress(some, large):
            column = duck.name(name)
            if table.rows(f"SELECT count(DISTINCT {column}) < count({column}) FROM {table.relation}")[0][0]:
                row, value = first(table, name, past[name], column)[0]
                raise UserError(
                    f"column {name!r} is {value} in {table.placed(row)}, past 2^53, where numbers are no longer exact; "
                    f"leave it out (make_data.drop) if it is an identifier, else write it in larger units"
                )
