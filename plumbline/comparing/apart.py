"""How far apart two versions of a file are, for `plumbline verify`, which finds outputs whose bytes differ.

`difference` says it in words, by column, array or figure. `says_the_same` decides whether last bits alone explain it.
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
# How far apart the figures of one network may be that autograd trained on two machines:
NEAR = 1e-3  # losses
FEW = 3  # rows that get another class
CURVE = 0.05  # points of a plot, on average


def difference(old: Path, new: Path) -> str:
    """How far apart two versions of a file are, in words. The new one's suffix says what kind of file it is."""
    try:
        unit, a, b = UNITS[new.suffix], contents(old, new.suffix), contents(new, new.suffix)
    except Exception as error:  # whatever a broken file makes its reader say; that it differs is known already
        return f"one of them cannot be read ({reason(error)})"
    said = [f"{unit} {name} is only in {'dvc.lock' if name in a else 'the new one'}" for name in sorted({*a} ^ {*b})]
    said += [f"{unit} {name} {apart}" for name in a if name in b and (apart := how_far(a[name], b[name]))]
    return "; ".join(said) if said else "the contents are the same, the bytes are not (metadata or another writer)"


def says_the_same(old: Path, new: Path, rows: float, least: float = NEAR) -> bool:
    """Whether two files of figures agree as well as trainings do that differ in their last bits alone.

    Texts and counts must be equal, but counts of rows in a table may differ by FEW. Losses may differ by `least`, other
    figures by FEW rows of `rows`, the size of the smallest part that was scored, or by `least`. Curves may have other
    points, with x in the first column, and differ by CURVE on average.
    """
    try:
        a, b = said(old), said(new)
        if new.suffix == ".csv" and isinstance(next(iter(a.values())), float):  # a curve
            (x, *a), (z, *b) = (list(contents(path, ".csv").values()) for path in (old, new))
            gaps = [np.abs(y - np.interp(x, z, w)) / max(1.0, np.abs(y).max()) for y, w in zip(a, b, strict=True)]
            return all(gap.mean() <= CURVE for gap in gaps)
        return a.keys() == b.keys() and all(is_near(name, x, b[name], rows, least) for name, x in a.items())
    except Exception:  # a file that is broken says nothing
        return False


def said(path: Path) -> dict[str, object]:
    """Every figure by its name.

    In a CSV the name is the texts in its row and its column, so that the order of rows does not count. Rows with the
    same texts are numbered.
    """
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
    """A cell as the number that it looks like, or as text."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(cell)
    return cell


def is_near(name: str, x: object, y: object, rows: float, least: float) -> bool:
    """Whether two values of a figure are as close as `says_the_same` asks."""
    if isinstance(x, float) and isinstance(y, float):
        return abs(x - y) <= (least if "loss" in name else max(least, FEW / rows)) * max(1.0, abs(x))
    return x == y or (isinstance(x, int) and isinstance(y, int) and name.endswith(" rows") and abs(x - y) <= FEW)


def how_far(x: np.ndarray, y: np.ndarray) -> str | None:
    """In how many values two arrays differ, and by how much if they are numbers; None if they are equal."""
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
    """What a file holds: arrays by name."""
    if suffix == ".json":
        return {name: np.array([value]) for name, value in flat(json.loads(path.read_text(encoding="utf-8"))).items()}
    if suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(path)
    read = "read_csv" if suffix == ".csv" else "read_parquet"
    return columns(f"{read}({duck.text(duck.literal(path))})")


def columns(relation: str) -> dict[str, np.ndarray]:
    """Columns of what may stand behind FROM: (n,), or (n, m) of lists. Missing numbers are NaN, other gaps None."""
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
