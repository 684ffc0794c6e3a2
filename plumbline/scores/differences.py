"""Is a difference real? Two sides are judged on the same rows, by the probabilities that their networks give.

A side is a run, a revision or a baseline. Network r of one is paired with network r of the other, and a difference in a
metric is the mean of D = phi_other - phi_base (R, n). It is real if its interval leaves out 0.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from plumbline.bits import stream
from plumbline.scores import intervals, labels, metrics

FEWEST_NETWORKS = 3  # for a verdict: fewer do not show how seeds differ
FEWEST_ROWS = 5  # of a class, for a verdict
TINY = 1e-9  # smaller probabilities of a row's label count as this
NORMALS = 8000  # draws: a tail of 5 % is known to within 0.25 %
OF = ("mean", "network", "ensemble")  # whose figures are judged
OF_ANSWERS = ("accuracy", *metrics.RATIOS, *(f"macro_{name}" for name in metrics.RATIOS))  # of classes predicted


class Rows(NamedTuple):
    """The rows of a part, with the probabilities that every network of a side gives them."""

    probability: np.ndarray  # float32 (R, n, k), or (R, n, 1) of the second of two classes
    target: np.ndarray  # (n,) class numbers
    positive: int = 1  # of two classes, the one that ROC AUC, precision and recall are of
    group: np.ndarray | None = None  # (n,) whole numbers, the same for rows of a group; None: each row is its own
    fold: np.ndarray | None = None  # (R, n), only for out-of-fold rows: the fold whose network scored the row
    row: np.ndarray | None = None  # (n,) numbers by which the rows of two sides are paired

    @property
    def classes(self) -> int:
        """The number of classes, k."""
        return max(self.probability.shape[2], 2)


class Side(NamedTuple):
    """One metric of one side."""

    phi: np.ndarray  # contributions (R, n)
    by_label: np.ndarray | None  # (n, k): what row i would contribute if its label were c; None where it is not known
    chance: np.ndarray  # (n, k): the ensemble's probability of each label


class Difference(NamedTuple):
    """How a metric differs between two sides, with the sign that it has in files (a smaller log loss is negative).

    `verdict` is one of: better, worse, no evidence, no difference (all contributions are equal), identical (all
    probabilities are equal), no verdict (`why` says why not).
    """

    metric: str
    base: float
    other: float
    difference: float
    low: float
    high: float
    p: float  # two-sided, not adjusted for other metrics
    verdict: str
    estimate: intervals.Estimate
    why: str = ""


# ---- two sides


def defined(rows: Rows, of: str = "mean") -> list[str]:
    """The metrics that are defined on these rows.

    Single networks rank the rows of each fold, so every fold needs every class. An ensemble ranks all rows together.
    """
    return metrics.defined(rows.target, rows.classes, None if of == "ensemble" else rows.fold)


def compare(base: Rows, other: Rows, names: Sequence[str], of: str = "mean", level: float = 0.95) -> list[Difference]:
    """Judge `other` against `base` in several metrics. With confidence `level` all the intervals hold the true values.

    of: whose figures are judged. `mean`: the mean over networks. `network`: the model file's, network 0. `ensemble`:
    that of the mean of all networks' probabilities. A base of one network is paired with every network of the other.
    How often verdicts are right, benchmarks/calibration.py measures.
    """
    base = base._replace(group=intervals.numbered(base.group))
    if len(base.probability) > 1 or of == "network":
        base, other = same_networks([base, other], of)
    asked, there = names, defined(base, of)
    names = [name for name in asked if name in there]
    sides = [(side(base, name, of), side(other, name, of)) for name in names]
    estimates = [paired(*pair, name, base) for pair, name in zip(sides, names)]
    level = level_of_each([two.phi - one.phi for one, two in sides], base.group, level)
    same = np.array_equal(base.probability, other.probability)
    judged = {}
    for name, (one, two), estimate in zip(names, sides, estimates):
        why = why_not(name, base, estimate, of)
        low, high, p = estimate.student(level)
        if same:
            verdict = "identical"
        elif why:
            verdict = "no verdict"
        elif not (two.phi - one.phi).any():
            verdict = "no difference"
        elif low > 0 or high < 0:
            verdict = "better" if low > 0 else "worse"
        else:
            verdict = "no evidence"
        figures, ends = (float(one.phi.mean()), float(two.phi.mean()), estimate.mean), (low, high)
        if name in metrics.LOSSES:
            figures, ends = tuple(0.0 - figure for figure in figures), (0.0 - high, 0.0 - low)
        judged[name] = Difference(name, *figures, *ends, p, verdict, estimate, why)
    return [judged[name] if name in judged else undefined(name) for name in asked]


def undefined(name: str) -> Difference:
    """What is said of a metric that is not defined on these rows."""
    none = intervals.Estimate(math.nan, 0.0, 0.0, 0.0, 0, 0, 0.0)
    return Difference(name, *[math.nan] * 6, "no verdict", none, "a class has no rows")


def same_networks(sides: Sequence[Rows], of: str = "mean") -> list[Rows]:
    """Every side with the same number of networks, as many as the smallest has; with one, if that is what is judged."""
    networks = 1 if of == "network" else min(len(rows.probability) for rows in sides)
    cut = [None if rows.fold is None else rows.fold[:networks] for rows in sides]
    return [rows._replace(probability=rows.probability[:networks], fold=fold) for rows, fold in zip(sides, cut)]


def side(rows: Rows, name: str, of: str = "mean") -> Side:
    """A metric of one side.

    An ensemble has one phi (n,), but it depends on the seeds of its networks. So it too is given as (R, n): the
    pseudo-values of the jackknife that leaves out one network, R phi(all) - (R - 1) phi(all but r), shifted so that
    their mean is phi(all).
    """
    probability, about = rows.probability, (rows.target, rows.positive)
    everyone = metrics.ensemble(probability)
    fold = None if of == "ensemble" or not metrics.ranks(name) else rows.fold
    judged = everyone[None] if of == "ensemble" else probability
    if name in labels.KNOWN and fold is None:
        phi, by_label = np.empty(judged.shape[:2]), 0.0
        for network, own in zip(judged, phi):
            each = labels.contributions(name, network, *about)
            own[:], by_label = each[np.arange(len(own)), rows.target], by_label + each / len(judged)
    else:
        phi, by_label = metrics.contributions(name, judged, *about, fold=fold), None
    if of == "ensemble" and len(probability) > 1:
        phi = phi + _by_network(name, probability, about)
    return Side(phi, by_label, metrics.by_class(everyone))


def _by_network(name: str, probability: np.ndarray, about: tuple) -> np.ndarray:
    """By how much the ensemble's pseudo-values differ from their mean: (R, n)."""
    others, total = len(probability) - 1, probability.sum(axis=0, dtype=np.float64)
    without = np.stack([((total - network) / others).astype(np.float32) for network in probability])
    left = metrics.contributions(name, without, *about)
    return others * (left.mean(axis=0) - left)


