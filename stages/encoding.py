"""Columns to numbers: fitted on training rows only, and saved with the model so that it can meet new rows.

`raw` leaves numbers as they are, as the notebook does, and encodes what is no number. `robust` is for real tables:
every column is centred on its median, divided by its interquartile range and clipped smoothly, so that neither an odd
scale nor a heavy tail reaches the network, and then standardized; what is missing becomes the mean and is marked in an
input of its own.
Under both, text becomes one input a category. Columns that can teach nothing are left out, with the reason.

What is fitted are order statistics, counts and exactly rounded sums, and encoding is +, -, *, / and sqrt on float64:
the same bits on every machine.
"""

import math
import re
from collections.abc import Iterator
from itertools import chain

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages import spill
from stages.columns import EXACT, Column, Texts, all_differ, floats_of, is_number, kind_of, texts_in, texts_of
from stages.errors import UserError
from stages.table import ROW, Facts, Stored, groups

FEWEST_ROWS = 4  # a category of fewer training rows is pooled with those never seen, which so have been trained
IN_CACHE = 2**15  # rows of a large table to encode at a time: a column of them stays in the second-level cache
MEASURE = re.compile(r"\W*\d+(\W+\d*)+", re.ASCII)  # text such as 31.12.2021, 1,234.50 $ or 45 %
QUARTERS = (0.25, 0.5, 0.75)
IQR_OF_NORMAL = 1.349  # an interquartile range is so many standard deviations of a normal column
CLIP = 6.0  # standard deviations that no value gets past
SMALLEST = float(np.finfo(np.float64).tiny)
LARGEST = float(np.finfo(np.float64).max)
ARTICLES = {"number": "a number", "instant": "an instant", "time of day": "a time of day", "duration": "a duration"}


class Number(msgspec.Struct, frozen=True, tag="number"):
    """A column of numbers, or of times as seconds: one input, and one that marks missing rows where some were."""

    name: str
    kind: str  # number, instant, time of day or duration: what a new table's column must be
    low: float  # the range of the training rows, so that values outside it can be counted
    high: float
    centre: float
    scale: float  # 0 leaves the number as it is
    mean: float  # of the clipped values
    deviation: float
    marks_missing: bool

    @property
    def width(self) -> int:
        """Inputs of the network."""
        return 1 + self.marks_missing


class Category(msgspec.Struct, frozen=True, tag="category"):
    """A column of text: one input a category, 1 where the row has it."""

    name: str
    values: list[str]
    pools_others: bool  # whether rare ones were pooled; if none was, an unseen one has no input at all
    marks_missing: bool

    @property
    def width(self) -> int:
        """Inputs of the network."""
        return len(self.values) + self.pools_others + self.marks_missing


class LeftOut(msgspec.Struct, frozen=True):
    """A column that is no feature, and why."""

    name: str
    why: str


class Encoding(msgspec.Struct, frozen=True):
    """How a table's columns become the network's inputs, in this order."""

    columns: list[Number | Category]
    left_out: list[LeftOut] = []

    @property
    def width(self) -> int:
        """Inputs of the network."""
        return sum(column.width for column in self.columns)


def fit(table: pa.Table | Stored, facts: Facts, setting: str) -> Encoding:
    """The encoding of a training part; UserError when no column is left, or raw cannot take one."""
    columns, left_out = [], []
    for name in table.column_names:
        if name in (facts.target, ROW):
            continue
        column = Column(table, name)
        fitted = "the split goes by it"
        if name not in facts.split_by:
            fitted = _category(column) if kind_of(column.type) == "category" else _number(column, setting)
        if isinstance(fitted, str):
            left_out.append(LeftOut(name, fitted))
        else:
            columns.append(fitted)
    if not columns:
        reasons = "; ".join(f"{left.name}: {left.why}" for left in left_out[:10])
        raise UserError(f"no column is left to learn from ({reasons}); add one that differs between rows")
    return Encoding(columns, left_out)


def encode(encoding: Encoding, rows: pa.Table | Stored, first: int = 0) -> np.ndarray:
    """The columns that the encoding knows, in its order: float32 (n, d). `first` is the first row's number in messages.

    It goes piece by piece, so that of a table in a file only what becomes of it is held.
    """
    x = np.empty((len(rows), encoding.width), np.float32)  # not zeros: for those NumPy asks for no huge pages
    row = 0
    for piece in groups(rows, IN_CACHE, [column.name for column in encoding.columns]):
        _encode_piece(encoding, piece, x[row : row + len(piece)], first + row)
        row += len(piece)
    return x


def _encode_piece(encoding: Encoding, table: pa.Table, x: np.ndarray, first: int) -> None:
    start = 0
    for column in encoding.columns:
        inputs = x[:, start : start + column.width]
        start += column.width
        if isinstance(column, Number):
            _encode_number(column, numbers_of(column, table, narrow=column.scale == 0.0), inputs, first)
        else:
            codes = codes_of(column, table)
            rows = np.flatnonzero(codes < column.width)
            inputs[:] = 0.0
            inputs[rows, codes[rows]] = 1.0


