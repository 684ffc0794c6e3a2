"""How far apart two versions of an output are, said in the file's own terms: columns, arrays, figures.

What `plumbline verify` says of a file whose bytes differ: Parquet and CSV column by column, safetensors array by array,
JSON figure by figure, and the text that travels in their metadata value by value.
"""

import csv
import json
from pathlib import Path

import numpy as np

from plumbline.basics.errors import reason
from plumbline.tables import duck


def difference(old: Path, new: Path) -> str:
    """How far apart two versions of a file are, in its own terms."""
    kinds = {
        ".parquet": ("column", parquet),
        ".csv": ("column", cells),
        ".safetensors": ("array", parameters),
        ".json": ("figure", figures),
    }
    try:
        unit, read = kinds[new.suffix]
        a, b = read(old), read(new)
    except Exception as error:  # whatever a forged file makes its reader say; that it differs is known already
        return f"one of them cannot be read ({reason(error)})"
    said = [f"{unit} {name} is only in {'dvc.lock' if name in a else 'the new one'}" for name in sorted({*a} ^ {*b})]
    said += [f"{unit} {name} {apart}" for name in a if name in b and (apart := how_far(a[name], b[name]))]
    return "; ".join(said) if said else "the contents are the same, the bytes are not (metadata or another writer)"


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
    gaps = gaps[~np.isnan(gaps)]  # a number beside NaN
    return f"{said} by at most {gaps.max():.3g}" if gaps.size else said


# ---- what a file holds, as arrays by name


def parquet(path: Path) -> dict[str, np.ndarray]:
    """Columns (n,), of lists (n, m); and the facts."""
    relation = f"read_parquet({duck.text(path)})"
    found = card(metadata(path), "facts")
    for name, kind in duck.columns(relation).items():
        is_list = kind.endswith("]")
        column = f"unnest({duck.name(name)})" if is_list else duck.name(name)
        (values,) = duck.arrays(f"SELECT {column} FROM {relation}")
        found[name] = without_mask(values)
        if is_list:
            ((rows,),) = duck.rows(f"SELECT count(*) FROM {relation}")
            found[name] = found[name].reshape(rows, -1)
    return found


def metadata(path: Path) -> str:
    """The text that travels with a table, or that of no facts."""
    try:
        return duck.metadata(path)
    except KeyError:
        return "{}"


def without_mask(values: np.ndarray) -> np.ndarray:
    """Missing values as NaN among numbers and as None among others."""
    if not np.ma.isMaskedArray(values):
        return values
    return values.astype(float).filled(np.nan) if values.dtype.kind in "fiub" else values.astype(object).filled(None)


def parameters(path: Path) -> dict[str, np.ndarray]:
    """Arrays of weights, and the card."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        text = (file.metadata() or {}).get("plumbline", "{}")
        return {name: file.get_tensor(name) for name in file.keys()} | card(text, "card")  # noqa: SIM118


def card(text: str, name: str) -> dict[str, np.ndarray]:
    """The text that travels with a table or with weights, value by value; of a sealed one without the seal."""
    values = json.loads(text)
    return flat(values.get("text", values), f"{name}.")


def cells(path: Path) -> dict[str, np.ndarray]:
    """The columns of a CSV."""
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return {name: as_numbers([row[i] for row in rows]) for i, name in enumerate(head)}


def figures(path: Path) -> dict[str, np.ndarray]:
    """The figures of a JSON file."""
    return flat(json.loads(path.read_text(encoding="utf-8")))


def flat(values: dict | list, prefix: str = "") -> dict[str, np.ndarray]:
    """Nested values by the path to each."""
    found = {}
    for name, value in values.items() if isinstance(values, dict) else enumerate(values):
        nested = isinstance(value, dict | list)
        found |= flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": as_numbers([value])}
    return found


def as_numbers(values: list) -> np.ndarray:
    """Numbers where all values are, else objects."""
    try:
        return np.array(values, dtype=float)
    except ValueError:
        return np.array(values, dtype=object)
