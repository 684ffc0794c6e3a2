"""What a comparison found: the one value that text, Markdown, JSON and HTML are made of.

A comparison of two revisions has one entry, judged by several metrics. A ranking of experiments has an entry for each
run, the base among them, the best first, judged by one metric. Names and values stand here as in the repository:
whoever prints them into Markdown or HTML escapes them. When JSON of it is read back, msgspec checks the types.
"""

from typing import Any, Literal

import msgspec

from plumbline.scores import metrics

Metric = Literal[tuple(dict.fromkeys([*metrics.OF_TWO, *metrics.OF_MORE]))]
Verdict = Literal["better", "worse", "no evidence", "no difference", "identical", "no verdict"]


class Side(msgspec.Struct, frozen=True):
    """A revision."""

    name: str  # as it was asked for: HEAD, a branch, an experiment, or "workspace"
    branch: str | None  # the branch of that name, or the one that HEAD and the workspace are on; None without one
    commit: str | None  # its first seven digits; for the workspace that of HEAD
    networks: int
    curves: dict[str, list[dict[str, float]]]  # network 0's by epoch, {part: [{column: value}]}; {} without the files


class Changes(msgspec.Struct, frozen=True):
    """What differs from the base, by the two dvc.lock; empty where nothing does."""

    params: dict[str, tuple[Any, Any]]  # {name: (base, other)}; None for a value that is not there
    files: dict[str, list[str]]  # {path: stages that read it}, of files that no stage makes
    stages: list[str]  # those with another command, and those that only one side has
    made: list[str]  # outputs that differ though their stage read the same


class Judged(msgspec.Struct, frozen=True):
    """One metric of a revision beside the base's, with the sign that it has in files (a smaller log loss is negative).

    verdict: as in `differences.Difference`. Numbers are None where rows or networks are too few to know them.
    """

    metric: Metric
    base: float
    other: float
    difference: float
    low: float | None
    high: float | None
    verdict: Verdict
    why: str
    seen: float | None  # a true difference of this size would be found four times in five (power 80 %)
    by_rows: float | None  # the share of the variance that is from rows; the rest is from seeds
    twice_rows: float | None  # with twice the rows the interval would be so many times as wide
    twice_networks: float | None  # with twice the networks
    rows_needed: int | None  # with so many rows a difference of this size would be told from none


class Figure(msgspec.Struct, frozen=True):
    """A metric of one revision, with the ends of its 95 % interval."""

    value: float
    low: float | None
    high: float | None
    rows: int


class Entry(msgspec.Struct, frozen=True):
    """A revision beside the base."""

    side: Side
    same: list[str]  # other names of the same run
    judged: list[Judged]  # none for the base itself
    figure: Figure  # of the result's metric, in its part
    is_among_best: bool  # whether it may be the best
    changes: Changes


class Result(msgspec.Struct, frozen=True):
    """What a comparison found."""

    base: Side
    entries: list[Entry]
    is_ranking: bool
    metric: Metric  # that a ranking goes by, and that a verdict names first
    of: Literal["mean", "network", "ensemble"]  # whose figures: as in `differences.compare`
    part: Literal["out-of-fold", "validation", "test"]
    why: str  # why this part, in words
    rows: int
    groups: int | None  # of rows that depend on each other; None where each is its own
    networks: int  # compared pair by pair
    luck: float | None  # by how much being chosen makes the winner's figure look better than it is
    last_look: Figure | None  # the winner's figure in the test part, unless that part chose it
    left_out: dict[str, str]  # {experiment: why}
    notes: list[str]
    # {file: {metric: (base, other)}} that differ, as `dvc metrics diff` has them
    metrics: dict[str, dict[str, tuple[Any, Any]]] = {}
