"""An encoding as it is saved with a model: what was fitted to each column, and which columns are left out."""

from operator import itemgetter

import msgspec
import numpy as np

from plumbline.bits import rows as encoded
from plumbline.tables import targets
from plumbline.tables.store import Spelling


class Number(msgspec.Struct, frozen=True, tag="number", omit_defaults=True):
    """A column of numbers, or of times in seconds.

    It has an input for the number, one that marks missing rows if there were any, and bins and splines under `mixed`.
    """

    name: str
    kind: str  # number, instant, time of day or duration: what a new table's column must be
    low: float  # lowest and highest value of the training rows
    high: float
    centre: float
    scale: float  # 0 leaves the number as it is
    mean: float  # of the clipped values
    deviation: float  # their standard deviation
    marks_missing: bool
    edges: list[float] = []  # of the bins
    knots: list[float] = []  # of the splines; edges and knots are both there or both empty
    boolean: bool = False  # whether it holds true and false, as 1 and 0
    spelling: Spelling | None = None  # how the numbers were written, if the column was text

    @property
    def stored(self) -> list[tuple[int, int]]:
        """Kind and number of inputs of each column that this one has in an encoded row."""
        bins = [(encoded.POSITION, len(self.edges) - 1), (encoded.SPLINE, len(self.knots))] if self.edges else []
        return [(encoded.NUMBER, 1)] * (1 + self.marks_missing) + bins

    @property
    def width(self) -> int:
        """Number of inputs of the network."""
        return sum(width for _, width in self.stored)


class Category(msgspec.Struct, frozen=True, tag="category", omit_defaults=True):
    """A column of text: an input for each category (one-hot), and target statistics under `mixed`.

    A category's code is the number of its input: first the values, then rare ones together, then missing.
    """

    name: str
    values: list[str]  # the categories that have an input of their own
    pools_others: bool  # whether rare categories share an input; if not, a category never seen has none
    marks_missing: bool
    counts: list[list[int]] = []  # training rows by code and class, if there are statistics

    @property
    def codes(self) -> int:
        """Number of codes that have an input."""
        return len(self.values) + self.pools_others + self.marks_missing

    @property
    def other(self) -> int:
        """Code of a category that has no input of its own: the shared input's, or `codes`, which has none."""
        return len(self.values) if self.pools_others else self.codes

    @property
    def missing(self) -> int:
        """Code of a missing cell. Without an input it still differs from that of a category never seen."""
        return self.codes - 1 if self.marks_missing else self.codes + 1

    @property
    def frequent(self) -> int:
        """How many of the first values have an input beside their statistics."""
        return sum(sum(rows) >= targets.FREQUENT for rows in self.counts[: len(self.values)])

    @property
    def statistics(self) -> int:
        """How many target statistics a category has."""
        return targets.width(len(self.counts[0])) if self.counts else 0

    @property
    def stored(self) -> list[tuple[int, int]]:
        """Kind and number of inputs of each column that this one has in an encoded row."""
        beside = [(encoded.CODE, self.frequent)] if self.frequent else []
        return [(encoded.NUMBER, 1)] * self.statistics + beside + [(encoded.CODE, self.codes)]

    @property
    def width(self) -> int:
        """Number of inputs of the network."""
        return sum(width for _, width in self.stored)


class LeftOut(msgspec.Struct, frozen=True):
    """A column that is left out, and why."""

    name: str
    why: str


class Encoding(msgspec.Struct, frozen=True):
    """How a table's columns become the network's inputs.

    An encoded row holds columns of four kinds, in this order: numbers, bins, splines, codes (plumbline.bits.rows).
    """

    columns: list[Number | Category]
    left_out: list[LeftOut] = []

    @property
    def layout(self) -> np.ndarray:
        """The layout of encoded rows, as in plumbline.bits.rows: int64 (c, 3)."""
        stored = [each for column in self.columns for each in column.stored]
        return encoded.layout_of(sorted(stored, key=itemgetter(0)))

    @property
    def places(self) -> list[list[int]]:
        """Where each column's values stand in an encoded row."""
        stored = [(each, i) for i, column in enumerate(self.columns) for each in column.stored]
        found = [[] for _ in self.columns]
        for place, (_, i) in enumerate(sorted(stored, key=lambda each: each[0][0])):
            found[i].append(place)
        return found

    @property
    def views(self) -> list[np.ndarray]:
        """What members see in turn, as places in an encoded row.

        Members of the first view see numbers as splines, of the second as bins, of the third as they are. Where a
        column has target statistics, the first two see these and an input for each frequent category, and the third an
        input for each category. Equal views count once: where no column has any of this there is one view.
        """
        found = [[], [], []]
        for column, places in zip(self.columns, self.places):
            if isinstance(column, Category):
                ways = places[:-1] or places, places[:-1] or places, places[-1:]
            elif column.edges:
                number, *marks, bins, splines = places
                ways = [*marks, splines], [*marks, bins], [number, *marks]
            else:
                ways = places, places, places
            for view, own in zip(found, ways):
                view += own
        found = [sorted(view) for view in found]
        return [np.array(view) for i, view in enumerate(found) if view not in found[:i]]

    @property
    def width(self) -> int:
        """Number of inputs of the network."""
        return sum(column.width for column in self.columns)

    @property
    def texts(self) -> list[str]:
        """The columns whose cells a new CSV must give as text: categories, and numbers that were text."""
        return [each.name for each in self.columns if isinstance(each, Category) or each.spelling]