def unseen(encoding: Encoding, table: pa.Table | Stored) -> list[str]:
    """What a table has that the training rows had not: one line a column, with the count."""
    lines = []
    for column in encoding.columns:
        outside = missing = 0
        _check_there(column.name, table)
        if isinstance(column, Number):
            for piece in groups(table, columns=[column.name]):
                values = numbers_of(column, piece)
                outside += int(((values < column.low) | (values > column.high)).sum())
                missing += int(np.isnan(values).sum())
            if outside:
                lines.append(f"{column.name}: {outside} outside the training rows' {column.low:g} to {column.high:g}")
        else:
            texts = texts_in(Column(table, column.name), frozenset(column.values))
            if texts.present:
                examples = ", ".join(repr(text) for text, _ in texts.frequent[:3])
                rare = "rare or " if column.pools_others else ""
                lines.append(f"{column.name}: {texts.present} {rare}never seen in training ({examples})")
            missing = texts.missing
        if missing and not column.marks_missing:
            lines.append(f"{column.name}: {missing} missing, and none was in training")
    return lines


# ---- kinds of columns


def numbers_of(column: Number, table: pa.Table | Stored, narrow: bool = False) -> np.ndarray:
    """A new table's column as float64 (n,), nan where it is missing; UserError when it is not of the kind fitted.

    narrow: leave a float32 column as it is, which saves half the time where its numbers are taken as they are.
    """
    values = _column(column.name, table)
    if pa.types.is_null(values.type):
        return np.full(len(values), np.nan)
    if kind_of(values.type) != column.kind:
        example = ""
        if kind_of(values.type) == "category":
            texts = texts_of(values)
            row = next((i for i, text in enumerate(texts) if text is not None and not is_number(text)), 0)
            example = f" ({texts[row]!r} in row {row})"
        raise UserError(
            f"column {column.name!r} holds {values.type}{example}, and the model was trained on "
            f"{ARTICLES[column.kind]} there; mend the column, or train anew"
        )
    if narrow and pa.types.is_float32(values.type):
        return values.to_numpy() + np.float32(0.0)
    return floats_of(values)


def codes_of(column: Category, table: pa.Table) -> np.ndarray:
    """The input that each row of a new table switches on: int64 (n,), `width` for none."""
    codes = {value: i for i, value in enumerate(column.values)}
    other = len(codes) if column.pools_others else column.width
    missing = column.width - 1 if column.marks_missing else column.width
    texts = texts_of(_column(column.name, table))
    return np.array([missing if text is None else codes.get(text, other) for text in texts], np.int64)


def _check_there(name: str, table: pa.Table | Stored) -> None:
    if name not in table.column_names:
        raise UserError(f"column {name!r} is missing, and the model was trained with it; add it to the table")


def _column(name: str, table: pa.Table | Stored) -> pa.ChunkedArray:
    _check_there(name, table)
    return table.column(name)


# ---- fitting


def _why_left_out(column: Column, ends: tuple[float, float, int]) -> str | None:
    """The reason why a training part's column of numbers can teach nothing, if there is one."""
    low, high, missing = ends
    if missing == len(column):
        return "it is empty"
    if not missing and low == high:
        return f"it is {next(column.pieces())[0].as_py()} in every training row"
    if pa.types.is_integer(column.type) and _is_numbering(column):
        return "an identifier: whole numbers, different on every row"
    return None


def _why_text_is_left_out(texts: Texts) -> str | None:
    """The reason why a column of text can teach nothing, if there is one."""
    if not texts.present:
        return "it is empty"
    if texts.distinct == 1 and not texts.missing:
        return f"it is {texts.frequent[0][0]!r} in every training row"
    if texts.distinct > max(texts.present / 2, 10):
        thing, example = "free text" if texts.words >= 3 else "an identifier", texts.frequent[0][0]
        why = f"{thing}: {texts.distinct} different values in {texts.present} rows"
        if MEASURE.fullmatch(example):
            why += f", such as {example!r}; if that is a measure write it as a number, and a date as 2021-12-31"
        return why
    return None


def _ends(column: Column) -> tuple[float, float, int]:
    """Lowest and highest number and the count of missing ones, a piece at a time: most columns are decided by these."""
    low, high, missing = math.inf, -math.inf, 0
    for piece in column.pieces():
        for start in range(0, len(piece), IN_CACHE):
            values = floats_of(piece.slice(start, IN_CACHE))
            if np.isnan(least := values.min()):
                present = values[~np.isnan(values)]
                missing += len(values) - len(present)
                if not len(present):
                    continue
                values, least = present, present.min()
            low, high = min(low, float(least)), max(high, float(values.max()))
    return low, high, missing


