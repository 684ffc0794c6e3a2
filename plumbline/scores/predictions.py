"""The table of predictions: a line for every scored row, with the probabilities that every network gives it.

Columns: `_row`, the row's number in the dataset; `part`, validation or test; `target`, its label; `probability`, a list
of R x k numbers, network by network, where k = 1, the second of the sorted classes, when there are two.
"""

from pathlib import Path

import numpy as np

from plumbline.basics.errors import UserError
from plumbline.scores import metrics
from plumbline.tables import store


def write(path: str | Path, parts: dict[str, store.Table], probability: dict[str, np.ndarray]) -> None:
    """Write the probabilities (R, n, k) of each part's rows; a UserError names a row that a network gives none."""
    facts = next(iter(parts.values())).facts
    with store.writing(path, "predictions", facts) as predictions:
        for part, table in parts.items():
            networks, _, k = probability[part].shape
            most = metrics.at_a_time(networks * k)
            columns = table.pieces([store.ROW, facts.target], most)
            for here, rows in zip(metrics.pieces(len(table), most), columns):
                some = probability[part][:, here].transpose(1, 0, 2).reshape(-1, networks * k)  # (m, R x k)
                row, target = rows.values()
                if not np.isfinite(some).all():
                    raise _not_finite(table, row, some, k)
                name = np.full(len(row), part, object)
                predictions.write({store.ROW: row, "part": name, "target": target, "probability": some})


def _not_finite(table: store.Table, row: np.ndarray, probability: np.ndarray, k: int) -> UserError:
    i, value = np.argwhere(~np.isfinite(probability))[0]
    return UserError(
        f"{table.path}: network {value // k} gives row {row[i]} no finite probability, for its training or the row's "
        "values left what float32 can hold; lower train.learning_rate, or set train.encoding to robust"
    )
