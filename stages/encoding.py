"""Columns to numbers: fitted on training rows only, and saved with the model so that it can meet new rows.

`raw` leaves numbers as they are, as the notebook does, and encodes what is no number. `robust` is for real tables:
every column is centred on its median, divided by its interquartile range and clipped smoothly, so that neither an odd
scale nor a heavy tail reaches the network, and then standardized; what is missing becomes the mean and is marked in an
input of its own.
Under both, text becomes one input a category. Columns that can teach nothing are left out, with the reason.

What is fitted are order statistics, counts and exactly rounded sums, and encoding is +, -, *, / and sqrt on float64:
the same bits on every machine. All of it goes over a column piece by piece, as often as it takes, so that no column
need fit in memory.
"""

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages import spill
from stages.errors import UserError
from stages.table import MISSING, ROW, ROWS, TEXT, Facts, Stored, groups

MOST_CATEGORIES = 100  # inputs that one column of text may take; the rest share one
FEWEST_ROWS = 4  # a category of fewer training rows is pooled with those never seen, which so have been trained
IN_CACHE = 2**15  # rows of a large table to encode at a time: a column of them stays in the second-level cache
MANY = 2**14  # different texts, after so many more it is asked whether they still fit in memory
MEASURE = re.compile(r"\W*\d+(\W+\d*)+", re.ASCII)  # text such as 31.12.2021, 1,234.50 $ or 45 %
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
            _check_text(Column(table, name))
        elif pa.types.is_integer(kind):
            _check_integers(Column(table, name))


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
            texts = _texts(Column(table, column.name), frozenset(column.values))
            if texts.present:
                examples = ", ".join(repr(text) for text, _ in texts.frequent[:3])
                rare = "rare or " if column.pools_others else ""
                lines.append(f"{column.name}: {texts.present} {rare}never seen in training ({examples})")
            missing = texts.missing
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
    texts = column.cast(pa.string()).to_pylist()
    return [None if text is None or text.strip() in MISSING else text for text in texts]


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
    return _floats(values)


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


class Column:
    """A column of a table, to go over piece by piece as often as it takes."""

    def __init__(self, table: pa.Table | Stored, name: str):
        self.table, self.name, self.type = table, name, table.schema.field(name).type

    def __len__(self) -> int:
        """Rows."""
        return len(self.table)

    def pieces(self) -> Iterator[pa.ChunkedArray]:
        """The column's rows."""
        return (piece.column(self.name) for piece in groups(self.table, columns=[self.name]))

    def floats(self) -> Iterator[np.ndarray]:
        """The same as `_floats` has them."""
        return map(_floats, self.pieces())

    def counts(self) -> Iterator[tuple[str | None, int]]:
        """Its texts with how often each comes in a piece; None is missing."""
        for piece in self.pieces():
            counted = piece.cast(pa.string()).value_counts()
            yield from zip(texts_of(counted.field("values")), counted.field("counts").to_pylist())


class Texts(NamedTuple):
    """What there is to know of a column of text."""

    rows: int
    missing: int
    distinct: int
    words: float  # in a distinct text, on average
    frequent: list[tuple[str, int]]  # the MOST_CATEGORIES that come most often, of equally frequent ones by the letters

    @property
    def present(self) -> int:
        """Rows that have a text."""
        return self.rows - self.missing


def _texts(column: Column, known: frozenset[str] = frozenset()) -> Texts:
    """Counts of a column's texts but for those known, which are as if they were not there.

    Different texts that do not fit in memory together are counted in several passes, in each those of some checksums.
    """
    passes = 1
    while (texts := _texts_in(column, known, passes)) is None:
        passes *= 4
    return texts


def _texts_in(column: Column, known: frozenset[str], passes: int) -> Texts | None:
    rows = missing = distinct = words = 0
    frequent = []
    for now in range(passes):
        counts, size = Counter(), 0
        for text, count in column.counts():
            if text is None:
                missing += count if now == 0 else 0
            elif text not in known and (passes == 1 or zlib.crc32(text.encode()) % passes == now):
                if text not in counts:
                    size += 2 * TEXT + len(text)
                    if len(counts) % MANY == MANY - 1 and not spill.passes(size):
                        return None
                counts[text] += count
        rows, distinct = rows + counts.total(), distinct + len(counts)
        words += sum(len(text.split()) for text in counts)
        frequent = sorted([*frequent, *counts.items()], key=lambda each: (-each[1], each[0]))[:MOST_CATEGORIES]
    return Texts(rows + missing, missing, distinct, words / max(distinct, 1), frequent)


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
    """The same of a column of text."""
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
            values = _floats(piece.slice(start, IN_CACHE))
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
    return could and _all_differ(column, n)  # last, for it costs the most


def _all_differ(column: Column, n: int) -> bool:
    """Whether the n whole numbers of a column are all different, in as many passes as memory asks for."""
    if any(pc.count_distinct(piece).as_py() < len(piece) - piece.null_count for piece in column.pieces()):
        return False
    passes = 1
    while not spill.passes(32 * n / passes):
        passes *= 2
    for now in range(passes if len(column) > len(next(column.pieces())) else 0):
        some = (piece.drop_null().to_numpy() for piece in column.pieces())
        values = np.concatenate([each[_mixed(each) % passes == now] for each in some])
        if pc.count_distinct(pa.array(values)).as_py() < len(values):
            return False
    return True


