"""The interval around one side's figure: never empty, never out of range, and what Clopper and Pearson have."""

import math

import numpy as np
import pytest
import scipy.stats
from scores.test_metrics import problem

from plumbline.scores import intervals, metrics, ranges
from plumbline.scores.differences import Rows


def around(name, p, y, group=None, positive=1):
    rows = Rows(np.asarray(p, np.float32), np.asarray(y), positive, group)
    found = ranges.reported(name, metrics.contributions(name, *rows[:3]), rows, ranges.answers_by_class(rows))
    return dict(zip(("mean", "low", "high"), found))


def binary(right, n):
    """One network that is right in so many of n rows, without being too sure."""
    y = np.arange(n) % 2
    return np.where((y == 1) == (np.arange(n) < right), 0.8, 0.2)[None, :, None], y


@pytest.mark.parametrize("right, n", [(5, 5), (0, 8), (20, 20), (18, 20), (150, 200), (2000, 2000), (1980, 2000)])
def test_accuracy_is_about_clopper_and_pearsons(right, n):
    found = around("accuracy", *binary(right, n))
    low, high = scipy.stats.binomtest(right, n).proportion_ci(method="exact")
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=0.35 / n**0.75)
    assert found["low"] < 1.0 - 0.9 * 3.0 / n  # three in n: what n rows without an error leave open


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("n", [2, 3, 5, 9, 40])
@pytest.mark.parametrize("how", ["right", "wrong", "sure", "chance", "same"])
def test_no_interval_is_empty_or_out_of_range(k, n, how):
    c = max(k, 2)
    y = np.arange(n) % c
    one = np.eye(c)[y if how != "wrong" else (y + 1) % c]
    mixed = {"chance": np.random.default_rng(n).dirichlet(np.ones(c), n), "same": np.full((n, c), 1 / c)}
    p = mixed.get(how, one if how == "sure" else 0.9 * one + 0.1 / c)
    networks = np.stack([p, p])[..., 1:] if k == 1 else np.stack([p, p])
    for name in metrics.defined(y, c):
        found = around(name, networks, y)
        if found["low"] is None:  # one row of a class is not ranked
            assert np.bincount(y, minlength=c).min() < 2
            assert name.removeprefix("macro_") in metrics.RANKINGS
            continue
        assert found["low"] <= found["mean"] <= found["high"] <= ranges.MOST.get(name, 1.0)
        if not (how == "same" and name in metrics.LOSSES):  # the same loss whatever the label is
            assert found["low"] < found["high"], name
        assert math.isfinite(found["high"])


def test_a_loss_is_told_on_the_scale_of_its_logarithm_and_the_middle_of_a_share_is_students():
    p, y = problem(400, 1, 3)
    phi = metrics.contributions("log_loss", p[None], y)
    found, plain = around("log_loss", p[None], y), intervals.estimate(phi, y)
    assert found["high"] / found["mean"] == pytest.approx(found["mean"] / found["low"])
    assert found["high"] - found["low"] >= 1.9 * 1.96 * math.sqrt(plain.v_row)
    found, plain = around("accuracy", p[None], y), intervals.estimate(metrics.contributions("accuracy", p[None], y), y)
    assert found["high"] - found["low"] == pytest.approx(2 * plain.half_width, rel=0.03)


def test_groups_widen_what_rows_alone_would_not():
    p, y = problem(60, 1, 4)
    thrice = np.repeat(p[None], 3, axis=1), np.repeat(y, 3), np.repeat(np.arange(60), 3)
    for name in set(metrics.OF_TWO) - set(metrics.LOSSES):
        once, grouped, alone = around(name, p[None], y), around(name, *thrice), around(name, *thrice[:2])
        width = [found["high"] - found["low"] for found in (once, grouped, alone)]
        assert width[1] == pytest.approx(width[0], rel=0.1), name
        assert width[2] < 0.7 * width[0]


def test_average_precision_of_folds_has_an_interval_where_each_has_enough_rows_of_a_class():
    p, y = problem(400, 1, 3)
    fold = np.arange(400)[None] % 4
    for fewest, has_interval in ((ranges.FEWEST_OF_FOLD, True), (ranges.FEWEST_OF_FOLD - 1, False)):
        target = y.copy()
        target[fold[0] == 2] = np.arange(100) < fewest
        rows = Rows(p[None].astype(np.float32), target, 1, None, fold)
        for name, expected in (("average_precision", has_interval), ("roc_auc", True)):
            phi = metrics.contributions(name, rows.probability, target, 1, fold=fold)
            assert (None not in ranges.reported(name, phi, rows, np.array([200, 200]))) == expected
            together = metrics.contributions(name, rows.probability, target)
            assert None not in ranges.reported(name, together, rows._replace(fold=None), np.array([200, 200]))
