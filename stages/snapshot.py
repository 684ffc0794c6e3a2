"""Where a long training stands, kept in models/resume.safetensors so that a killed one goes on with the same bits.

The file is no output of the pipeline: dvc.yaml does not name it (DVC would delete it before the stage runs, or cache
it), git ignores it, and a training that ends deletes it. It carries a SHA-256 of all that the training was given and of
the code that runs; a file with another one, or a damaged one, is not used.
"""

import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from stages import sealed
from stages.early_stopping import Best
from stages.errors import UserError

PATH = "models/resume.safetensors"
# Written at the first end of an epoch this many seconds after the last: at most ten seconds or one epoch are lost.
EVERY = 5.0
SHARE = 0.02  # and at most this share of the run goes into writing, however large the networks


class Progress(msgspec.Struct):
    """All that the loop of `train` carries from one epoch to the next."""

    first: int = 0  # the first network of those in training together
    epoch: int = 0  # epochs they have behind them
    state: list[np.ndarray] = []  # kernel.Trainer.state
    best: Best | None = None
    trained: list[dict[str, np.ndarray]] = []  # weights of the networks before them
    epochs: list[dict[str, np.ndarray]] = []  # network 0's weights after every epoch
    history: list[dict[str, int | float]] = []
    kept: int = 0  # the epoch of network 0 that is its model, once it has ended


class Keeper:
    """Finds, keeps and drops the snapshot of one training: that of these parameters and arrays, by this code."""

    def __init__(self, path: str | Path, parameters: msgspec.Struct, *arrays: np.ndarray):
        self.path, self._given, self._key = Path(path), (parameters, arrays), None
        self._code = _sources()  # now: while it runs someone may edit them
        self._last, self._cost = time.monotonic(), 0.0

    def find(self) -> Progress:
        """Where the training stood when it was killed, or its beginning."""
        try:
            arrays, text = sealed.read(self.path)
            key, progress = msgspec.json.decode(
                text, type=tuple[str, Progress], dec_hook=lambda _, name: arrays.pop(name)
            )
        except FileNotFoundError:
            return Progress()
        except (sealed.Refused, msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError) as error:
            print(f"{self.path} is not a snapshot ({error}); training starts afresh", file=sys.stderr)
            return Progress()
        if key != self.key:
            return Progress()
        print(f"going on after epoch {progress.epoch} of network {progress.first}, from {self.path}", file=sys.stderr)
        return progress

    def due(self) -> bool:
        """Whether enough time has gone by."""
        return time.monotonic() - self._last >= max(EVERY, self._cost / SHARE)

    def keep(self, progress: Progress) -> None:
        """Write where the training stands, whole or not at all."""
        key, start = self.key, time.monotonic()
        arrays = {}

        def named(array: np.ndarray) -> str:
            arrays[f"{len(arrays)}"] = array
            return f"{len(arrays) - 1}"

        text = msgspec.json.encode((key, progress), enc_hook=named)
        sealed.write(self.path, arrays, text)
        self._last = time.monotonic()
        self._cost = self._last - start

    def drop(self) -> None:
        """Delete the snapshot: the training has ended and its results are written."""
        self.path.unlink(missing_ok=True)

    @property
    def key(self) -> str:
        """SHA-256 of parameters, arrays and code; taken when first needed, which in a short training is never."""
        if self._key is None:
            parameters, arrays = self._given
            digest = hashlib.sha256(msgspec.json.encode(parameters) + self._code)
            for array in arrays:
                digest.update(f"\n{array.dtype.str} {array.shape}\n".encode())
                digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
            self._key = digest.hexdigest()
        return self._key


def restore(state: Sequence[np.ndarray], kept: Sequence[np.ndarray]) -> None:
    """Copy the kept state of a trainer into that of a new one."""
    if [(new.dtype, new.shape) for new in state] != [(old.dtype, old.shape) for old in kept]:
        raise UserError(f"{PATH} does not fit this training, though it carries its key; delete it and run again")
    for new, old in zip(state, kept):
        new[...] = old


def _sources() -> bytes:
    """SHA-256 of the project's modules in use, the stage's own among them."""
    here = Path(__file__).parent
    files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    digest = hashlib.sha256()
    for path in sorted(Path(file) for file in files if file.startswith(str(here))):
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.digest()
