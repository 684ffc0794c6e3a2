"""The interval around a figure of one side: about 95 %, over test rows and seeds, never empty and never out of range.

Student's interval is right for a difference. A figure near the end of its range, on few rows, needs a scale of its own.
"""

import math

import numpy as np

from plumbline.scores import intervals, labels, metrics
from plumbline.scores.differences import Rows

FEWEST_OF_FOLD = 30  # rows of a class in every fold
MOST = {"log_loss": math.inf, "brier": 2.0}  # every other metric lies between 0 and 1


def reported(name: str, phi: np.ndarray, rows: Rows, answered: np.ndarray) -> dict[str, float]:
    """The mean of contributions phi (R, n) and the interval around it, as files have them: mean, low, high.

    answered: of each class how many rows it is predicted for, the mean over networks (k,). Where nothing can be said
    of how rows differ (one row, one group, one row of a class that is ranked) there is a mean alone. So it is of the
    average precision of folds with fewer than FEWEST_OF_FOLD rows of a class, for which it is higher than for many.
    """
    ranked = metrics.ranks(name)
    estimate = intervals.estimate(phi, rows.target, rows.group, ranked)
    mean = 0.0 - estimate.mean if name in metrics.LOSSES else estimate.mean
    counts = metrics.class_counts(rows.target, len(answered))
    by_fold = rows.fold is not None and name.endswith("average_precision")
    fewest = metrics.fewest_of_a_class(rows.target, len(counts), rows.fold) if ranked else counts.sum()
    if estimate.n < 2 or estimate.of_rows <= 0.0 or fewest < (FEWEST_OF_FOLD if by_fold else 2):
        return {"mean": mean}
    if name in metrics.LOSSES:
        estimate = labels.floored(estimate, _labelled(name, rows), phi, rows.target, rows.group)
    estimate = intervals.cross_fitted(estimate, rows.fold)
    if name in metrics.LOSSES:
        low, high = of_loss(mean, estimate.quantile() * math.sqrt(estimate.variance))
    else:
        low, high = of_share(mean, estimate, *metrics.trials(name, counts, answered, rows.positive, estimate.n))
    most = MOST.get(name, 1.0)
    mean = min(max(mean, 0.0), most)
    return {"mean": mean, "low": min(max(low, 0.0), mean), "high": max(min(high, most), mean)}


def _labelled(name: str, rows: Rows) -> labels.Labelled:
    """What rows would contribute were their labels others, and how probable the networks say that is."""
    for here in metrics.pieces(len(rows.target), labels.PIECE):
        probability, about = rows.probability[:, here], (rows.target[here], rows.positive)
        d = sum(labels.contributions(name, network, *about) for network in probability) / len(probability)
        yield d, metrics.by_class(metrics.ensemble(probability))


def of_loss(mean: float, half: float) -> tuple[float, float]:
    """Around a loss on the scale of its logarithm, mean exp(± half / mean), with its tangent's size beyond one."""
    if mean <= 0.0:
        return 0.0, half
    by = half / mean
    return mean * math.exp(-by), mean * (math.exp(by) if by <= 1.0 else 1.0 + (math.e - 1.0) * by)


def of_share(mean: float, estimate: intervals.Estimate, share: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
    """Wilson's interval around a figure between 0 and 1, for as many rows as give its variance.

    That number is mean (1 - mean) / V (Korn and Graubard, Survey Methodology 24 (1998) 193). Neither falls below what
    half an error more in every class would make: with all rows right the interval is Wilson's for all rows.
    """
    cost, variance = (share / rows).sum() / 2, max(estimate.variance, (share**2 / rows**2).sum() / 2)
    return intervals.wilson(mean, max(mean * (1.0 - mean), cost) / variance, estimate.quantile())
