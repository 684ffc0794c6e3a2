"""A table that a user's Python file makes: its `make(params, generator)` returns the table, or yields pieces of it."""

import traceback
import types
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from plumbline.basics import inputs
from plumbline.basics.errors import UserError, reason
from plumbline.sources import in_memory, parquet
from plumbline.sources.rows import STAGED, Keep, Rows, check_names, in_short, of_files, of_relation
from plumbline.tables import duck

KINDS = f"a dict of NumPy arrays, or {in_memory.KINDS}"


def read(source: Path, params, generator: np.random.Generator, folder: Path, keep: Keep) -> Rows:
    """The rows that `make` of the file `source` makes. Each piece is written as a Parquet file into `folder`.

    params: the section make_data of params.yaml. generator: what it draws from.
    """
    paths, expected = [], None
    for made in _pieces(source, params, generator):
        table, schemas = _table(made, source)
        try:
            with duck.registered(made=table):
                rows = parquet.as_declared(of_relation("made"), schemas)
                expected = expected or rows.types
                if rows.types != expected:
                    raise UserError(
                        f"{source} yields tables of different columns: {expected}, {rows.types}; make them alike"
                    )
                paths.append(folder / f"{len(paths):06}.parquet")
                duck.copy(rows.only(keep(list(rows.types))).query, paths[-1], STAGED, "")
        except duck.Error as error:
            raise UserError(f"{source} makes what is no table ({in_short(error)}); make {KINDS}") from None
    if not paths:
        raise UserError(f"make of {source} yields no table; a model needs some rows of at least two classes")
    return of_files(paths)._replace(declared=rows.declared)


def _pieces(source: Path, params, generator: np.random.Generator) -> Iterator[object]:
    """What `make` returns, or all that it yields; an error in the user's code is a UserError with its line."""
    module = types.ModuleType(source.stem)
    module.__file__ = str(source.absolute())
    try:  # no import: it may take bytecode from before an edit in the same second; what runs is what is watched
        exec(compile(inputs.read(source), module.__file__, "exec", dont_inherit=True), module.__dict__)
        if not hasattr(module, "make"):
            raise UserError(f"make_data.source {source} must define make(params, generator) and does not")
        made = module.make(params, generator)
        yield from made if isinstance(made, Iterator) else [made]
    except (UserError, MemoryError):
        raise
    except Exception as error:  # whatever the user's code raises
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == source.absolute()]
        line = lines[-1] if lines else getattr(error, "lineno", None)
        place = f"{source} line {line}" if line else source
        raise UserError(f"{place}: {type(error).__name__}: {reason(error)}; mend the generator") from None


def _table(made: object, source: Path) -> tuple[object, list]:
    """A piece as DuckDB takes it, and its Arrow schema in a list; a dict of arrays has none."""
    if isinstance(made, Mapping):
        arrays = {str(name): _array(values, name, source) for name, values in made.items()}
        if len({len(values) for values in arrays.values()}) > 1:
            lengths = ", ".join(f"{name!r} has {len(values)}" for name, values in arrays.items())
            raise UserError(f"{source} makes columns of different lengths ({lengths}); make them alike")
        check_names(list(arrays), source)
        return arrays, []
    if not hasattr(made, "__arrow_c_stream__"):
        raise UserError(f"make of {source} must return or yield {KINDS}, not {type(made).__name__}")
    table = in_memory.arrow(made, source)
    return table, [table.schema]


def _array(values: object, name: object, source: Path) -> np.ndarray:
    """A column (n,) as DuckDB takes it: durations as seconds, float16 as float32, days as instants."""
    values = values if isinstance(values, np.ndarray) else np.asarray(values)
    if values.ndim != 1:
        raise UserError(f"{source} makes a column {name!r} of shape {values.shape}; make one array (n,) a column")
    kind = values.dtype
    if kind.kind == "m":
        return values / np.timedelta64(1, "s")
    if kind.kind == "M" and np.datetime_data(kind)[0] not in ("s", "ms", "us", "ns"):
        return values.astype("datetime64[s]")
    return values.astype(np.float32) if kind == np.float16 else values
