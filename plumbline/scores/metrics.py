"""Metrics row by row: every metric is a mean over rows of contributions phi, so that one formula gives every interval.

For a mean of labels or losses phi is the row's own value. ROC AUC has DeLong's placements. Precision, recall and F1
are ratios of means; theirs is the ratio plus its influence function, whose mean is zero. More is better throughout:
of a loss phi holds the negative. Shapes: R networks, n rows, k classes; probabilities are float32 (R, n, k), or
(R, n, 1) of the second of two classes.

Arrays of many rows may lie on the disk (`basics.files.mapped`), and are worked through PIECE rows at a time.
"""

from collections.abc import Iterator

import numpy as np

METRICS = ("accuracy", "log_loss", "brier", "roc_auc", "precision", "recall", "f1")
LOSSES = ("log_loss", "brier")  # lower is better
NEAREST_TO_ONE = 2.0**-25  # a float32 of 1.0 stands for any probability this near to it
SMALLEST = 2.0**-149  # and one of 0.0 for any below the smallest float32
PIECE = 2**16  # rows of what is computed row by row: what is made of them on the way stays in the CPU's cache
RANKED = 2**18  # rows that are ranked at a time
MOST_RANKED = 2**32  # rows: their numbers take the lower half of 64 bits


def pieces(n: int, rows: int = PIECE) -> Iterator[slice]:
    """n rows, so many at a time. The number is fixed, for the bits of a sum of their sums depend on it."""
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


# ---- probabilities


def by_class(probability: np.ndarray) -> np.ndarray:
    """Probabilities as files hold them, (..., 1) for two classes, as one column a class: float64 (..., k)."""
    probability = np.asarray(probability, np.float64)
    if probability.shape[-1] > 1:
        return probability
    return np.concatenate([1.0 - probability, probability], axis=-1)


def ensemble(probability: np.ndarray) -> np.ndarray:
    """The mean of what R networks say, added up in their order: (R, n, k) -> float32 (n, k)."""
    total = np.zeros(probability.shape[1:])
    for network in probability:
        total += network
    return (total / len(probability)).astype(np.float32)


def predicted(probability: np.ndarray) -> np.ndarray:
    """The class of each row: the most probable; of two equally probable ones the second, as `p >= 0.5` has it."""
    if probability.shape[-1] == 1:
        return (probability[..., 0] >= 0.5).astype(np.int64)
    return probability.argmax(axis=-1)


# ---- row by row


