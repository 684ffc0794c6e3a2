"""Values of new rows that the training rows did not have. The model can only guess there."""

from collections.abc import Iterator, Mapping

import numpy as np

from plumbline.tables.fitted import Encoding, Number

NEVER = "never seen in training"
FURTHEST = 2**33  # seconds from 1970 (272 years): what is further away is shown as a number


def of_rows(encoding: Encoding, values: Mapping[str, np.ndarray]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Give for each column what is unseen: the column's name, what it is, and which rows have it as a mask (m,).

    values: the columns before encoding, as `encoding.with_values` gives them.
    """
    for column in encoding.columns:
        given = np.ma.getdata(values[column.name])
        if isinstance(column, Number):
            yield column.name, f"below training's {_shown(column, column.low)}", given < np.float64(column.low)
            yield column.name, f"above training's {_shown(column, column.high)}", given > np.float64(column.high)
            missing = np.isnan(given)
        else:
            never = f"{'rare or ' if column.pools_others else ''}{NEVER}"  # rare ones share this code
            yield column.name, never, given == column.other
            missing = given == column.missing
        if not column.marks_missing:
            yield column.name, "missing, and never so in training", missing


def _shown(column: Number, value: float) -> str:
    """A number for a message: an instant as date and time (UTC), a time of day as such."""
    if column.kind not in ("instant", "time of day") or not abs(value) < FURTHEST:
        return f"{value:.10g}"
    moment = str(np.datetime64(round(value * 1e6), "us")).removesuffix(".000000")
    return moment[11:] if column.kind == "time of day" else moment.removesuffix("T00:00:00")
