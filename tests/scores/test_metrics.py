"""Metrics against scikit-learn, row by row and in the mean."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from plumbline.scores import intervals, metrics, ranking


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


@settings(max_examples=60)
@given(
    n=st.integers(8, 120),
    k=st.sampled_from([1, 3, 6]),
    seed=st.integers(0, 10**6),
    ties=st.booleans(),
    positive=st.integers(0, 1),
)
def test_means_of_contributions_are_scikit_learns_metrics(n, k, seed, ties, positive):
    p, y = problem(n, k, seed, ties)
    full, answer = metrics.by_class(p), metrics.predicted(p)
    full /= full.sum(axis=1, keepdims=True)
    one_hot = y[:, None] == np.arange(max(k, 2))
    macro = {"average": "macro", "zero_division": 0, "labels": np.arange(max(k, 2))}
    expected = {
        "accuracy": sklearn.accuracy_score(y, answer),
        "log_loss": -sklearn.log_loss(y, full),
        "brier": -(sklearn.brier_score_loss(y, p[:, 0]) if k == 1 else sklearn.brier_score_loss(y, full)),
        "macro_precision": sklearn.precision_score(y, answer, **macro),
        "macro_recall": sklearn.recall_score(y, answer, **macro),
        "macro_f1": sklearn.f1_score(y, answer, **macro),
    }
    if k == 1:
        of = {"pos_label": positive, "zero_division": 0}
        expected |= {
            "roc_auc": sklearn.roc_auc_score(y == positive, full[:, positive]),
            "average_precision": sklearn.average_precision_score(y == positive, full[:, positive]),
            "precision": sklearn.precision_score(y, answer, **of),
            "recall": sklearn.recall_score(y, answer, **of),
            "f1": sklearn.f1_score(y, answer, **of),
        }
    else:
        expected |= {
            "macro_roc_auc": sklearn.roc_auc_score(y, full, multi_class="ovr"),
            "macro_average_precision": sklearn.average_precision_score(one_hot, p, average="macro"),
        }
    assert sorted(metrics.defined(y, max(k, 2))) == sorted(expected)
    for name, value in expected.items():
        phi = metrics.contributions(name, p[None], y, positive)
        assert phi.shape == (1, n)
        assert phi.mean() == pytest.approx(value, rel=1e-6, abs=1e-9), name
        assert metrics.reported(name, phi) == pytest.approx(abs(value), rel=1e-6, abs=1e-9)


def test_what_ranks_is_not_defined_when_a_class_has_no_row():
    assert {"roc_auc", "average_precision"} & {*metrics.defined(np.zeros(20, int), 2)} == set()
    assert {"macro_roc_auc", "macro_average_precision"} & {*metrics.defined(np.arange(20) % 2, 3)} == set()
    assert {"roc_auc", "average_precision"} <= {*metrics.defined(np.arange(20) % 2, 2)}


@pytest.mark.parametrize("k, name", [*((1, name) for name in metrics.OF_TWO), *((3, name) for name in metrics.OF_MORE)])
def test_every_network_has_its_own_contributions_in_whatever_pieces_they_are_made(k, name, monkeypatch):
    problems = [problem(100, k, seed, ties=True) for seed in range(3)]
    p, y = np.stack([p for p, _ in problems]), problems[0][1]
    whole, out = metrics.contributions(name, p, y), np.empty((3, 100))
    monkeypatch.setattr(ranking, "RANKED", 13)
    monkeypatch.setattr(metrics.pieces, "__defaults__", (7,))
    assert metrics.contributions(name, p, y, out=out) is out
    np.testing.assert_allclose(out, whole, rtol=1e-12)
    for network, phi in zip(p, out):
        np.testing.assert_array_equal(metrics.contributions(name, network[None], y)[0], phi)


SCIKIT_LEARNS = {"precision": sklearn.precision_score, "recall": sklearn.recall_score, "f1": sklearn.f1_score}


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("name", ["precision", "recall", "f1", "average_precision"])
def test_influence_functions_are_derivatives_of_the_positive_classs_figures(name, positive):
    """phi less its mean is how a figure moves when a row counts a little more, times n: by finite differences."""
    p, y = problem(40, 1, 7, ties=True)
    answer, score = metrics.predicted(p), metrics.by_class(p)[:, positive]

    def figure(weight):
        if name == "average_precision":
            return sklearn.average_precision_score(y == positive, score, sample_weight=weight)
        return SCIKIT_LEARNS[name](y, answer, pos_label=positive, zero_division=0, sample_weight=weight)

    assert_derivative(metrics.contributions(name, p[None], y, positive)[0], figure)


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("name", ["precision", "recall", "f1", "average_precision"])
def test_influence_functions_are_derivatives_of_macro_averages(name, k):
    p, y = problem(40, k, 7)
    answer, one_hot = metrics.predicted(p), y[:, None] == np.arange(max(k, 2))

    def figure(weight):
        if name == "average_precision":
            full = metrics.by_class(p)
            return sklearn.average_precision_score(one_hot, full, average="macro", sample_weight=weight)
        return SCIKIT_LEARNS[name](y, answer, average="macro", zero_division=0, sample_weight=weight)

    assert_derivative(metrics.contributions(f"macro_{name}", p[None], y)[0], figure)


def assert_derivative(phi, figure):
    n = len(phi)
    for row in range(n):
        step = 1e-6 * (np.arange(n) == row)
        slope = (figure(1 + step) - figure(1 - step)) / 2e-6
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


# ---- out-of-fold rows


def folded(k, networks=3, folds=4, n=200):
    """Rows that R networks score, each by models of its own folds: probabilities (R, n, k), target, folds (R, n)."""
    rng = np.random.default_rng(k)
    p, y = problem(n, k, 0)
    fold = np.stack([rng.permutation(np.arange(n) % folds) for _ in range(networks)])
    return np.stack([problem(n, k, seed)[0] if seed else p for seed in range(networks)]), y, fold


@pytest.mark.parametrize("k, of", [(1, ""), (3, "macro_")])
def test_rows_are_ranked_within_their_fold_as_scikit_learn_ranks_each(k, of):
    p, y, fold = folded(k)
    for name, theirs in {
        "roc_auc": sklearn.roc_auc_score,
        "average_precision": sklearn.average_precision_score,
    }.items():
        phi = metrics.contributions(of + name, p, y, 1, fold=fold)
        for r, (network, own) in enumerate(zip(p, fold)):
            each = [
                np.mean(
                    [theirs(y[own == f] == c, network[own == f, c if k > 1 else 0]) for c in (range(k) if of else [1])]
                )
                for f in range(4)
            ]
            assert phi[r].mean() == pytest.approx(np.mean(each))
    assert set(metrics.RANKINGS) == {"roc_auc", "average_precision"}  # all that there are


def test_the_placements_of_a_fold_have_de_longs_variance():
    p, y, fold = folded(1, networks=1)
    phi, variance = metrics.contributions("roc_auc", p, y, 1, fold=fold)[0], 0.0
    for f in range(4):
        score, positive = p[0, fold[0] == f, 0], y[fold[0] == f] == 1
        wins = (score[positive][:, None] > score[~positive]).astype(float)  # no ties here
        variance += wins.mean(axis=1).var(ddof=1) / positive.sum() + wins.mean(axis=0).var(ddof=1) / (~positive).sum()
        own, weight = phi[fold[0] == f], len(y) / (4 * positive.size)
        area = own.mean() / weight
        assert area == pytest.approx(wins.mean())
        squares = (((own - own.mean()) / weight) ** 2).sum() / positive.size**2
        assert squares == pytest.approx(
            wins.mean(axis=1).var(ddof=1) / positive.sum() + wins.mean(axis=0).var(ddof=1) / (~positive).sum()
        )
    estimate = intervals.estimate(phi[None], y, None, is_ranked=True)
    assert estimate.v_row == pytest.approx(variance / 16, rel=0.1)


def test_a_fold_without_a_class_has_no_area():
    _, y, fold = folded(1)
    assert "roc_auc" in metrics.defined(y, 2, fold)
    fold[1][y == 1] = np.maximum(fold[1][y == 1], 1)
    assert metrics.defined(y, 2, fold) == [name for name in metrics.OF_TWO if name not in metrics.RANKINGS]
