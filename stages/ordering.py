"""Scores, and rows by a key, in their order by a radix sort of our own: the same code on every CPU, also on the disk.

NumPy's fast sort is another code on every CPU, and an emulated one got it wrong; its stable one jumps about in memory.
This one reads and writes in runs, so that arrays on the disk (stages.spill) can be sorted too.
"""

import numpy as np

from stages import spill
from stages.compiled import compiled

DIGIT = 11  # bits of a score's 32 that one of three passes sorts by: 2,048 runs of writes at a time
HALF = np.uint64(2**32 - 1)
MOST = 2**32  # rows: a row's number takes the lower half of 64 bits


@compiled
def _pack(bits, out):
    """Bits of scores and rows as one number each: floats are in their order once negative ones are turned over."""
    for row in range(bits.size):
        key = bits[row]
        if key == np.uint32(0x80000000):  # minus zero is zero
            key = np.uint32(0)
        key ^= np.uint32(0xFFFFFFFF) if key >> np.uint32(31) else np.uint32(0x80000000)
        out[row] = np.uint64(key) << np.uint64(32) | np.uint64(row)


@compiled
def _sort(numbers, other):
    """Sort 64-bit numbers by their upper half, equal ones staying in their order, into `other`."""
    places = np.zeros((3, 2**DIGIT), np.int64)
    mask = np.uint64(2**DIGIT - 1)
    for i in range(numbers.size):
        for d in range(3):
            places[d, (numbers[i] >> np.uint64(32 + d * DIGIT)) & mask] += 1
    for d in range(3):
        before = 0
        for digit in range(2**DIGIT):
            before, places[d, digit] = before + places[d, digit], before
    for d in range(3):
        source, target = (other, numbers) if d == 1 else (numbers, other)
        for i in range(numbers.size):
            digit = (source[i] >> np.uint64(32 + d * DIGIT)) & mask
            target[places[d, digit]] = source[i]
            places[d, digit] += 1


@compiled
def _placements(ordered, positive, share_of_negatives, share_of_positives, out):
    """For a positive row the share of negatives below it (ties half), for a negative one the share of positives."""
    start = before = 0
    while start < ordered.size:
        end, ones = start, 0
        while end < ordered.size and ordered[end] >> np.uint64(32) == ordered[start] >> np.uint64(32):
            ones += positive[ordered[end] & np.uint64(0xFFFFFFFF)]
            end += 1
        below_positive = np.float64(start - before + end - before - ones) / share_of_negatives
        below_negative = np.float64(before + before + ones) / share_of_positives
        for i in range(start, end):
            row = ordered[i] & np.uint64(0xFFFFFFFF)
            out[row] = below_positive if positive[row] else below_negative
        start, before = end, before + ones


@compiled
def _runs(ordered):
    count = 1
    for i in range(1, ordered.size):
        count += ordered[i] >> np.uint64(32) != ordered[i - 1] >> np.uint64(32)
    return count


@compiled
def _cumulated(ordered, positive, hits, misses):
    ones = run = 0
    for done in range(1, ordered.size + 1):
        i = ordered.size - done
        ones += positive[ordered[i] & np.uint64(0xFFFFFFFF)]
        hits[run], misses[run] = ones, done - ones
        run += i > 0 and ordered[i] >> np.uint64(32) != ordered[i - 1] >> np.uint64(32)


def ascending(score: np.ndarray) -> np.ndarray:
    """Scores (n,) from the lowest to the highest: equal ones have the same upper half, the row is the lower: uint64."""
    n = len(score)
    if n > MOST:
        raise ValueError(f"{n} scores cannot be sorted, at most {MOST} can")
    numbers = spill.empty(n, np.uint64)
    ordered = spill.empty(n, np.uint64)
    _pack(np.ascontiguousarray(score, np.float32).view(np.uint32), numbers)
    _sort(numbers, ordered)
    return ordered


def placements(ordered: np.ndarray, positive: np.ndarray, positives: int, out: np.ndarray) -> np.ndarray:
    """DeLong's placements into `out` (n,): of a positive row the share of negatives it ranks above, ties half; of a
    negative one the share of positives below it.
    """
    _placements(ordered, positive, 2.0 * (len(ordered) - positives), 2.0 * positives, out)
    return out


def cumulated(ordered: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives at or above each different score, from the highest down: int64 both."""
    runs = _runs(ordered)
    hits, misses = spill.empty(runs, np.int64), spill.empty(runs, np.int64)
    _cumulated(ordered, positive, hits, misses)
    return hits, misses


def sorted_by(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Row numbers (n,) in the order of their keys, uint64 by row number; those of equal keys stay in their order."""
    n = len(rows)
    if n > MOST:
        raise ValueError(f"{n} rows cannot be sorted, at most {MOST} can")
    numbers, ordered = spill.empty(n, np.uint64), spill.empty(n, np.uint64)
    for here in spill.pieces(n):
        ordered[here] = rows[here]
    for shift in (0, 32):  # first by the lower half of the keys, then by the upper one
        for here in spill.pieces(n):
            own = ordered[here] & HALF
            numbers[here] = (keys[own] >> np.uint64(shift) & HALF) << np.uint64(32) | own
        _sort(numbers, ordered)
    result = spill.empty(n, rows.dtype)
    for here in spill.pieces(n):
        result[here] = ordered[here] & HALF
    return result
