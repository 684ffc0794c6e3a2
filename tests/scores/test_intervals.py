"""Intervals against scipy, statsmodels, the analysis of variance, brute force and simulation."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
from conftest import ROOT

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


# ---- groups


GROUPS = [np.repeat(np.arange(4), 3), np.array([0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 3])]
Y = np.array([[3.0, 5, 2, 8, 7, 1, 4, 6, 6, 9, 2, 5]])


def test_groups_of_one_size_have_the_variance_that_statsmodels_has():
    """OLS(Y, 1).fit(cov_type="cluster", cov_kwds={"groups": ...}) of statsmodels 0.15.0."""
    assert intervals.estimate(Y, group=GROUPS[0]).v_row == pytest.approx(0.25)
    assert intervals.estimate(Y, group=GROUPS[1]).v_row == pytest.approx(0.6651234567901239, rel=0.1)  # uneven


@pytest.mark.parametrize("group", GROUPS)
def test_the_variance_over_groups_is_the_jackknifes(group):
    without = np.array([Y[0][group != g].mean() for g in range(4)])
    found = intervals.estimate(Y, group=group)
    assert found.v_row == pytest.approx(3 / 4 * ((without - Y.mean()) ** 2).sum())
    assert (found.n, found.mean) == (4, Y.mean())


def test_groups_of_one_row_are_no_groups_and_of_equal_rows_are_one_row():
    phi = np.random.default_rng(5).normal(size=(4, 30))
    plain = intervals.estimate(phi)
    assert intervals.estimate(phi, group=np.random.default_rng(6).permutation(30)) == pytest.approx(plain, rel=1e-9)
    thrice = intervals.estimate(np.repeat(phi, 3, axis=1), group=np.repeat(np.arange(30), 3))
    assert thrice == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize("likeness", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("sizes", [[4] * 9, [50, 3, 2, 1, 4, 7, 1]])
def test_degrees_of_freedom_of_uneven_groups_are_those_of_the_quadratic_form(sizes, likeness):
    sizes = np.array(sizes)
    count, share = len(sizes), sizes / sizes.sum()
    residuals = np.eye(count) - np.outer(share, np.ones(count))
    form = residuals.T @ np.diag(1 / (1 - share) ** 2) @ residuals
    spread = form @ np.diag(sizes * (1 + (sizes - 1) * likeness))
    expected = np.trace(spread) ** 2 / np.trace(spread @ spread)
    assert intervals._freedom_of_groups(sizes, likeness) == pytest.approx(expected)
    if len(set(sizes)) == 1:
        assert expected == pytest.approx(count - 1)


def test_one_group_has_no_interval():
    assert np.isnan(intervals.estimate(Y, group=np.zeros(12, int)).student()).all()


def test_groups_by_any_numbers_and_each_row_its_own():
    assert intervals.numbered(np.array([7, -3, 7, 10**12])).tolist() == [1, 0, 1, 2]
    assert intervals.numbered(np.array([5, 3, 9])) is None is intervals.numbered(None)


# ---- ranked rows and rare classes


def test_placements_divide_as_delong_has_them_and_a_rare_class_has_few_degrees_of_freedom():
    rng = np.random.default_rng(7)
    y = np.r_[np.ones(6, int), np.zeros(80, int)]
    score = rng.normal(y, 1.0).astype(np.float32)
    wins = (score[y == 1][:, None] > score[y == 0]) + 0.5 * (score[y == 1][:, None] == score[y == 0])
    of_one, of_zero = wins.mean(axis=1).var(ddof=1) / 6, wins.mean(axis=0).var(ddof=1) / 80
    phi = metrics.contributions("roc_auc", score[None, :, None], y)
    found = intervals.estimate(phi, y, is_ranked=True)
    assert (found.mean, found.v_row) == (pytest.approx(wins.mean()), pytest.approx(of_one + of_zero))
    expected = (of_one + of_zero) ** 2 / (of_one**2 / 5 + of_zero**2 / 79)
    assert found.df_row == pytest.approx(expected)


# ---- how many more


def test_twice_the_rows_or_the_networks_make_it_as_narrow_as_the_larger_design_is():
    rng, widths = np.random.default_rng(8), {}

    def drawn(r, n):
        phi = 0.15 * rng.normal(size=(r, 1)) + rng.normal(size=(1, n)) + rng.normal(size=(r, n))
        return intervals.estimate(phi)

    for design in ((8, 60), (8, 120), (16, 60)):
        widths[design] = np.mean([drawn(*design).half_width for _ in range(150)])
    told = np.mean([intervals.width_at_twice(drawn(8, 60)) for _ in range(150)], axis=0)
    expected = widths[8, 120] / widths[8, 60], widths[16, 60] / widths[8, 60]
    assert told == pytest.approx(expected, abs=0.05)
    assert intervals.width_at_twice(drawn(2, 60)) is None


def test_the_rows_that_a_width_needs_are_the_fewest():
    phi = np.random.default_rng(9).normal(size=(1, 50)) + np.zeros((4, 1))
    now = intervals.estimate(phi)
    need = intervals.rows_needed(now, 0.05)
    assert intervals.larger(now, rows=need / 50).half_width <= 0.05
    assert intervals.larger(now, rows=need / 50 * 0.99).half_width > 0.05
    assert intervals.rows_needed(now, 10.0) == 50
    seeds = intervals.estimate(np.arange(4.0)[:, None] + np.zeros((4, 50)))
    assert intervals.rows_needed(seeds, 0.05) is None


def test_out_of_fold_rows_have_the_corrected_variance_of_many_repetitions():
    """Nadeau and Bengio's (1 / J + n_test / n_train) S^2 as J grows, S^2 the variance of a fold's mean."""
    rows, folds = np.random.default_rng(3).normal(size=(1, 600)), 5
    fold = np.arange(600)[None] % folds
    plain = intervals.estimate(rows)
    of_fold = rows.var(ddof=1) / (600 / folds)
    corrected = intervals.cross_fitted(plain, fold)
    assert corrected.v_row == pytest.approx((1 / 1e12 + (600 / folds) / (600 - 600 / folds)) * of_fold)
    assert corrected._replace(v_row=plain.v_row) == plain
    assert intervals.cross_fitted(plain, None) == intervals.cross_fitted(plain, 0 * fold) == plain


@pytest.mark.parametrize("right, n", [(0, 7), (3, 10), (50, 60), (12, 12), (1, 1000)])
def test_a_shares_interval_is_wilsons(right, n):
    low, high = scipy.stats.binomtest(right, n).proportion_ci(method="wilson")
    assert intervals.wilson(right / n, n) == pytest.approx((low, high), abs=1e-12)


def test_scipys_functions_come_without_what_wraps_them():
    """And scipy.special itself is whole for whoever imports it later."""
    code = "import sys; from plumbline.scores.special import stdtr; assert 'scipy.special' not in sys.modules;"
    code += "import scipy.special as s; assert s.stdtr(3.3, 1.2) == stdtr(3.3, 1.2); s.softmax([1.0])"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
