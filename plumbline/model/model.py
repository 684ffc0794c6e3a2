"""The model file: weights of all networks, the encoding and the classes. Loading it runs no code.

It is a sealed safetensors file (plumbline.model.sealed). The weights have their names in the module's state_dict, and
their first axis is the R networks. For the shipped network these are `net.0.weight` (R, h, d), `net.0.bias` (R, h),
`net.2.weight` (R, k, h) and `net.2.bias` (R, k); k is 1 for two classes. All else is in the file's JSON text, the card.

The shipped network is scored by plumbline.bits.scoring. Any other is scored by its own module, so the file that defines
it must be there, unchanged.
"""

from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from plumbline.basics.errors import UserError
from plumbline.bits import initial, scoring
from plumbline.model import network as networks
from plumbline.model import sealed
from plumbline.model.network import SHIPPED, Network
from plumbline.tables import store
from plumbline.tables.fitted import Encoding


class Card(msgspec.Struct, frozen=True):
    """What scoring needs beside the weights."""

    target: str
    classes: list[bool | int | float | str]
    train_counts: list[int]  # rows of each class in the training part, for the baseline
    encoding: Encoding
    network: str  # the hash of the network's syntax tree
    hidden_size: int  # of a network; where members are stored apart, of each member
    members: int = 1  # above 1 weights are (R, members, ...), and a network's logit is the mean of its members'
    watched: bool = False  # whether early stopping went by the validation part
    positive: bool | int | float | str | None = None  # the positive class of two, as in the facts of the table
    every: int = 1  # models/epochs.safetensors has epochs 1, 1 + every, 1 + 2 every, ...

    def __post_init__(self):
        """ValueError for senseless classes."""
        store.check_classes(self.classes, self.train_counts, self.positive)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(inputs, hidden units, logits): the arguments of the network's class."""
        return self.encoding.width, self.hidden_size, initial.outputs_for(len(self.classes))

    @property
    def positive_number(self) -> int:
        """The number of the positive class of two, 0 or 1. With more classes there is none, and this is 1."""
        return int(self.positive != self.classes[0])


class Model(NamedTuple):
    """Weights, the card, and the file that defines the network."""

    weights: dict[str, np.ndarray]  # by name, (R, ...); in models/epochs.safetensors R are the epochs of network 0
    card: Card
    network: Network | None = None  # the file that defines the network; the shipped one needs none

    @property
    def networks(self) -> int:
        """R, how many networks these are."""
        return len(next(iter(self.weights.values())))

    def first(self, networks: int = 1) -> "Model":
        """The model with its first networks only."""
        return self._replace(weights={name: array[:networks] for name, array in self.weights.items()})

    def probabilities(self, x: np.ndarray, batch_size: int = 4096, rows: int = 0) -> np.ndarray:
        """Probabilities that the R networks give to the encoded rows x (n, c): float32 (R, n, k).

        k = 1, the second of the classes, when there are two. batch_size: how many rows an edited module gets at a time.
        rows: of the whole job, if x is a piece of it.
        """
        if self.card.network == SHIPPED:
            return scoring.probabilities(x, self.weights, self.card.encoding.layout, rows)
        of = self.card.sizes, self.card.encoding.layout
        return networks.probabilities(self.network, *of, self.weights, x, batch_size)


def save(weights: dict[str, np.ndarray], card: Card, path: str | Path, of: str = "") -> str:
    """Write a model, whole or not at all; returns its seal. of: for epochs, the seal of the model they belong to."""
    return sealed.write(path, weights, msgspec.json.encode(card), of)


def load(path: str | Path, network: str | Path | None = None, beside: str | Path | None = None) -> Model:
    """Read a model; a UserError says what is wrong with a file that is no model, or is one of another network.

    network: the file that defines the network. None: stages/network.py, if it is there. beside: for epochs, the model
    file that they must belong to.
    """
    weights, card = sealed.opened(path, Card, "a model", beside)
    return checked(weights, card, path, network)


def checked(weights: dict[str, np.ndarray], card: Card, path: str | Path, network: str | Path | None = None) -> Model:
    """A model of a file's weights and card; a UserError where they fit neither the network nor one another."""
    found = _network_of(card, path, network)
    _check_shapes(weights, card, found, path)
    return Model(weights, card, found)


def _network_of(card: Card, path, network: str | Path | None) -> Network | None:
    """The file that defines the model's network; None where there is no file and the network is the shipped one."""
    if network is None and not Path(networks.PATH).exists():
        if card.network == SHIPPED:
            return None
        raise UserError(
            f"{path} has a network of its own; name the file that defines it (`plumbline predict --network PATH`, in "
            f"Python network=PATH), or bring {networks.PATH} back"
        )
    found = networks.read(network or networks.PATH)
    if found.tree != card.network:
        raise UserError(
            f"{path} was trained with another network than {found.path} defines; run `dvc repro`, or name the file "
            "that it was trained with (`plumbline predict --network PATH`)"
        )
    return found


def _check_shapes(weights: dict[str, np.ndarray], card: Card, network: Network | None, path) -> None:
    """A UserError where an array's type or shape is not that of the network's weights, with the same R for all."""
    d, h, k = card.sizes
    if card.network == SHIPPED:
        shapes = {"net.0.weight": (h, d), "net.0.bias": (h,), "net.2.weight": (k, h), "net.2.bias": (k,)}
        expected = {name: ("float32", shape) for name, shape in shapes.items()}
    else:
        tensors = networks.state(networks.blank(network, card.sizes))
        expected = {name: (str(t.dtype).removeprefix("torch."), tuple(t.shape)) for name, t in tensors.items()}
    front = weights.get(next(iter(expected)), np.zeros(0)).shape[: 2 if card.members > 1 else 1]
    for name, (kind, shape) in expected.items():
        found = f"{weights[name].dtype} {weights[name].shape}" if name in weights else "missing"
        if found != f"{kind} {(*front, *shape)}" or not weights[name].size:
            raise UserError(f"{path}: {name} is {found}, not {kind} {(*front, *shape)}; run `dvc repro`")
