"""Rows of a part that belong together, so that each tells less than a row of its own: groups, days, copies."""

from typing import NamedTuple

import numpy as np

from plumbline.basics.params import Split
from plumbline.profiling import copies
from plumbline.tables import columns, duck
from plumbline.tables.store import ROW, Table


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
    if not copies.within(table).are_many:
        return Together(None)
    every = ", ".join(duck.name(name) for name in table.features if name not in table.facts.split_by)
    return Together(columns.first_of_equal(table, f"hash({every})", ROW), "rows equal in all features")
