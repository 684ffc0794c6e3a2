"""One metric of two sides, judged: against scipy's paired t test, and in the sign that files have."""

import numpy as np
import pytest
from scipy import stats

from plumbline.scores import differences


def test_a_single_network_is_judged_by_rows_alone_as_the_paired_t_test_does():
    base, other = np.random.default_rng(0).normal(size=(2, 1, 50))
    found = differences.compare(base, other, "accuracy", 1)
    expected = stats.ttest_rel(other[0], base[0])
    low, high = expected.confidence_interval()
    assert (found.low, found.high, found.p) == pytest.approx((low, high, expected.pvalue))
    assert found.verdict == "one network"


def test_a_loss_is_told_in_the_sign_that_files_have():
    phi = -np.random.default_rng(0).uniform(1, 2, size=(3, 40))
    found = differences.compare(phi, phi + 0.5, "log_loss", 4)
    assert found.base == pytest.approx(-phi.mean())
    assert (found.difference, found.verdict) == (pytest.approx(-0.5), "better")
    assert found.low <= found.difference <= found.high


def test_a_base_of_one_line_stands_beside_every_network():
    rng = np.random.default_rng(1)
    base, other = rng.normal(size=(1, 60)), rng.normal(1.0, 1.0, size=(4, 60))
    found = differences.compare(base, other, "accuracy", 2)
    repeated = differences.compare(np.repeat(base, 4, axis=0), other, "accuracy", 2)
    assert (found.difference, found.low, found.high) == (repeated.difference, repeated.low, repeated.high)
    assert found.base == pytest.approx(repeated.base)
    assert found.verdict == "better"
    assert differences.compare(other, base, "accuracy", 2).verdict == "worse"
