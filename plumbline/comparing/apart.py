"""How far apart two versions of an output are, said in the file's own terms: columns, arrays, figures.

What `plumbline verify` says of a file whose bytes differ.
"""

import collections
import contextlib
import csv
import io
import json
from pathlib import Path

import numpy as np

from plumbline.basics.errors import reason
from plumbline.basics.formats import flat
from plumbline.tables import duck

UNITS = {".parquet": "column", ".csv": "column", ".safetensors": "array", ".json": "figure"}
# What trainings by autograd on two machines may say of the same networks:
NEAR = 1e-3  # of a loss
FEW = 3  # rows that fall into another class
CURVE = 0.05  # of the points of a plot, on the average


def difference(old: Path, new: Path) -> str:
    """How far apart two versions of a file are; its kind is told by the new one's name."""
    try:
        unit, a, b = UNITS[new.suffix], contents(old, new.suffix), contents(new, new.suffix)
    except Exception as error:  # whatever a broken file makes its reader say; that it differs is known already
        return f"one of them cannot be read ({reason(error)})"
    said = [f"{unit} {name} is only in {'dvc.lock' if name in a else 'the new one'}" for name in sorted({*a} ^ {*b})]
    said += [f"{unit} {name} {apart}" for name in a if name in b and (apart := how_far(a[name], b[name]))]
    return "; ".join(said) if said else "the contents are the same, the bytes are not (metadata or another writer)"


def says_the_same(old: Path, new: Path, rows: float, least: float = NEAR) -> bool:
    """Whether two files of figures say the same, as trainings do that differ in their last bits alone.

    rows: of the smallest part that was scored. Texts and counts are equal, a table's by FEW at most; losses by `least`,
    other figures by FEW rows or `least`; curves, whose points may be others and have x in their first column, by CURVE.
    """
    try:
        a, b = said(old), said(new)
        if new.suffix == ".csv" and isinstance(next(iter(a.values())), float):
            (x, *a), (z, *b) = (list(contents(path, ".csv").values()) for path in (old, new))
            gaps = [np.abs(y - np.interp(x, z, w)) / max(1.0, np.abs(y).max()) for y, w in zip(a, b, strict=True)]
            return all(gap.mean() <= CURVE for gap in gaps)
        return a.keys() == b.keys() and all(is_near(name, x, b[name], rows, least) for name, x in a.items())
    except Exception:  # a file that is broken says nothing
        return False


def said(path: Path) -> dict[str, object]:
    """Every figure by its name; in a CSV by column, row and the texts in that row, whose order does not count."""
    if path.suffix == ".json":
        return flat(json.loads(path.read_text(encoding="utf-8")))
    found, seen = {}, collections.Counter()
    for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")):
        cells = {column: _value(cell) for column, cell in row.items()}
        texts = " ".join(cell for cell in cells.values() if isinstance(cell, str))
        seen[texts] += 1
        found |= {f"{texts} {seen[texts]} {column}": cell for column, cell in cells.items()}
    return found


def _value(cell: str) -> int | float | str:
    """A cell as what it looks like."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(cell)
    return cell


def is_near(name: str, x: object, y: object, rows: float, least: float) -> bool:
    """Whether two values of a figure are apart by no more than the last bits of weights explain."""
    if isinstance(x, float) and isinstance(y, float):
        return abs(x - y) <= (least if "loss" in name else max(least, FEW / rows)) * max(1.0, abs(x))
    return x == y or (isinstance(x, int) and isinstance(y, int) and name.endswith(" rows") and abs(x - y) <= FEW)


def how_far(x: np.ndarray, y: np.ndarray) -> str | None:
    """In how many values two arrays differ, and by how much if they are numbers; None if in none."""
    if x.shape != y.shape:
        return f"has shape {x.shape}, now {y.shape}"
    differs = (x != y) & ~((x != x) & (y != y))  # NaN is as NaN
    if not differs.any():
        return None
    rows = int(differs.reshape(len(x), -1).any(axis=1).sum())
    said = f"differs in {int(differs.sum())} of {x.size} values, {rows} of {len(x)} rows"
    if x.dtype.kind not in "fiub" or y.dtype.kind not in "fiub":
        return said
    gaps = np.abs(x[differs].astype(float) - y[differs].astype(float))
    return said if np.isnan(gaps).all() else f"{said} by at most {np.nanmax(gaps):.3g}"


def contents(path: Path, suffix: str) -> dict[str, np.ndarray]:
    """What a file holds, as arrays by name."""
    if suffix == ".json":
        return {name: np.array([value]) for name, value in flat(json.loads(path.read_text(encoding="utf-8"))).items()}
    if suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(path)
    read = "read_csv" if suffix == ".csv" else "read_parquet"
    return columns(f"{read}({duck.text(duck.literal(path))})")


def columns(relation: str) -> dict[str, np.ndarray]:
    """Columns (n,), of lists (n, m); missing values as NaN among numbers and as None among others."""
    ((rows,),) = duck.rows(f"SELECT count(*) FROM {relation}")
    found = {}
    for name, kind in duck.columns(relation).items():
        column = f"unnest({duck.name(name)})" if kind.endswith("]") else duck.name(name)
        (values,) = duck.arrays(f"SELECT {column} FROM {relation}")
        if np.ma.isMaskedArray(values):
            is_number = values.dtype.kind in "fiub"
            values = values.astype(float).filled(np.nan) if is_number else values.astype(object).filled(None)
        found[name] = values.reshape(rows, -1) if kind.endswith("]") else values
    return found
