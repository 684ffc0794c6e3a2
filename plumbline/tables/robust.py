"""Statistics of columns of numbers and times: range, quantiles, and what robust scaling and bins need.

They are order statistics, and exact sums of clipped values. These depend neither on the order of the rows nor on the
machine.
"""

import bisect
import functools
import math
from typing import NamedTuple

import numpy as np

from plumbline.basics import files
from plumbline.basics.errors import UserError
from plumbline.tables import columns, duck
from plumbline.tables.store import ROW, VALUES, Table

IN_CACHE = 2**15  # rows to work on at a time, so that a column of them stays in the second-level cache
QUARTERS = (0.25, 0.5, 0.75)
IQR_OF_NORMAL = 1.349  # the interquartile range of a normal distribution, in standard deviations
BINS, MANY_VALUES = (8, 16), 10_000  # most bins of a column; the second if it has MANY_VALUES or more
ALL_BINS = 1100  # most bins of all columns together; if that is less than two a column there are none
CLIP = 6.0  # standard deviations: the bound of the smooth clip
UNIT = 2**40  # 1.0 in fixed point; the sum of 2^15 squares of CLIP is below 2^63
NOTHING = 2.0**-36  # a smaller variance is rounding, of equal numbers
SMALLEST = float(np.finfo(np.float64).tiny)
LARGEST = float(np.finfo(np.float64).max)
WIDEST = LARGEST / 4  # bound of the edges of bins, so that their differences are finite


class Statistics(NamedTuple):
    """What robust scaling needs. low, high, centre and scale are of the finite values."""

    low: float
    high: float
    centre: float  # the median
    scale: float  # the standard deviation of a normal distribution with the same interquartile range
    mean: float  # of the clipped values
    deviation: float  # their standard deviation


class Numbers(NamedTuple):
    """Statistics of a column of numbers or times. Integers are exact, booleans are 0 and 1."""

    present: int  # rows that are not missing
    distinct: int
    low: float | int | None  # None if there is no value, as are the next three
    high: float | int | None
    median: float | None
    robust: Statistics | None
    edges: list[float]  # of bins with equally many rows, or the values themselves if they are few; empty for one value
    knots: list[float]  # of splines: the edges of twice as many bins


