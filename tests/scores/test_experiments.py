"""Many experiments: Holm against statsmodels, stars against pairs of t tests, luck against the normal's order."""

import numpy as np
import pytest
from scipy import stats
from scores.test_differences import two

from plumbline.scores import differences, experiments, intervals, metrics
from plumbline.scores.differences import Difference, Rows, Side

NOTHING = intervals.Estimate(0.0, 0.0, 0.0, 0.0, 3, 50, 49.0)


def sides(means, rng, networks=4, n=80):
    """One metric of several sides on rows and seeds: Side (R, n)."""
    row = rng.normal(size=n)
    return [Side(mean + row + rng.normal(size=n) + rng.normal(size=(networks, n)), None, np.empty(0)) for mean in means]


def rows(n):
    return Rows(np.zeros((4, n, 1), np.float32), np.arange(n) % 2)


def test_holms_steps_are_those_of_statsmodels():
    """multipletests([0.01, 0.04, 0.03, 0.005, 0.2], method="holm") of statsmodels 0.15.0."""
    ps, signs = [0.01, 0.04, 0.03, 0.005, 0.2], [1, 1, 1, -1, 1]
    judged = [Difference("log_loss", 0, 0, s, 0, 0, p, "no evidence", NOTHING) for p, s in zip(ps, signs)]
    found = experiments.holm(judged)
    assert [d.p for d in found] == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.2])
    assert [d.verdict for d in found] == ["worse", "no evidence", "no evidence", "better", "no evidence"]
    kept = [judged[0]._replace(p=float("nan"), verdict="no verdict"), judged[3]._replace(p=1.0, verdict="identical")]
    assert [d.verdict for d in experiments.holm(kept)] == ["no verdict", "identical"]


def test_a_side_without_a_star_is_beaten_in_a_one_sided_t_test_at_5_percent_over_k():
    found = sides([0.0, 0.1, 0.25, 0.5, -0.6], np.random.default_rng(0), networks=1)
    ours = experiments.stars(found, "accuracy", rows(80), of="network")
    for i, side in enumerate(found):
        p = [stats.ttest_rel(j.phi[0], side.phi[0], alternative="greater").pvalue for j in found if j is not side]
        assert ours[i] == (min(p) >= 0.05 / 4)
    assert 0 < sum(ours) < 5


def test_the_best_is_among_the_stars():
    rng, means = np.random.default_rng(1), np.array([0.0, 0.05, 0.1, 0.15, 0.2])
    kept = [experiments.stars(sides(means, rng, n=40), "accuracy", rows(40))[4] for _ in range(150)]
    assert np.mean(kept) >= 0.93


def test_without_a_verdict_every_side_keeps_its_star():
    found = sides([0.0, 5.0], np.random.default_rng(2), networks=2)
    assert experiments.stars(found, "accuracy", rows(80)) == [True, True]


@pytest.mark.parametrize("count, factor", [(2, 1 / np.sqrt(np.pi)), (5, 1.16296), (20, 1.86748)])
def test_the_luck_of_equals_is_the_expected_largest_of_normals(count, factor):
    """David and Nagaraja, Order Statistics (2003): the largest of five independent normals is 1.16296 on average."""
    rng, n = np.random.default_rng(3), 4000
    found = [Side(np.tile(rng.normal(size=n), (4, 1)), None, np.empty(0)) for _ in range(count)]
    assert experiments.luck(found, rows(n)) == pytest.approx(factor / np.sqrt(n), rel=0.05)
    assert experiments.luck(found[:1], rows(n)) == 0.0


def test_the_luck_that_is_told_is_the_luck_that_the_winner_had():
    rng, had, told = np.random.default_rng(4), [], []
    for _ in range(100):
        found = sides(np.zeros(8), rng, n=50)
        row = np.mean([side.phi.mean() for side in found])
        had.append(max(side.phi.mean() for side in found) - row)
        told.append(experiments.luck(found, rows(50)))
    assert np.mean(told) == pytest.approx(np.mean(had), rel=0.12)


def test_a_ranking_judges_each_beside_the_base():
    base, better = two(better=1.0)
    _, worse = two(better=-0.7)
    found = experiments.rank(base, [better, worse, base], "log_loss")
    assert [d.verdict for d in found.to_base][2] == "identical"
    alone = differences.compare(base, worse, ["log_loss"], level=1 - 0.05 / 3)[0]
    assert (found.to_base[1].low, found.to_base[1].high) == (alone.low, alone.high)
    means = [metrics.contributions("log_loss", *side[:2]).mean() for side in (base, better, worse, base)]
    assert found.star[int(np.argmax(means))]
    assert not found.star[2]
    assert found.luck >= 0.0
