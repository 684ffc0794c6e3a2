"""The table of predictions: a line for every scored row, with the probabilities that every network gives it.

Columns: `_row`, the row's number in the dataset; `part`, validation, test or out-of-fold; `target`, its label;
`probability`, a list of R x k numbers, network by network, where k = 1, the second of the sorted classes, when there
are two. Where rows belong together `group`, the same number for all of a group; where some are out-of-fold `fold`, a
list of R numbers: the row's fold in each replica, which tells the network that said it.
"""

from pathlib import Path

import numpy as np

from plumbline.basics.errors import UserError
from plumbline.scores.differences import Rows
from plumbline.tables import duck, store


def write(path: str | Path, parts: dict[str, store.Table], rows: dict[str, Rows], networks: int) -> None:
    """Write the rows of all parts and what the first R networks say of them, (R or more, n, k) a part.

    Where one part has groups, a row of another is its own. A UserError names a row that a network gives no finite
    number.
    """
    facts = next(iter(parts.values())).facts
    has_groups, has_folds = (
        any(getattr(part, name) is not None for part in rows.values()) for name in ("group", "fold")
    )
    arrays, queries = {}, []
    for part, table in parts.items():
        said = rows[part].probability[:networks]
        _check_finite(said, table)
        flat = [network[:, c] for network in said for c in range(said.shape[2])]  # R x k of (n,)
        own = {f"p{i}": values for i, values in enumerate(flat)}
        selected = [duck.text(part) + " AS part", f"[{', '.join(own)}]::FLOAT[] AS probability"]
        if has_groups:
            own |= {} if rows[part].group is None else {"g": rows[part].group}
            selected.append(f'{"g" if "g" in own else "NULL"}::BIGINT AS "group"')
        if has_folds:
            folds = {} if rows[part].fold is None else {f"f{r}": fold for r, fold in enumerate(rows[part].fold)}
            own |= folds
            selected.append(f"{'[' + ', '.join(folds) + ']' if folds else 'NULL'}::INTEGER[] AS fold")
        arrays[f"_{part}"] = own
        queries.append(f'SELECT {", ".join(selected)} FROM "_{part}"')
    # All files are one source: COPY takes the rows of a UNION of files in no order of ours
    source = duck.parquet(table.path for table in parts.values())
    grouped = f', coalesce(said."group", rows.{store.ROW}) AS "group"' if has_groups else ""
    cut = ", said.fold" if has_folds else ""
    sql = (
        f"SELECT rows.{store.ROW}, said.part, rows.{duck.name(facts.target)} AS target, said.probability{grouped}{cut} "
        f"FROM {source} AS rows POSITIONAL JOIN ({' UNION ALL '.join(queries)}) AS said"
    )
    with duck.registered(**arrays), table.reading():
        store.copy(sql, path, "predictions", facts, values=len(flat))


def _check_finite(probability: np.ndarray, table: store.Table) -> None:
    for network, said in enumerate(probability):
        wrong = np.flatnonzero(~np.isfinite(said).all(axis=1))
        if len(wrong):
            row = table.rows(f"SELECT {store.ROW} FROM {table.numbered} WHERE {store.PLACE} = {wrong[0]}")[0][0]
            raise UserError(
                f"{table.path}: network {network} gives row {row} no finite probability, for its training or the row's "
                "values left what float32 holds; lower train.learning_rate, or set train.encoding to robust"
            )
