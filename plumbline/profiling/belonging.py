"""Rows that belong together, so that each tells less than a row of its own: groups, days, copies.

Rows that agree by chance are no copies. Were they, many more pairs of rows would agree in all columns but one: as many
times more as two rows seldom agree in that one. Where the table's most telling column is left out and hardly more
pairs agree, the pairs are copies.
"""

from typing import NamedTuple

import numpy as np

from plumbline.basics.params import Split
from plumbline.tables import columns, duck
from plumbline.tables.store import PLACE, ROW, Table

LEAST = 0.01  # share of rows from which on copies are said
FEWEST = 3  # and their number
TIMES = 10  # as many pairs as chance would have; on tables of few different rows it has a third of them and more
SAMPLED = 2**18  # rows that tell how often a column agrees


class Together(NamedTuple):
    """Which rows of a part belong together, and why."""

    number: np.ndarray | None  # (n,) int64, the same for rows of one group; None: each row is its own
    why: str = ""  # or why there are no groups, if that must be said

    @property
    def says(self) -> str:
        """What stands behind a count of rows."""
        groups = "" if self.number is None else f" in {len(np.unique(self.number))} groups"
        return groups + f" ({self.why})" * bool(self.why)


def of_part(table: Table, split: Split) -> Together:
    """What the split says of a part's rows, else its copies where they are more than chance has.

    Groups are those of split.group; calendar days (UTC) of split.time where that holds dates or times; else rows that
    agree in all features.
    """
    if split.group:
        return Together(columns.first_of_equal(table, duck.name(split.group), ROW), f"rows of one {split.group}")
    if split.time:
        if columns.kind_of(table.columns[split.time]) != "instant":
            return Together(None, f"{split.time} holds no dates or times to group them by")
        day = f"floor(epoch({duck.name(split.time)}) / 86400)::BIGINT"
        return Together(np.concatenate([piece["day"] for piece in table.pieces({"day": day})]), f"days of {split.time}")
    if not within(table):
        return Together(None)
    every = ", ".join(duck.name(name) for name in table.features if name not in table.facts.split_by)
    return Together(columns.first_of_equal(table, f"hash({every})", ROW), "rows equal in all features")


# ---- copies


def within(table: Table) -> int:
    """Rows that stand in the table before; 0 where they are no more than chance has."""
    names = _names(table)
    different = table.rows(f"SELECT count(*) FROM ({_counted(table, names)})")[0][0]
    rows = len(table) - different
    return rows if _are_many(rows, table, table, names) else 0


def across(test: Table, train: Table) -> int:
    """Rows of one part that stand in another part as well; 0 where they are no more than chance has."""
    names = _names(test)
    row = _hash(names)
    known = f"SELECT {row} FROM {train.relation}"
    rows = test.rows(f"SELECT count(*) FROM {test.relation} WHERE {row} IN ({known})")[0][0]
    return rows if _are_many(rows, test, train, names) else 0


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
