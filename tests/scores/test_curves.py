import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn
from sklearn.calibration import calibration_curve

from plumbline.scores import curves

SCORES = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=60)


def split(pairs):
    return np.array([s / 8 for s, _ in pairs]), np.array([t for _, t in pairs])


@given(SCORES)
def test_roc_is_scikit_learns(pairs):
    score, truth = split(pairs)
    if truth.all() or not truth.any():
        assert curves.roc(*curves.counts(score, truth)) == []
        return
    ours = curves.roc(*curves.counts(score, truth))
    fpr, tpr, _ = sklearn.roc_curve(truth, score, drop_intermediate=False)
    theirs = set(zip(np.round(fpr, 9), np.round(tpr, 9)))
    assert (ours[0], ours[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert {(round(x, 9), round(y, 9)) for x, y in ours} <= theirs
    assert sklearn.auc(*zip(*ours)) == pytest.approx(sklearn.roc_auc_score(truth, score))


@given(SCORES)
def test_precision_recall_passes_through_scikit_learns_points(pairs):
    score, truth = split(pairs)
    if not truth.any():
        assert curves.precision_recall(*curves.counts(score, truth)) == []
        return
    precision, recall, _ = sklearn.precision_recall_curve(truth, score)
    points = set(zip(np.round(recall, 9), np.round(precision, 9)))
    ours = curves.precision_recall(*curves.counts(score, truth))
    assert ours[0] == (0.0, 1.0)
    assert ours[-1][0] == 1.0
    assert {(round(x, 9), round(y, 9)) for x, y in ours} <= points


def test_calibration_is_scikit_learns():
    rng = np.random.default_rng(0)
    score = rng.uniform(size=500)
    truth = rng.uniform(size=500) < score
    share, mean = calibration_curve(truth, score, n_bins=10)
    ours = np.array(curves.calibration(score, truth))
    np.testing.assert_allclose(ours[:, 0], mean)
    np.testing.assert_allclose(ours[:, 1], share)
    assert ours[:, 2].sum() == 500


def test_several_classes_are_pooled_decisions():
    p = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]], np.float32)
    score, truth = curves.decisions(p, np.array([1, 2]), 1)
    assert score.shape == (6,)
    assert truth.tolist() == [False, True, False, False, False, True]


@pytest.mark.parametrize("positive", [0, 1])
def test_curves_of_two_classes_are_about_the_positive_one(positive):
    rng = np.random.default_rng(2)
    p, y = rng.uniform(size=(300, 1)).astype(np.float32), rng.integers(0, 2, 300)
    given = p[:, 0] if positive else 1 - p[:, 0]
    drawn = curves.drawn(p, y, ["no", "yes"], positive)
    share, mean = calibration_curve(y == positive, given, n_bins=10)
    np.testing.assert_allclose(np.array(drawn["plots/calibration"][1])[:, :2].T, [mean, share], rtol=1e-6)
    precision, recall, _ = sklearn.precision_recall_curve(y == positive, given)
    points = set(zip(np.round(recall, 9), np.round(precision, 9)))
    assert {(round(x, 9), round(y, 9)) for x, y in drawn["plots/precision_recall"][1]} <= points
    fpr, tpr, _ = sklearn.roc_curve(y == positive, given, drop_intermediate=False)
    points = set(zip(np.round(fpr, 9), np.round(tpr, 9)))
    assert {(round(x, 9), round(y, 9)) for x, y in drawn["plots/roc"][1]} <= points


def test_long_curves_are_thinned_and_keep_their_ends():
    rng = np.random.default_rng(0)
    score = rng.uniform(size=20_000)
    points = curves.roc(*curves.counts(score, rng.uniform(size=20_000) < score))
    assert len(points) <= curves.MOST_POINTS
    assert points[0] == (0.0, 0.0)
    assert points[-1] == pytest.approx((1.0, 1.0))


def test_points_of_very_many_thresholds_are_on_the_curve_and_keep_its_ends(monkeypatch):
    rng = np.random.default_rng(1)
    score = rng.uniform(size=5000).astype(np.float32)
    truth = rng.uniform(size=5000) < score
    points = set(zip(*(counted.tolist() for counted in curves.counts(score, truth))))
    monkeypatch.setattr(curves, "MOST_THRESHOLDS", 100)
    hits, misses = curves.counts(score, truth)
    assert 90 <= len(hits) <= 102
    assert set(zip(hits.tolist(), misses.tolist())) <= points
    assert (hits[-1], misses[-1]) == (truth.sum(), (~truth).sum())
    assert hits[0] + misses[0] == 1