def paired(base: Side, other: Side, name: str, rows: Rows) -> intervals.Estimate:
    """The mean of D with its variances, V_row being at least what labels that could have been make it (`labels`).

    The side with the lower log loss says how probable each label was. A side that is unsure of everything would hide a
    difference, and one that is too sure would make one.
    """
    is_ranked, difference = metrics.ranks(name), other.phi - base.phi
    estimate = intervals.estimate(difference, rows.target, rows.group, is_ranked)
    if base.by_label is not None and other.by_label is not None:
        true = np.arange(len(rows.target)), rows.target
        loss = [-np.log(np.maximum(side.chance[true], TINY)).sum() for side in (base, other)]
        chance = other.chance if loss[1] < loss[0] else base.chance
        labelled = [(other.by_label - base.by_label, chance)]
        estimate = labels.floored(estimate, labelled, difference, rows.target, rows.group)
    if estimate.n > 1 and (name in OF_ANSWERS or not difference.any()):
        estimate = estimate._replace(v_row=max(estimate.v_row, least_variance(name, rows, estimate.n)))
    return intervals.cross_fitted(estimate, rows.fold)


def least_variance(name: str, rows: Rows, units: int) -> float:
    """The least V_row that a difference in a metric can have: the next row may be one that the two sides answer apart.

    For a mean over n rows it is 1 / n^2 (Agresti and Min, Statistics in Medicine 24 (2005) 729). A metric that averages
    means over the rows of a class has it from every class. units: rows, or groups of rows.
    """
    counts = metrics.class_counts(rows.target, rows.classes)
    share, of_class = metrics.trials(name, counts, counts, rows.positive, units)
    if name == "roc_auc":  # the next row may be of either class
        share, of_class = np.ones(2), np.maximum(counts * (units / len(rows.target)), 1.0)
    return float((share**2 / of_class**2).sum())


