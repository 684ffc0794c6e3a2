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
    assert found["log_loss"].verdict == "worse"
    softer = base._replace(probability=base.probability * np.float32(0.5) + np.float32(0.25))
    for found in differences.compare(base, softer, [name for name in metrics.OF_TWO if name not in metrics.LOSSES]):
        assert (found.difference, found.verdict) == (0.0, "no difference")
        assert found.low < 0 < found.high  # rows on which they part may yet come


def test_recall_is_the_accuracy_of_a_class_and_has_its_least_variance():
    base, _ = two(share=0.2)
    of_class = [
        differences.least_variance("accuracy", Rows(base.probability[:, here], base.target[here]), int(here.sum()))
        for here in (base.target == 0, base.target == 1)
    ]
    assert differences.least_variance("recall", base, 300) == pytest.approx(of_class[1])
    assert differences.least_variance("macro_recall", base, 300) == pytest.approx(sum(of_class) / 4)


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


# ---- several metrics at once


def test_all_of_several_correlated_means_are_held_with_95_percent():
    rng = np.random.default_rng(1)
    mixing = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.3, 0.3, 0.9]])
    phis = list(np.einsum("ij,jrn->irn", mixing, rng.normal(size=(3, 5, 200))))
    alpha = 1 - differences.level_of_each(phis, None, 0.95)
    s = differences.covariance(phis, None)
    deviation = np.sqrt(s.diagonal())
    normal = stats.multivariate_normal(np.zeros(3), s / np.outer(deviation, deviation))
    reach = stats.norm.isf(alpha / 2)
    inside = normal.cdf([reach] * 3, lower_limit=[-reach] * 3)
    assert inside == pytest.approx(0.95, abs=0.004)
    assert 0.05 / 3 < alpha < 0.05


def test_metrics_that_say_the_same_need_no_more_than_one_does():
    phi = np.random.default_rng(2).normal(size=(4, 100))
    assert 1 - differences.level_of_each([phi, 2 * phi, np.zeros((4, 100))], None, 0.95) == pytest.approx(
        0.0253, abs=0.003
    )
    assert 1 - differences.level_of_each([phi, 2 * phi], None, 0.95) == pytest.approx(0.05, abs=0.004)
    assert 1 - differences.level_of_each([phi], None, 0.95) == pytest.approx(0.05)


# ---- rows, labels, ensembles


def test_rows_that_stand_three_times_say_no_more_than_once():
    base, other = two(better=-0.4, n=120)
    thrice = [
        side._replace(probability=np.repeat(side.probability, 3, axis=1), target=np.repeat(side.target, 3))
        for side in (base, other)
    ]
    grouped = [side._replace(group=np.repeat(np.arange(120), 3) * 17) for side in thrice]
    once, counted, alone = (differences.compare(*pair, ["log_loss"])[0] for pair in ((base, other), grouped, thrice))
    assert counted.high - counted.low == pytest.approx(once.high - once.low, rel=0.15)
    assert alone.high - alone.low < 0.75 * (once.high - once.low)
    shuffled = np.random.default_rng(0).permutation(360)
    moved = [Rows(side.probability[:, shuffled], side.target[shuffled], 1, side.group[shuffled]) for side in grouped]
    assert differences.compare(*moved, ["log_loss"])[0][1:7] == pytest.approx(counted[1:7])


def test_a_surer_model_is_not_better_because_its_errors_have_not_come():
    """All 60 rows are right at 0.99 and at 0.99999: the rows have not shown whether the latter is right to be sure."""
    target = np.arange(60) % 2
    sides = [Rows(np.where(target == 1, p, 1 - p).astype(np.float32)[None, :, None].repeat(4, 0), target)
             for p in (0.99, 0.99999)]  # fmt: skip
    (found,) = differences.compare(*sides, ["log_loss"])
    assert (found.difference < 0, found.verdict) == (True, "no evidence")


def test_the_ensemble_and_the_model_file_have_intervals_of_their_own():
    base, other = two(better=-0.8)
    of = {of: {d.metric: d for d in differences.compare(base, other, ALL, of)} for of in differences.OF}
    everyone = [metrics.ensemble(side.probability)[None] for side in (base, other)]
    for name in ALL:
        values = [metrics.reported(name, metrics.contributions(name, p, base.target)) for p in everyone]
        assert (of["ensemble"][name].base, of["ensemble"][name].other) == pytest.approx(values)
        first = metrics.reported(name, metrics.contributions(name, other.probability[:1], base.target))
        assert of["network"][name].other == pytest.approx(first)
        assert of["network"][name].estimate.networks == 1
    assert of["ensemble"]["log_loss"].verdict == of["network"]["log_loss"].verdict == "worse"


def test_what_an_ensemble_owes_to_its_networks_is_the_jackknife_that_leaves_one_out():
    base, _ = two(networks=5)
    found = differences.side(base, "log_loss", "ensemble").phi
    left = [metrics.ensemble(np.delete(base.probability, r, axis=0))[None] for r in range(5)]
    left = np.array([metrics.contributions("log_loss", p, base.target).mean() for p in left])
    assert intervals.estimate(found).v_seed == pytest.approx(4 / 5 * ((left - left.mean()) ** 2).sum(), rel=1e-3)
    everyone = metrics.contributions("log_loss", metrics.ensemble(base.probability)[None], base.target)
    np.testing.assert_allclose(found.mean(axis=0), everyone[0], atol=1e-12)


def test_a_metric_that_is_not_defined_has_no_verdict_and_the_others_theirs():
    rng = np.random.default_rng(0)
    target = np.zeros(40, np.int32)
    base, other = (Rows(rng.random((4, 40, 1)).astype(np.float32), target) for _ in range(2))
    judged = differences.compare(base, other, ["roc_auc", "log_loss", "average_precision"])
    assert [(d.metric, d.verdict, d.why) for d in judged[::2]] == [
        ("roc_auc", "no verdict", "a class has no rows"),
        ("average_precision", "no verdict", "a class has no rows"),
    ]
    assert judged[1].metric == "log_loss" and np.isfinite(judged[1].difference)
    assert [d.verdict for d in differences.compare(base, other, ["roc_auc"])] == ["no verdict"]
