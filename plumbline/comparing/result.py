"""What a comparison found: the one value that text, Markdown, JSON and HTML read.

Two revisions are a result with one entry, which is judged by several metrics. Experiments are one with an entry each,
the base among them, the best first, judged by one metric. Names and values are as they stand in the repository: whoever
prints them into a language escapes them. JSON of it is read back with the types checked (`msgspec.json.decode`).
"""

from typing import Any, Literal

import msgspec

from plumbline.scores import metrics

Metric = Literal[tuple(dict.fromkeys([*metrics.OF_TWO, *metrics.OF_MORE]))]
Verdict = Literal["better", "worse", "no evidence", "no difference", "identical", "no verdict"]


class Side(msgspec.Struct, frozen=True):
    """A revision, as outputs name it."""

    name: str  # as it was asked for: HEAD, a branch, an experiment, or "workspace"
    branch: str | None  # the branch of that name, or that HEAD and the workspace are on; None where there is none
    commit: str | None  # its first seven digits; of the workspace, of what it is checked out from
    networks: int
    curves: dict[str, list[dict[str, float]]]  # loss and accuracy of network 0, a dict an epoch; {} without the files


class Changes(msgspec.Struct, frozen=True):
    """What differs from the base, as the two dvc.lock have it; empty where nothing does."""

    params: dict[str, tuple[Any, Any]]  # {name: (base, other)}, None where one has it not
    files: dict[str, list[str]]  # what no stage makes, {path: stages that read it}; of a folder the files in it
    stages: list[str]  # that run another command, or that only one of the two has
    made: list[str]  # outputs that differ though all that they are made of is the same


class Judged(msgspec.Struct, frozen=True):
    """One metric of a revision beside the base's, in the sign that files have (a smaller log loss is negative).

    verdict: "better", "worse", "no evidence", "no difference" (on these rows, though the predictions differ),
    "identical" (in every prediction), or "no verdict", and then `why` says why not. Numbers are None where rows or
    networks are too few to say anything.
    """

    metric: Metric
    base: float
    other: float
    difference: float
    low: float | None
    high: float | None
    verdict: Verdict
    why: str
    seen: float | None  # a true difference that would be found four times in five
    by_rows: float | None  # the share of its uncertainty that is of rows; the rest is of seeds
    twice_rows: float | None  # how many times as wide the interval would be with twice the rows
    twice_networks: float | None  # and with twice the networks
    rows_needed: int | None  # that would tell a difference as large as this one from none


class Figure(msgspec.Struct, frozen=True):
    """A metric of one revision, and about 95 % around it."""

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
    is_among_best: bool  # whether the best may be this one
    changes: Changes


class Result(msgspec.Struct, frozen=True):
    """What a comparison found."""

    base: Side
    entries: list[Entry]
    is_ranking: bool
    metric: Metric  # that a ranking goes by, and that a verdict names first
    of: Literal["mean", "network", "ensemble"]  # the mean over networks, or the model file's network
    part: Literal["out-of-fold", "validation", "test"]
    why: str  # that part, in words
    rows: int
    groups: int | None  # of rows that depend on each other; None where each is its own
    networks: int  # compared pair by pair
    luck: float | None  # that a winner's figure owes to being chosen
    last_look: Figure | None  # the winner's in the test part, where that did not choose it
    left_out: dict[str, str]  # {name: why}
    notes: list[str]
    # {file: {metric: (base, other)}} that differ, as `dvc metrics diff` has them
    metrics: dict[str, dict[str, tuple[Any, Any]]] = {}
