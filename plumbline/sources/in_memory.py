"""A table in memory, of pandas, Polars, pyarrow or any other library with Arrow's PyCapsule interface."""

from pathlib import Path

from plumbline.basics.errors import UserError, reason
from plumbline.sources import parquet
from plumbline.sources.rows import Keep, check_names, in_short, of_relation
from plumbline.tables import duck, store

KINDS = "a pandas, Polars or pyarrow table"


def table(frame: object, scratch: Path, keep: Keep) -> store.Table:
    """A table in memory, written as a Parquet file into `scratch`; UserError for what is no table.

    keep: gives the columns that are needed.
    """
    what = "the table"
    if not hasattr(frame, "__arrow_c_stream__") or getattr(frame, "ndim", 2) != 2:  # a Series has the method too
        raise UserError(f"{what} must be {KINDS}, with named columns, not {type(frame).__name__}")
    made = arrow(frame, what, keep)
    path = scratch / "table.parquet"
    try:
        with duck.registered(_frame=made):
            rows = parquet.as_declared(of_relation("_frame"), [made.schema])
            store.copy(rows.only(keep(made.column_names)).query, path, "table")
    except duck.Error as error:
        raise UserError(f"{what} cannot be read ({in_short(error)}); give {KINDS}") from None
    return store.Table(path, store.NO_FACTS)


def arrow(frame, what: object, keep: Keep = list):
    """A pyarrow.Table of a table in memory. what: its name in messages.

    keep is for pandas alone: a column that is not needed may hold objects that Arrow has no type for.
    """
    import pyarrow  # late, for a dict of arrays does without

    if hasattr(frame, "iloc"):  # pandas: its index is no column, and its names may be numbers
        frame = frame.set_axis(list(map(str, frame.columns)), axis=1).reset_index(drop=True)
        check_names(frame.columns, what)
        frame = frame[keep(list(frame.columns))]
    try:
        made = pyarrow.table(frame)
        check_names(made.column_names, what)
        half, single = pyarrow.float16(), pyarrow.float32()  # DuckDB has no half floats
        return made.cast(pyarrow.schema([f.with_type(single) if f.type == half else f for f in made.schema]))
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        raise UserError(f"{what} cannot be read ({reason(error)}); mend that column") from None
