"""Student's t against SciPy."""

import math

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from plumbline.scores import students_t

FREEDOM = st.floats(0.5, 1e5)


@given(st.floats(0, 60), FREEDOM)
def test_p_values_are_scipys(t, freedom):
    expected = 2 * scipy.stats.t.sf(t, freedom)
    assert students_t.p_value(t, freedom) == pytest.approx(expected, rel=1e-8, abs=1e-300)
    assert students_t.p_value(-t, freedom) == students_t.p_value(t, freedom)


@given(st.floats(0.1, 1 - 1e-6), FREEDOM)
def test_quantiles_are_scipys(level, freedom):
    assert students_t.quantile(level, freedom) == pytest.approx(scipy.stats.t.ppf(0.5 + level / 2, freedom), rel=1e-8)


def test_with_very_many_rows_it_is_the_normal_distribution():
    assert students_t.quantile(0.95, 1e8) == pytest.approx(scipy.stats.norm.ppf(0.975), rel=1e-6)
    assert students_t.p_value(2.0, 1e8) == pytest.approx(2 * scipy.stats.norm.sf(2.0), rel=1e-5)


def test_what_is_no_number_ends_too():
    assert math.isnan(students_t.p_value(math.nan, 5.0))
    assert math.isnan(students_t.quantile(0.95, math.nan))
