"""Opens a table of any kind as Rows, and writes the dataset from them.

No table is in memory whole. A Parquet file, or a folder of them, is read where it lies. All others can be read only
slowly, or only once: they are written to a Parquet file in a scratch folder first.
"""

import contextlib
import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from plumbline.basics import files, inputs
from plumbline.basics.errors import UserError
from plumbline.basics.params import nearest
from plumbline.sources import converted, delimited, folder, generator, parquet, query, spellings
from plumbline.sources.labels import Labels
from plumbline.sources.rows import Keep, Rows
from plumbline.tables import columns, duck, store

UNNAMED = re.compile(r"column0|Unnamed: 0(\.\d+)?|\.\.\.1")  # a first column without a name: here, in pandas, in readr
SUFFIXES = (".parquet", ".csv", ".csv.gz", *converted.SUFFIXES, ".sql")


@contextlib.contextmanager
def opened(make, stream: np.random.Generator, output: str) -> Iterator[Rows]:
    """The rows of make.source without the columns of make.drop, for the block.

    make: the section make_data of params.yaml. stream: what a generator draws from. output: the file that will be
    written; scratch files lie beside it.
    """
    source = Path(make.source)
    if source.resolve() in Path(output).resolve().parents:
        raise UserError(f"make_data.source {source} holds what the stages write; put the table elsewhere")
    with files.scratch(Path(output).parent) as scratch:
        keep = functools.partial(_kept, make)
        if source.name.endswith(".py") and source.exists():
            rows = generator.read(source, make, stream, scratch, keep)
        else:
            rows = _read(source, scratch, keep, {make.target}, make.sheet, declared=True)
        try:
            rows = _without_index(rows, make)
            yield spellings.read(rows, make.source, {make.target}, make.decimal, make.dates)
        except duck.Error as error:
            raise rows.unreadable(source, error) from None


def table(
    path: str | Path, scratch: Path, texts: Iterable[str] = (), keep: Keep = list, sheet: str | None = None
) -> store.Table:
    """A table of any kind but a generator: read where it lies, or written as a Parquet file into `scratch`.

    texts: columns that stay the text that stands in a CSV. keep: gives the columns that are needed; the table may have
    more. sheet: the name of an Excel sheet, or of a SQLite table.
    """
    rows = _read(Path(path), scratch, keep, set(texts), sheet)
    return store.Table(rows.file or path, store.NO_FACTS, rows)


@contextlib.contextmanager
def copying(rows: Rows, labels: Labels, output: str, facts: store.Facts) -> Iterator[store.Table]:
    """Write the rows that have a label as the dataset, with the label as their target.

    The block gets the table before the file has its name: an error in the block leaves no file. The bytes depend on the
    rows alone, whatever files they came from.
    """
    rows = rows._replace(select=rows.select | {facts.target: labels.select}, count=rows.count - labels.missing)
    if labels.missing:
        rows = rows._replace(where=f"({labels.select}) IS NOT NULL")
    with store.copying(rows.in_order, output, "dataset", facts, store.values_of(rows.query)) as dataset:
        dataset.places = None if labels.missing else rows.places
        yield dataset


def _read(
    path: Path, scratch: Path, keep: Keep, texts: set[str], sheet: str | None = None, declared: bool = False
) -> Rows:
    """The rows of a file or folder; UserError for what cannot be read as its name says.

    declared: whether dvc.yaml must name all files that a query reads.
    """
    name = path.name.lower()
    if sheet is not None and not name.endswith(converted.SHEETS + converted.DATABASES):
        raise UserError(f"{path} has no sheet {sheet!r}, or any; set make_data.sheet to null, or leave --sheet away")
    if path.is_dir():
        return folder.read(path, keep)
    problem = None
    if not path.is_file():
        problem = "is not there"
        problem += f" (in a --temp or --queue run `git add {path}` or `dvc add {path}` must track it)" * declared
    elif not name.endswith(SUFFIXES):
        problem = "is of no kind that is read here"
    elif not path.stat().st_size:
        problem = "is empty"
    if problem:
        raise UserError(f"{path} {problem}; a table is a file ({', '.join(SUFFIXES)}), or a folder of .parquet files")
    if name.endswith(".sql"):
        return query.read(path, scratch, keep, lambda its, inside: _read(its, inside, list, set()), declared)
    inputs.watch(path)
    if name.endswith(".parquet"):
        return parquet.read(path, [path], keep, {})
    if name.endswith(converted.SUFFIXES):
        return delimited.of_text(converted.read(path, scratch, sheet), scratch, keep, texts)
    return delimited.read(path, scratch, keep, texts)


def _without_index(rows: Rows, make) -> Rows:
    """The rows without the file's index, and without a first column of row numbers that has no name.

    Prints a line for each column that is left out.
    """
    index = dict.fromkeys(rows.index, "the file's index; reset_index() before it is written makes it a column")
    first = next(iter(rows.types))
    if UNNAMED.fullmatch(first) and rows.types[first] in columns.INTEGERS:
        column = rows.select[first]
        if duck.rows(f"SELECT count(*) = count(DISTINCT {column}) FROM {rows.relation}")[0][0]:
            index[first] = "row numbers without a name"
    index.pop(make.target, None)
    left = [name for name in rows.select if name not in index]
    if len(left) < 2:
        return rows
    for name, why in index.items():
        print(f"{make.source}: column {name!r} is left out: {why}")
    return rows.only(left)


def _kept(make, names: list[str]) -> list[str]:
    """The columns without those of make.drop. UserError for one that is not there, a reserved name, and too few."""
    for name in make.drop:
        if name not in names:
            hint = nearest(name, names)
            raise UserError(f"{make.source} has no column {name!r} to leave out (make_data.drop){hint}")
    left = [name for name in names if name not in make.drop]
    if make.target not in left:
        raise UserError(f"{make.source} has no column {make.target!r} (make_data.target){nearest(make.target, left)}")
    if store.ROW in left:
        raise UserError(f"{make.source} has a column named {store.ROW!r}, which is reserved for row numbers; rename it")
    if len(left) < 2:
        raise UserError(f"{make.source} has no column beside the target {make.target!r}; a model needs a feature")
    return left
