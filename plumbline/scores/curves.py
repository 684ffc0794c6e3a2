"""Points of the curves that `dvc plots` draws for network 0, and its figures at each threshold.

With two classes a curve is about the positive one. With more each class is taken against the rest, and all these
decisions are pooled (the micro average): so there is one curve to compare, however many classes there are. Curves are
thinned to MOST_POINTS.
"""

import decimal

import numpy as np

from plumbline.scores import metrics

MOST_POINTS = 200
MOST_THRESHOLDS = 2**20  # of these a curve's points are chosen
BINS = 10  # of the calibration curve
THRESHOLDS = ("threshold", *metrics.RATIOS, "flagged", "rows")
GRID = [step / 20 for step in range(1, 20)]  # from 0.05 to 0.95


def decisions(probability: np.ndarray, target: np.ndarray, positive: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, k or 1) and targets (n,) as yes-or-no decisions: score (m,), truth (m,) of bool.

    With two classes a decision is whether the row is of the class `positive` (m = n); with more, whether it is of each
    of the classes (m = n k).
    """
    k = probability.shape[1]
    if k == 1:
        return metrics.score_of(probability, positive), target == positive
    return probability.reshape(-1), (target[:, None] == np.arange(k, dtype=target.dtype)).reshape(-1)


def counts(score: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The true and the false positives at each threshold, from the highest score down: two arrays of whole numbers.

    Thresholds are the distinct scores; where these are more than MOST_THRESHOLDS, evenly chosen ones.
    """
    everyone, positives = np.sort(score, kind="stable"), np.sort(score[truth], kind="stable")
    lowest = np.flatnonzero(np.r_[True, everyone[1:] != everyone[:-1]])[::-1]  # the first place of each distinct score
    step = -(-len(lowest) // MOST_THRESHOLDS)
    lowest = np.r_[lowest[:-1:step], lowest[-1]]
    hits = len(positives) - positives.searchsorted(everyone[lowest])
    return hits, len(everyone) - lowest - hits


def roc(hits: np.ndarray, misses: np.ndarray) -> list[tuple[float, float]]:
    """(false positive rate, true positive rate) as the threshold falls, from (0, 0) to (1, 1); [] of one class."""
    if not hits[-1] or not misses[-1]:
        return []
    return _thinned(np.r_[0.0, misses / misses[-1]], np.r_[0.0, hits / hits[-1]])


def precision_recall(hits: np.ndarray, misses: np.ndarray) -> list[tuple[float, float]]:
    """(recall, precision) as the threshold falls, starting at (0, 1); [] without positives."""
    if not hits[-1]:
        return []
    return _thinned(np.r_[0.0, hits / hits[-1]], np.r_[1.0, hits / (hits + misses)])


def _thinned(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """The corners of a curve, both ends among them; where these are more than MOST_POINTS, evenly chosen ones."""
    dx, dy = np.diff(x), np.diff(y)
    corners = np.flatnonzero(np.r_[True, dx[1:] * dy[:-1] != dx[:-1] * dy[1:], True])
    chosen = np.unique(np.linspace(0, len(corners) - 1, MOST_POINTS).round().astype(np.int64))
    kept = corners[chosen]
    return list(zip(x[kept].tolist(), y[kept].tolist()))


def calibration(score: np.ndarray, truth: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean probability, share of positives, decisions) in BINS bins of equal width; empty bins are left out."""
    p = score.astype(np.float64)
    bins = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    rows, positives = np.bincount(bins, minlength=BINS), np.bincount(bins[truth], minlength=BINS)
    sums = np.bincount(bins, weights=p, minlength=BINS)
    return [(float(sums[b] / rows[b]), float(positives[b] / rows[b]), int(rows[b])) for b in rows.nonzero()[0]]


def drawn(
    probability: np.ndarray, target: np.ndarray, classes: list, positive: int
) -> dict[str, tuple[tuple[str, ...], list[tuple]]]:
    """All plots of one network's probabilities (n, k or 1): {name: (columns' names, points)}."""
    score, truth = decisions(probability, target, positive)
    hits, misses = counts(score, truth)
    given = score if positive else 1 + score  # of the first class the score is -p, p being the second's
    table = metrics.confusion(probability, target)
    cells = [(a, p, int(table[i, j])) for i, a in enumerate(classes) for j, p in enumerate(classes)]
    return {
        "plots/roc": (("false_positive_rate", "true_positive_rate"), roc(hits, misses)),
        "plots/precision_recall": (("recall", "precision"), precision_recall(hits, misses)),
        "plots/calibration": (("mean_probability", "share_of_positives", "rows"), calibration(given, truth)),
        "plots/confusion": (("actual", "predicted", "rows"), cells),
    }


def by_threshold(probability: np.ndarray, target: np.ndarray, classes: list, positive: int) -> tuple[tuple, list]:
    """Precision, recall, F1 and the share of rows flagged, at each threshold: columns' names, and lines.

    A row is flagged, that is answered with the positive class, if its probability is at least the threshold. Thresholds
    are those of GRID and the one of the best F1. There are no lines with more than two classes, or without a positive
    row. probability: of one network (n, 1); target: class numbers (n,).
    """
    if len(classes) > 2 or not (target == positive).any():
        return THRESHOLDS, []
    given = metrics.by_class(probability)[:, positive]
    everyone, positives = np.sort(given, kind="stable"), np.sort(given[target == positive], kind="stable")
    # The best threshold is the score of a positive row: one between two such scores finds no more positives than the
    # upper score does. It is rounded down, else that row itself would no longer be flagged.
    scores = np.unique(positives)
    best = scores[_at(scores, everyone, positives)[2].argmax()]
    down = decimal.Context(prec=6, rounding=decimal.ROUND_FLOOR)
    tried = np.unique([*GRID, float(down.create_decimal(float(best)))])
    return THRESHOLDS, [(*line, len(given)) for line in zip(tried, *_at(tried, everyone, positives))]


def _at(thresholds: np.ndarray, everyone: np.ndarray, positives: np.ndarray) -> tuple[np.ndarray, ...]:
    """Precision (0 where no row is flagged), recall, F1 and the share flagged, at each threshold.

    everyone, positives: the scores of all rows, and of the positive ones, sorted.
    """
    flagged = len(everyone) - everyone.searchsorted(thresholds)
    hits = len(positives) - positives.searchsorted(thresholds)
    precision = np.divide(hits, flagged, out=np.zeros(len(thresholds)), where=flagged > 0)
    return precision, hits / len(positives), 2 * hits / (flagged + len(positives)), flagged / len(everyone)
