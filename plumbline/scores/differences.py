"""Is a difference real? One metric of two sides, judged by what their networks say of the same rows.

A difference is the mean of D = phi_other - phi_base, (R, n), and counts when its interval, over rows and seeds
together, leaves out 0.
"""

from typing import NamedTuple

import numpy as np

from plumbline.scores import intervals, metrics


class Difference(NamedTuple):
    """How a metric differs between two sides, in the sign that files have (a smaller log loss is negative).

    `verdict` is better, worse, no evidence, identical, or one network (luck cannot be told then).
    """

    metric: str
    base: float
    other: float
    difference: float
    low: float
    high: float
    p: float
    verdict: str
    estimate: intervals.Estimate


def compare(base: np.ndarray, other: np.ndarray, metric: str, comparisons: int) -> Difference:
    """Judge `other` against `base` by their contributions (R, n) on the same rows, network r beside network r.

    A base of one line (1, n) stands beside every network. For m comparisons made at once the interval is at
    1 - 0.05 / m and p is multiplied by m (Bonferroni); better or worse is said when the interval leaves out 0. Which is
    right: see benchmarks/calibration.py.
    """
    delta = intervals.estimate(other - base)
    low, high, p = delta.student(1 - 0.05 / comparisons)
    if not (other - base).any():
        verdict = "identical"
    elif delta.networks < 2:
        verdict = "one network"
    elif low > 0 or high < 0:
        verdict = "better" if low > 0 else "worse"
    else:
        verdict = "no evidence"
    sides, difference = (float(base.mean()), float(other.mean())), delta.mean
    if metric in metrics.LOSSES:
        sides, difference, low, high = tuple(0.0 - side for side in sides), 0.0 - difference, 0.0 - high, 0.0 - low
    return Difference(metric, *sides, difference, low, high, min(p * comparisons, 1.0), verdict, delta)
