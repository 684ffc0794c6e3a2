"""exp, log, sine and cosine with the same bits on every machine.

A C library's last bit differs between CPUs and versions. These use only +, -, *, / on float64, which IEEE 754 rounds
exactly, in the order written: an argument reduction, then the Taylor series to the term below 2^-53. Each is within
2 units in the last place (held against mpmath in the tests).

Each function serves twice. As it stands it computes on NumPy arrays, which needs no compiling. Compiled by Numba it
computes on scalars in the kernel's loops (plumbline.bits.compiling). A test holds the two to the same bits.
"""

import math

import numpy as np

LOG2_E = 1.4426950408889634
# ln 2 and pi / 2 in two parts; the first has trailing zero bits, so that its product with a small integer is exact.
# (The split is fdlibm's, as in e_exp.c and e_rem_pio2.c.)
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
HALF_PI_HIGH, HALF_PI_LOW = 1.57079632673412561417e00, 6.07710050650619224932e-11
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD

_INVERSE_FACTORIALS = tuple(1.0 / math.factorial(n) for n in range(18))  # each correctly rounded: exact integers


def select(condition, yes, no):
    """`yes` where the condition holds, else `no`; compiled it is a choice between two scalars."""
    return np.where(condition, yes, no)


def exp(x):
    """e^x for float64 x; 0 below -708 (no subnormal results), infinity above 709."""
    y = select(x < -708.0, -708.0, select(x > 709.0, 709.0, x))
    n = np.floor(y * LOG2_E + 0.5)
    r = (y - n * LN2_HIGH) - n * LN2_LOW  # |r| <= ln 2 / 2
    total = _INVERSE_FACTORIALS[13]
    for i in range(12, -1, -1):
        total = total * r + _INVERSE_FACTORIALS[i]
    total = total * np.int64((np.int64(n) + 1023) << 52).view(np.float64)
    return select(x < -708.0, 0.0, select(x > 709.0, np.inf, total))


def log(x):
    """Natural logarithm of a positive, normal float64 x."""
    bits = np.float64(x).view(np.int64)
    exponent = (bits - SQRT_HALF_BITS) >> 52
    mantissa = np.int64(bits - (exponent << 52)).view(np.float64)  # in [sqrt(1/2), sqrt(2))
    s = (mantissa - 1.0) / (mantissa + 1.0)
    z = s * s  # ln m = 2 (s + s^3/3 + s^5/5 + ...), z <= 0.0295
    total = 1.0 / 23.0
    for i in range(21, 1, -2):
        total = total * z + 1.0 / i
    return exponent * LN2_HIGH + (2.0 * (s + s * z * total) + exponent * LN2_LOW)


def sincos(x):
    """(sin x, cos x) for float64 |x| up to a few thousand."""
    n = np.floor(x * (2.0 / np.pi) + 0.5)
    r = (x - n * HALF_PI_HIGH) - n * HALF_PI_LOW  # |r| <= pi / 4
    z = r * r
    sine = _INVERSE_FACTORIALS[17]
    cosine = _INVERSE_FACTORIALS[16]
    for i in range(15, 0, -2):
        sine = _INVERSE_FACTORIALS[i] - z * sine
        cosine = _INVERSE_FACTORIALS[i - 1] - z * cosine
    sine = sine * r
    quadrant = np.int64(n) & 3
    swapped = (quadrant & 1) == 1
    first, second = select(swapped, cosine, sine), select(swapped, sine, cosine)
    return select((quadrant & 2) == 2, -first, first), select(((quadrant + 1) & 2) == 2, -second, second)
