"""Metrics row by row. Every metric is the mean over rows of contributions phi, so one formula gives every interval.

- accuracy, log loss, Brier score: phi is the row's own value.
- ROC AUC: DeLong's placements.
- precision, recall, F1, average precision: these are no means of single rows' values. phi is the figure plus its
  influence function, whose mean is zero.

In phi more is better throughout: a loss has its sign turned. Shapes: R networks, n rows, k classes. Probabilities are
float32 (R, n, k), or (R, n, 1) of the second of two classes. Arrays of many rows may lie on the disk
(`basics.files.mapped`), and are worked through in pieces.
"""

from collections.abc import Callable

import numpy as np

from plumbline.scores import ranking
from plumbline.scores.ranking import pieces

RANKINGS = {"roc_auc": ranking.roc_auc, "average_precision": ranking.average_precision}
OF_FOLD = RANKINGS | {"roc_auc": ranking.roc_auc_of_fold}  # where rows are ranked fold by fold
RATIOS = ("precision", "recall", "f1")
OF_MORE = ("accuracy", "log_loss", "brier", *(f"macro_{name}" for name in (*RANKINGS, *RATIOS)))
OF_TWO = ("accuracy", "log_loss", "brier", *RANKINGS, *RATIOS, *(f"macro_{name}" for name in RATIOS))
LOSSES = ("log_loss", "brier")  # lower is better
NEAREST_TO_ONE = 2.0**-25  # a float32 of 1.0 stands for any probability this near to it
SMALLEST = 2.0**-149  # the smallest float32: 0.0 stands for any probability below it


def ranks(name: str) -> bool:
    """Whether a metric is about the order of the rows."""
    return name.removeprefix("macro_") in RANKINGS


# ---- probabilities


def by_class(probability: np.ndarray) -> np.ndarray:
    """Probabilities with a column for each class, of two classes too: (..., k or 1) -> float64 (..., k)."""
    probability = np.asarray(probability, np.float64)
    if probability.shape[-1] > 1:
        return probability
    return np.concatenate([1.0 - probability, probability], axis=-1)


def ensemble(probability: np.ndarray) -> np.ndarray:
    """The mean of R networks' probabilities, added up in their order: (R, n, k or 1) -> float32 (n, k or 1)."""
    total = np.zeros(probability.shape[1:])
    for network in probability:
        total += network
    return (total / len(probability)).astype(np.float32)


def predicted(probability: np.ndarray) -> np.ndarray:
    """The most probable class of each row: (..., k or 1) -> int64 (...). Of two classes the second from 0.5 on."""
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
    """The sum over rows of the log loss, and the number of right answers, of each network: float64 (R, 2)."""
    return np.array([(log_losses(p, target).sum(), (predicted(p) == target).sum()) for p in probability], np.float64)


