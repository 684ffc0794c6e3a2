"""A table in memory: a pandas, Polars or pyarrow table, or whatever else Arrow's PyCapsule interface gives out."""

from pathlib import Path

from plumbline.basics.errors import UserError, reason
from plumbline.sources import parquet
from plumbline.sources.rows import Keep, check_names, in_short, of_relation
from plumbline.tables import duck, store

KINDS = "a pandas, Polars or pyarrow table"


def table(frame: object, scratch: Path, keep: Keep) -> store.Table:
    """Some columns of a table in memory as one in a Parquet file in `scratch`; UserError for what is none."""
    what = "the table"
    if not hasattr(frame, "__arrow_c_stream__") or getattr(frame, "ndim", 2) != 2:  # a Series has the first too
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
    """A frame's columns as a table of pyarrow's; of pandas those to keep alone, for others may be of any objects."""
    import pyarrow  # late, for whoever has a dict or a file does without

    if hasattr(frame, "iloc"):  # pandas: an index is no column, and a name may be a number
        frame = frame.set_axis(list(map(str, frame.columns)), axis=1).reset_index(drop=True)
        check_names(frame.columns, what)
        frame = frame[keep(list(frame.columns))]
    try:
        made = pyarrow.table(frame)
        check_names(made.column_names, what)
        half, single = pyarrow.float16(), pyarrow.float32()  # the first of which DuckDB has not
        return made.cast(pyarrow.schema([f.with_type(single) if f.type == half else f for f in made.schema]))
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        raise UserError(f"{what} cannot be read ({reason(error)}); mend that column") from None
