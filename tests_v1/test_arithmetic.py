import mpmath
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import arithmetic

mpmath.mp.prec = 120


def units_in_last_place(value, exact):
    """How far `value` is from the exact one, in units of its last place."""
    return abs(mpmath.mpf(value) - exact) / mpmath.mpf(np.spacing(abs(float(exact))))


@settings(deadline=None)  # the first call compiles
@given(st.floats(-708, 709))
def test_exp_is_within_two_units_of_mpmath(x):
    assert units_in_last_place(arithmetic.exp(x), mpmath.exp(mpmath.mpf(x))) <= 2


@settings(deadline=None)  # the first call compiles
@given(st.floats(2.0**-1000, 2.0**1000))
def test_log_is_within_two_units_of_mpmath(x):
    assert units_in_last_place(arithmetic.log(x), mpmath.log(mpmath.mpf(x))) <= 2


@settings(deadline=None)  # the first call compiles
@given(st.floats(0.5, 2.0))
def test_log_keeps_its_digits_near_one(x):
    exact = mpmath.log(mpmath.mpf(x))
    assert x == 1.0 or units_in_last_place(arithmetic.log(x), exact) <= 2


@settings(deadline=None)  # the first call compiles
@given(st.floats(-1000, 1000))
def test_sine_and_cosine_are_within_1e_15_of_mpmath(x):
    sine, cosine = arithmetic.sincos(x)
    assert abs(mpmath.mpf(sine) - mpmath.sin(mpmath.mpf(x))) < 1e-15
    assert abs(mpmath.mpf(cosine) - mpmath.cos(mpmath.mpf(x))) < 1e-15


def test_ends_of_the_range():
    assert arithmetic.exp(-1e4) == 0.0
    assert arithmetic.exp(1e4) == np.inf
    assert arithmetic.exp(0.0) == 1.0
    assert arithmetic.log(1.0) == 0.0
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
