"""Points of the curves that `dvc plots` draws for network 0: ROC, precision-recall, calibration; what thresholds bring.

Of two classes they are about the positive one. Of more each is taken against the rest and all these decisions are
pooled (the micro average), so that there is one curve to compare between revisions however many classes there are.
Curves are thinned to a few hundred points.
"""

import decimal

import numpy as np

from plumbline.scores import metrics

MOST_POINTS = 200
MOST_THRESHOLDS = 2**20  # that a curve's points are chosen from
BINS = 10
THRESHOLDS = ("threshold", *metrics.RATIOS, "flagged", "rows")
GRID = [step / 20 for step in range(1, 20)]  # from 0.05 to 0.95


def decisions(probability: np.ndarray, target: np.ndarray, positive: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 1 or k) probabilities and (n,) targets as decisions: score (m,), truth (m,) of bool.

    Of two classes whether a row is of the class `positive`; of more, of each class against the rest.
    """
    k = probability.shape[1]
    if k == 1:
        return metrics.score_of(probability, positive), target == positive
    return probability.reshape(-1), (target[:, None] == np.arange(k, dtype=target.dtype)).reshape(-1)


def counts(score: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives at or above each distinct score, from the highest down; of very many, at some of them."""
    everyone, positives = np.sort(score, kind="stable"), np.sort(score[truth], kind="stable")
    lowest = np.flatnonzero(np.r_[True, everyone[1:] != everyone[:-1]])[::-1]  # place of each distinct score
    step = -(-len(lowest) // MOST_THRESHOLDS)
    lowest = np.r_[lowest[:-1:step], lowest[-1]]
    hits = len(positives) - positives.searchsorted(everyone[lowest])
    return hits, len(everyone) - lowest - hits


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


def _thinned(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """The corners of a curve, and of many corners evenly chosen ones; both ends stay."""
    dx, dy = np.diff(x), np.diff(y)
    corners = np.flatnonzero(np.r_[True, dx[1:] * dy[:-1] != dx[:-1] * dy[1:], True])
    chosen = np.unique(np.linspace(0, len(corners) - 1, MOST_POINTS).round().astype(np.int64))
    kept = corners[chosen]
    return list(zip(x[kept].tolist(), y[kept].tolist()))


def calibration(score: np.ndarray, truth: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean probability, share of positives, decisions) in ten bins of equal width, empty ones left out."""
    p = score.astype(np.float64)
    bins = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    rows, positives = np.bincount(bins, minlength=BINS), np.bincount(bins[truth], minlength=BINS)
    sums = np.bincount(bins, weights=p, minlength=BINS)
    return [(float(sums[b] / rows[b]), float(positives[b] / rows[b]), int(rows[b])) for b in rows.nonzero()[0]]


def drawn(
    probability: np.ndarray, target: np.ndarray, classes: list, positive: int
) -> dict[str, tuple[tuple[str, ...], list[tuple]]]:
    """All that is drawn of one network's probabilities (n, 1 or k): {name: (columns, points)}."""
    score, truth = decisions(probability, target, positive)
    hits, misses = counts(score, truth)
    given = score if positive else 1 + score  # minus the probability of the other class
    table = metrics.confusion(probability, target)
    cells = [(a, p, int(table[i, j])) for i, a in enumerate(classes) for j, p in enumerate(classes)]
    return {
        "plots/roc": (("false_positive_rate", "true_positive_rate"), roc(hits, misses)),
        "plots/precision_recall": (("recall", "precision"), precision_recall(hits, misses)),
        "plots/calibration": (("mean_probability", "share_of_positives", "rows"), calibration(given, truth)),
        "plots/confusion": (("actual", "predicted", "rows"), cells),
    }


def by_threshold(probability: np.ndarray, target: np.ndarray, classes: list, positive: int) -> tuple[tuple, list]:
    """A line a threshold, those of the grid and that of the best F1: precision, recall, F1, share flagged, rows.

    probability: of one network (n, 1); target: class numbers (n,). A row is flagged, answered with the positive class,
    from the threshold on. The columns' names and the lines: none of more than two classes, or without a positive row.
    """
    if len(classes) > 2 or not (target == positive).any():
        return THRESHOLDS, []
    given = metrics.by_class(probability)[:, positive]
    everyone, positives = np.sort(given, kind="stable"), np.sort(given[target == positive], kind="stable")
    # A threshold between two positives flags no more of them than the upper one, so the best is the score of one;
    # that is rounded down, or the row itself would no longer be flagged
    scores = np.unique(positives)
    best = scores[_at(scores, everyone, positives)[2].argmax()]
    down = decimal.Context(prec=6, rounding=decimal.ROUND_FLOOR)
    tried = np.unique([*GRID, float(down.create_decimal(float(best)))])
    return THRESHOLDS, [(*line, len(given)) for line in zip(tried, *_at(tried, everyone, positives))]


def _at(thresholds: np.ndarray, everyone: np.ndarray, positives: np.ndarray) -> tuple[np.ndarray, ...]:
    """Precision (0 where no row is flagged), recall, F1 and the share flagged at each threshold, from sorted scores."""
    flagged = len(everyone) - everyone.searchsorted(thresholds)
    hits = len(positives) - positives.searchsorted(thresholds)
    precision = np.divide(hits, flagged, out=np.zeros(len(thresholds)), where=flagged > 0)
    return precision, hits / len(positives), 2 * hits / (flagged + len(positives)), flagged / len(everyone)
