"""Where a long training stands, kept in models/resume.safetensors so that a killed one goes on with the same bits.

The file is no output of the pipeline: dvc.yaml does not name it (DVC would delete it before the stage runs, or cache
it), git ignores it, and a training that ends deletes its own. It carries a SHA-256 of all that the training was given:
parameters, tables, the network and the code that runs. A file with another one, or a damaged one, is not used. A worker
keeps a file of its own networks; another number of workers starts afresh.
"""

import contextlib
import hashlib
import sys
import time
from pathlib import Path

import msgspec
import numpy as np

from plumbline.basics import inputs
from plumbline.basics.errors import UserError
from plumbline.model import sealed
from plumbline.training.networks import Drawn, Weights, joined

FOLDER, NAME = Path("models"), "resume"
EVERY = 5.0  # seconds after the last that one is due, at the end of the epoch then in progress
SHARE = 0.02  # most of the run that goes into hashing and writing: what takes s seconds is written every 50 s seconds
RATE = 2e8  # bytes a second of hashing and writing, until one has been timed: a slow disk's
CODE, ROOMS = Path(__file__).parents[1], ("basics", "bits", "tables", "model", "training")
SENSELESS = sealed.Refused, msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError  # what is no snapshot


class Run(msgspec.Struct):
    """All that the loop carries from one epoch to the next. Networks are counted member by member, R in all."""

    weights: Weights  # (R, ...) of the epoch kept so far; of networks that have not begun the initial ones
    loss: np.ndarray  # float64 (R,), the lowest validation loss so far
    kept: np.ndarray  # int64 (R,), the epoch that is kept, 0 for none
    running: np.ndarray  # int64, the networks that are in training
    epoch: int = 0  # epochs that these have behind them
    by_epoch: list[Weights] = []  # network 0's members after every epoch: pieces that join to (epochs x members, ...)
    history: list[np.ndarray] = []  # their figures: pieces that join to float64 (epochs, members, columns)
    state: list[np.ndarray] = []  # the trainer's

    @classmethod
    def start(cls, drawn: Drawn, columns: int) -> "Run":
        """Before the first epoch; columns: of the history."""
        weights, networks = {name: array.copy() for name, array in drawn.weights.items()}, len(drawn.shuffles)
        worst, none = np.full(networks, np.finfo(np.float64).max), np.zeros(networks, np.int64)
        by_epoch, history = {name: array[:0] for name, array in weights.items()}, np.empty((0, drawn.members, columns))
        return cls(weights, worst, none, np.arange(0), 0, [by_epoch], [history])

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        named = [*self.by_epoch, self.weights]
        return sum(array.nbytes for array in [*self.state, *(array for each in named for array in each.values())])

    def join(self) -> None:
        """Have one array where there was one an epoch."""
        self.by_epoch, self.history = [joined(self.by_epoch)], [np.concatenate(self.history)]

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name, when they are joined."""
        named = {name: getattr(self, name) for name in ("loss", "kept", "running")}
        named |= {f"weights {name}": array for name, array in self.weights.items()}
        named |= {f"by_epoch {name}": array for name, array in self.by_epoch[0].items()} | {"history": self.history[0]}
        return named | {f"state {i}": array for i, array in enumerate(self.state)}

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray], epoch: int) -> "Run":
        """What `arrays` took apart; KeyError for what is missing."""

        def those(kind: str) -> Weights:
            return {name.removeprefix(kind): array for name, array in arrays.items() if name.startswith(kind)}

        numbered = those("state ")
        return cls(
            those("weights "),
            *(arrays[name] for name in ("loss", "kept", "running")),
            epoch,
            [those("by_epoch ")],
            [arrays["history"]],
            [numbered[str(i)] for i in range(len(numbered))],
        )


class Keeper:
    """Finds, keeps and drops the snapshots of one training: that of these parameters, tables and code."""

    def __init__(self, *given: msgspec.Struct | bytes | Path):
        """given: all that the training is made of; a file counts by its content."""
        self._given, self._key, self._wanted = given, None, True
        self._began = self._last = time.monotonic()
        self._spent, self._rate = 0.0, RATE

    def find(self, drawn: Drawn, replicas: int) -> Run | None:
        """Where the training of these networks, of so many, stood when it was killed; None for one that begins."""
        self._networks = drawn.first, drawn.first + len(drawn)
        self.path = FOLDER / (f"{NAME}.safetensors" if len(drawn) == replicas else f"{NAME}-{drawn.first}.safetensors")
        if self.path.is_dir():
            raise UserError(
                f"{self.path} is a folder, and training keeps where it stands under that name; move it away"
            )
        try:
            key, networks, run = _read(self.path)
        except FileNotFoundError:
            return None
        except SENSELESS as error:
            print(f"{self.path} is not a snapshot ({error}); training starts afresh", file=sys.stderr)
            return None
        if (key, networks) != (self.key, self._networks):
            return None
        network = drawn.first + int(run.running[0]) // drawn.members
        print(f"going on after epoch {run.epoch} of network {network}, from {self.path}", file=sys.stderr)
        return run

    def due(self, run: Run) -> bool:
        """Whether enough time has gone by, also for what it costs."""
        now, size = time.monotonic(), run.nbytes
        if self._key is None:
            size += sum(each.stat().st_size for each in self._given if isinstance(each, Path))
        return (
            self._wanted
            and now - self._last >= EVERY
            and self._spent + size / self._rate <= SHARE * (now - self._began)
        )

    def keep(self, run: Run) -> None:
        """Write where the training stands, whole or not at all; a UserError when what it was given has changed."""
        inputs.check()
        key, start = self.key, time.monotonic()
        run.join()
        try:
            sealed.write(self.path, run.arrays(), msgspec.json.encode((key, self._networks, run.epoch)))
        except OSError as error:  # the one before, if there is one, is still whole
            print(f"{self.path} cannot be written ({error.strerror}); training goes on without", file=sys.stderr)
            self._wanted = False
        self._last = time.monotonic()
        self._spent += self._last - start
        self._rate = run.nbytes / max(self._last - start, 1e-9)

    def drop(self) -> None:
        """Delete the training's own snapshots: it has ended and its results are written. Another's stay."""
        for path in FOLDER.glob(f"{NAME}*.safetensors"):
            with contextlib.suppress(*SENSELESS):
                if _read(path)[0] == self.key:
                    path.unlink()

    @property
    def key(self) -> str:
        """SHA-256 of parameters, tables and code; taken when first needed, in a short training never."""
        if self._key is None:
            start, digest = time.monotonic(), hashlib.sha256()
            for each in (*self._given, *code()):
                if isinstance(each, Path):
                    with each.open("rb") as file:
                        digest.update(hashlib.file_digest(file, "sha256").digest())
                else:
                    digest.update(each if isinstance(each, bytes) else msgspec.json.encode(each))
            self._key = digest.hexdigest()
            self._spent += time.monotonic() - start
        return self._key


def code() -> list[Path]:
    """The modules that training stands on; some are imported only when they are needed."""
    return sorted(path for room in ROOMS for path in (CODE / room).glob("*.py"))


def _read(path: Path) -> tuple[str, tuple[int, int], Run]:
    """A snapshot's key, the first network and the one after the last, and where these stood."""
    arrays, text = sealed.read(path)
    key, networks, epoch = msgspec.json.decode(text, type=tuple[str, tuple[int, int], int])
    return key, networks, Run.of(arrays, epoch)
