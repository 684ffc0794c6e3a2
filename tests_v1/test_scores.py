"""Metrics against scikit-learn, intervals against scipy and simulation, DeLong's variance against its definition."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from stages import comparison, scores


def problem(n, k, seed, ties=False):
    """Probabilities (n, k or 1) that know something of the target, and the target; every class occurs."""
    rng = np.random.default_rng(seed)
    classes = max(k, 2)
    target = np.r_[np.arange(classes), rng.integers(0, classes, n - classes)]
    logits = rng.normal(size=(n, k)) + 1.5 * (np.arange(k) == target[:, None] if k > 1 else target[:, None] - 0.5)
    if ties:
        logits = np.round(logits)
    p = 1 / (1 + np.exp(-logits)) if k == 1 else np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return p.astype(np.float32), target


@settings(deadline=None, max_examples=60)
@given(n=st.integers(8, 120), k=st.sampled_from([1, 3, 6]), seed=st.integers(0, 10**6), ties=st.booleans())
def test_means_of_contributions_are_scikit_learns_metrics(n, k, seed, ties):
    p, y = problem(n, k, seed, ties)
    full, answer = scores.by_class(p), scores.predicted(p)
    full /= full.sum(axis=1, keepdims=True)
    macro = {"average": "macro", "zero_division": 0, "labels": np.arange(max(k, 2))}
    expected = {
        "accuracy": metrics.accuracy_score(y, answer),
        "log_loss": -metrics.log_loss(y, full),
        "brier": -(metrics.brier_score_loss(y, p[:, 0]) if k == 1 else metrics.brier_score_loss(y, full)),
        "roc_auc": metrics.roc_auc_score(y, p[:, 0]) if k == 1 else metrics.roc_auc_score(y, full, multi_class="ovr"),
        "precision": metrics.precision_score(y, answer, **macro),
        "recall": metrics.recall_score(y, answer, **macro),
        "f1": metrics.f1_score(y, answer, **macro),
    }
    phi = scores.contributions(p[None], y)
    assert phi.keys() == expected.keys()
    for name, values in phi.items():
        assert values.shape == (1, n)
        assert values.mean() == pytest.approx(expected[name], rel=1e-6, abs=1e-9), name


def test_a_metric_that_is_not_defined_is_left_out():
    p, _ = problem(20, 1, 0)
    assert "roc_auc" not in scores.contributions(p[None], np.zeros(20, int))
    assert "roc_auc" in scores.contributions(p[None], np.arange(20) % 2)
    assert list(scores.contributions(p[None], np.arange(20) % 2, ["brier"])) == ["brier"]


def test_log_loss_is_finite_at_0_and_1():
    p = np.array([[0.0], [1.0], [0.0], [1.0]], np.float32)
    losses = scores.log_losses(p, np.array([0, 1, 1, 0]))
    np.testing.assert_allclose(losses, [0, 0, 149 * np.log(2), 25 * np.log(2)])


def test_placements_give_delongs_variance():
    """S10 / m + S01 / n of DeLong et al. 1988, equation 5, from the definition of the placements, pair by pair."""
    p, y = problem(60, 1, 3, ties=True)
    score, positive = p[:, 0], y == 1
    psi = (score[positive][:, None] > score[~positive]) + 0.5 * (score[positive][:, None] == score[~positive])
    m, n = psi.shape
    delong = psi.mean(axis=1).var(ddof=1) / m + psi.mean(axis=0).var(ddof=1) / n
    phi = scores.auc_contributions(score, positive)
    # The contributions' sample variance counts each group with its divisor n - 1 for all rows, not m - 1 and n - 1.
    ours = ((phi[positive] - psi.mean()) ** 2).sum() / (m + n) ** 2 * m / (m - 1)
    ours += ((phi[~positive] - psi.mean()) ** 2).sum() / (m + n) ** 2 * n / (n - 1)
    assert ours == pytest.approx(delong, rel=1e-12)
    assert phi.var(ddof=1) / (m + n) == pytest.approx(delong, rel=0.05)


def test_one_network_has_the_t_interval_over_rows():
    phi = np.random.default_rng(1).normal(size=(1, 40))
    expected = scipy.stats.ttest_1samp(phi[0], 0).confidence_interval(0.95)
    estimated = scores.estimate(phi)
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
    mean, (low, high, _) = phi.mean(), scores.estimate(phi).student()
    assert high - mean == pytest.approx(scipy.stats.t.ppf(0.975, df) * np.sqrt(v), rel=1e-9)
    assert mean - low == pytest.approx(high - mean)


def test_intervals_cover_about_as_often_as_they_say():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(600):
        phi = 0.3 * rng.normal(size=(8, 1)) + rng.normal(size=(1, 50)) + rng.normal(size=(8, 50))
        low, high, _ = scores.estimate(phi).student()
        covered += low <= 0.0 <= high
    assert 0.92 <= covered / 600 <= 0.99


def test_equal_contributions_have_a_point_and_one_row_has_no_interval():
    assert scores.estimate(np.ones((4, 10))).student() == (1.0, 1.0, 0.0)
    estimated = scores.estimate(np.array([[0.5], [0.7]]))
    assert estimated.mean == pytest.approx(0.6)
    assert np.isnan(estimated.student()).all()


def sides(networks=8, n=60, shift=0.0, seed=0):
    """Contributions of two revisions on the same rows and seeds."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(1, n)) + 0.2 * rng.normal(size=(networks, 1)) + 0.3 * rng.normal(size=(networks, n))
    return base, base + shift + 0.1 * rng.normal(size=(networks, n)) + 0.1 * rng.normal(size=(1, n))


