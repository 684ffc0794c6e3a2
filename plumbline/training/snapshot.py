"""Snapshots of a long training, so that a killed one goes on with the same bits.

A snapshot is a file such as models/resume-0-31.snapshot. The name has the first and the last network, for each worker
writes its own. It is no output of the pipeline, for DVC would delete it before the stage runs. Git ignores it, and a
training that has ended deletes it.

The file begins with a SHA-256 of all that the training was given: parameters, the files that it read, and the code.
Then come a SHA-256 of the rest, and the rest. So a snapshot of another training, or one that was cut or altered, is not
used.
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
EVERY = 5.0  # seconds between snapshots, at least; they are written at the end of an epoch
SHARE = 0.02  # of the time, at most, goes into writing: after a write of 1 s the next is due in 50 s
DIGEST = hashlib.sha256().digest_size


class Run(msgspec.Struct):
    """What the loop carries from one epoch to the next, for R networks side by side; a member is one of them."""

    weights: Weights  # (R, ...), of the epochs that are kept so far
    loss: np.ndarray  # float64 (R,), the lowest validation loss so far
    kept: np.ndarray  # int64 (R,), the epoch that is kept, 0 for none
    running: np.ndarray  # int64, the numbers of the networks that have not stopped
    epoch: int = 0  # the epochs that they have been trained for
    by_epoch: list[Weights] = []  # network 0's members (members, ...) after epochs 1, 1 + Drawn.every, ...
    history: list[np.ndarray] = []  # its members' figures in each epoch, float64 (members, columns)
    state: list[np.ndarray] = []  # the trainer's

    @classmethod
    def start(cls, drawn: Drawn) -> "Run":
        """A run before its first epoch."""
        weights, numbers = {name: array.copy() for name, array in drawn.weights.items()}, np.arange(len(drawn.shuffles))
        return cls(weights, np.full(len(numbers), np.finfo(np.float64).max), np.zeros_like(numbers), numbers)


class Keeper:
    """Reads, writes and deletes the snapshots of one training: that of these parameters, tables and code."""

    def __init__(self, *given: msgspec.Struct | int):
        """given: the parameters. All files must have been read, for the key covers them."""
        self._key = hashlib.sha256(msgspec.json.encode((inputs.fingerprint(), *given))).digest()
        self._last, self._pause = time.monotonic(), EVERY
        self._name, self._ended, self._over = None, [], Event()

    def named(self, name: str, over: Event) -> "Keeper":
        """A keeper of the same training for a thread that trains fold networks one after the other.

        Its snapshot has all that have ended, and the one in training. over: if set, `due` ends the thread.
        """
        other = copy.copy(self)
        other._name, other._ended, other._over = name, [], over
        return other

    def find(self, drawn: Drawn, count: int = 1) -> list[Run]:
        """The runs of these networks in the last snapshot, at most `count`; none where there is no snapshot."""
        numbers = f"{drawn.first}-{drawn.first + len(drawn) - 1}"
        self.path = FOLDER / PATTERN.replace("*", self._name or numbers)
        runs = self._read()[len(self._ended) :][:count]
        if runs and not self._ended:
            print(f"going on after epoch {runs[-1].epoch}, from {self.path}", file=sys.stderr)
        return runs

    def ended(self, runs: list[Run]) -> None:
        """These runs have ended; later snapshots contain them."""
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
        """Whether it is time for a snapshot. Raises KeyboardInterrupt if another thread has ended the training."""
        if self._over.is_set():
            raise KeyboardInterrupt
        return time.monotonic() - self._last >= self._pause

    def keep(self, runs: list[Run]) -> None:
        """Write a snapshot, whole or not at all. A UserError if the training's code or files have changed."""
        inputs.check()
        start = time.monotonic()
        body = msgspec.msgpack.encode(self._ended + runs, enc_hook=_taken_apart)
        try:
            with files.replacing(self.path) as partial, partial.open("wb") as file:
                file.writelines((self._key, hashlib.sha256(body).digest(), body))
        except OSError as error:  # the snapshot before, if there is one, is still whole
            print(f"{self.path} cannot be written ({error.strerror}); training goes on without", file=sys.stderr)
            self._pause = math.inf
            return
        self._last = time.monotonic()
        self._pause = max(EVERY, (self._last - start) / SHARE)

    def drop(self) -> None:
        """Delete the snapshots of this training, whose results are written. Another training's stay."""
        for path in FOLDER.glob(PATTERN):
            with contextlib.suppress(OSError):  # a file that stays does no harm: it is not used again
                with path.open("rb") as file:
                    own = file.read(DIGEST) == self._key
                if own:
                    path.unlink()


def _taken_apart(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.str, array.shape, array.tobytes()


def _put_together(_, parts: list) -> np.ndarray:
    dtype, shape, content = parts
    return np.frombuffer(content, dtype).reshape(shape).copy()
