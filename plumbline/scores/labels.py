"""A variance that counts the labels that rows could have had.

The variance over rows knows only the labels that occurred. It is too small where a class is rare, or where every row is
answered rightly. The networks say how probable each other label was. So let row i have the label c with probability
p_i(c), and contribute d_i(c) then.
"""

from collections.abc import Iterable

import numpy as np

from plumbline.scores import intervals, metrics, ranking

KNOWN = ("accuracy", "log_loss", "brier", "roc_auc", "macro_roc_auc")  # metrics whose d_i(c) is known
PIECE = 2**14  # rows at a time; fewer than elsewhere, for there is a column for each class
Labelled = Iterable[tuple[np.ndarray, np.ndarray]]  # pieces of rows: d (m, k), and the labels' probabilities p (m, k)


def contributions(name: str, probability: np.ndarray, target: np.ndarray, positive: int = 1) -> np.ndarray:
    """d_i(c): what row i would contribute to a metric of one network if its label were c. float64 (n, k).

    All other rows keep their labels. At the row's own label it is phi (`metrics.contributions`). probability: float32
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
    rest = np.zeros((len(target), 1))  # the row as a negative in every class's ranking, summed over the classes
    for c in ranked:
        negative, own = ranking.roc_auc_by_label(metrics.score_of(probability, c), target == c) / len(ranked)
        rest[:, 0] += negative
        out[:, c] = own - negative
    return out + rest


def floored(
    estimate: intervals.Estimate, labelled: Labelled, phi: np.ndarray, target: np.ndarray, group: np.ndarray | None
) -> intervals.Estimate:
    """The estimate of phi (R, n) with a V_row of at least `variance`.

    The labels of a group are taken to depend on each other as much as the contributions of its rows do.
    """
    least = variance(labelled, len(target), estimate.n)
    if group is not None:
        alone = intervals.estimate(phi, target).v_row
        least *= max(estimate.v_row / alone, 1.0) if alone > 0.0 else len(target) / estimate.n
    return estimate._replace(v_row=max(estimate.v_row, least))


def variance(labelled: Labelled, n: int, units: int) -> float:
    """Variance of the mean of d over n rows when rows are drawn from a population, and labels with probabilities p.

    V = [mean_i Var_c d_i(c) + Var_i E_c d_i(c)] / n, the law of total variance. units: rows, or groups of rows. So many
    cannot show a label that is rarer than one in units + 1, so p is mixed with one unit more in which every class is as
    probable.
    """
    within, first, second = 0.0, 0.0, 0.0
    for d, p in labelled:
        p = (p * units + 1.0 / p.shape[1]) / (units + 1.0)
        expected = (p * d).sum(axis=1)
        within += float((p * (d - expected[:, None]) ** 2).sum())
        first, second = first + float(expected.sum()), second + float((expected**2).sum())
    return (within + max(second - first**2 / n, 0.0)) / n**2