def test_a_difference_of_one_network_is_scipys_paired_t_test():
    base, other = sides(networks=1, shift=0.05)
    expected = scipy.stats.ttest_rel(other[0], base[0])
    d = comparison.compare(base, other, "accuracy", comparisons=1)
    assert d.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (d.low, d.high) == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-9)
    assert d.verdict == "one network"


def test_unpaired_sides_of_one_network_are_scipys_welch_test():
    base, other = sides(networks=1, shift=0.5)
    other = other[:, :40]
    expected = scipy.stats.ttest_ind(other[0], base[0], equal_var=False)
    d = comparison.compare_unpaired(base, other, "accuracy", comparisons=1)
    assert d.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (d.low, d.high) == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-9)
    assert d.verdict == "not paired"


def test_the_correction_is_bonferronis():
    base, other = sides(shift=0.05)
    one, four = (comparison.compare(base, other, "accuracy", m) for m in (1, 4))
    assert four.p == pytest.approx(min(1, 4 * one.p))
    assert (four.low, four.high) == pytest.approx(one.estimate.student(1 - 0.05 / 4)[:2])
    assert four.low < one.low < one.high < four.high


@pytest.mark.parametrize("shift, verdict", [(0.5, "better"), (-0.5, "worse"), (0.0, "no evidence")])
def test_verdicts_and_the_signs_that_files_have(shift, verdict):
    base, other = sides(shift=shift)
    gain = comparison.compare(base, other, "accuracy", 4)
    loss = comparison.compare(base, other, "log_loss", 4)
    assert gain.verdict == loss.verdict == verdict
    assert gain.low < gain.difference < gain.high
    assert (loss.difference, loss.low, loss.high) == (-gain.difference, -gain.high, -gain.low)
    assert loss.other - loss.base == pytest.approx(loss.difference)


def test_no_difference_is_identical_and_one_row_is_no_evidence():
    base, other = sides()
    d = comparison.compare(base, base.copy(), "brier", 4)
    assert (d.verdict, d.p, d.low, d.high, str(d.difference)) == ("identical", 1.0, 0.0, 0.0, "0.0")
    assert comparison.compare(base[:, :1], other[:, :1], "accuracy", 4).verdict == "no evidence"


def test_verdicts_of_no_change_are_rare_in_simulation():
    """Both sides from one distribution, with rows, seeds and their crossing: called different in at most 5 %."""
    rng = np.random.default_rng(5)
    called = 0
    for _ in range(800):
        rows = rng.normal(size=(1, 60))
        base, other = (
            rows + 0.2 * rng.normal(size=(6, 1)) + 0.1 * rng.normal(size=(1, 60)) + 0.5 * rng.normal(size=(6, 60))
            for _ in range(2)
        )
        called += comparison.compare(base, other, "accuracy", 1).verdict != "no evidence"
    assert called / 800 <= 0.065


# DeLong et al.'s own example: 43 of their ovarian cancer patients with all three tests, as SAS/STAT's documentation of
# PROC LOGISTIC lists them (albumin, total protein, K-G score, and 0 where surgery did not help), with its results.
DELONG = """
3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1 3.8 5.7 5 1 3.7 6.7 6 1
3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0 4.0 6.6 6 0 3.5 5.8 6 1
3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1 4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1
3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1 2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1
3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1
"""


def standard_error(phi, positive):
    """DeLong's, with each group's own divisor."""
    parts = ((phi[group], group.sum()) for group in (positive, ~positive))
    return np.sqrt(sum(((p - phi.mean()) ** 2).sum() / len(phi) ** 2 * m / (m - 1) for p, m in parts))


def test_delongs_published_example():
    albumin, protein, score, helped = np.array(DELONG.split(), float).reshape(-1, 4).T
    positive = helped == 0
    phi = {
        "albumin": scores.auc_contributions(-albumin, positive),
        "protein": scores.auc_contributions(-protein, positive),
        "score": scores.auc_contributions(score, positive),
    }
    published = {"albumin": (0.7366, 0.0927), "score": (0.7258, 0.1028), "protein": (0.6478, 0.1000)}
    for name, (area, error) in published.items():
        assert phi[name].mean() == pytest.approx(area, abs=5e-5)
        assert standard_error(phi[name], positive) == pytest.approx(error, abs=5e-5)
    for name, (difference, error) in {"albumin": (0.0108, 0.0953), "protein": (-0.0780, 0.1046)}.items():
        d = phi[name] - phi["score"]
        assert d.mean() == pytest.approx(difference, abs=6e-5)
        assert standard_error(d, positive) == pytest.approx(error, abs=6e-5)
        # The interval that compare takes has one divisor for all rows; with 43 rows that is within a few percent.
        ours = scores.estimate(d[None]).variance ** 0.5
        assert ours == pytest.approx(error, rel=0.06)
