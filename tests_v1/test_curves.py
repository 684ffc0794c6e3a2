import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve

from stages import curves

SCORES = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=60)


def split(pairs):
    return np.array([s / 8 for s, _ in pairs]), np.array([t for _, t in pairs])


@settings(deadline=None)
@given(SCORES)
def test_roc_is_scikit_learns(pairs):
    score, truth = split(pairs)
    if truth.all() or not truth.any():
        assert curves.roc(*curves.counts(score, truth)) == []
        return
    ours = curves.roc(*curves.counts(score, truth))
    fpr, tpr, _ = metrics.roc_curve(truth, score, drop_intermediate=False)
    theirs = set(zip(np.round(fpr, 9), np.round(tpr, 9)))
    assert (ours[0], ours[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert {(round(x, 9), round(y, 9)) for x, y in ours} <= theirs
    assert metrics.auc(*zip(*ours)) == pytest.approx(metrics.roc_auc_score(truth, score))


@settings(deadline=None)
@given(SCORES)
def test_precision_recall_passes_through_scikit_learns_points(pairs):
    score, truth = split(pairs)
    if not truth.any():
        assert curves.precision_recall(*curves.counts(score, truth)) == []
        return
    precision, recall, _ = metrics.precision_recall_curve(truth, score)
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


def test_confusion_is_scikit_learns():
    rng = np.random.default_rng(0)
    target, predicted = rng.integers(0, 4, (2, 100))
    np.testing.assert_array_equal(
        curves.confusion(predicted, target, 5), metrics.confusion_matrix(target, predicted, labels=range(5))
    )


def test_several_classes_are_pooled_decisions():
    p = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]], np.float32)
    score, truth = curves.decisions(p, np.array([1, 2]))
    assert score.shape == (6,)
    assert truth.tolist() == [False, True, False, False, False, True]


def test_long_curves_are_thinned_and_keep_their_ends():
    rng = np.random.default_rng(0)
    score = rng.uniform(size=20_000)
    points = curves.roc(*curves.counts(score, rng.uniform(size=20_000) < score))
    assert len(points) <= curves.MOST_POINTS
    assert points[0] == (0.0, 0.0)
    assert points[-1] == pytest.approx((1.0, 1.0))
