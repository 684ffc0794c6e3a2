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
from collections import Counter

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.errors import UserError
from stages.table import MISSING, ROW, Facts, Stored, groups

MOST_CATEGORIES = 100  # inputs that one column of text may take; the rest share one
FEWEST_ROWS = 4  # a category of fewer training rows is pooled with those never seen, which so have been trained
IN_CACHE = 2**15  # rows of a large table to encode at a time: a column of them stays in the second-level cache
EXACT = 2**53  # up to here float64 tells integers apart
IQR_OF_NORMAL = 1.349  # an interquartile range is so many standard deviations of a normal column
CLIP = 6.0  # standard deviations that no value gets past
SMALLEST = float(np.finfo(np.float64).tiny)
LARGEST = float(np.finfo(np.float64).max)
ARTICLES = {"number": "a number", "instant": "an instant", "time of day": "a time of day", "duration": "a duration"}
SECONDS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


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


def check(table: pa.Table | Stored, target: str) -> None:
    """Refuse a column that no encoding can take, by its name, first row and what to do."""
    for name in table.column_names:
        if name == target:
            continue
        kind = table.schema.field(name).type
        if kind_of(kind) is None:
            raise UserError(
                f"column {name!r} holds {kind}, and a feature must be a number, text, date or time; "
                f"flatten it or leave it out (make_data.drop)"
            )
        if kind_of(kind) == "category":
            _check_text(table.column(name), name)
        elif pa.types.is_integer(kind):
            _check_integers(table.column(name), name)


def fit(table: pa.Table | Stored, facts: Facts, setting: str) -> Encoding:
    """The encoding of a training part; UserError when no column is left, or raw cannot take one."""
    columns, left_out = [], []
    for name in table.column_names:
        if name in (facts.target, ROW):
            continue
        column = table.column(name)
        ends = None if kind_of(column.type) == "category" else _ends(column)
        why = "the split goes by it" if name in facts.split_by else _why_left_out(column, ends)
        if why:
            left_out.append(LeftOut(name, why))
        elif ends is None:
            columns.append(_category(column, name))
        else:
            columns.append(_number(column, name, setting, ends))
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
            _encode_number(column, numbers_of(column, table), inputs, first)
        else:
            codes = codes_of(column, table)
            rows = np.flatnonzero(codes < column.width)
            inputs[:] = 0.0
            inputs[rows, codes[rows]] = 1.0


def unseen(encoding: Encoding, table: pa.Table | Stored) -> list[str]:
    """What a table has that the training rows had not: one line a column, with the count."""
    lines = []
    for column in encoding.columns:
        if isinstance(column, Number):
            values = numbers_of(column, table)
            outside = int(((values < column.low) | (values > column.high)).sum())
            if outside:
                lines.append(f"{column.name}: {outside} outside the training rows' {column.low:g} to {column.high:g}")
            missing = int(np.isnan(values).sum())
        else:
            texts = texts_of(table.column(column.name))
            known = set(column.values)
            others = Counter(text for text in texts if text is not None and text not in known)
            if others:
                examples = ", ".join(repr(text) for text, _ in others.most_common(3))
                rare = "rare or " if column.pools_others else ""
                lines.append(f"{column.name}: {others.total()} {rare}never seen in training ({examples})")
            missing = sum(text is None for text in texts)
        if missing and not column.marks_missing:
            lines.append(f"{column.name}: {missing} missing, and none was in training")
    return lines


# ---- kinds of columns


def kind_of(kind: pa.DataType) -> str | None:
    """number, instant, time of day, duration or category; None for what cannot be encoded, category for no values."""
    types = pa.types
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind):
        return "number"
    if types.is_date(kind) or types.is_timestamp(kind):
        return "instant"
    if types.is_time(kind):
        return "time of day"
    if types.is_duration(kind):
        return "duration"
    if types.is_dictionary(kind):
        return "category" if kind_of(kind.value_type) else None
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind) or types.is_null(kind)
    return "category" if text else None


def texts_of(column: pa.ChunkedArray) -> list[str | None]:
    """A column as text, None where it is missing or blank."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    texts = column.cast(pa.string()).to_pylist()
    return [None if text is None or text.strip() in MISSING else text for text in texts]


def numbers_of(column: Number, table: pa.Table | Stored) -> np.ndarray:
    """A new table's column as float64 (n,), nan where it is missing; UserError when it is not of the kind fitted."""
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
    return _floats(values)


