"""What the labels could have been: a variance that counts what so few rows have not shown.

The variance over rows knows only labels that occurred. Where a class is rare, or every row is answered rightly, those
that did not occur are what a figure depends on. The networks say how probable each was: row i contributes d_i(c) with
the probability p_i(c) of its label being c.
"""

from collections.abc import Iterable

import numpy as np

from plumbline.scores import intervals, metrics, ranking

KNOWN = ("accuracy", "log_loss", "brier", "roc_auc", "macro_roc_auc")  # metrics whose d_i(c) is known

PIECE = 2**14  # rows that are worked through at a time, of many classes too


def contributions(name: str, probability: np.ndarray, target: np.ndarray, positive: int = 1) -> np.ndarray:
    """d_i(c): what each row would contribute to a metric of one network were its label c: float64 (n, k).

    All other rows keep their labels; of the row's own label it is phi (`metrics.contributions`). probability: float32
    (n, k), or (n, 1) of the second of two classes.
    """
    k = max(probability.shape[1], 2)
    if name == "accuracy":
        return (metrics.predicted(probability)[:, None] == np.arange(k)).astype(np.float64)
    if name == "log_loss":
        return np.stack([-metrics.log_losses(probability, np.full(len(probability), c)) for c in range(k)], axis=1)
    if name == "brier":
        p = probability.astype(np.float64)
        is_one = probability.shape[1] == 1
        return -np.hstack([p**2, (1.0 - p) ** 2]) if is_one else 2.0 * p - 1.0 - (p**2).sum(axis=1, keepdims=True)
    ranked, out = [positive] if name == "roc_auc" else range(k), np.zeros((len(target), k))
    every = np.zeros((len(target), 1))  # what a row contributes as one of the rest, summed over the classes
    for c in ranked:
        rest, own = ranking.roc_auc_by_label(metrics.score_of(probability, c), target == c) / len(ranked)
        every[:, 0] += rest
        out[:, c] = own - rest
    return out + every


Labelled = Iterable[tuple[np.ndarray, np.ndarray]]  # d (m, k) and the labels' chances (m, k), some rows at a time


def floored(
    estimate: intervals.Estimate, labelled: Labelled, phi: np.ndarray, target: np.ndarray, group: np.ndarray | None
) -> intervals.Estimate:
    """An estimate of phi (R, n) whose variance over rows is at least what the labels' own chance makes it.

    Labels of one group are taken to depend on each other as much as what its rows contribute does.
    """
    least = variance(labelled, len(target), estimate.n)
    if group is not None:
        alone = intervals.estimate(phi, target).v_row
        least *= max(estimate.v_row / alone, 1.0) if alone > 0.0 else len(target) / estimate.n
    return estimate._replace(v_row=max(estimate.v_row, least))


def variance(labelled: Labelled, n: int, units: int) -> float:
    """Variance of the mean of d over n rows, when labels are drawn with the chances p and rows from a population.

    V = [mean_i Var_c d_i(c) + Var_i E_c d_i(c)] / n (the law of total variance). p is mixed with one row more that
    could be of any class, for so few rows (or groups: units) cannot show what is rarer.
    """
    within, first, second = 0.0, 0.0, 0.0
    for d, p in labelled:
        p = (p * units + 1.0 / p.shape[1]) / (units + 1.0)
        expected = (p * d).sum(axis=1)
        within += float((p * (d - expected[:, None]) ** 2).sum())
        first, second = first + float(expected.sum()), second + float((expected**2).sum())
    return (within + max(second - first**2 / n, 0.0)) / n**2
