"""The table of predictions: a line for every scored row, with the probabilities that every network gives it.

Columns: `_row`, the row's number in the dataset; `part`, validation or test; `target`, its label; `probability`, a list
of R x k numbers, network by network, where k = 1, the second of the sorted classes, when there are two; and `group`
where rows belong together, the same number for all of a group.
"""

from pathlib import Path

import numpy as np

from plumbline.basics.errors import UserError
from plumbline.scores import metrics
from plumbline.scores.differences import Rows
from plumbline.tables import duck, store


def write(path: str | Path, parts: dict[str, store.Table], rows: dict[str, Rows], networks: int) -> None:
    """Write the rows of all parts and what the first R networks say of them, (R or more, n, k) a part.

    Where one part has groups, a row of another is its own. A UserError names a row that a network gives no finite
    number.
    """
    facts = next(iter(parts.values())).facts
    arrays, queries = {}, []
    for part, table in parts.items():
        said, group = rows[part].probability[:networks], rows[part].group
        _check_finite(said, table)
        flat = [network[:, c] for network in said for c in range(said.shape[2])]  # R x k of (n,)
        arrays[f"_{part}"] = {f"p{i}": values for i, values in enumerate(flat)}
        none = ", NULL::BIGINT AS g" if group is None else ""
        arrays[f"_{part}"] |= {} if none else {"g": group}
        queries.append(f"SELECT {duck.text(part)} AS part, *{none} FROM _{part}")
    # All files are one source: COPY takes the rows of a UNION of files in no order of ours
    source = duck.parquet(table.path for table in parts.values())
    said = f"({' UNION ALL '.join(queries)})"
    listed = ", ".join(f"said.p{i}" for i in range(len(flat)))
    has_groups = any(part.group is not None for part in rows.values())
    grouped = f', coalesce(said.g, rows.{store.ROW}) AS "group"' if has_groups else ""
    sql = (
        f"SELECT rows.{store.ROW}, said.part, rows.{duck.name(facts.target)} AS target, "
        f"[{listed}]::FLOAT[] AS probability{grouped} FROM {source} AS rows POSITIONAL JOIN {said} AS said"
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
