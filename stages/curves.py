"""Points of the curves that `dvc plots` draws for network 0: ROC, precision-recall, calibration, confusion matrix.

Of several classes each is taken against the rest and all these decisions are pooled, so that there is one curve to
compare between revisions however many classes there are. Curves are thinned to a few hundred points.
"""

import numpy as np

MOST_POINTS = 200
BINS = 10


def decisions(probability: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 1 or k) probabilities and (n,) targets as one-against-the-rest decisions: score (m,), truth (m,) of bool."""
    if probability.shape[1] == 1:
        return probability[:, 0].astype(np.float64), target == 1
    truth = np.arange(probability.shape[1]) == target[:, None]
    return probability.astype(np.float64).ravel(), truth.ravel()


def counts(score: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives at or above each distinct score, from the highest down."""
    order = np.argsort(-score, kind="stable")  # the other sort is another code on every CPU
    last = np.r_[np.flatnonzero(np.diff(score[order])), len(score) - 1]  # equal scores fall on one side together
    hits = np.cumsum(truth[order])[last]
    return hits, last + 1 - hits


def roc(hits: np.ndarray, misses: np.ndarray) -> list[tuple[float, float]]:
    """(false positive rate, true positive rate) as the threshold falls, from (0, 0) to (1, 1); [] with one class."""
    if not hits[-1] or not misses[-1]:
        return []
    return _thinned(np.r_[0.0, misses / misses[-1]], np.r_[0.0, hits / hits[-1]])


def precision_recall(hits: np.ndarray, misses: np.ndarray) -> list[tuple[float, float]]:
    """(recall, precision) as the threshold falls, starting at (0, 1); [] without positives."""
    if not hits[-1]:
        return []
    return _thinned(np.r_[0.0, hits / hits[-1]], np.r_[1.0, hits / (hits + misses)])


def calibration(score: np.ndarray, truth: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean probability, share of positives, decisions) in ten bins of equal width, empty ones left out."""
    bins = np.minimum((score * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    means = np.bincount(bins, score, BINS), np.bincount(bins, truth, BINS)
    return [
        (float(means[0][b] / counts[b]), float(means[1][b] / counts[b]), int(counts[b])) for b in counts.nonzero()[0]
    ]


def confusion(predicted: np.ndarray, target: np.ndarray, k: int) -> np.ndarray:
    """Rows counted by actual and predicted class: (k, k)."""
    return np.bincount(target * k + predicted, minlength=k * k).reshape(k, k)


def _thinned(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """Corners of a curve, and of many corners evenly chosen ones; both ends stay."""
    turns = np.r_[True, (np.diff(x)[1:] * np.diff(y)[:-1] != np.diff(x)[:-1] * np.diff(y)[1:]), True]
    x, y = x[turns], y[turns]
    kept = np.unique(np.linspace(0, len(x) - 1, MOST_POINTS).round().astype(np.int64))
    return [(float(a), float(b)) for a, b in zip(x[kept], y[kept])]
