"""Robust statistics of a column of numbers: order statistics, and exact sums of what is clipped.

Neither depends on the order of the rows or on the machine.
"""

import math
from typing import NamedTuple

import numpy as np

from plumbline.tables import columns
from plumbline.tables.store import Table

IN_CACHE = 2**15  # rows to work on at a time: a column of them stays in the second-level cache
QUARTERS = (0.25, 0.5, 0.75)
IQR_OF_NORMAL = 1.349  # an interquartile range is so many standard deviations of a normal column
CLIP = 6.0  # standard deviations that no value gets past
UNIT = 2**40  # of the fixed-point sums; 2^15 squares of CLIP in it are below 2^63
NOTHING = 2.0**-36  # a variance below is that of equal numbers, whose sums are rounded
SMALLEST = float(np.finfo(np.float64).tiny)
LARGEST = float(np.finfo(np.float64).max)


class Statistics(NamedTuple):
    """Of a column's values that are not missing."""

    low: float  # of the finite values, as are centre and scale
    high: float
    centre: float  # the median
    scale: float  # what a normal column's standard deviation would be by its interquartile range
    mean: float  # of the clipped values
    deviation: float


def statistics(table: Table, name: str, room: np.ndarray) -> Statistics:
    """Of a column that has a value at least. room: float64 (n,) for its values, used anew for every column."""
    finite, infinite = _finite(table, name, room)
    low, centre, high = (quantile(finite, share) for share in QUARTERS)
    ends = float(finite[0]), float(finite[-1])
    # Where most rows are equal it is half the range, as in RealMLP (arXiv 2407.04491), as the smooth clip is.
    spread = min(high - low or ends[1] / 2 - ends[0] / 2 or 1.0, LARGEST)
    scale = max(spread / IQR_OF_NORMAL, SMALLEST)
    return Statistics(*ends, centre, scale, *_moments(finite, infinite, centre, scale))


def _finite(table: Table, name: str, room: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """A column's finite numbers, at least one, in `room`, and how many are -inf and inf.

    Lowest and highest, and what `quantile` asks for, stand where sorting puts them.
    """
    n, infinite = 0, np.zeros(2, np.int64)
    for piece in table.pieces({"v": columns.number_or_nan(name, table.columns[name])}, of=name):
        found = np.ma.getdata(piece["v"])
        infinite += (found == -np.inf).sum(), (found == np.inf).sum()
        finite = found[np.isfinite(found)]
        np.add(finite, 0.0, out=room[n : n + len(finite)])  # which of 0.0 and -0.0 comes first the CPU decides
        n += len(finite)
    if not n:
        return np.zeros(1), tuple(infinite.tolist())
    quarters = [int(share * (n - 1)) for share in QUARTERS]
    room[:n].partition(sorted({0, n - 1, *quarters, *(min(place + 1, n - 1) for place in quarters)}))
    return room[:n], tuple(infinite.tolist())


def _moments(finite: np.ndarray, infinite: tuple[int, int], centre: float, scale: float) -> tuple[float, float]:
    """Mean and standard deviation of the clipped values, from sums in fixed point: exact, in whatever order."""
    n = total = squares = 0
    for values, times in [(finite, 1), *(([end], times) for end, times in zip((-np.inf, np.inf), infinite))]:
        values = np.asarray(values)
        for start in range(0, len(values) if times else 0, IN_CACHE):
            z = smooth_clip(values[start : start + IN_CACHE].astype(np.float64), centre, scale)
            n += times * len(z)
            total += times * int(np.rint(z * UNIT).astype(np.int64).sum())
            squares += times * int(np.rint(z * z * UNIT).astype(np.int64).sum())
    variance = (n * squares * UNIT - total * total) / (n * n * UNIT * UNIT)
    return total / (n * UNIT), math.sqrt(variance) if variance > NOTHING else 1.0


def smooth_clip(values: np.ndarray, centre: float, scale: float) -> np.ndarray:
    """z / sqrt(1 + (z / CLIP)^2) of z = (value - centre) / scale: z itself near 0, never past CLIP."""
    with np.errstate(over="ignore", invalid="ignore"):
        z = (values - centre) / scale
    z = np.clip(z, -1e9, 1e9)  # so that its square is finite; the smooth clip has long arrived at its bound
    return z / np.sqrt(1.0 + (z / CLIP) * (z / CLIP))


def quantile(ordered: np.ndarray, share: float) -> float:
    """The value below which a share of the ordered ones lies, between two neighbours in proportion."""
    place = share * (len(ordered) - 1)
    i = int(place)
    a, b = float(ordered[i]), float(ordered[min(i + 1, len(ordered) - 1)])
    return a * (1.0 - (place - i)) + b * (place - i)
