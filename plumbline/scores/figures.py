"""The figures of a run, under scikit-learn's names: of each part, of each class, and of each threshold.

Every figure of a part is one of the network that is the model (network 0), of the ensemble, of the mean over all
networks, which has an interval, or of always answering the shares of the training classes.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plumbline.basics import files
from plumbline.scores import intervals, metrics, ranges
from plumbline.scores.differences import Rows

FEW = ("accuracy", "log_loss")  # that stand in metrics/evaluate.json


class Figure(NamedTuple):
    """One figure of a part, and about 95 % around it where there is an interval."""

    part: str
    of: str  # network (network 0), ensemble, networks (their mean) or shares
    metric: str
    value: float
    low: float | None
    high: float | None
    rows: int
    groups: int | None  # of rows that belong together


def of_part(part: str, rows: Rows, counts: list[int], scratch: Path) -> Iterable[Figure]:
    """All figures of a part, none of one without rows.

    rows: with R networks, and of several networks one more, the ensemble (R + 1, n, k or 1). counts: training rows of
    each class. scratch: a folder for large arrays.
    """
    probability, target, positive, group = rows
    n = len(target)
    if n == 0:
        return
    networks = max(len(probability) - 1, 1)
    rows = Rows(probability[:networks], target, positive, intervals.numbered(group))
    groups = None if group is None else n if rows.group is None else int(rows.group.max()) + 1
    answered = sum(metrics.confusion(network, target).sum(axis=0) for network in rows.probability) / networks
    phi = files.mapped(probability.shape[:2], np.float64, scratch)  # (R + 1, n), more is better
    for name in metrics.defined(target, len(counts)):
        metrics.contributions(name, probability, target, positive, out=phi)
        yield Figure(part, "network", name, metrics.reported(name, phi[0]), None, None, n, groups)
        yield Figure(part, "ensemble", name, metrics.reported(name, phi[-1]), None, None, n, groups)
        mean, *interval = ranges.reported(name, phi[:networks], rows, answered).values()
        yield Figure(part, "networks", name, mean, *(interval or (None, None)), n, groups)
    for name, value in metrics.always(counts, target).items():
        yield Figure(part, "shares", name, value, None, None, n, groups)


def few(figures: Iterable[Figure]) -> dict:
    """The few that matter in `dvc exp show`: of the test part, network 0's, and the mean of all with its interval."""
    test = {(figure.of, figure.metric): figure for figure in figures if figure.part == "test"}
    chosen: dict = {name: test["network", name].value for name in FEW}
    chosen["replicas"] = {}
    for name in FEW:
        mean = test["networks", name]
        interval = {} if mean.low is None else {"low": mean.low, "high": mean.high}
        chosen["replicas"][name] = {"mean": mean.value, **interval}
    return chosen


def by_class(probability: np.ndarray, target: np.ndarray, classes: list, positive: int) -> tuple[tuple, Iterable]:
    """Of one network (n, k or 1), a line a class: precision, recall, F1, its rows, and 1 if it is the positive of two.

    The columns' names and the lines.
    """
    counts = metrics.confusion(probability, target)
    ratios = [metrics.ratios(name, counts)[0] for name in metrics.RATIOS]
    is_positive = [int(len(classes) == 2 and c == positive) for c in range(len(classes))]
    return ("class", *metrics.RATIOS, "support", "positive"), zip(classes, *ratios, counts.sum(axis=1), is_positive)


def by_epoch(means: np.ndarray, every: int) -> tuple[tuple, Iterable]:
    """Network 0's test loss and accuracy (m, 2) after epochs 1, 1 + every, ...: the columns' names and the lines."""
    lines = ((1 + i * every, *line) for i, line in enumerate(means.tolist()))
    return ("epoch", "test_loss", "test_accuracy"), lines
