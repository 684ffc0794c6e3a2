"""How far apart two versions of an output are, said in the file's own terms: columns, arrays, figures.

What stages.verify says of a file whose bytes differ: Parquet and CSV column by column, safetensors array by array, JSON
figure by figure, and the text that travels in their metadata value by value.
"""

import csv
import json
from pathlib import Path

import numpy as np

from stages.errors import reason


def difference(old: Path, new: Path) -> str:
    """How far apart two versions of a file are, in its own terms."""
    try:
        columns = {".parquet": parquet, ".safetensors": parameters, ".csv": cells, ".json": figures}[new.suffix]
        a, b = columns(old), columns(new)
    except Exception as error:  # whatever a forged file makes its reader say; that it differs is known already
        return f"one of them cannot be read ({reason(error)})"
    unit = {".parquet": "column", ".csv": "column", ".safetensors": "array", ".json": "figure"}[new.suffix]
    said = [f"{unit} {name} is only in {'dvc.lock' if name in a else 'the new one'}" for name in sorted({*a} ^ {*b})]
    for name in (name for name in a if name in b):
        x, y = a[name], b[name]
        if x.shape != y.shape:
            said.append(f"{unit} {name} has shape {x.shape}, now {y.shape}")
            continue
        if not x.size:
            continue
        numbers = x.dtype.kind in "fiub" and y.dtype.kind in "fiub"
        apart = (x != y) & ~((x != x) & (y != y))
        if apart.any():
            rows = int(apart.reshape(len(x), -1).any(axis=1).sum())
            by = f" by at most {np.nanmax(np.abs(x.astype(float) - y.astype(float))):.3g}" if numbers else ""
            said.append(f"{unit} {name} differs in {int(apart.sum())} of {x.size} values, {rows} of {len(x)} rows{by}")
    return "; ".join(said) if said else "the contents are the same, the bytes are not (metadata or another writer)"


def parquet(path: Path) -> dict[str, np.ndarray]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.ParquetFile(path).read()
    columns = card((table.schema.metadata or {}).get(b"plumbline", b"{}"), "facts")
    for name in table.column_names:
        column, kind = table.column(name).combine_chunks(), table.schema.field(name).type
        values = column.flatten() if pa.types.is_fixed_size_list(kind) else column
        array = values.to_numpy(zero_copy_only=False)
        columns[name] = array.reshape(len(table), -1) if pa.types.is_fixed_size_list(kind) else array
    return columns


def parameters(path: Path) -> dict[str, np.ndarray]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        text = (file.metadata() or {}).get("plumbline", "{}")
        return {name: file.get_tensor(name) for name in file.keys()} | card(text, "card")  # noqa: SIM118


def card(text: str | bytes, name: str) -> dict[str, np.ndarray]:
    """The text that travels with a table or with weights, value by value; of a sealed one without the seal."""
    values = json.loads(text)
    return flat(values.get("text", values), f"{name}.")


def cells(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return {name: as_numbers([row[i] for row in rows]) for i, name in enumerate(head)}


def figures(path: Path) -> dict[str, np.ndarray]:
    return flat(json.loads(path.read_text(encoding="utf-8")))


def flat(values: dict | list, prefix: str = "") -> dict[str, np.ndarray]:
    """Nested values by the path to each."""
    found = {}
    for name, value in values.items() if isinstance(values, dict) else enumerate(values):
        nested = isinstance(value, dict | list)
        found |= flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": as_numbers([value])}
    return found


def as_numbers(values: list) -> np.ndarray:
    try:
        return np.array(values, dtype=float)
    except ValueError:
        return np.array(values, dtype=object)
