"""A table that a user's Python file makes: `make(params, generator)` returns it, or yields it in pieces."""

import importlib.util
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from plumbline.basics import inputs
from plumbline.basics.errors import UserError, reason
from plumbline.sources import parquet
from plumbline.sources.rows import STAGED, Keep, Rows, check_names, in_short, of_files
from plumbline.tables import duck

KINDS = "a dict of NumPy arrays, or a pandas, Polars or pyarrow table"


def read(source: Path, params, generator: np.random.Generator, folder: Path, keep: Keep) -> Rows:
    """The rows that `make` of a source makes, each piece on its way through a Parquet file in `folder`."""
    inputs.watch(source)
    paths, types, kept = [], {}, []
    for made in _pieces(source, params, generator):
        names, table, schemas = _table(made, source)
        check_names(names, source)
        kept = kept or keep(names)
        try:
            with duck.registered(made=table):
                its = duck.columns("made")
                rows = Rows("made", {name: duck.name(name) for name in its}, its, 0, [])
                rows = parquet.as_declared(rows, schemas)
                if rows.types != (types := types or rows.types):
                    raise UserError(
                        f"{source} yields tables of different columns ({_said(types)}; {_said(rows.types)}); make them "
                        f"alike"
                    )
                paths.append(folder / f"{len(paths):06}.parquet")
                listed = ", ".join(f"{rows.select[name]} AS {duck.name(name)}" for name in kept)
                duck.copy(f"SELECT {listed} FROM made", paths[-1], STAGED, "")
        except duck.Error as error:
            raise UserError(f"{source} makes what is no table ({in_short(error)}); make {KINDS}") from None
    if not paths:
        raise UserError(f"make of {source} yields no table; a model needs some rows of at least two classes")
    return of_files(paths)


def _pieces(source: Path, params, generator: np.random.Generator) -> Iterator[object]:
    """What `make` returns, or all that it yields; an error of the user's code leads to its line."""
    spec = importlib.util.spec_from_file_location(source.stem, source.absolute())
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "make"):
            raise UserError(f"make_data.source {source} must define make(params, generator) and does not")
        made = module.make(params, generator)
        yield from made if isinstance(made, Iterator) else [made]
    except (UserError, MemoryError):
        raise
    except Exception as error:  # whatever the user's code raises, said in one line that leads to it
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == source.absolute()]
        line = lines[-1] if lines else getattr(error, "lineno", None)
        place = f"{source} line {line}" if line else source
        raise UserError(f"{place}: {type(error).__name__}: {reason(error)}; mend the generator") from None


def _table(made: object, source: Path) -> tuple[list[str], object, list]:
    """The names of a piece's columns, the piece as DuckDB takes it, and what Arrow says of it."""
    if isinstance(made, Mapping):
        arrays = {str(name): _array(values, name, source) for name, values in made.items()}
        if len({len(values) for values in arrays.values()}) > 1:
            lengths = ", ".join(f"{name!r} has {len(values)}" for name, values in arrays.items())
            raise UserError(f"{source} makes columns of different lengths ({lengths}); make them alike")
        return list(arrays), arrays, []
    if hasattr(made, "__arrow_c_stream__"):  # a table of pandas, Polars or pyarrow
        import pyarrow  # late, for a dict does without

        if hasattr(made, "iloc"):  # pandas, whose index is no column
            made = made.set_axis(list(map(str, made.columns)), axis=1).reset_index(drop=True)
            check_names(made.columns, source)
        try:
            table = pyarrow.table(made)
        except pyarrow.ArrowException as error:
            raise UserError(f"{source} makes what is no table ({reason(error)}); make {KINDS}") from None
        return table.column_names, table, [table.schema]
    raise UserError(f"make of {source} must return or yield {KINDS}, not {type(made).__name__}")


def _array(values: object, name: object, source: Path) -> np.ndarray:
    """A column (n,) as DuckDB takes it: durations as seconds, half floats as floats, days as times."""
    values = values if isinstance(values, np.ndarray) else np.asarray(values)
    if values.ndim != 1:
        raise UserError(f"{source} makes a column {name!r} of shape {values.shape}; make one array (n,) a column")
    kind = values.dtype
    if kind.kind == "m":
        return values / np.timedelta64(1, "s")
    if kind.kind == "M" and np.datetime_data(kind)[0] not in ("s", "ms", "us", "ns"):
        return values.astype("datetime64[s]")
    if kind.kind == "U":
        return values.astype(object)  # DuckDB takes NumPy's own texts for categories
    return values.astype(np.float32) if kind == np.float16 else values


def _said(types: dict[str, str]) -> str:
    return ", ".join(f"{name}: {kind.lower()}" for name, kind in types.items())