def squared_errors(probability: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The squared error of the second class of two, or of all classes added up: (n, k or 1), (n,) -> (n,)."""
    k = probability.shape[-1]
    truths = target[:, None] == (np.arange(k) if k > 1 else 1)
    errors = (probability.astype(np.float64) - truths) ** 2
    return sum(errors[:, c] for c in range(k))


OWN_VALUES = {  # phi of the metrics that are means of the rows' own values
    "accuracy": lambda probability, target: predicted(probability) == target,
    "log_loss": lambda probability, target: -log_losses(probability, target),
    "brier": lambda probability, target: -squared_errors(probability, target),
}


# ---- contributions


def defined(target: np.ndarray, classes: int, fold: np.ndarray | None = None) -> list[str]:
    """The metrics for so many classes. ROC AUC and average precision are left out when a class has no row.

    fold: (R, n), where the rows of each fold are ranked apart; then every class must be in every fold.
    """
    names, all_there = (OF_TWO if classes == 2 else OF_MORE), fewest_of_a_class(target, classes, fold) > 0
    return [name for name in names if all_there or not ranks(name)]


def fewest_of_a_class(target: np.ndarray, classes: int, fold: np.ndarray | None = None) -> int:
    """How many rows the smallest class has; with `fold` (R, n) in the fold of any network that has fewest."""
    fewest = class_counts(target, classes).min()
    for own in () if fold is None else fold:
        folds = int(own.max()) + 1
        fewest = min(fewest, class_counts(own * np.int64(classes) + target, folds * classes).min())
    return int(fewest)


def contributions(
    name: str,
    probability: np.ndarray,
    target: np.ndarray,
    positive: int = 1,
    out: np.ndarray | None = None,
    fold: np.ndarray | None = None,
) -> np.ndarray:
    """phi of one metric, float64 (R, n), in `out` if it is given. Its mean over rows is the metric, as scikit-learn's.

    probability: float32 (R, n, k), or (R, n, 1) of the second of two classes. target: class numbers (n,).
    Brier score: the squared error of the second of two classes; of more, summed over the classes.
    ROC AUC, average precision, precision, recall, F1: of the class `positive`; with "macro_" the mean over all classes,
    each against the rest. Precision, recall and F1 are 0 where they would divide by 0 (zero_division=0).
    fold: of out-of-fold rows (R, n), from 0. ROC AUC and average precision rank the rows of each fold among themselves;
    rows are weighted so that the metric is its mean over folds.
    """
    out = np.empty(probability.shape[:2]) if out is None else out
    of, weight = name.removeprefix("macro_"), weights(name, max(probability.shape[2], 2), positive)
    for r, (network, phi) in enumerate(zip(probability, out)):
        if of in RANKINGS and fold is not None:
            for f in range(int(fold[r].max()) + 1):
                own = np.flatnonzero(fold[r] == f)
                part = np.empty(len(own))
                _rankings(OF_FOLD[of], network[own], target[own], weight, part)
                phi[own] = part * (len(target) / (len(own) * (fold[r].max() + 1)))
        elif of in RANKINGS:
            _rankings(RANKINGS[of], network, target, weight, phi)
        elif of in RATIOS:
            _ratios(of, network, target, weight, phi)
        else:
            for here in pieces(len(target)):
                phi[here] = OWN_VALUES[of](network[here], target[here])
    return out


def weights(name: str, k: int, positive: int) -> np.ndarray:
    """The weight of each class in a metric, (k,): with "macro_" the same for all, else 1 for the positive class."""
    return np.full(k, 1 / k) if name.startswith("macro_") else np.eye(k)[positive]


def _rankings(rank: Callable, probability: np.ndarray, target: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    """phi (n,) of one network: the sum over classes of their own phi, each against the rest, times their weights."""
    out[:] = 0.0
    for c in weight.nonzero()[0]:
        out += rank(score_of(probability, c), target == c) * weight[c]


def score_of(probability: np.ndarray, c: int) -> np.ndarray:
    """What ranks the rows by the probability of class c: (n, k or 1) -> (n,).

    For the first of two classes it is -p, p being the second's, and not 1 - p, which would make small p equal.
    """
    if probability.shape[1] > 1:
        return probability[:, c]
    return probability[:, 0] if c else -probability[:, 0]


def _ratios(name: str, probability: np.ndarray, target: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    """phi (n,) of one network: the sum over classes of their ratio and its influence function, times their weights."""
    counts = confusion(probability, target)
    ratio, whole = ratios(name, counts)
    of_row = np.divide(len(target) * weight, whole, out=np.zeros(len(counts)), where=whole > 0)
    for here in pieces(len(target)):
        answer, own = predicted(probability[here]), target[here]
        right, phi = answer == own, np.full(len(own), weight @ ratio)
        for label in {"precision": [answer], "recall": [own], "f1": [answer, own]}[name]:
            phi += of_row[label] * (right - ratio[label])
        out[here] = phi


def ratios(name: str, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision, recall or F1 of each class from a confusion matrix (k, k), and the denominator: (k,), (k,).

    F1 is twice the right answers, over the rows that are answered so plus the rows that are so.
    """
    answered, true = counts.sum(axis=0), counts.sum(axis=1)
    whole = {"precision": answered, "recall": true, "f1": answered + true}[name]
    part = counts.diagonal() * (2 if name == "f1" else 1)
    return np.divide(part, whole, out=np.zeros(len(counts)), where=whole > 0), whole


def trials(
    name: str, counts: np.ndarray, answered: np.ndarray, positive: int, units: int
) -> tuple[np.ndarray, np.ndarray]:
    """The shares that a metric averages: the weight of each in the figure, and how many rows it is of, both (c,).

    Accuracy is one share, of all rows; macro recall is k shares, each of the rows of a class and of weight 1 / k.

    counts, answered: rows by their class and by the class predicted (k,). units: rows, or groups of rows. With groups
    each class counts as its proportion of them.
    """
    n, of = counts.sum(), name.removeprefix("macro_")
    if of in OWN_VALUES:
        return np.ones(1), np.array([float(units)])
    rows = {
        "precision": answered,
        "recall": counts,
        "f1": (answered + counts) / 2,
        "roc_auc": np.minimum(counts, n - counts),
        "average_precision": counts,
    }[of]
    return weights(name, len(counts), positive), np.maximum(rows * (units / n), 1.0)


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
    """The metric from its contributions, with the sign that it has in files: a loss is positive."""
    mean = float(phi.mean())
    return 0.0 - mean if name in LOSSES else mean


def always(counts: list, target: np.ndarray, fold: np.ndarray | None = None) -> dict[str, float]:
    """Accuracy and log loss of always answering the shares of the training classes.

    counts: training rows of each class (k,). With `fold` (R, n) those of each fold's network (R, folds, k); the figures
    are the means over all its rows then.
    """
    if fold is None:
        fold, counts = np.zeros((1, len(target)), np.int8), [[counts]]
    right, losses = 0, 0.0
    for own, by_fold in zip(fold, counts):
        for f, its in enumerate(by_fold):
            k, shares = len(its), np.array(its) / sum(its)
            answer, rows = np.tile(shares[1:] if k == 2 else shares, (k, 1)), class_counts(target[own == f], k)
            right += int(rows[predicted(answer[:1])[0]])
            losses += float((rows * log_losses(answer, np.arange(k))).sum())
    return {"accuracy": right / fold.size, "log_loss": losses / fold.size}
