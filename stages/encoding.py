"""Columns to numbers: fitted on training rows only, and saved with the model so that it can meet new rows."""

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.errors import UserError
from stages.table import ROW


class Encoding(msgspec.Struct, frozen=True):
    """Raw: each column's numbers as they are, as float32, in this order."""

    columns: list[str]


def check(table: pa.Table, target: str) -> None:
    """Refuse a column that is not made of finite numbers, by its name, first row and what to do."""
    for name in table.column_names:
        if name != target:
            _numbers(table.column(name), name)


def fit(table: pa.Table, target: str) -> Encoding:
    """The encoding of a training part."""
    return Encoding([name for name in table.column_names if name not in (target, ROW)])


def encode(encoding: Encoding, table: pa.Table) -> np.ndarray:
    """The columns that the encoding knows, in its order: float32 (n, d)."""
    x = np.empty((len(table), len(encoding.columns)), np.float32)
    for f, name in enumerate(encoding.columns):
        if name not in table.column_names:
            raise UserError(f"column {name!r} is missing, and the model was trained with it; add it to the table")
        x[:, f] = _numbers(table.column(name), name)
    return x


def _numbers(column: pa.ChunkedArray, name: str) -> np.ndarray:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise UserError(f"column {name!r} holds {kind}, and a feature must be a number; encode it or leave it out")
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        raise UserError(
            f"column {name!r} has {column.null_count} missing values (first in row {row}); fill or drop them"
        )
    numbers = column.to_numpy()
    with np.errstate(over="ignore"):
        wrong = ~np.isfinite(numbers.astype(np.float32))
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"column {name!r} is {numbers[row]} in row {row}; a feature must be a finite float32, rescale it"
        )
    return numbers
