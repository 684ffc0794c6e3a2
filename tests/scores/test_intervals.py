"""Intervals against scipy, the analysis of variance and simulation."""

import numpy as np
import pytest
import scipy.stats

from plumbline.scores import intervals, metrics


def test_one_network_has_the_t_interval_over_rows():
    phi = np.random.default_rng(1).normal(size=(1, 40))
    expected = scipy.stats.ttest_1samp(phi[0], 0).confidence_interval(0.95)
    estimated = intervals.estimate(phi)
    p = scipy.stats.ttest_1samp(phi[0], 0).pvalue
    assert estimated.student() == pytest.approx((expected.low, expected.high, p), rel=1e-12)
    assert estimated.mean == pytest.approx(phi.mean())


def test_two_way_components_are_those_of_the_analysis_of_variance():
    """With crossed random effects the mean squares come from a two-way layout, here computed with explicit effects."""
    rng = np.random.default_rng(2)
    r, n = 6, 30
    phi = rng.normal(size=(r, 1)) + rng.normal(size=(1, n)) + rng.normal(size=(r, n))
    design = np.hstack([np.kron(np.eye(r), np.ones((n, 1))), np.kron(np.ones((r, 1)), np.eye(n))])
    residual = phi.ravel() - design @ np.linalg.lstsq(design, phi.ravel(), rcond=None)[0]
    ms_both = (residual**2).sum() / ((r - 1) * (n - 1))
    ms_row = r * ((phi.mean(axis=0) - phi.mean()) ** 2).sum() / (n - 1)
    ms_seed = n * ((phi.mean(axis=1) - phi.mean()) ** 2).sum() / (r - 1)
    v = max(ms_row, ms_seed, ms_row + ms_seed - ms_both) / (r * n)
    df = v**2 / ((ms_row / (r * n)) ** 2 / (n - 1) + (ms_seed / (r * n)) ** 2 / (r - 1))
    mean, (low, high, _) = phi.mean(), intervals.estimate(phi).student()
    assert high - mean == pytest.approx(scipy.stats.t.ppf(0.975, df) * np.sqrt(v), rel=1e-9)
    assert mean - low == pytest.approx(high - mean)


def test_intervals_cover_about_as_often_as_they_say():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(600):
        phi = 0.3 * rng.normal(size=(8, 1)) + rng.normal(size=(1, 50)) + rng.normal(size=(8, 50))
        low, high, _ = intervals.estimate(phi).student()
        covered += low <= 0.0 <= high
    assert 0.92 <= covered / 600 <= 0.99


def test_equal_contributions_have_a_point_and_one_row_has_no_interval():
    assert intervals.estimate(np.ones((4, 10))).student() == (1.0, 1.0, 0.0)
    estimated = intervals.estimate(np.array([[0.5], [0.7]]))
    assert estimated.mean == pytest.approx(0.6)
    assert np.isnan(estimated.student()).all()


def test_sums_of_squares_do_not_depend_on_how_large_a_table_is_worked_through(monkeypatch):
    phi = np.random.default_rng(4).normal(size=(5, 1000))
    whole = intervals.estimate(phi)
    monkeypatch.setattr(metrics.pieces, "__defaults__", (17,))
    assert intervals.estimate(phi) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("right, n", [(0, 7), (3, 10), (50, 60), (12, 12), (1, 1000)])
def test_a_shares_interval_is_wilsons(right, n):
    low, high = scipy.stats.binomtest(right, n).proportion_ci(method="wilson")
    assert intervals.wilson(right / n, n) == pytest.approx((low, high), abs=1e-12)
