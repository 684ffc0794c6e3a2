"""metrics/predictions.parquet: the probabilities that every network gave to every row that was scored."""

from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from plumbline.basics.errors import UserError
from plumbline.bits.initial import outputs_for
from plumbline.tables import duck, store
from plumbline.tables.store import PLACE, ROW

PATH = "metrics/predictions.parquet"
COLUMNS = {ROW: "BIGINT", "part": "VARCHAR", "probability": "FLOAT[]"}


class Scored(NamedTuple):
    """The rows of one part, in the order of `_row`, and what every network says of them."""

    row: np.ndarray  # (n,) int64
    target: np.ndarray  # (n,) class numbers
    probability: np.ndarray  # float32 (R, n, k)


def open(path: str | Path = PATH, name: str = PATH) -> store.Table:
    """The table, whose facts name its own column of labels; UserErrors call it `name`."""
    try:
        table = store.open(path, "predictions")
    except UserError as error:
        raise UserError(str(error).replace(str(path), name)) from None
    if not (COLUMNS.items() | {("target", table.columns.get("target"))}) <= table.columns.items():
        raise UserError(f"{name} is of another version, with the columns {', '.join(table.columns)}; run `dvc repro`")
    table.facts = msgspec.structs.replace(table.facts, target="target")
    return table


def parts(table: store.Table, name: str = PATH) -> dict[str, Scored]:
    """The rows of the validation part, if there are any, and of the test part."""
    (flat,) = duck.arrays(f"SELECT unnest(probability) FROM {table.relation}")
    n, k = len(table), outputs_for(len(table.facts.classes))
    if not n or len(flat) % (n * k):
        raise UserError(f"{name} has {len(flat)} probabilities for {n} rows and {k} outputs; run `dvc repro`")
    probability = np.asarray(flat, np.float32).reshape(n, -1, k).transpose(1, 0, 2)
    row, part, target = table.column(ROW), table.column("part"), table.classes()
    found = {}
    for one in ("validation", "test"):
        chosen = np.flatnonzero(part == one)
        chosen = chosen[np.argsort(row[chosen], kind="stable")]
        if len(chosen):
            found[one] = Scored(row[chosen], target[chosen], probability[:, chosen])
    return found


def first_of_test(table: store.Table, count: int) -> list[tuple]:
    """The first test rows as split drew them: label, and network 0's probabilities (k values)."""
    return table.rows(
        f"SELECT target, probability[1:{outputs_for(len(table.facts.classes))}] FROM {table.numbered} "
        f"WHERE part = 'test' ORDER BY {PLACE} LIMIT {count}"
    )
