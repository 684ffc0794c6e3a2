"""Two sides, judged: against scipy's paired t test, statsmodels' and published formulas, and by simulation."""

import numpy as np
import pytest
from scipy import stats

from plumbline.scores import differences, intervals, metrics
from plumbline.scores.differences import Rows

ALL = ("accuracy", "log_loss", "roc_auc", "brier")


def two(n=300, networks=6, better=0.0, seed=0, share=0.5):
    """Two sides of R networks each on the same rows of two classes: the same signal, and noise of their own."""
    rng = np.random.default_rng(seed)
    target = (rng.uniform(size=n) < share).astype(int)
    signal = rng.normal(2.0 * target - 1.0, 1.0)
    sides = []
    for skill in (1.0, 1.0 + better):
        z = skill * 2.0 * signal + np.log(share / (1 - share)) + rng.normal(size=(networks, n)) * 0.5
        sides.append(Rows((1 / (1 + np.exp(-z))).astype(np.float32)[..., None], target))
    return sides


def test_a_single_network_is_judged_by_rows_alone_as_the_paired_t_test_does():
    base, other = two(networks=1, better=-0.5)
    phi = [metrics.contributions("log_loss", side.probability, side.target)[0] for side in (base, other)]
    (found,) = differences.compare(base, other, ["log_loss"])
    expected = stats.ttest_rel(phi[0], phi[1])
    assert found.difference == pytest.approx(phi[0].mean() - phi[1].mean())
    alone = intervals.estimate(phi[1][None] - phi[0][None])
    assert alone.v_row == pytest.approx((found.difference / expected.statistic) ** 2)
    assert found.estimate.v_row >= alone.v_row
    assert (found.verdict, found.why[:9]) == ("no verdict", "1 network")
    (found,) = differences.compare(base, other, ["log_loss"], of="network")
    assert found.verdict in ("worse", "no evidence")


def test_a_loss_is_told_in_the_sign_that_files_have():
    base, other = two(better=-0.8)
    found = {d.metric: d for d in differences.compare(base, other, ALL)}
    assert found["log_loss"].base == pytest.approx(-metrics.contributions("log_loss", *base[:2]).mean())
    assert found["log_loss"].difference > 0 > found["roc_auc"].difference
    assert found["log_loss"].verdict == found["roc_auc"].verdict == "worse"
    assert {d.verdict for d in differences.compare(other, base, ["log_loss"])} == {"better"}


def test_a_base_of_one_network_stands_beside_every_network():
    base, other = two(better=0.5)
    one = base._replace(probability=base.probability[:1])
    every = base._replace(probability=np.repeat(base.probability[:1], 6, axis=0))
    for found, expected in zip(*(differences.compare(side, other, ALL) for side in (one, every))):
        assert found[1:7] == pytest.approx(expected[1:7])


def test_identical_differs_from_no_difference_on_these_rows():
    base, _ = two()
    assert {d.verdict for d in differences.compare(base, base, ALL)} == {"identical"}
    surer = base._replace(probability=(base.probability > 0.5) * np.float32(0.2) + np.float32(0.4))
    found = {d.metric: d for d in differences.compare(base, surer, ALL)}
    assert found["accuracy"].verdict == "no difference"
    assert found["accuracy"].low < 0 < found["accuracy"].high  # rows on which they part may yet come
    assert found["log_loss"].verdict == "worse"


def test_why_there_is_no_verdict():
    base, other = two(networks=2)
    assert {d.why for d in differences.compare(base, other, ALL)} == {
        "2 networks, and 3 are needed to tell how seeds differ"
    }
    base, other = two(share=0.01)
    assert base.target.sum() < 5
    assert {d.verdict for d in differences.compare(base, other, ALL)} == {"no verdict"}
    assert "of a class, and 5 are needed" in differences.compare(base, other, ALL)[0].why
    base, other = two()
    one = np.zeros(300, int)
    assert {d.why for d in differences.compare(base._replace(group=one), other, ALL)} == {"1 group of rows"}
