"""What is fitted to a table's columns, as it is saved with a model: numbers, categories, and what is left out."""

from operator import itemgetter

import msgspec
import numpy as np

from plumbline.bits import rows as encoded
from plumbline.tables import targets
from plumbline.tables.store import Spelling


class Number(msgspec.Struct, frozen=True, tag="number", omit_defaults=True):
    """A column of numbers, or of times as seconds: one input, one that marks missing rows where some were, and bins."""

    name: str
    kind: str  # number, instant, time of day or duration: what a new table's column must be
    low: float  # the range of the training rows, so that values outside it can be counted
    high: float
    centre: float
    scale: float  # 0 leaves the number as it is
    mean: float  # of the clipped values
    deviation: float
    marks_missing: bool
    edges: list[float] = []  # of its bins
    knots: list[float] = []  # of its splines; both or none
    boolean: bool = False  # of true and false, as 1 and 0
    spelling: Spelling | None = None  # of a column that was text

    @property
    def stored(self) -> list[tuple[int, int]]:
        """Columns of an encoded row: kind and number of inputs of each."""
        bins = [(encoded.POSITION, len(self.edges) - 1), (encoded.SPLINE, len(self.knots))] if self.edges else []
        return [(encoded.NUMBER, 1)] * (1 + self.marks_missing) + bins

    @property
    def width(self) -> int:
        """Inputs of the network."""
        return sum(width for _, width in self.stored)


class Category(msgspec.Struct, frozen=True, tag="category", omit_defaults=True):
    """A column of text: one input a category, 1 where the row has it, and target statistics."""

    name: str
    values: list[str]
    pools_others: bool  # whether rare ones were pooled; if none was, an unseen one has no input at all
    marks_missing: bool
    counts: list[list[int]] = []  # of each such input the training rows by class, where there are statistics

    @property
    def codes(self) -> int:
        """Inputs of the categories: the values, those pooled, missing."""
        return len(self.values) + self.pools_others + self.marks_missing

    @property
    def other(self) -> int:
        """What stands for a category that has no input of its own: the input of those pooled, or none."""
        return len(self.values) if self.pools_others else self.codes

    @property
    def missing(self) -> int:
        """What stands for a missing one: an input of its own, or none, and other than for an unseen one."""
        return self.codes - 1 if self.marks_missing else self.codes + 1

    @property
    def frequent(self) -> int:
        """The first values, which have an input beside their statistics."""
        return sum(sum(rows) >= targets.FREQUENT for rows in self.counts[: len(self.values)])

    @property
    def statistics(self) -> int:
        """Numbers that stand for a category."""
        return targets.width(len(self.counts[0])) if self.counts else 0

    @property
    def stored(self) -> list[tuple[int, int]]:
        """Columns of an encoded row: kind and number of inputs of each."""
        beside = [(encoded.CODE, self.frequent)] if self.frequent else []
        return [(encoded.NUMBER, 1)] * self.statistics + beside + [(encoded.CODE, self.codes)]

    @property
    def width(self) -> int:
        """Inputs of the network."""
        return sum(width for _, width in self.stored)


class LeftOut(msgspec.Struct, frozen=True):
    """A column that is no feature, and why."""

    name: str
    why: str


class Encoding(msgspec.Struct, frozen=True):
    """How a table's columns become the network's inputs: numbers, their bins, their splines, then categories."""

    columns: list[Number | Category]
    left_out: list[LeftOut] = []

    @property
    def layout(self) -> np.ndarray:
        """How an encoded row becomes the inputs: int64 (c, 3), see plumbline.bits.rows."""
        stored = [each for column in self.columns for each in column.stored]
        return encoded.layout_of(sorted(stored, key=itemgetter(0)))

    @property
    def places(self) -> list[list[int]]:
        """Of each column its numbers among the stored ones, which are sorted by kind."""
        stored = [(each, i) for i, column in enumerate(self.columns) for each in column.stored]
        found = [[] for _ in self.columns]
        for place, (_, i) in enumerate(sorted(stored, key=lambda each: each[0][0])):
            found[i].append(place)
        return found

    @property
    def views(self) -> list[np.ndarray]:
        """What members see, in turn: numbers of stored columns. The first see splines, the second bins, the third
        numbers and categories; the others see statistics instead of categories, with the frequent ones of these. Where
        no column has any, all see all.
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
        """Inputs of the network."""
        return sum(column.width for column in self.columns)

    @property
    def texts(self) -> list[str]:
        """The columns that a new CSV must have as the text that stands there: categories, and those of a spelling."""
        return [each.name for each in self.columns if isinstance(each, Category) or each.spelling]
