"""The figures of a run, under scikit-learn's names: of each part, of each class, of each epoch.

A part has four kinds of figures. They are those of network 0, which is the model; of the ensemble; the mean over all
networks, with an interval; and those of always answering the shares of the training classes.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plumbline.basics import files
from plumbline.scores import intervals, metrics, ranges
from plumbline.scores.differences import Rows

FEW = ("accuracy", "log_loss")  # the metrics in metrics/evaluate.json


class Figure(NamedTuple):
    """One figure of a part, with the ends of its 95 % interval where it has one."""

    part: str
    of: str  # network (network 0), ensemble, networks (the mean over them) or shares (of the training classes)
    metric: str
    value: float
    low: float | None
    high: float | None
    rows: int
    groups: int | None  # of rows that depend on each other


def of_part(part: str, rows: Rows, counts: list, scratch: Path) -> Iterable[Figure]:
    """All figures of a part; none if it has no rows.

    rows: their probabilities are (R + 1, n, k or 1), the last one being the ensemble's; (1, n, k or 1) of one network.
    counts: training rows of each class, as `metrics.always` takes them. scratch: a folder for large arrays.
    """
    probability, target, positive, group, fold, _ = rows
    n = len(target)
    if n == 0:
        return
    networks = max(len(probability) - 1, 1)
    rows = Rows(probability[:networks], target, positive, intervals.numbered(group), fold)
    groups = None if group is None else len(np.unique(group))
    answered = ranges.answers_by_class(rows)
    phi = files.mapped(probability.shape[:2], np.float64, scratch)  # (R + 1, n), more is better
    for name in metrics.defined(target, np.shape(counts)[-1], fold):
        metrics.contributions(name, probability[:networks], target, positive, phi[:networks], fold)
        metrics.contributions(name, probability[-1:], target, positive, phi[-1:], None if networks > 1 else fold)
        yield Figure(part, "network", name, metrics.reported(name, phi[0]), None, None, n, groups)
        yield Figure(part, "ensemble", name, metrics.reported(name, phi[-1]), None, None, n, groups)
        yield Figure(part, "networks", name, *ranges.reported(name, phi[:networks], rows, answered), n, groups)
    for name, value in metrics.always(counts, target, fold).items():
        yield Figure(part, "shares", name, value, None, None, n, groups)


def few(figures: list[Figure]) -> dict:
    """What metrics/evaluate.json holds, for `dvc exp show`: a few figures, nested.

    Of the test part network 0's and the mean over networks with its interval. Of out-of-fold rows the mean alone: it is
    about the configuration, not about one network.
    """
    chosen: dict = {}
    for figure in figures:
        if figure.metric not in FEW or figure.part not in ("test", "out-of-fold"):
            continue
        if figure.of == "networks":
            under = chosen.setdefault("replicas" if figure.part == "test" else "out_of_fold", {})
            interval = {} if figure.low is None else {"low": figure.low, "high": figure.high}
            under[figure.metric] = {"mean": figure.value, **interval}
        elif figure.of == "network" and figure.part == "test":
            chosen[figure.metric] = figure.value
    return {name: chosen[name] for name in (*FEW, "replicas", "out_of_fold") if name in chosen}


def told(figures: list[Figure], says: dict[str, str]) -> list[str]:
    """The same figures in words, a line a part. says: what is said of each part's rows after their number."""
    lines, by = [], {(figure.part, figure.of, figure.metric): figure for figure in figures}
    for part, of in (("test", "network"), ("out-of-fold", "networks")):
        if (part, of, "accuracy") in by:
            accuracy, loss = (by[part, of, name] for name in FEW)
            words = [
                f"{name} {of.value:.{d}f}" + (f" ({of.low:.{d}f} to {of.high:.{d}f})" if of.low is not None else "")
                for name, of, d in (("accuracy", accuracy, 3), ("log loss", loss, 4))
            ]
            lines.append(f"{loss.rows} {part} rows{says[part]}: {', '.join(words)}")
    return lines


def by_class(probability: np.ndarray, target: np.ndarray, classes: list, positive: int) -> tuple[tuple, Iterable]:
    """Precision, recall and F1 of each class, from one network's probabilities (n, k or 1): columns' names, and lines.

    `support` is the rows of the class; `positive` is 1 for the positive one of two classes, else 0.
    """
    counts = metrics.confusion(probability, target)
    ratios = [metrics.ratios(name, counts)[0] for name in metrics.RATIOS]
    is_positive = [int(len(classes) == 2 and c == positive) for c in range(len(classes))]
    return ("class", *metrics.RATIOS, "support", "positive"), zip(classes, *ratios, counts.sum(axis=1), is_positive)


def by_epoch(means: np.ndarray, every: int) -> tuple[tuple, Iterable]:
    """Network 0's test loss and accuracy (m, 2), after epochs 1, 1 + every, ...: columns' names, and lines."""
    lines = ((1 + i * every, *line) for i, line in enumerate(means.tolist()))
    return ("epoch", "test_loss", "test_accuracy"), lines
