"""ROC AUC and average precision, the metrics that depend on the order of the scores alone, row by row.

As in `metrics`, a figure is the mean of its rows' contributions. Rows are gone through from the lowest score to the
highest, rows of equal scores together.
"""

from collections.abc import Iterator

import numpy as np

PIECE = 2**16  # rows at a time where each is computed by itself: temporary arrays stay in the CPU's cache
RANKED = 2**18  # rows at a time where they are gone through by their scores
MOST_RANKED = 2**32  # rows: their numbers take the lower half of 64 bits


def pieces(n: int, rows: int = PIECE) -> Iterator[slice]:
    """n rows as slices of so many. The number is fixed: the bits of a sum of the pieces' sums depend on it."""
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


def roc_auc(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Each row's contribution to the area under the ROC curve, (n,); their mean is the area. Both classes must occur.

    A positive row's placement V10 is the share of negatives that it ranks above, ties counted half. A negative row's
    placement V01 is the share of positives above it (DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837).
    phi = AUC + (n / n1) (V10 - AUC) for positives, AUC + (n / n0) (V01 - AUC) for negatives.
    """
    n, n1 = len(score), int(np.count_nonzero(positive))
    out, wins = np.empty(n), 0  # wins: twice the number of pairs that are ranked rightly
    for row, placed, groups in _placed(score, positive):
        of_row = np.repeat(placed, groups.sum(axis=1), axis=0)  # (m, 2)
        out[row] = np.where(positive[row], of_row[:, 0] / (2 * (n - n1)), 1.0 - of_row[:, 1] / (2 * n1))
        wins += int((placed[:, 0] * groups[:, 1]).sum())
    area = wins / (2 * n1 * (n - n1))
    for here in pieces(n):
        out[here] = area + np.where(positive[here], n / n1, n / (n - n1)) * (out[here] - area)
    return out


def roc_auc_of_fold(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """`roc_auc` of one fold of several, its deviations from the mean times sqrt(n_c / (n_c - 1)) in each class.

    Deviations from a fold's own mean come out too small where the fold has few rows of a class. DeLong's variance
    divides their squares by n_c - 1 for that reason; this does the same fold by fold.
    """
    out = roc_auc(score, positive)
    area = out.mean()
    for own in (positive, ~positive):
        count = int(np.count_nonzero(own))
        out[own] = area + np.sqrt(count / max(count - 1, 1)) * (out[own] - area)
    return out


def roc_auc_by_label(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """`roc_auc` of every row as if it were negative, and as if it were positive: (2, n).

    All other rows keep their labels, and n0 and n1 stay. A row is not ranked against itself.
    """
    n, n1 = len(score), int(np.count_nonzero(positive))
    out = np.empty((2, n))
    for row, placed, groups in _placed(score, positive):
        below = np.repeat(placed, groups.sum(axis=1), axis=0)  # (m, 2)
        is_positive = positive[row]
        out[1, row] = (below[:, 0] - ~is_positive) / (2 * np.maximum(n - n1 - ~is_positive, 1))
        out[0, row] = 1.0 - (below[:, 1] - is_positive) / (2 * np.maximum(n1 - is_positive, 1))
    area = out[1][positive].mean()
    return area + np.array([[n / (n - n1)], [n / n1]]) * (out - area)


def _placed(score: np.ndarray, positive: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """As `by_score`, with one array more, second of three: twice the negatives and the positives below each score.

    Those of the same score count half: int64 (g, 2).
    """
    below = np.zeros(2, np.int64)
    for row, groups in by_score(score, positive):
        yield row, 2 * (below + groups.cumsum(axis=0)) - groups, groups
        below = below + groups.sum(axis=0)


def average_precision(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Each row's contribution to the average precision, (n,); their mean is scikit-learn's. A positive row must occur.

    Let a_s positive rows have the score s. C_s rows have that score or a higher one, and P_s is the share of positives
    among these. AP is the sum over scores of a_s P_s / n1.

    phi = AP + n dAP/dw, where w is the row's weight: the influence function. Let A be the sum of a / C over the scores
    up to the row's own, and B that of a P / C. By the quotient rule n1 dAP/dw is P_s + A - B - AP for a positive row,
    and -B for a negative one.
    """
    n, n1 = len(score), int(np.count_nonzero(positive))
    out, a, b, area = np.empty(n), 0.0, 0.0, 0.0
    above = np.array([n - n1, n1])  # negatives and positives not yet gone through
    for row, groups in by_score(score, positive):
        at = above - groups.cumsum(axis=0) + groups  # at or above each score
        positives, rows = groups[:, 1], at.sum(axis=1)
        precision = at[:, 1] / rows
        up_to_a, up_to_b = a + (positives / rows).cumsum(), b + (positives * precision / rows).cumsum()
        group = np.repeat(np.arange(len(rows)), groups.sum(axis=1))  # of each row
        out[row] = np.where(positive[row], (precision + up_to_a)[group], 0.0) - up_to_b[group]
        above, a, b = above - groups.sum(axis=0), up_to_a[-1], up_to_b[-1]
        area += float((positives * precision).sum()) / n1
    for here in pieces(n):
        out[here] = area + n / n1 * (out[here] - area * positive[here])
    return out


def by_score(score: np.ndarray, positive: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows from the lowest score to the highest, in pieces that never part rows of equal scores.

    A piece is the numbers of its rows (m,), and for each of its g scores the count of negative and of positive rows,
    int64 (g, 2). Minus zero is zero.

    A score's 32 bits and its row's number are sorted as one integer, which takes NumPy half the time of argsort. The
    stable sort runs the same code on every CPU. The default one does not, and an emulated CPU got it wrong.
    """
    if len(score) > MOST_RANKED:
        raise ValueError(f"{len(score)} scores cannot be ranked, at most {MOST_RANKED} can")
    ordered = np.empty(len(score), np.uint64)
    for here in pieces(len(score)):
        bits = (score[here].astype(np.float32) + np.float32(0.0)).view(np.uint32)
        key = np.where(bits >> 31, ~bits, bits | np.uint32(2**31)).astype(np.uint64)  # in the order of the floats
        ordered[here] = key << np.uint64(32) | np.arange(here.start, here.stop, dtype=np.uint64)
    ordered.sort(kind="stable")
    start = 0
    while start < len(ordered):
        last = ordered[start : start + RANKED][-1]
        stop = int(np.searchsorted(ordered, last | np.uint64(2**32 - 1), "right"))  # behind the last of its score
        row, own = ordered[start:stop].astype(np.uint32), ordered[start:stop] >> np.uint64(32)
        first = np.flatnonzero(np.r_[True, own[1:] != own[:-1]])
        positives = np.add.reduceat(positive[row], first, dtype=np.int64)
        yield row, np.stack([np.diff(np.r_[first, len(row)]) - positives, positives], axis=1)
        start = stop
