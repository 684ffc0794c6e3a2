"""What a table's columns hold, read piece by piece as often as it takes, so that no column need fit in memory.

Kinds, numbers and texts as encodings take them; and what no encoding can take, refused before anything is made of it.
"""

import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages import spill
from stages.errors import UserError
from stages.table import TEXT, Stored, groups

MOST_CATEGORIES = 100  # inputs that one column of text may take; the rest share one
MANY = 2**14  # different texts, after so many more it is asked whether they still fit in memory
EXACT = 2**53  # up to here float64 tells integers apart
SECONDS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
# What pyarrow's CSV reader takes for missing, so that it is the same in Parquet; and cells of nothing but spaces.
MISSING = {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"}
MISSING |= {"N/A", "NA", "NULL", "NaN", "n/a", "nan", "null"}


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


def is_number(text: str) -> bool:
    """Whether a text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def floats_of(column: pa.ChunkedArray) -> np.ndarray:
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
        """The column's rows as numbers, as `floats_of` has them."""
        return map(floats_of, self.pieces())

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


def texts_in(column: Column, known: frozenset[str] = frozenset()) -> Texts:
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
                    if len(counts) % MANY == MANY - 1 and not spill.may_hold(size):
                        return None
                counts[text] += count
        rows, distinct = rows + counts.total(), distinct + len(counts)
        words += sum(len(text.split()) for text in counts)
        frequent = sorted([*frequent, *counts.items()], key=lambda each: (-each[1], each[0]))[:MOST_CATEGORIES]
    return Texts(rows + missing, missing, distinct, words / max(distinct, 1), frequent)


def all_differ(column: Column, n: int) -> bool:
    """Whether the n whole numbers of a column are all different."""
    values, first = spill.empty(n, column.type.to_pandas_dtype()), 0
    for piece in column.pieces():
        present = piece.drop_null().to_numpy()
        values[first : first + len(present)] = present
        first += len(present)
    values.sort()
    return not any((values[here] == values[1:][here]).any() for here in spill.pieces(n - 1))


# ---- what is refused


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
    if first and not all_differ(column, n):
        value, row = first
        raise UserError(
            f"column {column.name!r} is {value} in row {row}, past 2^53, where numbers are no longer exact; "
            f"leave it out (make_data.drop) if it is an identifier, else write it in larger units"
        )