@functools.cache
def numbers(table: Table) -> dict[str, Numbers]:
    """Statistics of every column of numbers or times. The result is cached, for both fitting and the profile need it.

    As many columns are read at a time as make a piece, or as there are threads. Each is sorted by one thread.
    """
    from concurrent.futures import ThreadPoolExecutor  # late: the import takes time, and most commands need none

    ordered = [name for name, kind in table.columns.items() if columns.kind_of(kind) not in (None, "category")]
    names = [name for name in ordered if name != ROW]
    if not names:
        return {}
    found, threads = {}, duck.threads()
    at_once = min(max(VALUES // max(len(table), 1), threads), len(names))
    room = files.mapped((at_once, len(table)), np.float64, table.path.parent)
    of = functools.partial(_of, most_bins=ALL_BINS // len(names))
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(names), at_once):
            values = _present(table, names[start : start + at_once], room)
            found |= zip(values, pool.map(of, values.values()))
    return found


def _present(table: Table, names: list[str], room: np.ndarray) -> dict[str, np.ndarray]:
    """The values of each column that are not missing, in a line of `room` (columns, n). Floats may still hold nan."""
    values, filled, kinds = {}, dict.fromkeys(names, 0), table.columns
    integers = {name: duck.name(name) for name in names if kinds[name] in columns.INTEGERS}
    for piece in table.pieces({name: columns.number_or_nan(name, kinds[name]) for name in names} | integers):
        for line, (name, found) in zip(room, piece.items()):
            found = np.ma.compressed(found)
            start, filled[name] = filled[name], filled[name] + len(found)
            values[name] = line.view(found.dtype)[: filled[name]]
            values[name][start:] = found
    return values


def _of(values: np.ndarray, most_bins: int) -> Numbers:
    """Statistics of values (m,) in any order, which are sorted in place.

    NumPy sorts without the global interpreter lock, so that threads work side by side.
    """
    values.sort()  # nan comes last
    if values.dtype.kind == "f":
        values = values[: np.count_nonzero(values == values)]
        values += values.dtype.type(0.0)  # makes 0.0 of -0.0
    if not len(values):
        return Numbers(0, 0, None, None, None, None, [], [])
    distinct = 1 + int(np.count_nonzero(values[1:] != values[:-1]))
    ends = values[0].item(), values[-1].item()
    bins = min(BINS[len(values) >= MANY_VALUES], most_bins)
    cut = (edges(values, distinct, bins), edges(values, distinct, 2 * bins)) if bins > 1 else ([], [])
    return Numbers(len(values), distinct, *ends, quantile(values, 0.5), statistics(values), *cut)


def statistics(ordered: np.ndarray) -> Statistics:
    """Robust statistics of sorted values (m,), at least one."""
    finite = _finite(ordered)
    if not len(finite):  # only infinite values: a zero among them gives a centre
        finite = np.zeros(1)
        ordered = np.append(ordered, finite)
    low, centre, high = (quantile(finite, share) for share in QUARTERS)
    ends = float(finite[0]), float(finite[-1])
    # If the quartiles are equal it is half the range. Both this and the smooth clip are RealMLP's (arXiv 2407.04491).
    spread = min(high - low or ends[1] / 2 - ends[0] / 2 or 1.0, LARGEST)
    scale = max(spread / IQR_OF_NORMAL, SMALLEST)
    return Statistics(*ends, centre, scale, *_moments(ordered, centre, scale))


def _finite(ordered: np.ndarray) -> np.ndarray:
    """The finite ones of sorted values."""
    return ordered[bisect.bisect_right(ordered, -math.inf) : bisect.bisect_left(ordered, math.inf)]


def _moments(values: np.ndarray, centre: float, scale: float) -> tuple[float, float]:
    """Mean and standard deviation of the clipped values (m,). Sums in fixed point are exact in any order."""
    n, total, squares = len(values), 0, 0
    for start in range(0, n, IN_CACHE):
        z = smooth_clip(values[start : start + IN_CACHE].astype(np.float64), centre, scale)
        total += int(np.rint(z * UNIT).astype(np.int64).sum())
        squares += int(np.rint(z * z * UNIT).astype(np.int64).sum())
    variance = (n * squares * UNIT - total * total) / (n * n * UNIT * UNIT)
    return total / (n * UNIT), math.sqrt(variance) if variance > NOTHING else 1.0


def smooth_clip(values: np.ndarray, centre: float, scale: float) -> np.ndarray:
    """z / sqrt(1 + (z / CLIP)^2) for z = (value - centre) / scale: nearly z around 0, and never past CLIP."""
    with np.errstate(over="ignore", invalid="ignore"):
        z = (values - centre) / scale
    z = np.clip(z, -1e9, 1e9)  # so that its square is finite; at 1e9 the result is CLIP anyway
    return z / np.sqrt(1.0 + (z / CLIP) * (z / CLIP))


def edges(ordered: np.ndarray, distinct: int, bins: int) -> list[float]:
    """Edges of bins of sorted values (m,): their quantiles, each once. Empty if there are fewer than two.

    Where few values differ, these are the edges.
    """
    finite = _finite(ordered)
    if distinct <= bins + 1:
        ends = set(finite[np.append(finite[1:] != finite[:-1], True)].tolist()) if len(finite) else set()
    else:
        ends = {quantile(finite, i / bins) for i in range(bins + 1)}
    ends = sorted({min(max(float(end), -WIDEST), WIDEST) for end in ends})
    return ends if len(ends) > 1 else []


def position(values: np.ndarray, ends: list[float]) -> np.ndarray:
    """Where values (n,) lie in bins: the number of the bin, from 0, plus the share of it below: float64 (n,)."""
    ends, values = np.array(ends), np.clip(values, ends[0], ends[-1])
    bin = np.clip(np.searchsorted(ends, values, "right") - 1, 0, len(ends) - 2)
    return bin + (values - ends[bin]) / (ends[bin + 1] - ends[bin])


def quantile(ordered: np.ndarray, share: float) -> float:
    """A quantile of sorted values, linearly interpolated."""
    place = share * (len(ordered) - 1)
    i = int(place)
    if place == i:  # the next value may be infinite, or not exist
        return float(ordered[i])
    low, high = float(ordered[i]), float(ordered[i + 1])
    return min(max(low * (1.0 - (place - i)) + high * (place - i), low), high)  # rounding may go outside the two


def finite_float32(values: np.ndarray, name: str, row: int) -> np.ndarray:
    """Values (n,) as float32. UserError for the first that is not finite. row: the number of the first in the table."""
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32, copy=False)
    finite = np.isfinite(narrow)
    if not finite.all():
        i = int(finite.argmin())
        value = "missing" if np.isnan(values[i]) else f"{values[i]:g}"
        raise UserError(
            f"column {name!r} is {value} in row {row + i}, and under train.encoding raw a number must be a finite "
            f"float32; train with train.encoding robust, or mend the column"
        )
    return narrow