def _mixed(values: np.ndarray) -> np.ndarray:
    """Numbers that say little of the order of whole numbers, the same for the same: uint64 (n,)."""
    return (values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)  # Fibonacci hashing


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
    low, centre, high = (quantile(finite, share) for share in (0.25, 0.5, 0.75))
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


class _Places:
    """The numbers at some places of a column, as if it was sorted: all that `quantile` asks for."""

    def __init__(self, count: int, values: dict[int, float]):
        self._count, self._values = count, values

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> float:
        return self._values[place % self._count]


def _ordered(column: Column) -> np.ndarray | _Places:
    """A column's finite numbers in their order, at least one; of a large column those at its ends and quartiles."""
    if len(column) <= ROWS:
        values = np.concatenate(list(column.floats()))
        finite = np.sort(values[np.isfinite(values)])
        return finite if len(finite) else np.zeros(1)
    count = sum(int(np.isfinite(values).sum()) for values in column.floats())
    if not count:
        return np.zeros(1)
    quarters = [int(share * (count - 1)) for share in (0.25, 0.5, 0.75)]
    places = {0, count - 1, *quarters, *(min(place + 1, count - 1) for place in quarters)}
    return _Places(count, _selected(column, places))


def _selected(column: Column, places: set[int]) -> dict[int, np.float64]:
    """The finite numbers at some places of a column's order, by counting: no place needs more than its 16 bits a pass.

    A float's bits as a whole number are in its order once the negative ones are turned over.
    """
    high = np.uint64(2**63)
    found = dict.fromkeys(places, 0)  # the leading bits of the number at each place
    rests = {place: place for place in places}  # its place among the numbers with these leading bits
    for shift in (48, 32, 16, 0):
        counts = {leading: np.zeros(2**16, np.int64) for leading in found.values()}
        for values in column.floats():
            bits = values[np.isfinite(values)].view(np.uint64)
            bits = np.where(bits & high, ~bits, bits | high)
            leads = bits >> np.uint64(min(shift + 16, 63)) if shift < 48 else np.zeros(len(bits), np.uint64)
            for leading, count in counts.items():
                some = bits[leads == leading] >> np.uint64(shift) & np.uint64(0xFFFF)
                count += np.bincount(some.astype(np.int64), minlength=2**16)
        for place, leading in found.items():
            sums = np.cumsum(counts[leading])
            digit = int(np.searchsorted(sums, rests[place], side="right"))
            rests[place] -= int(sums[digit - 1]) if digit else 0
            found[place] = leading << 16 | digit
    bits = np.array(list(found.values()), np.uint64)
    return dict(zip(found, np.where(bits & high, bits ^ high, ~bits).view(np.float64)))


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
    """The same of a column of text."""
    texts = _texts(column)
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


def _check_text(column: Column) -> None:
    """Refuse numbers with a few text cells among them: as text they would be an identifier, and silently lost."""
    present = cells = 0
    words, numbers = set(), set()
    for text, count in column.counts():
        if text is None:
            continue
        present += count
        word = not is_number(text)
        cells += count if word else 0
        (some := words if word else numbers).add(text)
        if len(some) > 21:  # only whether there are more is asked for
            some.pop()
    few = cells <= present / 20 or len(words) <= 3
    if cells and cells < present / 2 and len(numbers) > 20 and few:
        first = list(islice(_words(column), 5))
        listed = ", ".join(f"{text!r} in row {row}" for row, text in first)
        raise UserError(
            f"column {column.name!r} holds numbers and {cells} cells of text ({listed}{', ...' if cells > 5 else ''}); "
            f"mend or empty those cells, or leave the column out (make_data.drop)"
        )


def _words(column: Column) -> Iterator[tuple[int, str]]:
    """The cells that are no number, each with its row."""
    texts = chain.from_iterable(map(texts_of, column.pieces()))
    return ((row, text) for row, text in enumerate(texts) if text is not None and not is_number(text))


def _check_integers(column: Column) -> None:
    """Refuse a measure that float64 cannot hold; an identifier may be of any size, it is left out later."""
    first, rows, n = None, 0, 0
    for piece in column.pieces():
        values = piece.drop_null().to_numpy()
        past = (values > EXACT) | (values < -EXACT)
        if first is None and past.any():
            value = int(values[past.argmax()])
            first = value, rows + pc.index(piece, pa.scalar(value, column.type)).as_py()
        rows, n = rows + len(piece), n + len(values)
    if first and not _all_differ(column, n):
        value, row = first
        raise UserError(
            f"column {column.name!r} is {value} in row {row}, past 2^53, where numbers are no longer exact; "
            f"leave it out (make_data.drop) if it is an identifier, else write it in larger units"
        )


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


def is_number(text: str) -> bool:
    """Whether a text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
