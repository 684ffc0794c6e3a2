"""Where a long training stands, kept in models/resume.safetensors so that a killed one goes on with the same bits.

The file is no output of the pipeline: dvc.yaml does not name it (DVC would delete it before the stage runs, or cache
it), git ignores it, and a training that ends deletes its own. It carries a SHA-256 of all that the training was given
and of the code that runs; a file with another one, or a damaged one, is not used. Where the rows lie meanwhile and how
many workers there are is no part of it: another number of workers, or a plain process, may go on.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from stages import alike, sealed
from stages.early_stopping import Best
from stages.errors import UserError

PATH = "models/resume.safetensors"
EVERY = 5.0  # seconds after the last that one is due, at the end of the epoch then in progress
SHARE = 0.02  # most of the run that goes into hashing and writing: what takes s seconds is written every 50 s seconds
RATE = 2e8  # bytes a second of hashing and writing, until one has been timed: a slow disk's


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

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        named = [*self.trained, *self.epochs, *([self.best.weights] if self.best else [])]
        return sum(array.nbytes for array in [*self.state, *(each for some in named for each in some.values())])

    def fits(self, weights: dict[str, np.ndarray], settings, together: int) -> bool:
        """Whether the loop can go on from here: every number in its range, every array of the shape it has there.

        weights: the initial ones of all networks, of which so many train together; settings: the train section.
        """
        networks = len(weights["net.0.bias"])
        return (
            0 <= self.first < networks
            and self.first % together == 0
            and 1 <= self.epoch <= settings.epochs
            and self._best_fits(weights, min(together, networks - self.first), settings.patience)
            and len(self.trained) == self.first // together
            and all(_like(weights, group, together) for group in self.trained)
            and self._history_fits(weights, settings)
        )

    def _best_fits(self, weights: dict[str, np.ndarray], size: int, patience: int) -> bool:
        """That of the `size` networks in training, of which one at least goes on."""
        best = self.best
        if best is None or best.patience != patience or not _like(weights, best.weights, size):
            return False
        kinds = [(array.dtype, array.shape) for array in (best.loss, best.epoch)]
        if kinds != [(np.float64, (size,)), (np.int64, (size,))] or best.running.dtype != np.int64:
            return False
        going_on = np.isin(np.arange(size), best.running)
        parameters = sum(array[0].size for array in weights.values())
        state = [((going_on.sum(), width), kind) for width, kind in [(parameters, np.float32)] * 3 + [(2, np.float64)]]
        return (
            bool(going_on.any() if patience else going_on.all())
            and np.array_equal(best.running, np.flatnonzero(going_on))
            and bool((best.epoch >= 1).all() and (best.epoch <= self.epoch).all())
            and bool((best.epoch[going_on] > self.epoch - max(patience, 1)).all())
            and [(array.shape, array.dtype) for array in self.state] == state
        )

    def _history_fits(self, weights: dict[str, np.ndarray], settings) -> bool:
        """Network 0's members' epochs: all so far while one of them runs, and the kept one once all have ended."""
        count, patience = settings.members, settings.patience
        behind, first_runs = len(self.history) // count, self.first == 0 and self.best.running[0] < count
        by_epoch = [self.history[e * count : (e + 1) * count] for e in range(behind)]
        columns = {"epoch", "train_loss", "train_accuracy"} | ({"validation_loss"} if patience else set())
        return (
            1 <= behind <= (self.epoch if self.first == 0 else settings.epochs)
            and (behind == self.epoch or not first_runs)
            and len(self.history) == behind * count
            and [max(row.get("epoch", 0) for row in rows) for rows in by_epoch] == list(range(1, behind + 1))
            and all(row.keys() == self.history[0].keys() >= columns for row in self.history)
            and len(self.epochs) == 1
            and _like(weights, self.epochs[0], behind * count)
            and (1 <= self.kept <= behind if self.first else self.kept == 0)
        )


class Keeper:
    """Finds, keeps and drops the snapshot of one training: that of these parameters, files and arrays, by this code."""

    def __init__(self, path: str | Path, parameters: msgspec.Struct, *given: Path | np.ndarray):
        self.path, self._parameters, self._given, self._key = Path(path), parameters, given, None
        self._files = _files(given)
        self._code = msgspec.json.encode(alike.code(alike.in_use()))  # now: while it runs someone may edit them
        self._began = self._last = time.monotonic()
        self._spent, self._rate, self._own, self._wanted = 0.0, RATE, False, True

    def find(self, fits: Callable[[Progress], bool] = lambda progress: True) -> Progress:
        """Where the training stood when it was killed, or its beginning; `fits` says whether it can go on from there.

        Anyone can seal a file and knows its key, so that sizes and numbers are checked too.
        """
        if self.path.is_dir():
            raise UserError(
                f"{self.path} is a folder, and training keeps where it stands under that name; move it away"
            )
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
        self._own = True
        if not fits(progress):
            print(f"{self.path} is not a snapshot (its numbers make no sense); training starts afresh", file=sys.stderr)
            return Progress()
        print(f"going on after epoch {progress.epoch} of network {progress.first}, from {self.path}", file=sys.stderr)
        return progress

    def due(self, progress: Progress) -> bool:
        """Whether enough time has gone by, also for what it costs."""
        now, size = time.monotonic(), progress.nbytes
        if self._key is None:
            size += sum(each.stat().st_size if isinstance(each, Path) else each.nbytes for each in self._given)
        return (
            self._wanted
            and now - self._last >= EVERY
            and self._spent + size / self._rate <= SHARE * (now - self._began)
        )

    def keep(self, progress: Progress) -> None:
        """Write where the training stands, whole or not at all."""
        key, start = self.key, time.monotonic()
        arrays = {}

        def named(array: np.ndarray) -> str:
            arrays[f"{len(arrays)}"] = array
            return f"{len(arrays) - 1}"

        text = msgspec.json.encode((key, progress), enc_hook=named)
        try:
            sealed.write(self.path, arrays, text)
            self._own = True
        except OSError as error:  # the one before, if there is one, is still whole
            print(f"{self.path} cannot be written ({error.strerror}); training goes on without", file=sys.stderr)
            self._wanted = False
        self._last = time.monotonic()
        self._spent += self._last - start
        self._rate = progress.nbytes / max(self._last - start, 1e-9)

    def drop(self) -> None:
        """Delete the training's own snapshot: it has ended and its results are written. Another's stays."""
        if self._own:
            self.path.unlink(missing_ok=True)

    @property
    def key(self) -> str:
        """SHA-256 of parameters, files, arrays and code; taken when first needed, in a short training never."""
        if self._key is None:
            start = time.monotonic()
            digest = hashlib.sha256(msgspec.json.encode(self._parameters) + self._code)
            for each in self._given:
                if isinstance(each, Path):
                    with each.open("rb") as file:
                        digest.update(hashlib.file_digest(file, "sha256").digest())
                else:
                    digest.update(f"\n{each.dtype.str} {each.shape}\n".encode())
                    digest.update(np.ascontiguousarray(each).reshape(-1).view(np.uint8))
            if _files(self._given) != self._files:  # another file by now: a key that no training will ask for
                digest.update(os.urandom(32))
            self._key = digest.hexdigest()
            self._spent += time.monotonic() - start
        return self._key


def _files(given: Sequence[Path | np.ndarray]) -> list[tuple[int, int, int]]:
    """What tells a file from one that took its place."""
    states = [each.stat() for each in given if isinstance(each, Path)]
    return [(state.st_ino, state.st_size, state.st_mtime_ns) for state in states]


def _like(weights: dict[str, np.ndarray], arrays: dict[str, np.ndarray], networks: int) -> bool:
    """Whether the arrays are weights of so many networks."""
    shapes = {name: (array.dtype, (networks, *array.shape[1:])) for name, array in weights.items()}
    return {name: (array.dtype, array.shape) for name, array in arrays.items()} == shapes


def restore(state: Sequence[np.ndarray], kept: Sequence[np.ndarray]) -> None:
    """Copy the kept state of a trainer into that of a new one."""
    for new, old in zip(state, kept, strict=True):
        new[...] = old