def codes_of(column: Category, table: pa.Table) -> np.ndarray:
    """The input that each row of a new table switches on: int64 (n,), `width` for none."""
    codes = {value: i for i, value in enumerate(column.values)}
    other = len(codes) if column.pools_others else column.width
    missing = column.width - 1 if column.marks_missing else column.width
    texts = texts_of(_column(column.name, table))
    return np.array([missing if text is None else codes.get(text, other) for text in texts], np.int64)


def _column(name: str, table: pa.Table | Stored) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise UserError(f"column {name!r} is missing, and the model was trained with it; add it to the table")
    return table.column(name)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    """Numbers, or times as seconds (dates and timestamps since 1970, UTC where there is a zone), nan for missing.

    A zero has no sign here: which of 0.0 and -0.0 comes first when they are sorted depends on the CPU.
    """
    kind, per_second = column.type, 1.0
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("s"))
    elif not pa.types.is_boolean(kind):
        per_second = SECONDS.get(getattr(kind, "unit", None), 1.0)
    if kind_of(kind) != "number":
        bits = 32 if pa.types.is_time32(kind) else 64
        column = column.cast(pa.int32() if bits == 32 else pa.int64())
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    return values / per_second + 0.0


# ---- fitting


def _why_left_out(column: pa.ChunkedArray, ends: tuple[float, float, int] | None) -> str | None:
    """The reason why a training part's column can teach nothing, if there is one."""
    if ends is not None:
        low, high, missing = ends
        if missing == len(column):
            return "it is empty"
        if not missing and low == high:
            return f"it is {column[0].as_py()} in every training row"
        if pa.types.is_integer(column.type) and _is_numbering(column.drop_null()):
            return "an identifier: whole numbers, different on every row"
        return None
    texts = texts_of(column)
    counts = Counter(text for text in texts if text is not None)
    if not counts:
        return "it is empty"
    if len(counts) == 1 and counts.total() == len(texts):
        return f"it is {texts[0]!r} in every training row"
    if len(counts) > max(counts.total() / 2, 10):
        words = sum(len(text.split()) for text in counts) / len(counts)
        thing = "free text" if words >= 3 else "an identifier"
        return f"{thing}: {len(counts)} different values in {counts.total()} rows"
    return None


def _ends(column: pa.ChunkedArray) -> tuple[float, float, int]:
    """Lowest and highest number and the count of missing ones, a piece at a time: most columns are decided by these."""
    low, high, missing = math.inf, -math.inf, 0
    for start in range(0, len(column), IN_CACHE):
        values = _floats(column.slice(start, IN_CACHE))
        if np.isnan(least := values.min()):
            present = values[~np.isnan(values)]
            missing += len(values) - len(present)
            if not len(present):
                continue
            values, least = present, present.min()
        low, high = min(low, float(least)), max(high, float(values.max()))
    return low, high, missing


def _is_numbering(column: pa.ChunkedArray) -> bool:
    """Whether whole numbers are someone's numbers for the rows: n draws out of their range would hardly all differ.

    The chance is about exp(-n^2 / (2 range)) (the birthday problem); below exp(-10) it is no chance. Past 2^53, where
    a measure would be a float, different on every row is enough.
    """
    n, ends = len(column), pc.min_max(column).as_py()
    values = ends["max"] - ends["min"] + 1
    likely_to_repeat = n * n > 20 * values
    could = n <= values and (likely_to_repeat or max(map(abs, ends.values())) > EXACT)
    return could and pc.count_distinct(column).as_py() == n  # last, for it costs the most


