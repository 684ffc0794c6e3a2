"""Metrics against scikit-learn, and DeLong's placements against their definition and his published example."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sklearn

from plumbline.scores import intervals, metrics


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
    full, answer = metrics.by_class(p), metrics.predicted(p)
    full /= full.sum(axis=1, keepdims=True)
    macro = {"average": "macro", "zero_division": 0, "labels": np.arange(max(k, 2))}
    expected = {
        "accuracy": sklearn.accuracy_score(y, answer),
        "log_loss": -sklearn.log_loss(y, full),
        "brier": -(sklearn.brier_score_loss(y, p[:, 0]) if k == 1 else sklearn.brier_score_loss(y, full)),
        "roc_auc": sklearn.roc_auc_score(y, p[:, 0]) if k == 1 else sklearn.roc_auc_score(y, full, multi_class="ovr"),
        "precision": sklearn.precision_score(y, answer, **macro),
        "recall": sklearn.recall_score(y, answer, **macro),
        "f1": sklearn.f1_score(y, answer, **macro),
    }
    assert metrics.defined(y, max(k, 2)) == list(metrics.METRICS) == list(expected)
    for name, value in expected.items():
        phi = metrics.contributions(name, p[None], y)
        assert phi.shape == (1, n)
        assert phi.mean() == pytest.approx(value, rel=1e-6, abs=1e-9), name
        assert metrics.reported(name, phi) == pytest.approx(abs(value), rel=1e-6, abs=1e-9)


def test_auc_is_not_defined_when_a_class_has_no_row():
    assert "roc_auc" not in metrics.defined(np.zeros(20, int), 2)
    assert "roc_auc" not in metrics.defined(np.arange(20) % 2, 3)
    assert "roc_auc" in metrics.defined(np.arange(20) % 2, 2)


@pytest.mark.parametrize("name", metrics.METRICS)
@pytest.mark.parametrize("k", [1, 3])
def test_every_network_has_its_own_contributions_in_whatever_pieces_they_are_made(name, k, monkeypatch):
    problems = [problem(100, k, seed, ties=True) for seed in range(3)]
    p, y = np.stack([p for p, _ in problems]), problems[0][1]
    whole, out = metrics.contributions(name, p, y), np.empty((3, 100))
    monkeypatch.setattr(metrics, "RANKED", 13)
    monkeypatch.setattr(metrics.pieces, "__defaults__", (7,))
    assert metrics.contributions(name, p, y, out) is out
    np.testing.assert_allclose(out, whole, rtol=1e-12)
    for network, phi in zip(p, out):
        np.testing.assert_array_equal(metrics.contributions(name, network[None], y)[0], phi)


@pytest.mark.parametrize("k", [1, 4])
def test_influence_functions_are_the_derivatives_of_the_ratios(k):
    """phi less its mean is how a ratio moves when a row is counted a little more, times n: by finite differences."""
    p, y = problem(40, k, 7)
    answer, n = metrics.predicted(p), len(y)
    classes = np.arange(max(k, 2))

    def ratio(name, weight):
        function = {"precision": sklearn.precision_score, "recall": sklearn.recall_score, "f1": sklearn.f1_score}[name]
        return function(y, answer, average="macro", zero_division=0, labels=classes, sample_weight=weight)

    for name in ("precision", "recall", "f1"):
        phi = metrics.contributions(name, p[None], y)[0]
        for row in range(n):
            step = 1e-6 * (np.arange(n) == row)
            slope = (ratio(name, 1 + step) - ratio(name, 1 - step)) / 2e-6
            assert phi[row] - phi.mean() == pytest.approx(n * slope, abs=1e-6)


def test_log_loss_is_finite_at_0_and_1():
    p = np.array([[0.0], [1.0], [0.0], [1.0]], np.float32)
    losses = metrics.log_losses(p, np.array([0, 1, 1, 0]))
    np.testing.assert_allclose(losses, [0, 0, 149 * np.log(2), 25 * np.log(2)])


def test_sums_over_rows_are_those_of_the_single_losses():
    p, y = problem(50, 3, 1)
    expected = [[metrics.log_losses(p, y).sum(), (metrics.predicted(p) == y).sum()]] * 2
    np.testing.assert_array_equal(metrics.loss_and_right(np.stack([p, p]), y), expected)


def test_the_ensemble_is_the_mean_of_all_networks():
    p = np.stack([problem(30, 3, seed)[0] for seed in range(5)])
    np.testing.assert_allclose(metrics.ensemble(p), p.mean(axis=0, dtype=np.float64), rtol=1e-7)
    np.testing.assert_array_equal(metrics.ensemble(p[:1]), p[0])


def test_confusion_is_scikit_learns():
    p, y = problem(100, 5, 0)
    counts = metrics.confusion(p, y.astype(np.int32))
    np.testing.assert_array_equal(counts, sklearn.confusion_matrix(y, metrics.predicted(p), labels=range(5)))


@pytest.mark.parametrize("counts", [[30, 70], [70, 30], [5, 80, 15], [10, 0, 90]])
def test_the_baseline_gives_the_shares_of_the_training_classes(counts):
    y = np.arange(60) % len(counts)
    shares = np.maximum(np.array(counts) / 100, metrics.SMALLEST)
    baseline = metrics.always(counts, y)
    assert baseline["accuracy"] == (y == np.argmax(counts)).mean()
    assert baseline["log_loss"] == pytest.approx(-np.log(shares[y]).mean())


@settings(deadline=None)
@given(arrays(np.float32, st.integers(1, 300), elements=st.floats(-2, 2, width=32)), st.integers(1, 100), st.data())
def test_rows_go_by_their_scores_and_equal_ones_together(score, ranked, data):
    positive = data.draw(arrays(bool, len(score)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "RANKED", ranked)
        pieces = list(metrics.by_score(score, positive))
    order = np.concatenate([row for row, _ in pieces])
    np.testing.assert_array_equal(order, np.argsort(score + np.float32(0), kind="stable"))
    different = np.unique(score)
    groups = [[((score == s) & ~positive).sum(), ((score == s) & positive).sum()] for s in different]
    np.testing.assert_array_equal(np.concatenate([of for _, of in pieces]), groups)


def test_many_scores_are_ranked_as_numpy_ranks_them():
    score = np.random.default_rng(0).random(300_000).astype(np.float32).round(4)
    order = np.concatenate([row for row, _ in metrics.by_score(score, score > 0.5)])
    np.testing.assert_array_equal(order, np.argsort(score, kind="stable"))


PAIRS = st.lists(st.tuples(st.sampled_from([-0.5, -0.0, 0.0, 0.1, 0.25, 0.5, 1.0]), st.booleans()), min_size=2)


@settings(deadline=None)
@given(PAIRS)
def test_placements_are_delongs_pair_by_pair(pairs):
    """With ties, and minus zero as zero."""
    score, positive = np.float32([s for s, _ in pairs]), np.array([t for _, t in pairs])
    if positive.all() or not positive.any():
        return
    above = (score[positive][:, None] > score[~positive]) + 0.5 * (score[positive][:, None] == score[~positive])
    area, n = above.mean(), len(score)
    expected = np.empty(n)
    expected[positive] = area + n / positive.sum() * (above.mean(axis=1) - area)
    expected[~positive] = area + n / (~positive).sum() * (above.mean(axis=0) - area)
    np.testing.assert_allclose(metrics.auc_contributions(score, positive), expected, atol=1e-12)


def test_placements_give_delongs_variance():
    """S10 / m + S01 / n of DeLong et al. 1988, equation 5, from the definition of the placements, pair by pair."""
    p, y = problem(60, 1, 3, ties=True)
    score, positive = p[:, 0], y == 1
    psi = (score[positive][:, None] > score[~positive]) + 0.5 * (score[positive][:, None] == score[~positive])
    m, n = psi.shape
    delong = psi.mean(axis=1).var(ddof=1) / m + psi.mean(axis=0).var(ddof=1) / n
    phi = metrics.auc_contributions(score, positive)
    # The contributions' sample variance counts each group with its divisor n - 1 for all rows, not m - 1 and n - 1.
    ours = ((phi[positive] - psi.mean()) ** 2).sum() / (m + n) ** 2 * m / (m - 1)
    ours += ((phi[~positive] - psi.mean()) ** 2).sum() / (m + n) ** 2 * n / (n - 1)
    assert ours == pytest.approx(delong, rel=1e-12)
    assert phi.var(ddof=1) / (m + n) == pytest.approx(delong, rel=0.05)


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
        "albumin": metrics.auc_contributions(-albumin, positive),
        "protein": metrics.auc_contributions(-protein, positive),
        "score": metrics.auc_contributions(score, positive),
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
        ours = intervals.estimate(d[None]).variance ** 0.5
        assert ours == pytest.approx(error, rel=0.06)
