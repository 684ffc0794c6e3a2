"""Members of a network: networks trained apart whose mean logit is one network, of all their hidden units.

The mean is a two-layer network itself: the first layers lie one over the other, the second layers side by side, divided
by the number of members. So the model file, and all that reads it, knows nothing of members.
"""

import math

import numpy as np


def merged(weights: dict[str, np.ndarray], members: int) -> dict[str, np.ndarray]:
    """Weights of networks of `members` x h hidden units (R, ...), out of those of their members (R x members, ...)."""
    apart = {name: array.reshape(-1, members, *array.shape[1:]) for name, array in weights.items()}
    r, _, h, d = apart["net.0.weight"].shape
    return {
        "net.0.weight": apart["net.0.weight"].reshape(r, members * h, d),
        "net.0.bias": apart["net.0.bias"].reshape(r, members * h),
        "net.2.weight": apart["net.2.weight"].transpose(0, 2, 1, 3).reshape(r, -1, members * h) / members,
        "net.2.bias": apart["net.2.bias"].cumsum(axis=1)[:, -1] / members,  # np.sum's order depends on the CPU
    }


def mean(rows: list[dict]) -> dict:
    """The members' rows of the history as their network's: means, and the last of their epochs."""
    figures = {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}
    return figures | {"epoch": max(row["epoch"] for row in rows)}


def course(rows: list[dict], members: int, patience: int) -> tuple[list[dict], dict]:
    """A network's history, out of its members' rows epoch by epoch, and its row with every member as it was kept."""
    history = [mean(rows[first : first + members]) for first in range(0, len(rows), members)]
    if not patience:
        return history, history[-1]
    return history, mean([min(rows[m::members], key=lambda row: row["validation_loss"]) for m in range(members)])
