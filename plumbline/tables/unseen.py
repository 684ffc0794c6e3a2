"""What new rows have that the training rows had not, row by row: the model guesses there."""

from collections.abc import Iterator, Mapping

import numpy as np

from plumbline.tables.fitted import Encoding, Number

NEVER = "never seen in training"
FURTHEST = 2**33  # seconds from 1970 that are written as an instant, some 270 years


def of_rows(encoding: Encoding, values: Mapping[str, np.ndarray]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Column, what there is, and which rows have it, a mask (m,); values: as `encoding.with_values` gives them."""
    for column in encoding.columns:
        given = np.ma.getdata(values[column.name])
        if isinstance(column, Number):
            yield column.name, f"below training's {_shown(column, column.low)}", given < np.float64(column.low)
            yield column.name, f"above training's {_shown(column, column.high)}", given > np.float64(column.high)
            missing = np.isnan(given)
        else:
            never = f"{'rare or ' if column.pools_others else ''}{NEVER}"  # without an input of its own
            yield column.name, never, given == column.other
            missing = given == column.missing
        if not column.marks_missing:
            yield column.name, "missing, and never so in training", missing


def _shown(column: Number, value: float) -> str:
    """A number as a reader knows it: an instant in UTC."""
    if column.kind not in ("instant", "time of day") or not abs(value) < FURTHEST:
        return f"{value:.10g}"
    moment = str(np.datetime64(round(value * 1e6), "us")).removesuffix(".000000")
    return moment[11:] if column.kind == "time of day" else moment.removesuffix("T00:00:00")
