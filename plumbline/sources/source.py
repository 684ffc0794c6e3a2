"""A table as it came, as rows that DuckDB goes through: a CSV, a Parquet file, a folder of them, or a generator.

No table is in memory whole. A CSV and what a generator makes go through Parquet files in a scratch folder, for they can
be read once only, or slowly; Parquet is read where it lies.
"""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from plumbline.basics import files
from plumbline.basics.errors import UserError
from plumbline.sources import checks, delimited, folder, generator, parquet
from plumbline.sources.labels import Labels
from plumbline.sources.rows import STAGED, Keep, Rows, of_files, unreadable
from plumbline.tables import duck, store

SUFFIXES = (".parquet", ".csv", ".csv.gz")


@contextlib.contextmanager
def opened(make, stream: np.random.Generator, output: str) -> Iterator[Rows]:
    """The rows of make.source without the columns of make.drop, for the block.

    make: the section make_data of params.yaml. stream: what a generator draws from. output: the file that they are for;
    scratch files lie beside it.
    """
    source = Path(make.source)
    checks.place(source, output)
    with files.scratch(Path(output).parent) as scratch:

        def keep(names: list[str]) -> list[str]:
            return checks.kept(names, make)

        if source.name.endswith(".py"):
            yield generator.read(source, make, stream, scratch, keep)
        else:
            yield _read(source, scratch, keep, {make.target})


def table(path: str | Path, scratch: Path, texts: Iterable[str] = ()) -> store.Table:
    """Any table but a generator's as one in a Parquet file: the file itself where that will do, or one in `scratch`.

    texts: columns that a CSV has as the text that stands there.
    """
    rows = _read(Path(path), scratch, list, set(texts))
    if rows.file:
        return store.Table(rows.file, store.NO_FACTS)
    written = scratch / "table.parquet"
    with _reading(Path(path)):
        store.copy(f"SELECT {rows.listed} FROM {rows.relation}", written, "table")
    return store.Table(written, store.NO_FACTS)


@contextlib.contextmanager
def copying(rows: Rows, labels: Labels, source: str, output: str, facts: store.Facts) -> Iterator[store.Table]:
    """Write the rows that have a label, with it as their target, and give the block the table, to refuse it yet.

    The bytes depend on the rows alone, whatever files they came from.
    """
    with files.scratch(Path(output).parent) as scratch, _reading(Path(source)):
        rows = rows._replace(select=rows.select | {facts.target: labels.select})
        if labels.missing:
            kept = scratch / "kept.parquet"
            condition = f"({labels.select}) IS NOT NULL"
            duck.copy(f"SELECT {rows.listed} FROM {rows.relation} WHERE {condition}", kept, STAGED, "")
            rows = of_files([kept])
        with store.copying(rows.in_order, output, "dataset", facts) as dataset:
            yield dataset


def _read(path: Path, scratch: Path, keep: Keep, texts: set[str]) -> Rows:
    """The rows of a file or folder; UserError for what cannot be read as its name says."""
    if path.is_dir():
        return folder.read(path, keep)
    problem = None
    if not path.is_file():
        problem = "is not there"
    elif not path.name.lower().endswith(SUFFIXES):
        problem = "is of no kind that is read here"
    elif not path.stat().st_size:
        problem = "is empty"
    if problem:
        raise UserError(f"{path} {problem}; a table is a file ({', '.join(SUFFIXES)}), or a folder of .parquet files")
    if path.suffix.lower() == ".parquet":
        return parquet.read(path, keep)
    return delimited.read(path, scratch, keep, texts)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say of Parquet that is damaged inside which file it is."""
    try:
        yield
    except duck.Error as error:
        if path.is_dir():
            folder.damaged(path)
        raise unreadable(path, error) from None
