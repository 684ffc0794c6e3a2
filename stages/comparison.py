"""Revisions judged against each other: which differences are real, what else changed, and what cannot be compared."""

import math
from typing import NamedTuple

import numpy as np

from stages import revisions, scores
from stages.errors import UserError
from stages.lock import Stage
from stages.revisions import Revision

JUDGED = ("accuracy", "log_loss", "roc_auc", "brier")  # what a comparison judges, and corrects for


class Difference(NamedTuple):
    """How a metric differs between two revisions, in the sign that files have (a smaller log loss is negative).

    `verdict` is better, worse, no evidence, identical, one network (luck cannot be told then), or not paired.
    """

    metric: str
    base: float
    other: float
    difference: float
    low: float
    high: float
    p: float
    verdict: str
    estimate: scores.Estimate | None


class Comparison(NamedTuple):
    """Two revisions: their differences, or why rows cannot be paired, and what changed between them."""

    base: Revision
    other: Revision
    rows: int
    networks: int
    refused: str | None  # why rows cannot be paired; the differences are then unpaired
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


def compare(base: np.ndarray, other: np.ndarray, metric: str, comparisons: int) -> Difference:
    """Judge `other` against `base` by their contributions (R, n) on the same rows, network r beside network r.

    For m comparisons made at once the interval is at 1 - 0.05 / m and p is multiplied by m (Bonferroni); better or
    worse is said when the interval leaves out 0. Which is right: see benchmarks/calibration.py.
    """
    delta = scores.estimate(other - base)
    low, high, p = delta.student(1 - 0.05 / comparisons)
    if not (other - base).any():
        verdict = "identical"
    elif delta.networks < 2:
        verdict = "one network"
    elif low > 0 or high < 0:
        verdict = "better" if low > 0 else "worse"
    else:
        verdict = "no evidence"
    sides = float(base.mean()), float(other.mean())
    return _signed(metric, *sides, delta.mean, low, high, min(p * comparisons, 1.0), verdict, delta)


def compare_unpaired(base: np.ndarray, other: np.ndarray, metric: str, comparisons: int) -> Difference:
    """The interval for revisions scored on different rows, (R, n) and (R', n'): variances add, and no verdict is given.

    Degrees of freedom after Welch and Satterthwaite from those of both sides.
    """
    sides = left, right = scores.estimate(base), scores.estimate(other)
    v, mean, low, high, p = left.variance + right.variance, right.mean - left.mean, math.nan, math.nan, math.nan
    if min(left.n, right.n) > 1:
        shares = sum(side.variance**2 / side.freedom for side in sides if side.variance)
        low, high, p = scores.student(mean, v, v**2 / shares if v else math.inf, 1 - 0.05 / comparisons)
    return _signed(metric, left.mean, right.mean, mean, low, high, min(p * comparisons, 1.0), "not paired", None)


def _signed(metric, base, other, difference, low, high, p, verdict, estimated) -> Difference:
    if metric in scores.LOSSES:
        base, other, difference, low, high = (0.0 - value for value in (base, other, difference, high, low))
    return Difference(metric, base, other, difference, low, high, p, verdict, estimated)


def judge(base: Revision, other: Revision) -> Comparison:
    """Compare two revisions on their test rows; UserError when not even their metrics mean the same."""
    _check_classes(base, other)
    left, right = base.parts["test"], other.parts["test"]
    refused = why_not_paired(base, other)
    notes = []
    if base.stale or other.stale:
        notes.append("the workspace's predictions are not those of its dvc.lock; run `dvc repro`")
    if refused:
        networks, how = len(right.probability), compare_unpaired
    else:
        counts = [len(side.probability) for side in (left, right)]
        networks, how = min(counts), compare
        if counts[0] != counts[1]:
            notes.append(f"{counts[0]} and {counts[1]} networks: the first {networks} of each are compared")
        if networks == 1:
            notes.append("one network: the interval is over test rows alone, without a verdict; raise train.replicas")
        left, right = (side._replace(probability=side.probability[:networks]) for side in (left, right))
        if _changed_files(base, other, "data/test.parquet"):
            notes.append("data/test.parquet differs though its rows and labels do not: features changed")
    phi = [scores.contributions(side.probability, side.target, JUDGED) for side in (left, right)]
    judged = [name for name in JUDGED if name in phi[0] and name in phi[1]]
    return Comparison(
        base,
        other,
        len(right.row),
        networks,
        refused,
        [how(phi[0][name], phi[1][name], name, len(judged)) for name in judged],
        changed_params(base, other),
        _changed_files(base, other, ".py"),
        bool(_changed_files(base, other, "data/dataset.parquet")),
        notes,
    )


