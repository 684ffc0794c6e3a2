"""The 95 % interval around one run's figure, over test rows and seeds. It is never empty and never out of range.

Student's interval does for a difference. A figure may be near the end of its range, as an accuracy of 1 is. So shares
have Wilson's interval, and losses one on the scale of their logarithm.
"""

import math

import numpy as np

from plumbline.scores import intervals, labels, metrics
from plumbline.scores.differences import Rows

FEWEST_OF_FOLD = 30  # rows of a class in every fold
MOST = {"log_loss": math.inf, "brier": 2.0}  # every other metric lies between 0 and 1


def answers_by_class(rows: Rows) -> np.ndarray:
    """For how many rows each class is predicted, the mean over networks: (k,)."""
    counts = [metrics.confusion(network, rows.target).sum(axis=0) for network in rows.probability]
    return np.mean(counts, axis=0)


def reported(name: str, phi: np.ndarray, rows: Rows, answered: np.ndarray) -> tuple[float, float | None, float | None]:
    """The mean of contributions phi (R, n), with low and high of the interval around it; a loss is positive.

    answered: `answers_by_class(rows)`, the same for all metrics. There is no interval (None) where rows do not show how
    they differ: with one row, one group, or one row of a class that is ranked. Nor has the average precision of folds
    one below FEWEST_OF_FOLD rows of a class: there it comes out too high.
    """
    is_ranked = metrics.ranks(name)
    estimate = intervals.estimate(phi, rows.target, rows.group, is_ranked)
    mean = 0.0 - estimate.mean if name in metrics.LOSSES else estimate.mean
    counts = metrics.class_counts(rows.target, len(answered))
    needed = FEWEST_OF_FOLD if rows.fold is not None and name.endswith("average_precision") else 2
    has_few = is_ranked and metrics.fewest_of_a_class(rows.target, len(counts), rows.fold) < needed
    if has_few or not estimate.has_interval:
        return mean, None, None
    if name in metrics.LOSSES:
        estimate = labels.floored(estimate, _labelled(name, rows), phi, rows.target, rows.group)
    estimate = intervals.cross_fitted(estimate, rows.fold)
    if name in metrics.LOSSES:
        low, high = of_loss(mean, estimate.half_width)
    else:
        low, high = of_share(mean, estimate, *metrics.trials(name, counts, answered, rows.positive, estimate.n))
    most = MOST.get(name, 1.0)
    mean = min(max(mean, 0.0), most)
    return mean, min(max(low, 0.0), mean), max(min(high, most), mean)


def _labelled(name: str, rows: Rows) -> labels.Labelled:
    """d of every row, the mean over networks, and the ensemble's probability of each label."""
    for here in metrics.pieces(len(rows.target), labels.PIECE):
        probability, about = rows.probability[:, here], (rows.target[here], rows.positive)
        d = sum(labels.contributions(name, network, *about) for network in probability) / len(probability)
        yield d, metrics.by_class(metrics.ensemble(probability))


def of_loss(mean: float, half: float) -> tuple[float, float]:
    """The interval around a loss on the scale of its logarithm: mean exp(± half / mean).

    half: half the width of Student's interval. Where it is more than the mean the upper end grows with it in a straight
    line, not exponentially.
    """
    if mean <= 0.0:
        return 0.0, half
    by = half / mean
    return mean * math.exp(-by), mean * (math.exp(by) if by <= 1.0 else 1.0 + (math.e - 1.0) * by)


def of_share(mean: float, estimate: intervals.Estimate, share: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
    """Wilson's interval around a figure between 0 and 1, for the number of rows whose share would have its variance V.

    That number is mean (1 - mean) / V (Korn and Graubard, Survey Methodology 24 (1998) 193). Numerator and V are at
    least what half an error in every class would make them. So with all rows right the interval is Wilson's for n rows.

    share, rows: as `metrics.trials` has them.
    """
    spread = max(mean * (1.0 - mean), (share / rows).sum() / 2)
    variance = max(estimate.variance, (share**2 / rows**2).sum() / 2)
    return intervals.wilson(mean, spread / variance, estimate.quantile())