def _number(column: pa.ChunkedArray, name: str, setting: str, ends: tuple[float, float, int]) -> Number:
    kind = kind_of(column.type)
    if setting == "raw" and kind == "number":
        low, high, missing = ends
        with np.errstate(over="ignore"):
            if missing or not np.isfinite(np.float32([low, high])).all():
                _check_raw(_floats(column), column, name)
        return Number(name, kind, low, high, 0.0, 0.0, 0.0, 1.0, False)
    values = _floats(column)
    missing = np.isnan(values)
    finite = np.sort(values[np.isfinite(values)])
    if not len(finite):
        finite = np.zeros(1)
    low, centre, high = (quantile(finite, share) for share in (0.25, 0.5, 0.75))
    # Where most rows are equal it is half the range, as in RealMLP (arXiv 2407.04491), as the smooth clip is.
    with np.errstate(over="ignore"):
        spread = min(high - low or finite[-1] / 2 - finite[0] / 2 or 1.0, LARGEST)
        scale = max(spread / IQR_OF_NORMAL, SMALLEST)
    clipped = smooth_clip(values[~missing], centre, scale)
    mean = math.fsum(clipped) / len(clipped)
    deviation = math.sqrt(math.fsum((clipped - mean) * (clipped - mean)) / len(clipped)) or 1.0
    ends = float(finite[0]), float(finite[-1])
    return Number(name, kind, *ends, centre, float(scale), mean, deviation, bool(missing.any()))


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


def _category(column: pa.ChunkedArray, name: str) -> Category:
    texts = texts_of(column)
    counts = Counter(text for text in texts if text is not None)
    frequent = sorted(counts, key=lambda text: (-counts[text], text))[:MOST_CATEGORIES]
    values = sorted(text for text in frequent if counts[text] >= FEWEST_ROWS)
    return Category(name, values, len(values) < len(counts), None in texts)


def _encode_number(column: Number, values: np.ndarray, inputs: np.ndarray, row: int) -> None:
    missing = np.isnan(values)
    if column.marks_missing:
        inputs[:, 1] = missing
    if column.scale == 0.0:
        inputs[:, 0] = _finite_float32(values, column.name, row)
        return
    z = (smooth_clip(values, column.centre, column.scale) - column.mean) / column.deviation
    inputs[:, 0] = np.where(missing, 0.0, z)


# ---- what is refused


def _check_text(column: pa.ChunkedArray, name: str) -> None:
    """Refuse numbers with a few text cells among them: as text they would be an identifier, and silently lost."""
    texts = [(row, text) for row, text in enumerate(texts_of(column)) if text is not None]
    words = [(row, text) for row, text in texts if not is_number(text)]
    numbers = {text for _, text in texts} - {text for _, text in words}
    few = len(words) <= len(texts) / 20 or len({text for _, text in words}) <= 3
    if words and len(words) < len(texts) / 2 and len(numbers) > 20 and few:
        cells = ", ".join(f"{text!r} in row {row}" for row, text in words[:5])
        raise UserError(
            f"column {name!r} holds numbers and {len(words)} cells of text ({cells}{', ...' if words[5:] else ''}); "
            f"mend or empty those cells, or leave the column out (make_data.drop)"
        )


def _check_integers(column: pa.ChunkedArray, name: str) -> None:
    """Refuse a measure that float64 cannot hold; an identifier may be of any size, it is left out later."""
    values = column.drop_null().to_numpy()
    past = (values > EXACT) | (values < -EXACT)
    if past.any() and len(np.unique(values)) < len(values):
        value = int(values[past.argmax()])
        row = pc.index(column, pa.scalar(value, column.type)).as_py()
        raise UserError(
            f"column {name!r} is {value} in row {row}, past 2^53, where numbers are no longer exact; "
            f"leave it out (make_data.drop) if it is an identifier, else write it in larger units"
        )


def _check_raw(values: np.ndarray, column: pa.ChunkedArray, name: str) -> None:
    if column.null_count or np.isnan(values).any():
        row = int(np.isnan(values).argmax())
        raise UserError(
            f"column {name!r} has {np.isnan(values).sum()} missing values in the training part (first in its row "
            f"{row}), and train.encoding raw takes numbers as they are; set train.encoding to robust, or fill them"
        )
    _finite_float32(values, name)


def _finite_float32(values: np.ndarray, name: str, row: int = 0) -> np.ndarray:
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    finite = np.isfinite(narrow)
    if not finite.all():
        i = int(finite.argmin())
        value = "missing" if np.isnan(values[i]) else f"{values[i]:g}"
        raise UserError(
            f"column {name!r} is {value} in row {row + i}, and under train.encoding raw a number must be a finite "
            f"float32; train with train.encoding robust, or mend the column"
        )
    return narrow


def is_number(text: str) -> bool:
    """Whether a text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
