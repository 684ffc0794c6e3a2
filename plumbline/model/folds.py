"""The file of the fold networks, models/folds.safetensors: which row is in which fold, and the networks that score it.

In every replica each fold has a network and an encoding of its own, fitted on the other folds' rows. The file is sealed
as the model file is. Without split.folds it holds no networks.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from plumbline.basics.errors import UserError
from plumbline.model import model, sealed
from plumbline.model.model import Card, Model

FOLDS = "fold_of"  # the array's name in the file


class Folds(NamedTuple):
    """Networks of R replicas and K folds (cross-fitting)."""

    fold_of: np.ndarray  # int32 (R, N), each training row's fold; -1 where no network may score it
    models: Sequence[Sequence[Model]]  # [replica][fold], each of one network

    @property
    def replicas(self) -> int:
        """R: so many networks score a row."""
        return len(self.models)

    def first(self, replicas: int) -> "Folds":
        """The fold networks of the first replicas."""
        return Folds(self.fold_of[:replicas], self.models[:replicas])

    @property
    def train_counts(self) -> list[list[list[int]]]:
        """[replica][fold][class]: how many rows of the class the fold's network was trained on."""
        return [[fold.card.train_counts for fold in replica] for replica in self.models]


NONE = Folds(np.empty((0, 0), np.int32), [])


def save(folds: Folds, path: str | Path, of: str = "") -> None:
    """Write the fold networks, whole or not at all. of: the seal of the model file that they belong to."""
    arrays = {FOLDS: folds.fold_of}
    for r, replica in enumerate(folds.models):
        for f, fold in enumerate(replica):
            arrays |= {f"{r}/{f}/{name}": array for name, array in fold.weights.items()}
    cards = [[fold.card for fold in replica] for replica in folds.models]
    sealed.write(path, arrays, msgspec.json.encode(cards), of)


def load(path: str | Path, network: str | Path | None = None, beside: str | Path | None = None) -> Folds:
    """Read the fold networks; a UserError says what is wrong with a file that train did not write.

    network: as in `model.load`. beside: the model file that they must belong to.
    """
    arrays, cards = sealed.opened(path, list[list[Card]], "a file", beside)
    fold_of = arrays.pop(FOLDS, np.empty(0))
    if fold_of.ndim != 2 or len(fold_of) != len(cards) or fold_of.dtype != np.int32:
        raise UserError(
            f"{path}: {FOLDS} is {fold_of.dtype} {fold_of.shape} for {len(cards)} replicas; run `dvc repro`"
        )
    models = []
    for r, replica in enumerate(cards):
        if fold_of[r].min(initial=0) < -1 or fold_of[r].max(initial=-1) >= len(replica):
            raise UserError(f"{path}: {FOLDS} names a fold that is not there; run `dvc repro`")
        models.append([])
        for f, card in enumerate(replica):
            place = f"{r}/{f}/"
            own = {name.removeprefix(place): arrays[name] for name in arrays if name.startswith(place)}
            models[r].append(model.checked(own, card, path, network))
    return Folds(fold_of, models)
