"""Revisions judged against each other: which differences are real, what else changed, and what cannot be compared.

Both sides are scored on the same n rows by R networks each, network r beside network r; scores/differences.py judges
one metric of them.
"""

from typing import NamedTuple

import numpy as np

from plumbline.basics.errors import UserError
from plumbline.comparing import lock, revisions
from plumbline.comparing.revisions import Revision, Scored
from plumbline.scores import differences, metrics
from plumbline.scores.differences import Difference, Rows

JUDGED = ("accuracy", "log_loss", "roc_auc", "macro_roc_auc", "brier")  # what a comparison judges, and corrects for
STALE = "the workspace's predictions are not those of its dvc.lock; run `dvc repro`"


class Comparison(NamedTuple):
    """Two revisions: their differences, and what changed between them."""

    base: Revision
    other: Revision
    rows: int
    networks: int
    differences: list[Difference]
    params: dict[str, tuple]  # {name: (base, other)}
    code: dict[str, list[str]]  # {path: stages}
    data: bool
    notes: list[str]


class Entry(NamedTuple):
    """An experiment in a ranking: its difference to the base in the part to choose by and in the test part."""

    name: str
    chosen: Difference
    test: Difference
    like_best: bool
    params: dict[str, tuple]
    code: dict[str, list[str]]


class Ranking(NamedTuple):
    """Experiments over a base, best first."""

    base: Revision
    metric: str
    part: str  # validation, or test when there is no validation part
    pairs: int  # comparisons corrected for
    best: str
    entries: list[Entry]
    left_out: dict[str, str]  # {name: why}


# ---- two revisions


def judge(base: Revision, other: Revision) -> Comparison:
    """Compare two revisions on their test rows; UserError when these are not the same."""
    if base.classes != other.classes:
        raise UserError(
            f"{base.name} has the classes {base.classes} and {other.name} {other.classes}; "
            "figures over different classes cannot be compared"
        )
    if why := why_not_paired(base, other):
        raise UserError(f"no verdict: {why}{f' ({STALE})' if base.stale or other.stale else ''}")
    left, right = base.parts["test"], other.parts["test"]
    counts = len(left.probability), len(right.probability)
    left, right = (side._replace(probability=side.probability[: min(counts)]) for side in (left, right))
    names = [name for name in _defined(left) if name in _defined(right)]
    return Comparison(
        base,
        other,
        len(right.row),
        min(counts),
        differences.compare(*(Rows(side.probability, side.target) for side in (left, right)), names),
        lock.changed_params(base.lock, other.lock),
        revisions.changed_code(base, other),
        "data/dataset.parquet" in lock.changed_deps(base.lock, other.lock),
        _notes(base, other, counts),
    )


def _notes(base: Revision, other: Revision, counts: tuple[int, int]) -> list[str]:
    notes, networks = [], min(counts)
    if base.stale or other.stale:
        notes.append(STALE)
    if counts[0] != counts[1]:
        notes.append(f"{counts[0]} and {counts[1]} networks: the first {networks} of each are compared")
    if networks == 1:
        notes.append("one network: the interval is over test rows alone, without a verdict; raise train.replicas")
    return notes


def _defined(part: Scored) -> list[str]:
    """The judged metrics that a part has."""
    there = metrics.defined(part.target, max(part.probability.shape[2], 2))
    return [name for name in JUDGED if name in there]


def _phi(name: str, part: Scored) -> np.ndarray:
    return metrics.contributions(name, part.probability, part.target)


def why_not_paired(base: Revision, other: Revision) -> str | None:
    """Why the two were not scored on the same rows, if they were not."""
    for part in base.parts | other.parts:
        if part not in base.parts or part not in other.parts:
            return f"only one of {base.name} and {other.name} has a {part} part; bring both to the same split"
        left, right = base.parts[part], other.parts[part]
        in_one = np.setxor1d(left.row, right.row)
        if len(in_one):
            return (
                f"{base.name} and {other.name} were scored on different {part} rows ({len(in_one)} are in one alone, "
                f"row {in_one[0]} for one); bring both to the same data, seed and split"
            )
        wrong = np.flatnonzero(left.target != right.target)
        if len(wrong):
            return (
                f"{len(wrong)} of {len(left.row)} {part} rows have another label in {other.name} than in {base.name} "
                f"(row {left.row[wrong[0]]} for one); bring both to the same data"
            )
    return None


# ---- several experiments


def rank(base: Revision, others: list[Revision], metric: str) -> Ranking:
    """Experiments by their difference to the base: on the validation part if all have one, else on the test part.

    Intervals and p values are corrected for all pairs of revisions at once: which pair is looked at, the best and
    the next, say, is settled by the data.
    """
    if not others:
        raise UserError(f"there are no experiments over {base.name}; `dvc exp run -S train.hidden_size=64` makes one")
    left_out = {}
    for other in others:
        why = why_not_paired(base, other) if other.classes == base.classes else f"its classes are {other.classes}"
        left_out |= {other.name: why} if why else {}
    everyone = {side.name: side for side in [base, *others] if side.name not in left_out}
    part = "validation" if all("validation" in side.parts for side in everyone.values()) else "test"
    for p in (part, "test"):
        if metric not in _defined(base.parts[p]):
            raise UserError(f"{metric} is not defined on the {p} part of {base.name}; choose another --metric")
    pairs = len(everyone) * (len(everyone) - 1) // 2

    def against(one: str, two: str, p: str) -> Difference:
        networks = min(len(everyone[name].parts[p].probability) for name in (one, two))
        sides = [everyone[name].parts[p] for name in (one, two)]
        rows = [Rows(side.probability[:networks], side.target) for side in sides]
        return differences.compare(*rows, [metric], level=1 - 0.05 / pairs)[0]

    means = {name: _phi(metric, side.parts[part]).mean() for name, side in everyone.items()}
    best = max(means, key=means.get)
    entries = [
        Entry(
            name,
            against(base.name, name, part),
            against(base.name, name, "test"),
            against(best, name, part).verdict != "worse",
            lock.changed_params(base.lock, everyone[name].lock),
            revisions.changed_code(base, everyone[name]),
        )
        for name in sorted(means, key=means.get, reverse=True)
        if name != base.name
    ]
    return Ranking(base, metric, part, pairs, best, entries, left_out)