def _is_numbering(column: Column) -> bool:
    """Whether whole numbers are someone's numbers for the rows: n draws out of their range would hardly all differ.

    The chance is about exp(-n^2 / (2 range)) (the birthday problem); below exp(-10) it is no chance. Past 2^53, where
    a measure would be a float, different on every row is enough.
    """
    n, ends = 0, []
    for piece in column.pieces():
        n += len(piece) - piece.null_count
        ends += [end for end in pc.min_max(piece).as_py().values() if end is not None]
    values = max(ends) - min(ends) + 1
    likely_to_repeat = n * n > 20 * values
    could = n <= values and (likely_to_repeat or max(map(abs, ends)) > EXACT)
    return could and all_differ(column, n)  # last, for it costs the most


def _number(column: Column, setting: str) -> Number | str:
    """A column of numbers as it is fitted, or why it is left out."""
    name, kind, ends = column.name, kind_of(column.type), _ends(column)
    if why := _why_left_out(column, ends):
        return why
    if setting == "raw" and kind == "number":
        low, high, missing = ends
        with np.errstate(over="ignore"):
            if missing or not np.isfinite(np.float32([low, high])).all():
                _check_raw(column)
        return Number(name, kind, low, high, 0.0, 0.0, 0.0, 1.0, False)
    finite = _ordered(column)
    low, centre, high = (quantile(finite, share) for share in QUARTERS)
    # Where most rows are equal it is half the range, as in RealMLP (arXiv 2407.04491), as the smooth clip is.
    with np.errstate(over="ignore"):
        spread = min(high - low or finite[-1] / 2 - finite[0] / 2 or 1.0, LARGEST)
        scale = max(spread / IQR_OF_NORMAL, SMALLEST)

    def clipped() -> Iterator[np.ndarray]:
        return (smooth_clip(values[~np.isnan(values)], centre, scale) for values in column.floats())

    n, missing = len(column) - ends[2], ends[2]
    mean = _sum(clipped()) / n
    deviation = math.sqrt(_sum((values - mean) * (values - mean) for values in clipped()) / n) or 1.0
    ends = float(finite[0]), float(finite[-1])
    return Number(name, kind, *ends, centre, float(scale), mean, deviation, bool(missing))


def _sum(pieces: Iterator[np.ndarray]) -> float:
    """The exactly rounded sum of all numbers in all pieces."""
    return math.fsum(chain.from_iterable(piece.tolist() for piece in pieces))


def _ordered(column: Column) -> np.ndarray:
    """A column's finite numbers, at least one: its ends and what `quantile` asks for stand where sorting puts them."""
    values, n = spill.empty(len(column), np.float64), 0
    for piece in column.floats():
        finite = piece[np.isfinite(piece)]
        values[n : n + len(finite)] = finite
        n += len(finite)
    if not n:
        return np.zeros(1)
    quarters = [int(share * (n - 1)) for share in QUARTERS]
    values[:n].partition(sorted({0, n - 1, *quarters, *(min(place + 1, n - 1) for place in quarters)}))
    return values[:n]


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
    a, b = ordered[i], ordered[min(i + 1, len(ordered) - 1)]
    return float(a * (1.0 - (place - i)) + b * (place - i))


def _category(column: Column) -> Category | str:
    """A column of text as it is fitted, or why it is left out."""
    texts = texts_in(column)
    if why := _why_text_is_left_out(texts):
        return why
    values = sorted(text for text, count in texts.frequent if count >= FEWEST_ROWS)
    return Category(column.name, values, len(values) < texts.distinct, texts.missing > 0)


def _encode_number(column: Number, values: np.ndarray, inputs: np.ndarray, row: int) -> None:
    if column.scale == 0.0:
        inputs[:, 0] = _finite_float32(values, column.name, row)
        return
    missing = np.isnan(values)
    if column.marks_missing:
        inputs[:, 1] = missing
    z = (smooth_clip(values, column.centre, column.scale) - column.mean) / column.deviation
    inputs[:, 0] = np.where(missing, 0.0, z)


# ---- what is refused


def _check_raw(column: Column) -> None:
    first, rows, missing = None, 0, 0
    for values in column.floats():
        absent = np.isnan(values)
        if first is None and absent.any():
            first = rows + int(absent.argmax())
        missing, rows = missing + int(absent.sum()), rows + len(values)
    if missing:
        raise UserError(
            f"column {column.name!r} has {missing} missing values in the training part (first in its row {first}), "
            f"and train.encoding raw takes numbers as they are; set train.encoding to robust, or fill them"
        )
    rows = 0
    for values in column.floats():
        _finite_float32(values, column.name, rows)
        rows += len(values)


def _finite_float32(values: np.ndarray, name: str, row: int = 0) -> np.ndarray:
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
