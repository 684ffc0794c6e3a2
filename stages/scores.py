"""Metrics row by row, and how much of a figure is luck: of the test rows drawn, and of the seeds.

Every metric is a mean of contributions phi, one a row, so that one formula gives every interval. For a mean of labels
or losses phi is the row's own value. ROC AUC has DeLong's placements. Precision, recall and F1 are ratios of means;
theirs is the ratio plus its influence function, whose mean is zero. Shapes: R networks, n rows, k classes.
"""

import math
from typing import NamedTuple

import numpy as np

RANGES = {"log_loss": (0.0, np.inf), "brier": (0.0, 2.0)}  # every other metric lies between 0 and 1
LOSSES = ("log_loss", "brier")  # lower is better; phi holds their negatives, so that more is better throughout
NEAREST_TO_ONE = 2.0**-25  # a float32 of 1.0 stands for any probability this near to it
SMALLEST = 2.0**-149  # and one of 0.0 for any below the smallest float32


def by_class(probability: np.ndarray) -> np.ndarray:
    """Probabilities as files hold them, (..., 1) for two classes, as one column a class: float64 (..., k)."""
    probability = np.asarray(probability, np.float64)
    if probability.shape[-1] > 1:
        return probability
    return np.concatenate([1.0 - probability, probability], axis=-1)


def ensemble(probability: np.ndarray) -> np.ndarray:
    """The mean of what R networks say, added up in their order: (R, n, k) -> float32 (n, k)."""
    total = np.zeros(probability.shape[1:])
    for network in probability:
        total += network
    return (total / len(probability)).astype(np.float32)


def predicted(probability: np.ndarray) -> np.ndarray:
    """The class of each row: the most probable; of two equally probable ones the second, as `p >= 0.5` has it."""
    if probability.shape[-1] == 1:
        return (probability[..., 0] >= 0.5).astype(np.int64)
    return probability.argmax(axis=-1)


