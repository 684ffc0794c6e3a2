"""Where a long training stands, kept in models/resume-0-31.snapshot so that a killed one goes on with the same bits.

The file is no output of the pipeline, for DVC would delete it before the stage runs: git ignores it, and a training
that ends deletes its own. It begins with a SHA-256 of all that the training was given: parameters, the files that it
read, and the code. Then come a SHA-256 of the rest, and the rest. A file of another training, or that was cut or
altered, is not used. Its name has the first and the last network, for a worker keeps a file of its own.
"""

import contextlib
import copy
import hashlib
import math
import sys
import time
from pathlib import Path
from threading import Event

import msgspec
import numpy as np

from plumbline.basics import files, inputs
from plumbline.training.networks import Drawn, Weights

FOLDER, PATTERN = Path("models"), "resume-*.snapshot"
EVERY = 5.0  # seconds after the last that one is due, at the end of the epoch then in progress
SHARE = 0.02  # most of the run that goes into writing: what took s seconds is written again 50 s seconds later
DIGEST = hashlib.sha256().digest_size


class Run(msgspec.Struct):
    """What the loop carries from one epoch to the next, of R networks side by side; a member counts as one."""

    weights: Weights  # (R, ...) of the epoch kept so far
    loss: np.ndarray  # float64 (R,), the lowest validation loss so far
    kept: np.ndarray  # int64 (R,), the epoch that is kept, 0 for none
    running: np.ndarray  # int64, the networks that are in training
    epoch: int = 0  # epochs that these have behind them
    by_epoch: list[Weights] = []  # after epochs 1, 1 + Drawn.every, ... network 0's members, (members, ...)
    history: list[np.ndarray] = []  # their figures, float64 (members, columns)
    state: list[np.ndarray] = []  # the trainer's

    @classmethod
    def start(cls, drawn: Drawn) -> "Run":
        """Before the first epoch."""
        weights, numbers = {name: array.copy() for name, array in drawn.weights.items()}, np.arange(len(drawn.shuffles))
        return cls(weights, np.full(len(numbers), np.finfo(np.float64).max), np.zeros_like(numbers), numbers)


class Keeper:
    """Finds, keeps and drops the snapshots of one training: that of these parameters, tables and code."""

    def __init__(self, *given: msgspec.Struct | int):
        """given: the parameters; the files were read by now."""
        self._key = hashlib.sha256(msgspec.json.encode((inputs.fingerprint(), *given))).digest()
        self._last, self._pause = time.monotonic(), EVERY
        self._name, self._ended, self._over = None, [], Event()

    def named(self, name: str, over: Event) -> "Keeper":
        """Another of the same training, for networks one after the other: those before are kept with the last.

        over: is set where they need not go on.
        """
        other = copy.copy(self)
        other._name, other._ended, other._over = name, [], over
        return other

    def find(self, drawn: Drawn, count: int = 1) -> list[Run]:
        """Where these networks, of `count` runs, stood when they were killed; nothing for those that begin."""
        numbers = f"{drawn.first}-{drawn.first + len(drawn) - 1}"
        self.path = FOLDER / PATTERN.replace("*", self._name or numbers)
        runs = self._read()[len(self._ended) :][:count]
        if runs and not self._ended:
            print(f"going on after epoch {runs[-1].epoch}, from {self.path}", file=sys.stderr)
        return runs

    def ended(self, runs: list[Run]) -> None:
        """A training has come to its end, and another may follow."""
        self._ended += runs

    def _read(self) -> list[Run]:
        try:
            content = self.path.read_bytes()
        except OSError:
            return []
        key, seal, body = content[:DIGEST], content[DIGEST : 2 * DIGEST], content[2 * DIGEST :]
        if key != self._key or seal != hashlib.sha256(body).digest():
            return []
        return msgspec.msgpack.decode(body, type=list[Run], dec_hook=_put_together)

    def due(self) -> bool:
        """Whether enough time has gone by; KeyboardInterrupt where another thread has ended the run."""
        if self._over.is_set():
            raise KeyboardInterrupt
        return time.monotonic() - self._last >= self._pause

    def keep(self, runs: list[Run]) -> None:
        """Write where the training stands, whole or not at all; a UserError when what it was given has changed."""
        inputs.check()
        start = time.monotonic()
        body = msgspec.msgpack.encode(self._ended + runs, enc_hook=_taken_apart)
        try:
            with files.replacing(self.path) as partial, partial.open("wb") as file:
                file.writelines((self._key, hashlib.sha256(body).digest(), body))
        except OSError as error:  # the one before, if there is one, is still whole
            print(f"{self.path} cannot be written ({error.strerror}); training goes on without", file=sys.stderr)
            self._pause = math.inf
            return
        self._last = time.monotonic()
        self._pause = max(EVERY, (self._last - start) / SHARE)

    def drop(self) -> None:
        """Delete the training's own snapshots: it has ended and its results are written. Another's stay."""
        for path in FOLDER.glob(PATTERN):
            with contextlib.suppress(OSError):  # the results are there; what stays is not used again
                with path.open("rb") as file:
                    own = file.read(DIGEST) == self._key
                if own:
                    path.unlink()


def _taken_apart(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.str, array.shape, array.tobytes()


def _put_together(_, parts: list) -> np.ndarray:
    dtype, shape, content = parts
    return np.frombuffer(content, dtype).reshape(shape).copy()
