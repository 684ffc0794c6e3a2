"""What columns of numbers and times hold, told from their values in order: ends, quantiles, robust statistics.

Order statistics, and exact sums of what is clipped, depend neither on the order of the rows nor on the machine.
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

IN_CACHE = 2**15  # rows to work on at a time: a column of them stays in the second-level cache
QUARTERS = (0.25, 0.5, 0.75)
IQR_OF_NORMAL = 1.349  # an interquartile range is so many standard deviations of a normal column
BINS, MANY = (8, 16), 10_000  # most that a column of numbers is cut into, the second from so many values on
OF_ALL = 1100  # bins of all columns together: a wide table's have fewer, and with fewer than two none
CLIP = 6.0  # standard deviations that no value gets past
UNIT = 2**40  # of the fixed-point sums; 2^15 squares of CLIP in it are below 2^63
NOTHING = 2.0**-36  # a variance below is that of equal numbers, whose sums are rounded
SMALLEST = float(np.finfo(np.float64).tiny)
LARGEST = float(np.finfo(np.float64).max)
WIDEST = LARGEST / 4  # of the ends of bins, so that their differences are finite


class Statistics(NamedTuple):
    """Of a column's values that are not missing."""

    low: float  # of the finite values, as are centre and scale
    high: float
    centre: float  # the median
    scale: float  # what a normal column's standard deviation would be by its interquartile range
    mean: float  # of the clipped values
    deviation: float


class Numbers(NamedTuple):
    """What there is to know of a column of numbers or times; integers are exact, booleans 0 and 1."""

    present: int  # rows that have a value
    distinct: int
    low: float | int | None  # None where there is no value, as are all below
    high: float | int | None
    median: float | None
    robust: Statistics | None
    edges: list[float]  # of bins with as many rows each, or of one a value where there are few; empty for one value
    knots: list[float]  # of splines: edges of bins half as wide


@functools.cache
def numbers(table: Table) -> dict[str, Numbers]:
    """Of every column that has an order. A table is gone through for it once: fitting and the profile need it.

    As many columns are read together as make a piece, or as there are threads, which have a column each.
    """
    from concurrent.futures import ThreadPoolExecutor  # late, for it takes time, and most commands need none

    ordered = [name for name, kind in table.columns.items() if columns.kind_of(kind) not in (None, "category")]
    names = [name for name in ordered if name != ROW]
    found, threads = {}, duck.threads()
    at_once = min(max(VALUES // max(len(table), 1), threads), len(names))
    room = files.mapped((at_once, len(table)), np.float64, table.path.parent)
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(names), max(at_once, 1)):
            values = _present(table, names[start : start + at_once], room)
            found |= zip(values, pool.map(_of, values.values(), [OF_ALL // len(names)] * len(values)))
    return found


def _present(table: Table, names: list[str], room: np.ndarray) -> dict[str, np.ndarray]:
    """Of each column its values, without those that are missing (of floats these are nan): in `room`, a line each."""
    values, filled, kinds = {}, dict.fromkeys(names, 0), table.columns
    integers = {name: duck.name(name) for name in names if kinds[name] in columns.INTEGERS}
    for piece in table.pieces({name: columns.number_or_nan(name, kinds[name]) for name in names} | integers):
        for line, (name, found) in zip(room, piece.items()):
            found = np.ma.compressed(found)
            start, filled[name] = filled[name], filled[name] + len(found)
            values[name] = line.view(found.dtype)[: filled[name]]
            values[name][start:] = found
    return values


def _of(values: np.ndarray, most: int) -> Numbers:
    """Of values (m,) in any order, which are sorted where they are; NumPy holds no other thread up while it sorts.

    most: bins.
    """
    values.sort()  # nan comes last
    if values.dtype.kind == "f":
        values = values[: np.count_nonzero(values == values)]
        values += values.dtype.type(0.0)  # -0.0 is 0.0
    if not len(values):
        return Numbers(0, 0, None, None, None, None, [], [])
    distinct = 1 + int(np.count_nonzero(values[1:] != values[:-1]))
    ends = values[0].item(), values[-1].item()
    bins = min(BINS[len(values) >= MANY], most)
    cut = (edges(values, distinct, bins), edges(values, distinct, 2 * bins)) if bins > 1 else ([], [])
    return Numbers(len(values), distinct, *ends, quantile(values, 0.5), statistics(values), *cut)


def statistics(ordered: np.ndarray) -> Statistics:
    """Of a column's values (m,), at least one, from the lowest to the highest."""
    finite, infinite = _finite(ordered)
    finite = finite if len(finite) else np.zeros(1)
    low, centre, high = (quantile(finite, share) for share in QUARTERS)
    ends = float(finite[0]), float(finite[-1])
    # Where most rows are equal it is half the range, as in RealMLP (arXiv 2407.04491), as the smooth clip is.
    spread = min(high - low or ends[1] / 2 - ends[0] / 2 or 1.0, LARGEST)
    scale = max(spread / IQR_OF_NORMAL, SMALLEST)
    return Statistics(*ends, centre, scale, *_moments(finite, infinite, centre, scale))


def _finite(ordered: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Those of the values that are finite, and how many are -inf and inf."""
    first, last = bisect.bisect_right(ordered, -math.inf), bisect.bisect_left(ordered, math.inf)
    return ordered[first:last], (first, len(ordered) - last)


def _moments(finite: np.ndarray, infinite: tuple[int, int], centre: float, scale: float) -> tuple[float, float]:
    """Mean and standard deviation of the clipped values, from sums in fixed point: exact, in whatever order."""
    n = total = squares = 0
    for values, times in (finite, 1), (np.array([-np.inf]), infinite[0]), (np.array([np.inf]), infinite[1]):
        for start in range(0, len(values), IN_CACHE):
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


def edges(ordered: np.ndarray, distinct: int, bins: int) -> list[float]:
    """Ends of so many bins of a column's values (m,), from the lowest to the highest: quantiles, each once.

    Where few values differ they are the ends themselves. Fewer than two ends are no bins.
    """
    finite, _ = _finite(ordered)
    if distinct <= bins + 1:
        ends = set(finite[np.append(finite[1:] != finite[:-1], True)].tolist()) if len(finite) else set()
    else:
        ends = {quantile(finite, i / bins) for i in range(bins + 1)}
    ends = sorted({min(max(float(end), -WIDEST), WIDEST) for end in ends})
    return ends if len(ends) > 1 else []


def position(values: np.ndarray, ends: list[float]) -> np.ndarray:
    """Where values (n,) lie in bins: the number of the bin, from 0, and how far into it; float64 (n,)."""
    ends, values = np.array(ends), np.clip(values, ends[0], ends[-1])
    bin = np.clip(np.searchsorted(ends, values, "right") - 1, 0, len(ends) - 2)
    return bin + (values - ends[bin]) / (ends[bin + 1] - ends[bin])


def quantile(ordered: np.ndarray, share: float) -> float:
    """The value below which a share of the ordered ones lies, between two neighbours in proportion."""
    place = share * (len(ordered) - 1)
    i = int(place)
    if place == i:  # the next one may be infinite, or not there
        return float(ordered[i])
    low, high = float(ordered[i]), float(ordered[i + 1])
    return min(max(low * (1.0 - (place - i)) + high * (place - i), low), high)  # rounding may leave the two


def finite_float32(values: np.ndarray, name: str, row: int = 0) -> np.ndarray:
    """A column's values (n,) as they are; UserError for the first that is none, whose number in the table is given."""
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