def log_losses(probability: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Minus the logarithm of the probability given to the true class: (n, k or 1), (n,) -> (n,), always finite."""
    if probability.shape[-1] == 1:
        p = probability[:, 0].astype(np.float64)
        true = np.where(target == 1, p, np.maximum(1.0 - p, NEAREST_TO_ONE))
    else:
        true = probability[np.arange(len(target)), target].astype(np.float64)
    return -np.log(np.maximum(true, SMALLEST))


def contributions(probability: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
    """phi of every metric for one network: {metric: (n,)}, more is better, a metric that is not defined left out.

    probability: float32 (n, 1) of the second class of two, or (n, k); target: class numbers (n,).
    Brier score: the squared error of the second class of two, summed over classes of more (scikit-learn's).
    ROC AUC: macro, one class versus the rest; not defined when a class has no row.
    Precision, recall, F1: macro over classes, 0 where a class has no row to divide by (scikit-learn's zero_division=0).
    """
    p, answer = by_class(probability), predicted(probability)
    k = p.shape[1]
    truth = np.arange(k) == target[:, None]  # (n, k)
    phi = {"accuracy": (answer == target).astype(np.float64), "log_loss": -log_losses(probability, target)}
    # Class by class: of many rows a table of all classes would take as much memory as everything else together.
    errors = [(p[:, c] - truth[:, c]) ** 2 for c in ([1] if k == 2 else range(k))]
    phi["brier"] = -np.sum(errors, axis=0)
    if truth.any(axis=0).all():
        areas = [auc_contributions(p[:, c], truth[:, c]) for c in ([1] if k == 2 else range(k))]
        phi["roc_auc"] = np.mean(areas, axis=0)
    chosen = np.arange(k) == answer[:, None]
    hits = truth & chosen
    ratios = {
        "precision": lambda c: (hits[:, c], chosen[:, c]),
        "recall": lambda c: (hits[:, c], truth[:, c]),
        "f1": lambda c: (2.0 * hits[:, c], truth[:, c] + 1.0 * chosen[:, c]),
    }
    for name, part_and_whole in ratios.items():
        phi[name] = sum(ratio_contributions(*part_and_whole(c)) for c in range(k)) / k
    return phi


def auc_contributions(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Row by row shares of the area under the ROC curve, (n,); their mean is the area.

    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837: a positive row's placement V10 is the share of
    negatives it ranks above (ties half), a negative row's V01 the share of positives above it.
    phi = AUC + (n / n1) (V10 - AUC) for positives, AUC + (n / n0) (V01 - AUC) for negatives; both must occur.
    """
    n, n1 = len(score), np.count_nonzero(positive)
    order = np.argsort(score, kind="stable")  # the other sort is another code on every CPU
    score, ones = score[order], np.r_[0, np.cumsum(positive[order])]
    starts = np.flatnonzero(np.r_[True, score[1:] != score[:-1]])  # of runs of equal scores: below a run, ties half
    ends = np.r_[starts[1:], n]
    below = np.empty((2, n))  # the share of negatives, of positives
    for shares, ranks, count in (
        (below[0], starts - ones[starts] + ends - ones[ends], n - n1),
        (below[1], ones[starts] + ones[ends], n1),
    ):
        shares[order] = np.repeat(ranks / (2.0 * count), ends - starts)
    area = below[0][positive].mean()
    return np.where(positive, area + n / n1 * (below[0] - area), area + n / (n - n1) * ((1.0 - below[1]) - area))


def ratio_contributions(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Row by row shares of sum(part) / sum(whole): the ratio plus its influence function, (n,); 0 where whole is."""
    mean = whole.mean()
    if mean == 0:
        return np.zeros(len(part))
    ratio = part.mean() / mean
    return ratio + (part - ratio * whole) / mean


class Estimate(NamedTuple):
    """A mean of contributions (R, n) and the variances of that mean: by test rows, by seeds, and what both count."""

    mean: float
    v_row: float
    v_seed: float
    v_both: float
    networks: int
    n: int

    @property
    def variance(self) -> float:
        """V = max(V_row, V_seed, V_row + V_seed - V_both)."""
        return max(self.v_row, self.v_seed, self.v_row + self.v_seed - self.v_both)

    @property
    def freedom(self) -> float:
        """Satterthwaite's degrees of freedom of V."""
        by_seed = self.v_seed**2 / (self.networks - 1) if self.networks > 1 else 0.0
        return self.variance**2 / (self.v_row**2 / (self.n - 1) + by_seed)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Student's t interval at `level`: (low, high); nan for a single row, which says nothing of how rows differ."""
        from scipy.special import stdtrit

        if self.n < 2:
            return math.nan, math.nan
        if self.variance == 0.0:
            return self.mean, self.mean
        half = float(stdtrit(self.freedom, 0.5 + level / 2)) * math.sqrt(self.variance)
        return self.mean - half, self.mean + half

    def p_value(self) -> float:
        """Two-sided p of the mean being 0; nan for a single row."""
        from scipy.special import stdtr

        if self.n < 2:
            return math.nan
        if self.variance == 0.0:
            return 1.0 if self.mean == 0.0 else 0.0
        return 2.0 * float(stdtr(self.freedom, -abs(self.mean) / math.sqrt(self.variance)))


def estimate(phi: np.ndarray) -> Estimate:
    """Mean of phi (R, n) with its variance over both test rows and seeds.

    V_row, the variance over rows of the mean over networks / n, and V_seed, that over networks of the mean over rows /
    R, each count V_both, the residual mean square / (n R), once. With one network it is the variance over rows alone.
    This is the crossed readers-by-cases analysis of medical imaging (random readers and cases), as in iMRMC.
    """
    networks, n = phi.shape
    mean = float(phi.mean())
    by_row, by_network = phi.mean(axis=0), phi.mean(axis=1)
    v_row = float(by_row.var(ddof=1)) / n if n > 1 else 0.0
    v_seed = v_both = 0.0
    if networks > 1:
        v_seed = float(by_network.var(ddof=1)) / networks
        residual = phi - by_row - by_network[:, None] + mean
        if n > 1:
            v_both = float((residual**2).sum()) / ((n - 1) * (networks - 1)) / (n * networks)
    return Estimate(mean, v_row, v_seed, v_both, networks, n)


def interval(phi: np.ndarray) -> tuple[float, float, float]:
    """Mean of phi (R, n) and its about-95 % interval: (mean, low, high)."""
    estimated = estimate(phi)
    return estimated.mean, *estimated.interval()


# ---- differences


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
    estimate: Estimate | None


def compare(base: np.ndarray, other: np.ndarray, metric: str, comparisons: int) -> Difference:
    """Judge `other` against `base` by their contributions (R, n) on the same rows, network r beside network r.

    For m comparisons made at once the interval is at 1 - 0.05 / m and p is multiplied by m (Bonferroni); better or
    worse is said when the interval leaves out 0. Which is right: see benchmarks/calibration.py.
    """
    delta = estimate(other - base)
    low, high = delta.interval(1 - 0.05 / comparisons)
    p = min(1.0, delta.p_value() * comparisons)
    if not (other - base).any():
        verdict = "identical"
    elif delta.networks < 2:
        verdict = "one network"
    elif low > 0 or high < 0:
        verdict = "better" if low > 0 else "worse"
    else:
        verdict = "no evidence"
    return _signed(metric, float(base.mean()), float(other.mean()), delta.mean, low, high, p, verdict, delta)


def compare_unpaired(base: np.ndarray, other: np.ndarray, metric: str, comparisons: int) -> Difference:
    """The interval for revisions scored on different rows, (R, n) and (R', n'): variances add, and no verdict is given.

    Degrees of freedom after Welch and Satterthwaite from those of both sides.
    """
    from scipy.special import stdtr, stdtrit

    left, right = estimate(base), estimate(other)
    v, mean = left.variance + right.variance, right.mean - left.mean
    if min(left.n, right.n) < 2:
        half = p = math.nan
    elif v == 0.0:
        half, p = 0.0, float(mean == 0.0)
    else:
        freedom = v**2 / sum(side.variance**2 / side.freedom for side in (left, right) if side.variance)
        half = float(stdtrit(freedom, 1 - 0.025 / comparisons)) * math.sqrt(v)
        p = min(1.0, 2.0 * float(stdtr(freedom, -abs(mean) / math.sqrt(v))) * comparisons)
    return _signed(metric, left.mean, right.mean, mean, mean - half, mean + half, p, "not paired", None)


def _signed(metric, base, other, difference, low, high, p, verdict, estimated) -> Difference:
    if metric in LOSSES:
        base, other, difference, low, high = (0.0 - value for value in (base, other, difference, high, low))
    return Difference(metric, base, other, difference, low, high, p, verdict, estimated)
