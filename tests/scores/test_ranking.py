"""Ranked rows: DeLong's placements against their definition and his published example, average precision's interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scores.test_metrics import problem
from sklearn import metrics as sklearn

from plumbline.scores import intervals, ranking


@given(arrays(np.float32, st.integers(1, 300), elements=st.floats(-2, 2, width=32)), st.integers(1, 100), st.data())
def test_rows_go_by_their_scores_and_equal_ones_together(score, ranked, data):
    positive = data.draw(arrays(bool, len(score)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "RANKED", ranked)
        pieces = list(ranking.by_score(score, positive))
    order = np.concatenate([row for row, _ in pieces])
    np.testing.assert_array_equal(order, np.argsort(score + np.float32(0), kind="stable"))
    different = np.unique(score)
    groups = [[((score == s) & ~positive).sum(), ((score == s) & positive).sum()] for s in different]
    np.testing.assert_array_equal(np.concatenate([of for _, of in pieces]), groups)


def test_many_scores_are_ranked_as_numpy_ranks_them():
    score = np.random.default_rng(0).random(300_000).astype(np.float32).round(4)
    order = np.concatenate([row for row, _ in ranking.by_score(score, score > 0.5)])
    np.testing.assert_array_equal(order, np.argsort(score, kind="stable"))


PAIRS = st.lists(st.tuples(st.sampled_from([-0.5, -0.0, 0.0, 0.1, 0.25, 0.5, 1.0]), st.booleans()), min_size=2)


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
    np.testing.assert_allclose(ranking.roc_auc(score, positive), expected, atol=1e-12)


def test_placements_give_delongs_variance():
    """S10 / m + S01 / n of DeLong et al. 1988, equation 5, from the definition of the placements, pair by pair."""
    p, y = problem(60, 1, 3, ties=True)
    score, positive = p[:, 0], y == 1
    psi = (score[positive][:, None] > score[~positive]) + 0.5 * (score[positive][:, None] == score[~positive])
    m, n = psi.shape
    delong = psi.mean(axis=1).var(ddof=1) / m + psi.mean(axis=0).var(ddof=1) / n
    phi = ranking.roc_auc(score, positive)
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
        "albumin": ranking.roc_auc(-albumin, positive),
        "protein": ranking.roc_auc(-protein, positive),
        "score": ranking.roc_auc(score, positive),
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


def test_the_interval_of_average_precision_covers_about_as_often_as_it_says():
    """By simulation: 200 rows of which a fifth is positive, against the figure of a very large sample."""
    rng = np.random.default_rng(5)

    def drawn(n):
        positive = rng.uniform(size=n) < 0.2
        return rng.normal(size=n) + 1.2 * positive, positive

    truth, covered = sklearn.average_precision_score(*drawn(1_000_000)[::-1]), 0
    for _ in range(600):
        score, positive = drawn(200)
        low, high, _ = intervals.estimate(ranking.average_precision(score, positive)[None]).student()
        covered += low <= truth <= high
    assert 0.92 <= covered / 600 <= 0.98
