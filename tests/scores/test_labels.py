"""What the labels could have been: against contributions, brute force and labels that are drawn."""

import numpy as np
import pytest
from scores.test_metrics import problem

from plumbline.scores import intervals, labels, metrics


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("name", labels.KNOWN)
def test_what_a_row_contributes_is_that_of_its_own_label(name, k):
    if (name == "roc_auc") == (k == 4):
        return
    p, y = problem(70, k, 2, True)
    found = labels.contributions(name, p, y, 0)
    own = metrics.contributions(name, p[None], y, 0)[0]
    np.testing.assert_allclose(found[np.arange(70), y], own, atol=1e-12)
    if name in ("accuracy", "log_loss", "brier"):  # and of another label what it would be
        for c in range(max(k, 2)):
            other = metrics.contributions(name, p[None], np.full(70, c), 0)[0]
            np.testing.assert_allclose(found[:, c], other, atol=1e-12)


def test_a_ranked_row_of_the_other_label_is_placed_among_the_others():
    p, y = problem(40, 1, 5, True)
    score, found = p[:, 0], labels.contributions("roc_auc", p, y)
    area = found[np.arange(40), y].mean()
    for i in range(40):
        rest = np.delete(score, i), np.delete(y, i)
        below = [((of < score[i]) + 0.5 * (of == score[i])).mean() for of in (rest[0][rest[1] == c] for c in (0, 1))]
        share = [1 - below[1], below[0]]
        for c in (0, 1):
            assert found[i, c] == pytest.approx(area + 40 / (y == c).sum() * (share[c] - area))


@pytest.mark.parametrize("name", ["accuracy", "log_loss", "brier", "roc_auc"])
def test_the_variance_is_that_of_labels_drawn_as_the_networks_say(name):
    rng, n = np.random.default_rng(0), 400
    p = (1 / (1 + np.exp(-rng.normal(-1.0, 1.5, n)))).astype(np.float32)[:, None]
    both, seen, told = metrics.by_class(p), [], []
    for _ in range(100):
        y = (rng.uniform(size=n) < p[:, 0]).astype(int)
        d = labels.contributions(name, p, y)
        seen.append(intervals.estimate(metrics.contributions(name, p[None], y), y, None, name == "roc_auc").v_row)
        told.append(labels.variance([(d, both)], n, n))
    assert np.mean(told) == pytest.approx(np.mean(seen), rel=0.04)


def test_it_counts_what_has_not_been_seen():
    d, p = np.array([[-5.0, 0.1]] * 50), np.array([[0.0, 1.0]] * 50)
    alone = labels.variance([(d, p)], 50, 50)
    expected = 0.5 / 51  # half a row in 51 has the other label
    assert alone == pytest.approx(expected * (1 - expected) * 5.1**2 / 50)


def test_copies_of_a_row_share_their_label():
    p, y = problem(60, 1, 6)
    found = []
    for times in (1, 3):
        rows, target = np.repeat(p, times, axis=0), np.repeat(y, times)
        group = None if times == 1 else np.repeat(np.arange(60), times)
        d, both = labels.contributions("log_loss", rows, target), metrics.by_class(rows)
        phi = metrics.contributions("log_loss", rows[None], target)
        nothing = intervals.estimate(phi, target, group)
        floor = labels.floored(nothing, [(5 * d, both)], phi, target, group)
        assert floor.v_row > nothing.v_row
        found.append(floor.v_row)
    assert found[1] == pytest.approx(found[0], rel=0.02)
