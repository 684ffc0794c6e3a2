import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages import ordering

HALF = np.uint64(2**32 - 1)


@settings(deadline=None)  # the first one may compile
@given(arrays(np.float32, st.integers(1, 300), elements=st.floats(-2, 2, width=32)))
def test_scores_are_in_their_order_and_equal_ones_in_that_of_their_rows(score):
    ordered = ordering.ascending(score)
    np.testing.assert_array_equal(ordered & HALF, np.argsort(score + np.float32(0), kind="stable"))
    runs = np.diff((ordered >> np.uint64(32)).astype(np.int64)) != 0
    np.testing.assert_array_equal(runs, np.diff(np.sort(score)) != 0)


def test_many_scores_and_those_in_64_bits():
    score = np.random.default_rng(0).random(300_000).astype(np.float32).round(4)
    expected = np.argsort(score, kind="stable")
    np.testing.assert_array_equal(ordering.ascending(score) & HALF, expected)
    np.testing.assert_array_equal(ordering.ascending(score.astype(np.float64)) & HALF, expected)


@settings(deadline=None)  # the first one may compile
@given(arrays(np.float32, 40, elements=st.sampled_from([0.1, 0.25, 0.5, 1.0])), st.data())
def test_placements_are_delongs_pair_by_pair(score, data):
    positive = data.draw(arrays(bool, 40).filter(lambda each: 0 < each.sum() < 40))
    placed = ordering.placements(ordering.ascending(score), positive, int(positive.sum()), np.empty(40))
    for row in range(40):
        others = score[positive != positive[row]]
        below = np.mean((others < score[row]) + 0.5 * (others == score[row]))
        assert placed[row] == pytest.approx(below, abs=1e-15)


def test_cumulated_counts_go_from_the_highest_score_down():
    score = np.float32([0.5, 0.9, 0.5, 0.1, 0.9])
    hits, misses = ordering.cumulated(ordering.ascending(score), np.array([True, True, False, False, True]))
    assert (hits.tolist(), misses.tolist()) == ([2, 3, 3], [0, 1, 2])


@settings(deadline=None)  # the first one may compile
@given(arrays(np.uint64, st.integers(1, 200), elements=st.sampled_from([0, 1, 2**32, 2**32 + 1, 2**64 - 1])), st.data())
def test_rows_are_sorted_by_keys_and_otherwise_stay(keys, data):
    rows = np.int32(data.draw(st.permutations(range(len(keys)))))
    expected = sorted(rows.tolist(), key=lambda row: int(keys[row]))
    assert ordering.sorted_by(keys, rows).tolist() == expected
