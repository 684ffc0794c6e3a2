"""Rows that stand in a table more than once, or in two parts of it: a model knows them by heart.

Rows that agree by chance are no copies. Were they, many more pairs of rows would agree in all columns but one: as many
times more as two rows seldom agree in that one. Where the table's most telling column is left out and hardly more
pairs agree, the pairs are copies.
"""

from typing import NamedTuple

from plumbline.tables import duck
from plumbline.tables.store import PLACE, ROW, Table

LEAST = 0.01  # share of rows from which on copies are said
FEWEST = 3  # and their number
TIMES = 10  # as many pairs as chance would have; on tables of few different rows it has a third of them and more
SAMPLED = 2**18  # rows that tell how often a column agrees


class Copies(NamedTuple):
    """How many rows have a twin, and whether that is more than chance has."""

    rows: int
    are_many: bool


def within(table: Table) -> Copies:
    """Rows that stand in the table before."""
    names = _names(table)
    different = table.rows(f"SELECT count(*) FROM ({_counted(table, names)})")[0][0]
    rows = len(table) - different
    return Copies(rows, _are_many(rows, table, table, names))


def across(test: Table, train: Table) -> Copies:
    """Rows of one part that stand in another part as well."""
    names = _names(test)
    row = _hash(names)
    known = f"SELECT {row} FROM {train.relation}"
    rows = test.rows(f"SELECT count(*) FROM {test.relation} WHERE {row} IN ({known})")[0][0]
    return Copies(rows, _are_many(rows, test, train, names))


def _names(table: Table) -> list[str]:
    return [name for name in table.columns if name != ROW]


def _are_many(rows: int, a: Table, b: Table, names: list[str]) -> bool:
    if rows < max(FEWEST, LEAST * len(a)) or len(names) < 3:
        return False
    every = len(b) // SAMPLED + 1
    features = [name for name in names if name != a.facts.target]
    agree = {name: _pairs(a, b, [name], every) for name in features}
    telling = min(features, key=lambda name: (agree[name], name))
    without = _pairs(a, b, [name for name in names if name != telling])
    by_chance = without * agree[telling] / max(len(a) * len(range(0, len(b), every)), 1)
    return _pairs(a, b, names) > TIMES * by_chance


def _pairs(a: Table, b: Table, names: list[str], every: int = 1) -> int:
    """Pairs of a row of one table and a row of the other, of every so many, that agree in these columns."""
    join = f"({_counted(a, names)}) AS a JOIN ({_counted(b, names, every)}) AS b USING (h)"
    found = a.rows(f"SELECT coalesce(sum(a.n * b.n), 0)::DOUBLE FROM {join}")[0][0]
    return found - len(range(0, len(b), every)) if a is b else found  # none is its own twin


def _counted(table: Table, names: list[str], every: int = 1) -> str:
    """SQL of different rows, by their hash of 64 bits, and how often each comes."""
    some = f"{table.numbered} WHERE {PLACE} % {every} = 0" if every > 1 else table.relation
    return f"SELECT h, count(*) AS n FROM (SELECT {_hash(names)} AS h FROM {some}) GROUP BY h"


def _hash(names: list[str]) -> str:
    return f"hash({', '.join(map(duck.name, names))})"
