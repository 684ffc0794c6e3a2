"""From which probability on the positive class of two is answered: what each threshold would bring."""

import decimal

import numpy as np

from plumbline.scores import metrics

COLUMNS = ("threshold", *metrics.RATIOS, "flagged", "rows")
GRID = [step / 20 for step in range(1, 20)]  # from 0.05 to 0.95


def table(probability: np.ndarray, target: np.ndarray, classes: list, positive: int) -> tuple[tuple, list]:
    """A line a threshold, those of the grid and that of the best F1: precision, recall, F1, share flagged, rows.

    probability: of one network (n, 1); target: class numbers (n,). A row is flagged, answered with the positive class,
    from the threshold on. The columns' names and the lines: none of more than two classes, or without a positive row.
    """
    if len(classes) > 2 or not (target == positive).any():
        return COLUMNS, []
    given = metrics.by_class(probability)[:, positive]
    everyone, positives = np.sort(given, kind="stable"), np.sort(given[target == positive], kind="stable")
    # A threshold between two positives flags no more of them than the upper one, so the best is the score of one;
    # that is rounded down, or the row itself would no longer be flagged
    scores = np.unique(positives)
    best = scores[figures(scores, everyone, positives)[2].argmax()]
    down = decimal.Context(prec=6, rounding=decimal.ROUND_FLOOR)
    tried = np.unique([*GRID, float(down.create_decimal(float(best)))])
    return COLUMNS, [(*line, len(given)) for line in zip(tried, *figures(tried, everyone, positives))]


def figures(thresholds: np.ndarray, everyone: np.ndarray, positives: np.ndarray) -> tuple[np.ndarray, ...]:
    """Precision (0 where no row is flagged), recall, F1 and the share flagged at each threshold, from sorted scores."""
    flagged = len(everyone) - everyone.searchsorted(thresholds)
    hits = len(positives) - positives.searchsorted(thresholds)
    precision = np.divide(hits, flagged, out=np.zeros(len(thresholds)), where=flagged > 0)
    return precision, hits / len(positives), 2 * hits / (flagged + len(positives)), flagged / len(everyone)
