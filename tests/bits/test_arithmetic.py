import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plumbline.bits import arithmetic, compiling

mpmath.mp.prec = 120


def units_in_last_place(value, exact):
    """How far `value` is from the exact one, in units of its last place."""
    return abs(mpmath.mpf(value) - exact) / mpmath.mpf(np.spacing(abs(float(exact))))


@given(st.floats(-708, 709))
def test_exp_is_within_two_units_of_mpmath(x):
    assert units_in_last_place(float(arithmetic.exp(x)), mpmath.exp(mpmath.mpf(x))) <= 2


@given(st.floats(2.0**-1000, 2.0**1000))
def test_log_is_within_two_units_of_mpmath(x):
    assert units_in_last_place(float(arithmetic.log(x)), mpmath.log(mpmath.mpf(x))) <= 2


@given(st.floats(0.5, 2.0))
def test_log_keeps_its_digits_near_one(x):
    exact = mpmath.log(mpmath.mpf(x))
    assert x == 1.0 or units_in_last_place(float(arithmetic.log(x)), exact) <= 2


@given(st.floats(-1000, 1000))
def test_sine_and_cosine_are_within_1e_15_of_mpmath(x):
    sine, cosine = map(float, arithmetic.sincos(x))
    assert abs(mpmath.mpf(sine) - mpmath.sin(mpmath.mpf(x))) < 1e-15
    assert abs(mpmath.mpf(cosine) - mpmath.cos(mpmath.mpf(x))) < 1e-15


def test_ends_of_the_range():
    assert arithmetic.exp(-1e4) == 0.0
    assert arithmetic.exp(1e4) == np.inf
    assert arithmetic.exp(0.0) == 1.0
    assert arithmetic.log(1.0) == 0.0
    with np.errstate(invalid="ignore"):
        assert np.isnan(arithmetic.exp(np.nan))


def test_known_bits():
    """These functions are part of every result's definition: a change of one bit is a change of all numbers."""
    x = np.linspace(-30, 30, 1001)
    exps = np.array([arithmetic.exp(v) for v in x])
    logs = np.array([arithmetic.log(v) for v in exps])
    pairs = np.array([arithmetic.sincos(v) for v in x])
    bits = [int(np.bitwise_xor.reduce(values.view(np.uint64), axis=None)) for values in (exps, logs, pairs)]
    assert [f"{b:016x}" for b in bits] == KNOWN


KNOWN = ["42f13cb2600e4527", "00000000000000aa", "3ff0000000072650"]


@pytest.mark.parametrize("name", ["exp", "log", "sincos"])
def test_arrays_and_compiled_scalars_have_the_same_bits(name):
    x = np.concatenate([np.linspace(-800, 800, 20_011), [0.0, -0.0, 1.0, np.inf, -np.inf, np.nan]])
    x = np.abs(x[np.isfinite(x) & (x != 0)]) if name == "log" else x[np.isfinite(x)] if name == "sincos" else x
    with np.errstate(invalid="ignore"):
        whole = np.stack(np.atleast_2d(getattr(arithmetic, name)(x)))
    one_by_one = np.array([np.atleast_1d(getattr(compiling, name)(value)) for value in x]).T
    np.testing.assert_array_equal(whole.view(np.uint64), one_by_one.view(np.uint64))