def rank(base: Revision, others: list[Revision], metric: str) -> Ranking:
    """Experiments by their difference to the base: on the validation part if all have one, else on the test part.

    Intervals and p values are corrected for all pairs of revisions at once: which pair is looked at, the best and
    the next, say, is settled by the data.
    """
    if not others:
        raise UserError(f"there are no experiments over {base.name}; `dvc exp run -S train.hidden_size=64` makes one")
    left_out = {}
    for other in others:
        if other.facts.classes != base.facts.classes:
            left_out[other.name] = f"its classes are {other.facts.classes}"
        elif why := why_not_paired(base, other):
            left_out[other.name] = why
    everyone = {side.name: side for side in [base, *others] if side.name not in left_out}
    part = "validation" if all("validation" in side.parts for side in everyone.values()) else "test"
    phi = {part: {}, "test": {}}
    for p, of in phi.items():
        for name, side in everyone.items():
            of[name] = scores.contributions(side.parts[p].probability, side.parts[p].target, [metric])
    for p in phi:
        if metric not in phi[p][base.name]:
            raise UserError(f"{metric} is not defined on the {p} part of {base.name}; choose another --metric")
    pairs = len(everyone) * (len(everyone) - 1) // 2

    def against(one: str, two: str, p: str) -> Difference:
        networks = min(len(phi[p][name][metric]) for name in (one, two))
        return compare(*(phi[p][name][metric][:networks] for name in (one, two)), metric, pairs)

    means = {name: phi[part][name][metric].mean() for name in everyone}
    best = max(means, key=means.get)
    entries = [
        Entry(
            name,
            against(base.name, name, part),
            against(base.name, name, "test"),
            against(best, name, part).verdict != "worse",
            changed_params(base, everyone[name]),
            _changed_files(base, everyone[name], ".py"),
        )
        for name in sorted(means, key=means.get, reverse=True)
        if name != base.name
    ]
    return Ranking(base, metric, part, pairs, best, entries, left_out)


def why_not_paired(base: Revision, other: Revision) -> str | None:
    """Why the two were not scored on the same rows, if they were not."""
    for part in base.parts.keys() | other.parts.keys():
        if part not in base.parts or part not in other.parts:
            return f"only one of {base.name} and {other.name} has a {part} part; bring both to the same split"
        left, right = base.parts[part], other.parts[part]
        rows = set(left.row.tolist()) ^ set(right.row.tolist())
        if rows or len(left.row) != len(right.row):
            return (
                f"{base.name} and {other.name} were scored on different {part} rows "
                f"({len(rows)} are in one alone, row {min(rows)} for one); bring both to the same data, seed and split"
            )
        wrong = np.flatnonzero(left.target != right.target)
        if len(wrong):
            return (
                f"{len(wrong)} of {len(left.row)} {part} rows have another label in {other.name} than in {base.name} "
                f"(row {left.row[wrong[0]]} for one); bring both to the same data"
            )
    return None


def changed_params(base: Revision, other: Revision) -> dict[str, tuple]:
    """Parameters that differ, as dvc.lock recorded them when the stages ran: {name: (base, other)}."""
    left, right = _recorded_params(base.lock), _recorded_params(other.lock)
    return {name: (left.get(name), right.get(name)) for name in left | right if left.get(name) != right.get(name)}


def _recorded_params(stages: dict[str, Stage]) -> dict:
    flat = {}
    for stage in stages.values():
        for section, values in stage.params.get("params.yaml", {}).items():
            flat |= {f"{section}.{n}": v for n, v in values.items()} if isinstance(values, dict) else {section: values}
    return flat


def _changed_files(base: Revision, other: Revision, end: str) -> dict[str, list[str]]:
    """Dependencies with this ending that differ, and the stages that they changed: {path: stages}."""
    changed: dict[str, list[str]] = {}
    for stage in base.lock | other.lock:
        left, right = (side.lock[stage].deps if stage in side.lock else {} for side in (base, other))
        for path in sorted(left | right):
            if path.endswith(end) and left.get(path) != right.get(path):
                changed.setdefault(path, []).append(stage)
    return changed


def _check_classes(base: Revision, other: Revision) -> None:
    if base.facts.classes != other.facts.classes:
        raise UserError(
            f"{base.name} has the classes {base.facts.classes} and {other.name} {other.facts.classes}; "
            "figures over different classes cannot be compared"
        )
    for side in (base, other):
        if "test" not in side.parts:
            raise UserError(f"{side.name} has no test rows in {revisions.PREDICTIONS}; run `dvc repro` there")