def why_not(name: str, rows: Rows, estimate: intervals.Estimate, of: str) -> str:
    """Why there is no verdict, in words; empty if there is one."""
    if of != "network" and estimate.networks < FEWEST_NETWORKS:
        count = f"{estimate.networks} network{'s' * (estimate.networks > 1)}"
        return f"{count}, and {FEWEST_NETWORKS} are needed to tell how seeds differ"
    if not estimate.has_interval:
        return f"1 {'row' if rows.group is None else 'group of rows'}"
    counts = np.sort(metrics.class_counts(rows.target, rows.classes))
    if name in metrics.OWN_VALUES:  # means over all rows, which need some rows that are not of the largest class
        fewest, which = int(counts[:-1].sum()), "of a class" if len(counts) == 2 else "beside the largest class"
    else:
        fewest, which = int(counts[0]), "of a class"
    if fewest < FEWEST_ROWS:
        return f"{fewest} row{'s' * (fewest != 1)} {which}, and {FEWEST_ROWS} are needed"
    is_by_fold = of != "ensemble" and metrics.ranks(name) and rows.fold is not None
    if is_by_fold and metrics.fewest_of_a_class(rows.target, len(counts), rows.fold) < 2:
        return "folds with 1 row of a class, and 2 are needed"
    return ""


# ---- several metrics at once


def level_of_each(phis: list[np.ndarray], group: np.ndarray | None, level: float) -> float:
    """The level that each metric's interval must have for all of them together to have `level`.

    phis: D of each metric, (R, n). All intervals hold if the largest of the metrics' |z| stays below a bound. The bound
    is the quantile of that largest |z| over fixed normal draws of the metrics' correlation (max-T; Hothorn, Bretz and
    Westfall, Biometrical Journal 50 (2008) 346). It is never beyond Bonferroni's, which unrelated metrics need.
    """
    if len(phis) < 2:
        return level
    from plumbline.scores.special import ndtr, ndtri

    s = covariance(phis, group)
    deviation = np.sqrt(np.maximum(s.diagonal(), 0.0))
    of = np.where(deviation > 0, deviation, 1.0)
    correlation = s / np.outer(of, of)
    np.fill_diagonal(correlation, 1.0)
    largest = np.abs(normals(correlation)).max(axis=1)
    reach = min(float(np.quantile(largest, level)), -float(ndtri((1.0 - level) / 2 / len(phis))))
    return 1.0 - 2.0 * float(ndtr(-reach))


def covariance(phis: list[np.ndarray], group: np.ndarray | None) -> np.ndarray:
    """Covariance (M, M) of the means of M arrays of contributions (R, n) that share rows and seeds.

    It is that over rows plus that over seeds.
    """
    rows = np.stack([phi.mean(axis=0) for phi in phis])  # (M, n)
    rows -= rows.mean(axis=1, keepdims=True)
    if group is not None:
        rows = np.stack([np.bincount(group, of) for of in rows])
    found = rows @ rows.T * (rows.shape[1] / max(rows.shape[1] - 1, 1) / phis[0].shape[1] ** 2)
    networks = min(len(phi) for phi in phis)
    if networks > 1:
        found += np.atleast_2d(np.cov([phi[:networks].mean(axis=1) for phi in phis])) / networks
    return found


def normals(covariance: np.ndarray) -> np.ndarray:
    """Draws from a normal distribution of this covariance (M, M), always the same: (NORMALS, M)."""
    draws = stream.normal(stream.seeded(0), NORMALS * len(covariance)).astype(np.float64)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T  # the symmetric root, which has no sign to choose
    return draws.reshape(NORMALS, -1) @ root
