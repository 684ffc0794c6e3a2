"""The table of predictions: a line for every scored row, with the probabilities that every network gives it.

Columns: `_row`, the row's number in the dataset; `part`, validation or test; `target`, its label; `probability`, a list
of R x k numbers, network by network, where k = 1, the second of the sorted classes, when there are two.
"""

from pathlib import Path

import numpy as np

from plumbline.basics.errors import UserError
from plumbline.scores import metrics
from plumbline.tables import duck, store


def write(path: str | Path, parts: dict[str, store.Table], probability: dict[str, np.ndarray], networks: int) -> None:
    """Write the rows of all parts and what the first R networks say of them, (R or more, n, k) a part.

    A UserError names a row that a network gives no finite number.
    """
    facts = next(iter(parts.values())).facts
    arrays, queries = {}, []
    for part, table in parts.items():
        said = probability[part][:networks]
        _check_finite(said, table)
        flat = [network[:, c] for network in said for c in range(said.shape[2])]  # R x k of (n,)
        arrays[f"_{part}"] = {f"p{i}": values for i, values in enumerate(flat)}
        queries.append(f"SELECT {duck.text(part)} AS part, * FROM _{part}")
    # All files are one source: COPY takes the rows of a UNION of files in no order of ours
    rows = duck.parquet(table.path for table in parts.values())
    said = f"({' UNION ALL '.join(queries)})"
    listed = ", ".join(f"said.p{i}" for i in range(len(flat)))
    sql = (
        f"SELECT rows.{store.ROW}, said.part, rows.{duck.name(facts.target)} AS target, "
        f"[{listed}]::FLOAT[] AS probability FROM {rows} AS rows POSITIONAL JOIN {said} AS said"
    )
    with duck.registered(**arrays), table.reading():
        store.copy(sql, path, "predictions", facts, values=len(flat))


def _check_finite(probability: np.ndarray, table: store.Table) -> None:
    for network, of_network in enumerate(probability):
        for here in metrics.pieces(len(table)):
            wrong = np.flatnonzero(~np.isfinite(of_network[here]).all(axis=1))
            if len(wrong):
                place = here.start + wrong[0]
                row = table.rows(f"SELECT {store.ROW} FROM {table.numbered} WHERE {store.PLACE} = {place}")[0][0]
                raise UserError(
                    f"{table.path}: network {network} gives row {row} no finite probability, for its training or the "
                    "row's values left what float32 holds; lower train.learning_rate, or set train.encoding to robust"
                )
