"""Points of the curves that `dvc plots` draws for network 0: ROC, precision-recall, calibration, confusion matrix.

Of several classes each is taken against the rest and all these decisions are pooled, so that there is one curve to
compare between revisions however many classes there are. Curves are thinned to a few hundred points.
"""

from collections.abc import Callable

import numpy as np

from stages import ordering, spill

MOST_POINTS = 200
BINS = 10


def decisions(probability: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 1 or k) probabilities and (n,) targets as one-against-the-rest decisions: score (m,), truth (m,) of bool."""
    n, k = probability.shape
    truth = spill.empty((n, k), bool)
    for here in spill.pieces(n):
        truth[here] = target[here, None] == (1 if k == 1 else np.arange(k))
    return probability.reshape(-1), truth.reshape(-1)


def counts(score: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives at or above each distinct score, from the highest down."""
    return ordering.cumulated(ordering.ascending(score), truth)


def roc(hits: np.ndarray, misses: np.ndarray) -> list[tuple[float, float]]:
    """(false positive rate, true positive rate) as the threshold falls, from (0, 0) to (1, 1); [] with one class."""
    if not hits[-1] or not misses[-1]:
        return []
    return _thinned(hits, misses, 0.0, lambda hits_, misses_: (misses_ / misses[-1], hits_ / hits[-1]))


def precision_recall(hits: np.ndarray, misses: np.ndarray) -> list[tuple[float, float]]:
    """(recall, precision) as the threshold falls, starting at (0, 1); [] without positives."""
    if not hits[-1]:
        return []
    return _thinned(hits, misses, 1.0, lambda hits_, misses_: (hits_ / hits[-1], hits_ / (hits_ + misses_)))


def calibration(score: np.ndarray, truth: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean probability, share of positives, decisions) in ten bins of equal width, empty ones left out."""
    counts, sums, positives = np.zeros(BINS, np.int64), np.zeros(BINS), np.zeros(BINS)
    for here in spill.pieces(len(score)):
        p = score[here].astype(np.float64)
        bins = np.minimum((p * BINS).astype(np.int64), BINS - 1)
        np.add.at(sums, bins, p)  # one after the other, which does not depend on the pieces
        np.add.at(positives, bins, truth[here])
        counts += np.bincount(bins, minlength=BINS)
    return [(float(sums[b] / counts[b]), float(positives[b] / counts[b]), int(counts[b])) for b in counts.nonzero()[0]]


def confusion(predicted: np.ndarray, target: np.ndarray, k: int) -> np.ndarray:
    """Rows counted by actual and predicted class: (k, k)."""
    return np.bincount(target * k + predicted, minlength=k * k).reshape(k, k)


def _thinned(hits: np.ndarray, misses: np.ndarray, first: float, curve: Callable) -> list[tuple[float, float]]:
    """Corners of a curve that starts at (0, first), and of many corners evenly chosen ones; both ends stay."""
    n = len(hits) + 1

    def points(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = curve(hits[max(start - 1, 0) : end - 1], misses[max(start - 1, 0) : end - 1])
        return (x, y) if start else (np.r_[0.0, x], np.r_[first, y])

    def corners(here: slice) -> np.ndarray:
        x, y = (np.diff(values) for values in points(max(here.start - 1, 0), min(here.stop + 1, n)))
        inner = np.flatnonzero(x[1:] * y[:-1] != x[:-1] * y[1:]) + max(here.start, 1)
        return np.r_[[0] * (here.start == 0), inner, [n - 1] * (here.stop == n)].astype(np.int64)

    total = sum(len(corners(here)) for here in spill.pieces(n))
    kept = np.unique(np.linspace(0, total - 1, MOST_POINTS).round().astype(np.int64))
    found, before = [], 0
    for here in spill.pieces(n):
        some = corners(here)
        mine = some[kept[(kept >= before) & (kept < before + len(some))] - before]
        before += len(some)
        if len(mine):
            x, y = points(here.start, here.stop)
            found += zip(x[mine - here.start].tolist(), y[mine - here.start].tolist())
    return found
