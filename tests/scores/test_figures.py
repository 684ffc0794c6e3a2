"""Figures by part, by class and by threshold, against scikit-learn on the same predictions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scores.test_metrics import problem
from sklearn import metrics as sklearn

from plumbline.scores import curves, figures, metrics, ranges
from plumbline.scores.differences import Rows


def parts(k, networks=3):
    """Probabilities of networks and their ensemble, (R + 1, n, k or 1), and the target (n,)."""
    _, y = problem(80, k, 0)
    each = np.stack([problem(80, k, 0)[0]] + [problem(80, k, seed)[0] for seed in range(1, networks)])
    return np.concatenate([each, metrics.ensemble(each)[None]]), y


@pytest.mark.parametrize("k", [1, 4])
def test_a_part_has_every_figure_of_the_network_the_ensemble_and_all_networks(k, tmp_path):
    p, y = parts(k)
    found = list(figures.of_part("test", Rows(p, y, 0), [5, 6, 7, 8][: max(k, 2)], tmp_path))
    by = {(each.of, each.metric): each for each in found}
    assert len(by) == len(found)
    assert {each.part for each in found} == {"test"}
    assert {each.rows for each in found} == {80}
    for name in metrics.defined(y, max(k, 2)):
        phi = metrics.contributions(name, p, y, 0)
        assert by["network", name].value == metrics.reported(name, phi[0])
        assert by["ensemble", name].value == metrics.reported(name, phi[3])
        mean = by["networks", name]
        networks = Rows(p[:3], y, 0)
        expected = ranges.reported(name, phi[:3], networks, ranges.answers_by_class(networks))
        assert (mean.value, mean.low, mean.high) == expected
    for name, value in metrics.always([5, 6, 7, 8][: max(k, 2)], y).items():
        assert by["shares", name].value == value
    few = figures.few(found)
    assert few["accuracy"] == by["network", "accuracy"].value
    assert few["replicas"]["log_loss"]["high"] == by["networks", "log_loss"].high
    assert len(few) + sum(map(len, few["replicas"].values())) - 1 == 8


def test_groups_of_a_part_are_counted(tmp_path):
    p, y = parts(1)
    for group, count in ((np.arange(80) // 2 - 5, 40), (np.arange(80), 80), (np.zeros(80, int), 1)):
        found = list(figures.of_part("test", Rows(p, y, 1, group), [5, 6], tmp_path))
        assert {each.groups for each in found} == {count}
        assert any(each.low is not None for each in found) == (count > 1)


def test_a_part_without_rows_has_no_figures_and_one_row_no_interval(tmp_path):
    p, y = parts(1)
    assert list(figures.of_part("validation", Rows(p[:, :0], y[:0]), [1, 1], tmp_path)) == []
    found = list(figures.of_part("test", Rows(p[:, :1], y[:1]), [1, 1], tmp_path))
    assert all(each.low is each.high is None for each in found)
    assert figures.few(found)["replicas"]["accuracy"].keys() == {"mean"}


@pytest.mark.parametrize("k", [1, 4])
def test_figures_of_the_classes_are_scikit_learns(k):
    p, y = problem(90, k, 3)
    classes = ["a", "b", "c", "d"][: max(k, 2)]
    columns, lines = figures.by_class(p, y, classes, 0)
    assert columns == ("class", "precision", "recall", "f1", "support", "positive")
    label, *ours, positive = zip(*lines)
    expected = sklearn.precision_recall_fscore_support(y, metrics.predicted(p), zero_division=0)
    assert list(label) == classes
    np.testing.assert_allclose(ours, expected)
    assert list(positive) == ([1, 0] if k == 1 else [0] * 4)


@settings(max_examples=60)
@given(n=st.integers(4, 200), seed=st.integers(0, 10**6), ties=st.booleans(), positive=st.integers(0, 1))
def test_thresholds_are_scikit_learns_and_the_best_f1_is_among_them(n, seed, ties, positive):
    p, y = problem(n, 1, seed, ties)
    given = p[:, 0].astype(float) if positive else 1 - p[:, 0].astype(float)
    columns, lines = curves.by_threshold(p, y, ["no", "yes"], positive)
    assert columns == ("threshold", "precision", "recall", "f1", "flagged", "rows")
    for threshold, precision, recall, f1, flagged, rows in lines:
        said = given >= threshold
        expected = sklearn.precision_recall_fscore_support(y == positive, said, average="binary", zero_division=0)
        assert (precision, recall, f1) == pytest.approx(expected[:3])
        assert (flagged, rows) == (said.mean(), n)
        assert threshold == float(f"{threshold:.6g}")  # as it stands in the file
    assert {line[0] for line in lines} >= {round(step / 20, 2) for step in range(1, 20)}
    assert 19 <= len(lines) <= 20
    precision, recall, _ = sklearn.precision_recall_curve(y == positive, given)
    best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-9))
    assert max(line[3] for line in lines) == pytest.approx(best)


def test_there_are_no_thresholds_without_a_positive_row_or_with_more_classes():
    p, y = problem(30, 1, 0)
    assert curves.by_threshold(p, np.zeros(30, int), ["no", "yes"], 1)[1] == []
    assert curves.by_threshold(p[:0], y[:0], ["no", "yes"], 1)[1] == []
    p, y = problem(30, 3, 0)
    assert curves.by_threshold(p, y, ["a", "b", "c"], 1)[1] == []
