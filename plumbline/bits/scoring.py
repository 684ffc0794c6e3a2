"""Probabilities that trained networks give to rows.

A small job is scored by NumPy, a larger one by the compiled kernel, which takes longer to start. Both go through
features and hidden units in the same order with the same roundings, so they give the same bits. A test holds them to
that.
"""

import sys

import numpy as np

from plumbline.bits import rows as encoded
from plumbline.bits import self_test
from plumbline.bits.arithmetic import exp

WORTH_COMPILING = 2**26  # products that NumPy computes in the time that importing Numba takes
TILE = 2**15  # hidden activations at a time: they stay in the second-level cache


def probabilities(
    x: np.ndarray, weights: dict[str, np.ndarray], layout: np.ndarray | None = None, rows: int = 0
) -> np.ndarray:
    """Probabilities that R networks give to n rows: float32 (R, n, k); k = 1 is the second of two classes.

    x: float32 (n, c), encoded by the layout; without a layout all columns are numbers. weights: of the shipped network,
    by their names in the state_dict, (R, ...) each. rows: of the whole job, if x is a piece of it.
    """
    r, h, d = weights["net.0.weight"].shape
    k = weights["net.2.bias"].shape[1]
    layout = encoded.numbers(d) if layout is None else layout
    out = np.empty((r, len(x), k), np.float32)
    products = max(rows, len(x)) * r * h * (d + k)
    is_small = products <= WORTH_COMPILING and "plumbline.bits.compiling" not in sys.modules
    form = self_test.tested(_probabilities if is_small else _compiled, "probabilities")
    form(x, layout, weights, out)
    return out


def _compiled(x: np.ndarray, layout: np.ndarray, weights: dict[str, np.ndarray], out: np.ndarray) -> None:
    from plumbline.bits import kernel

    h, k = weights["net.0.bias"].shape[1], weights["net.2.bias"].shape[1]
    kernel.probabilities(np.ascontiguousarray(x), encoded.plan(layout), kernel.pack(weights), h, k, out)


def _probabilities(x: np.ndarray, layout: np.ndarray, weights: dict[str, np.ndarray], out: np.ndarray) -> None:
    w1, b1, w2, b2 = (weights[name] for name in ("net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias"))
    tile = max(TILE // b1.size, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(x), tile):
            inputs = encoded.expand(x[start : start + tile], layout)
            hidden = np.repeat(b1[:, None], len(inputs), axis=1)  # (R, n, h)
            for f in range(inputs.shape[1]):
                hidden += inputs[:, f, None] * w1[:, None, :, f]
            hidden[hidden < 0.0] = 0.0
            logits = np.repeat(b2[:, None], len(inputs), axis=1)  # (R, n, k)
            for j in range(hidden.shape[2]):
                logits += hidden[:, :, j, None] * w2[:, None, :, j]
            out[:, start : start + tile] = _of_logits(logits.astype(np.float64))


def _of_logits(z: np.ndarray) -> np.ndarray:
    """Sigmoid of the one logit, or softmax of several: float64 (R, n, k)."""
    if z.shape[-1] == 1:
        small = exp(-np.abs(z))
        return np.where(z >= 0.0, 1.0, small) / (1.0 + small)
    powers = exp(z - z.max(axis=-1, keepdims=True))
    return powers / powers.cumsum(axis=-1)[..., -1:]  # cumsum adds one after the other, as the kernel does
