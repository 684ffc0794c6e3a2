"""Metrics row by row, and how much of a figure is luck: of the test rows drawn, and of the seeds.

Every metric is a mean of contributions phi, one a row, so that one formula gives every interval. For a mean of labels
or losses phi is the row's own value. ROC AUC has DeLong's placements. Precision, recall and F1 are ratios of means;
theirs is the ratio plus its influence function, whose mean is zero. Shapes: R networks, n rows, k classes.

Arrays of many rows may lie on the disk (stages.spill), and are filled piece by piece. Sums are over whole arrays: NumPy
adds in pairs, and so the bits do not depend on the pieces.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from stages import spill

RANGES = {"log_loss": (0.0, np.inf), "brier": (0.0, 2.0)}  # every other metric lies between 0 and 1
LOSSES = ("log_loss", "brier")  # lower is better; phi holds their negatives, so that more is better throughout
NEAREST_TO_ONE = 2.0**-25  # a float32 of 1.0 stands for any probability this near to it
SMALLEST = 2.0**-149  # and one of 0.0 for any below the smallest float32
METRICS = ("accuracy", "log_loss", "brier", "roc_auc", "precision", "recall", "f1")


def by_class(probability: np.ndarray) -> np.ndarray:
    """Probabilities as files hold them, (..., 1) for two classes, as one column a class: float64 (..., k)."""
    probability = np.asarray(probability, np.float64)
    if probability.shape[-1] > 1:
        return probability
    return np.concatenate([1.0 - probability, probability], axis=-1)


def ensemble(probability: np.ndarray) -> np.ndarray:
    """The mean of what R networks say, added up in their order: (R, n, k) -> float32 (n, k)."""
    mean = spill.empty(probability.shape[1:], np.float32)
    for here in spill.pieces(len(mean)):
        total = np.zeros(mean[here].shape)
        for network in probability:
            total += network[here]
        mean[here] = total / len(probability)
    return mean


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


def defined(target: np.ndarray, classes: int) -> list[str]:
    """The metrics that are defined: ROC AUC is not when a class has no row."""
    all_there = all(any((target[here] == c).any() for here in spill.pieces(len(target))) for c in range(classes))
    return [name for name in METRICS if all_there or name != "roc_auc"]


def contributions(probability: np.ndarray, target: np.ndarray, names: Iterable[str] = METRICS) -> dict[str, np.ndarray]:
    """phi of R networks, of those of the metrics that are defined: {metric: (R, n)}, out of float32 (R, n, 1 or k)."""
    networks, n, k = probability.shape
    found = {name: np.empty((networks, n)) for name in defined(target, max(k, 2)) if name in names}
    for name, phi in found.items():
        for one, out in zip(probability, phi):
            contribution(name, one, target, out)
    return found


def contribution(name: str, probability: np.ndarray, target: np.ndarray, out: np.ndarray) -> np.ndarray:
    """phi of one metric for one network into `out` (n,): more is better, the mean is the metric.

    probability: float32 (n, 1) of the second class of two, or (n, k); target: class numbers (n,).
    Brier score: the squared error of the second class of two, summed over classes of more (scikit-learn's).
    ROC AUC: macro, one class versus the rest; not defined when a class has no row.
    Precision, recall, F1: macro over classes, 0 where a class has no row to divide by (scikit-learn's zero_division=0).
    """
    if name == "roc_auc":
        return _areas(probability, target, out)
    ratios = _ratios(name, probability, target) if name in ("precision", "recall", "f1") else None
    for here in spill.pieces(len(target)):
        p, own = probability[here], target[here]
        if name == "accuracy":
            out[here] = predicted(p) == own
        elif name == "log_loss":
            out[here] = -log_losses(p, own)
        elif name == "brier":
            out[here] = -_squared_errors(p, own)
        else:
            answer = predicted(p)
            terms = [_influence(*_part_and_whole(name, answer, own, c), *ratio) for c, ratio in enumerate(ratios)]
            out[here] = sum(terms) / len(ratios)
    return out


def _squared_errors(probability: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The squared errors of the second class of two, or of all classes added up: (n,)."""
    chosen = range(probability.shape[1]) if probability.shape[1] > 1 else [0]
    # Column 0 is the second class where there is one column.
    truths = (target == (c if len(chosen) > 1 else 1) for c in chosen)
    return sum((probability[:, c].astype(np.float64) - truth) ** 2 for c, truth in zip(chosen, truths))


def _areas(probability: np.ndarray, target: np.ndarray, out: np.ndarray) -> np.ndarray:
    """`auc_contributions` of the second class of two, or the mean over all classes."""
    k = probability.shape[1]
    if k == 1:
        return auc_contributions(probability[:, 0], _is(1, target), out)
    area = spill.empty(len(target), np.float64)
    for c in range(k):
        auc_contributions(probability[:, c], _is(c, target), area)
        for here in spill.pieces(len(target)):
            out[here] = area[here] if c == 0 else out[here] + area[here]
    for here in spill.pieces(len(target)):
        out[here] /= k
    return out


def _is(label: int, target: np.ndarray) -> np.ndarray:
    truth = spill.empty(len(target), bool)
    for here in spill.pieces(len(target)):
        truth[here] = target[here] == label
    return truth


def auc_contributions(score: np.ndarray, positive: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Row by row shares of the area under the ROC curve, (n,); their mean is the area.

    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837: a positive row's placement V10 is the share of
    negatives it ranks above (ties half), a negative row's V01 the share of positives above it.
    phi = AUC + (n / n1) (V10 - AUC) for positives, AUC + (n / n0) (V01 - AUC) for negatives; both must occur.
    """
    from stages import ordering  # Numba, which a comparison of revisions that were not scored does without

    n, n1 = len(score), int(np.count_nonzero(positive))
    out = spill.empty(n, np.float64) if out is None else out
    ordering.placements(ordering.ascending(score), positive, n1, out)
    placed, done = spill.empty(n1, np.float64), 0
    for here in spill.pieces(n):
        some = out[here][positive[here]]
        placed[done : done + len(some)] = some
        done += len(some)
    area = placed.mean()
    for here in spill.pieces(n):
        of_positive, of_negative = out[here] - area, (1.0 - out[here]) - area
        out[here] = np.where(positive[here], area + n / n1 * of_positive, area + n / (n - n1) * of_negative)
    return out


def _part_and_whole(name: str, answer: np.ndarray, target: np.ndarray, c: int) -> tuple[np.ndarray, np.ndarray]:
    """What a class's precision, recall or F1 divides, row by row."""
    truth, chosen = target == c, answer == c
    if name == "f1":
        return 2.0 * (truth & chosen), truth + 1.0 * chosen
    return truth & chosen, chosen if name == "precision" else truth


def _ratios(name: str, probability: np.ndarray, target: np.ndarray) -> list[tuple[float, float]]:
    """Of each class the mean of what is divided by, and the ratio; their sums are of whole numbers, and so exact."""
    sums = np.zeros((max(probability.shape[1], 2), 2))
    for here in spill.pieces(len(target)):
        answer = predicted(probability[here])
        for c in range(len(sums)):
            sums[c] += [values.sum() for values in _part_and_whole(name, answer, target[here], c)]
    means = (sums / len(target)).tolist()
    return [(whole, part / whole if whole else 0.0) for part, whole in means]


def _influence(part: np.ndarray, whole: np.ndarray, mean: float, ratio: float) -> np.ndarray:
    """Row by row shares of sum(part) / sum(whole): the ratio plus its influence function, (n,); 0 where whole is."""
    return ratio + (part - ratio * whole) / mean if mean else np.zeros(len(part))


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

    def student(self, level: float = 0.95) -> tuple[float, float, float]:
        """Student's t: the interval at `level`, low and high, and the two-sided p of the mean being 0."""
        if self.n < 2:  # a single row says nothing of how rows differ
            return math.nan, math.nan, math.nan
        return student(self.mean, self.variance, self.freedom if self.variance else math.inf, level)


def student(mean: float, variance: float, freedom: float, level: float) -> tuple[float, float, float]:
    """Student's t for a mean with its variance and degrees of freedom: low, high, and the two-sided p of it being 0."""
    from scipy.special import stdtr, stdtrit

    if variance == 0.0:
        return mean, mean, float(mean == 0.0)
    half = float(stdtrit(freedom, 0.5 + level / 2)) * math.sqrt(variance)
    return mean - half, mean + half, 2.0 * float(stdtr(freedom, -abs(mean) / math.sqrt(variance)))


def estimate(phi: np.ndarray) -> Estimate:
    """Mean of phi (R, n) with its variance over both test rows and seeds.

    V_row, the variance over rows of the mean over networks / n, and V_seed, that over networks of the mean over rows /
    R, each count V_both, the residual mean square / (n R), once. With one network it is the variance over rows alone.
    This is the crossed readers-by-cases analysis of medical imaging (random readers and cases), as in iMRMC.
    """
    networks, n = phi.shape
    mean = float(phi.mean())
    by_row, by_network = spill.empty(n, np.float64), np.array([network.mean() for network in phi])
    for here in spill.pieces(n):
        by_row[here] = sum(network[here] for network in phi) / networks
    v_row = _variance(by_row) / n if n > 1 else 0.0
    v_seed = v_both = 0.0
    if networks > 1:
        v_seed = float(by_network.var(ddof=1)) / networks
        squares = spill.empty((networks, n), np.float64)
        for here in spill.pieces(n):
            for r in range(networks):
                squares[r, here] = (phi[r, here] - by_row[here] - by_network[r] + mean) ** 2
        if n > 1:
            v_both = float(squares.sum()) / ((n - 1) * (networks - 1)) / (n * networks)
    return Estimate(mean, v_row, v_seed, v_both, networks, n)


def _variance(values: np.ndarray) -> float:
    """`values.var(ddof=1)`, operation by operation, without its arrays."""
    squares, mean = spill.empty(len(values), np.float64), values.mean()
    for here in spill.pieces(len(values)):
        squares[here] = (values[here] - mean) * (values[here] - mean)
    return float(squares.sum() / (len(values) - 1))