def log_losses(probability: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Minus the logarithm of the probability given to the true class: (n, k or 1), (n,) -> (n,), always finite."""
    if probability.shape[-1] == 1:
        p = probability[:, 0].astype(np.float64)
        true = np.where(target == 1, p, np.maximum(1.0 - p, NEAREST_TO_ONE))
    else:
        true = probability[np.arange(len(target)), target].astype(np.float64)
    return -np.log(np.maximum(true, SMALLEST))


def loss_and_right(probability: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The log losses of R networks and their right answers, each added up over the rows: float64 (R, 2)."""
    return np.array([(log_losses(p, target).sum(), (predicted(p) == target).sum()) for p in probability], np.float64)


def squared_errors(probability: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The squared error of the second class of two, or of all classes added up: (n, k or 1), (n,) -> (n,)."""
    k = probability.shape[-1]
    truths = target[:, None] == (np.arange(k) if k > 1 else 1)
    errors = (probability.astype(np.float64) - truths) ** 2
    return sum(errors[:, c] for c in range(k))


# ---- contributions


def defined(target: np.ndarray, classes: int) -> list[str]:
    """The metrics that are defined: ROC AUC is not when a class has no row."""
    all_there = class_counts(target, classes).all()
    return [name for name in METRICS if all_there or name != "roc_auc"]


def contributions(name: str, probability: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """phi of one metric: float64 (R, n), in `out` if it is given; the mean over the rows is the metric.

    probability: float32 (R, n, k), or (R, n, 1) of the second of two classes; target: class numbers (n,).
    Brier score: the squared error of the second class of two, summed over classes of more (scikit-learn's).
    ROC AUC: macro, one class versus the rest; not defined when a class has no row.
    Precision, recall, F1: macro over classes, 0 where a class has no row to divide by (scikit-learn's zero_division=0).
    """
    out = np.empty(probability.shape[:2]) if out is None else out
    fill = {"roc_auc": _areas, "precision": _ratios, "recall": _ratios, "f1": _ratios}.get(name, _own_values)
    for network, phi in zip(probability, out):
        fill(name, network, target, phi)
    return out


def _own_values(name: str, probability: np.ndarray, target: np.ndarray, out: np.ndarray) -> None:
    for here in pieces(len(target)):
        if name == "accuracy":
            out[here] = predicted(probability[here]) == target[here]
        elif name == "log_loss":
            out[here] = -log_losses(probability[here], target[here])
        else:
            out[here] = -squared_errors(probability[here], target[here])


def _areas(name: str, probability: np.ndarray, target: np.ndarray, out: np.ndarray) -> None:
    """`auc_contributions` of the second class of two, or their mean over all classes."""
    k = probability.shape[1]
    if k == 1:
        auc_contributions(probability[:, 0], target == 1, out)
        return
    out[:] = 0.0
    area = np.empty(len(target))
    for c in range(k):
        auc_contributions(probability[:, c], target == c, area)
        for here in pieces(len(target)):
            out[here] += area[here] / k


def auc_contributions(score: np.ndarray, positive: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Row by row shares of the area under the ROC curve, (n,); their mean is the area.

    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837: a positive row's placement V10 is the share of
    negatives it ranks above (ties half), a negative row's V01 the share of positives above it.
    phi = AUC + (n / n1) (V10 - AUC) for positives, AUC + (n / n0) (V01 - AUC) for negatives; both must occur.
    """
    n, n1 = len(score), int(np.count_nonzero(positive))
    out = np.empty(n) if out is None else out
    below, wins = np.zeros(2, np.int64), 0  # negatives and positives of lower scores; twice the pairs ranked rightly
    for row, groups in by_score(score, positive):
        placed = 2 * (below + groups.cumsum(axis=0)) - groups  # twice the negatives and positives below, ties half
        of_row = np.repeat(placed, groups.sum(axis=1), axis=0)  # (m, 2)
        out[row] = np.where(positive[row], of_row[:, 0] / (2 * (n - n1)), 1.0 - of_row[:, 1] / (2 * n1))
        below, wins = below + groups.sum(axis=0), wins + int((placed[:, 0] * groups[:, 1]).sum())
    area = wins / (2 * n1 * (n - n1))
    for here in pieces(n):
        out[here] = area + np.where(positive[here], n / n1, n / (n - n1)) * (out[here] - area)
    return out


def by_score(score: np.ndarray, positive: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows from the lowest score to the highest, in pieces that part no equal scores: their numbers (m,), and of each
    group of equal scores how many are negative and how many positive, int64 (g, 2). Minus zero is zero.

    A score's 32 bits and its row's number are sorted as one integer: NumPy does that in half the time of argsort, and
    with its stable sort by the same code on every CPU (its fast one is not, and an emulated CPU got it wrong).
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


def _ratios(name: str, probability: np.ndarray, target: np.ndarray, out: np.ndarray) -> None:
    """Of each class the ratio, right answers over rows with this answer or target, and its influence function.

    F1 counts both answers and targets below the line, and right answers twice above it.
    """
    counts = confusion(probability, target)
    answered, true = counts.sum(axis=0), counts.sum(axis=1)
    k = len(counts)
    whole = {"precision": answered, "recall": true, "f1": answered + true}[name]
    part = counts.diagonal() * (2 if name == "f1" else 1)
    ratio = np.divide(part, whole, out=np.zeros(k), where=whole > 0)
    weight = np.divide(len(target) / k, whole, out=np.zeros(k), where=whole > 0)
    for here in pieces(len(target)):
        answer, own = predicted(probability[here]), target[here]
        right, phi = answer == own, np.full(len(own), ratio.mean())
        for label in {"precision": [answer], "recall": [own], "f1": [answer, own]}[name]:
            phi += weight[label] * (right - ratio[label])
        out[here] = phi


def class_counts(target: np.ndarray, classes: int) -> np.ndarray:
    """Rows of each class: int64 (classes,)."""
    return sum((np.bincount(target[here], minlength=classes) for here in pieces(len(target))), np.zeros(classes, int))


def confusion(probability: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rows counted by their class and by the class predicted: (n, k or 1), (n,) -> int64 (k, k)."""
    k, counts = max(probability.shape[1], 2), 0
    for here in pieces(len(target)):
        counts += np.bincount(target[here] * k + predicted(probability[here]), minlength=k * k)
    return counts.reshape(k, k)


# ---- figures as they are reported


def reported(name: str, phi: np.ndarray) -> float:
    """The metric in the sign that files have: a loss is positive."""
    mean = float(phi.mean())
    return 0.0 - mean if name in LOSSES else mean


def always(counts: list[int], target: np.ndarray) -> dict[str, float]:
    """Accuracy and log loss of one and the same answer on every row: the shares of the classes, counted elsewhere."""
    k, shares = len(counts), np.array(counts) / sum(counts)
    answer = np.tile(shares[1:] if k == 2 else shares, (k, 1))
    rows, losses = class_counts(target, k), log_losses(answer, np.arange(k))
    right = rows[predicted(answer[:1])[0]]
    return {"accuracy": float(right / len(target)), "log_loss": float((rows * losses).sum() / len(target))}
