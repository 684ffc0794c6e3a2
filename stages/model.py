"""The model file: weights of all networks, the encoding and the classes. It needs no torch and runs no code on load.

A sealed safetensors file (stages.sealed) with `net.0.weight` (R, h, d), `net.0.bias` (R, h), `net.2.weight` (R, k, h)
and `net.2.bias` (R, k), so that slice r is the state_dict of `stages.network.TwoLayerNet`; k is 1 for two classes. What
is not a weight is the file's text, the card.
"""

import math
from pathlib import Path

import msgspec
import numpy as np

from stages import sealed, stream
from stages.encoding import Encoding, Number
from stages.errors import UserError

NAMES = ("net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias")
MOST_ROWS = 2**53  # up to here float64 tells integers apart


class Card(msgspec.Struct, frozen=True):
    """What predicting and scoring need beside the weights."""

    target: str
    classes: list[bool | int | float | str]
    train_counts: list[int]  # rows of each class in the training part, for the baseline
    encoding: Encoding


class Model(msgspec.Struct, frozen=True):
    """Weights by name, the first axis the networks (in models/epochs.safetensors: network 0's epochs), and the card."""

    weights: dict[str, np.ndarray]
    card: Card

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(features, hidden units, outputs)."""
        _, h, d = self.weights["net.0.weight"].shape
        return d, h, self.weights["net.2.weight"].shape[1]


def initial_weights(generators: list[np.random.Generator], d: int, h: int, k: int) -> dict[str, np.ndarray]:
    """What `nn.Linear(d, h)` and then `nn.Linear(h, k)` draw from each generator: the arrays of `Model.weights`."""
    weights = {"net.0.weight": (h, d), "net.0.bias": (h,), "net.2.weight": (k, h), "net.2.bias": (k,)}
    return {name: np.stack(draws) for name, draws in zip(weights, zip(*(_draws(g, weights) for g in generators)))}


def _draws(generator: np.random.Generator, shapes: dict[str, tuple[int, ...]]) -> list[np.ndarray]:
    drawn = []
    for name, shape in shapes.items():
        if name.endswith("weight"):  # torch.nn.init.kaiming_uniform_ with a = sqrt(5), operation by operation
            fan_in = shape[1]
            bound = math.sqrt(3.0) * (math.sqrt(2.0 / (1.0 + math.sqrt(5.0) ** 2)) / math.sqrt(fan_in))
        else:
            bound = 1.0 / math.sqrt(fan_in)
        # u (b - -b) - b with b a float32, rounded once: the product and all but the last bits of the sum are exact.
        bound = np.float64(np.float32(bound))
        u = stream.uniform(generator, math.prod(shape)).astype(np.float64)
        drawn.append((u * (2.0 * bound) - bound).astype(np.float32).reshape(shape))
    return drawn


def outputs_for(classes: int) -> int:
    """Logits of the network: one for two classes, else one a class."""
    return 1 if classes == 2 else classes


def save(model: Model, path: str | Path) -> None:
    """Write the model, whole or not at all."""
    sealed.write(path, model.weights, msgspec.json.encode(model.card))


def load(path: str | Path) -> Model:
    """Read a model; a UserError says what is wrong with a file that is not one."""
    try:
        weights, text = sealed.read(path, NAMES)
        card = msgspec.json.decode(text, type=Card)
    except FileNotFoundError:
        raise UserError(f"{path} is not there; `dvc repro` trains it, `dvc checkout` brings it back") from None
    except (sealed.Refused, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not a model that train wrote ({error}); run `dvc repro`") from None
    _check(weights, card, path)
    return Model(weights, card)


def _check(weights: dict[str, np.ndarray], card: Card, path) -> None:
    classes, counts = len(card.classes), card.train_counts
    if classes < 2 or len(counts) != classes or min(counts) < 0 or not sum(counts):
        raise UserError(f"{path} names {classes} classes and counts their rows as {counts[:10]}; run `dvc repro`")
    columns = card.encoding.columns
    senseless = {
        "the same class twice": len(set(card.classes)) < classes,
        "more rows than there can be": sum(counts) > MOST_ROWS,
        "the same column twice": len({column.name for column in columns}) < len(columns),
        "a deviation or scale that cannot be divided by": any(
            isinstance(column, Number) and not (column.deviation > 0.0 and column.scale >= 0.0) for column in columns
        ),
    }
    for what, there in senseless.items():
        if there:
            raise UserError(f"{path} has {what}; run `dvc repro`")
    d, k = card.encoding.width, outputs_for(len(card.classes))
    first = weights["net.0.weight"]
    r, h = first.shape[:2] if first.ndim == 3 else (0, 0)
    expected = {"net.0.weight": (r, h, d), "net.0.bias": (r, h), "net.2.weight": (r, k, h), "net.2.bias": (r, k)}
    for name, array in weights.items():
        if array.dtype != np.float32 or array.shape != expected[name] or not array.size:
            raise UserError(
                f"{path}: {name} is {array.dtype} {array.shape}, not float32 {expected[name]}; run `dvc repro`"
            )
