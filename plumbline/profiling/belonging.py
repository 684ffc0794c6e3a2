"""Rows that are not independent, so that several tell hardly more than one: groups, days, copies.

Rows that are equal may be copies, or may be equal by chance. These are told apart by leaving out one column, the one in
which two rows agree most seldom. If rows are equal by chance, many more pairs agree in the other columns: should one
pair in 1,000 agree in the column left out, 1,000 times as many. If they are copies, hardly more pairs agree.
"""

from typing import NamedTuple

import numpy as np

from plumbline.basics.params import Split
from plumbline.tables import columns, duck
from plumbline.tables.store import PLACE, ROW, Table

LEAST = 0.01  # share of copies, at least, for them to be told
FEWEST = 3  # and their number
TIMES = 10  # copies are more than so many times the pairs of chance: these are a third and more if few rows differ
SAMPLED = 2**18  # rows by which it is told how often two rows agree in a column


class Together(NamedTuple):
    """Which rows of a part belong together, and why."""

    number: np.ndarray | None  # (n,) int64, the same for all rows of a group; None: each row is a group of its own
    why: str = ""  # what makes a group; without groups, why there are none if that must be told

    @property
    def says(self) -> str:
        """The words that stand behind a count of rows."""
        groups = "" if self.number is None else f" in {len(np.unique(self.number))} groups"
        return groups + f" ({self.why})" * bool(self.why)


def of_part(table: Table, split: Split) -> Together:
    """The groups of a part's rows.

    With split.group they are its values. With split.time they are calendar days (UTC), if that column holds dates or
    times. With neither they are rows that are equal in all features, if there are more copies than by chance.
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
    """How many rows repeat an earlier row; 0 if these are no more than by chance."""
    names = _names(table)
    different = table.rows(f"SELECT count(*) FROM ({_counted(table, names)})")[0][0]
    rows = len(table) - different
    return rows if _are_many(rows, table, table, names) else 0


def across(test: Table, train: Table) -> int:
    """How many test rows stand in the training part too; 0 if these are no more than by chance."""
    names = _names(test)
    row = _hash(names)
    known = f"SELECT {row} FROM {train.relation}"
    rows = test.rows(f"SELECT count(*) FROM {test.relation} WHERE {row} IN ({known})")[0][0]
    return rows if _are_many(rows, test, train, names) else 0


def _names(table: Table) -> list[str]:
    return [name for name in table.columns if name != ROW]


def _are_many(rows: int, a: Table, b: Table, names: list[str]) -> bool:
    """Whether so many rows of one table that stand in the other are copies. Within one table a and b are the same."""
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
    """Pairs of a row of a and a row of b, of which every `every`-th counts, that agree in these columns."""
    join = f"({_counted(a, names)}) AS a JOIN ({_counted(b, names, every)}) AS b USING (h)"
    found = a.rows(f"SELECT coalesce(sum(a.n * b.n), 0)::DOUBLE FROM {join}")[0][0]
    return found - len(range(0, len(b), every)) if a is b else found  # a row is no pair with itself


def _counted(table: Table, names: list[str], every: int = 1) -> str:
    """The query for the different rows: their hash h of 64 bits, and how often each comes, n."""
    some = f"{table.numbered} WHERE {PLACE} % {every} = 0" if every > 1 else table.relation
    return f"SELECT h, count(*) AS n FROM (SELECT {_hash(names)} AS h FROM {some}) GROUP BY h"


def _hash(names: list[str]) -> str:
    return f"hash({', '.join(map(duck.name, names))})"
