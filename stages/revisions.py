"""What a revision of the project holds, read through DVC: from git, the cache or a remote, never the workspace's files.

A revision is what DVC takes for one: a branch, tag, commit or experiment; None is the workspace.
"""

import hashlib
import io
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from stages import lock, table
from stages.errors import UserError, reason
from stages.files import read_csv
from stages.model import outputs_for
from stages.table import ROW, Facts

PREDICTIONS = "metrics/predictions.parquet"
CURVES = {"train": "metrics/history.csv", "test": "metrics/plots/test_epochs.csv"}


class Scored(NamedTuple):
    """The rows of one part, in the order of `_row`, and what every network says of them."""

    row: np.ndarray  # (n,) int64
    target: np.ndarray  # (n,) class numbers
    probability: np.ndarray  # float32 (R, n, k)


class Revision(NamedTuple):
    """One side of a comparison."""

    name: str
    facts: Facts
    parts: dict[str, Scored]  # validation (if it has rows) and test
    lock: dict[str, lock.Stage]
    curves: dict[str, list[dict[str, float]]]  # a dict an epoch, for train and test
    stale: bool  # the predictions are not those of dvc.lock


def read(name: str | None) -> Revision:
    """Read a revision; UserError says what is missing and which command brings it."""
    files = Workspace() if name is None else Committed(name)
    content = files.read(PREDICTIONS)
    predictions, facts = table.read(io.BytesIO(content), f"{PREDICTIONS} of {files.name}")
    stages = lock.read(files.read("dvc.lock"), f"dvc.lock of {files.name}")
    recorded = {path: md5 for stage in stages.values() for path, md5 in stage.outs.items()}
    stale = name is None and hashlib.md5(content, usedforsecurity=False).hexdigest() != recorded.get(PREDICTIONS)
    curves = {side: read_csv(files.read(path), f"{path} of {files.name}") for side, path in CURVES.items()}
    return Revision(files.name, facts, _parts(predictions, facts), stages, curves, stale)


def experiments(base: str) -> list[str]:
    """Names of the experiments over a base revision, as `dvc exp list` has them."""
    committed = Committed(base)
    return sorted(name for named in committed.repo.experiments.ls(rev=committed.sha).values() for name, _ in named)


class Workspace:
    """Files as they lie in the folder."""

    name = "workspace"

    def read(self, path: str) -> bytes:
        """A file's content."""
        try:
            return Path(path).read_bytes()
        except FileNotFoundError:
            raise UserError(
                f"{path} is not in the workspace; run `dvc repro`, or `dvc checkout` if it has run"
            ) from None


class Committed:
    """Files as a revision has them."""

    def __init__(self, name: str):
        # Here, not at the top: importing DVC takes most of a second.
        from dvc.exceptions import DvcException
        from dvc.fs import DVCFileSystem
        from dvc.repo import Repo
        from dvc.scm import RevError, SCMError, resolve_rev

        self.name = name
        try:
            self.repo = Repo()
            self.sha = resolve_rev(self.repo.scm, name)
            # With the remotes of today: a revision may be older than the remote that now has its files.
            self.files = DVCFileSystem(repo=self.repo.root_dir, rev=self.sha, config=dict(self.repo.config))
        except RevError:
            raise UserError(
                f"{name!r} is no branch, tag, commit or experiment here; see `git branch`, `dvc exp list`"
            ) from None
        except (DvcException, SCMError) as error:
            raise UserError(f"{name}: {reason(error)}") from None

    def read(self, path: str) -> bytes:
        """A file's content, from git, the cache or the remote."""
        from dvc.exceptions import DvcException

        try:
            return self.files.read_bytes(f"/{path}")
        except (OSError, DvcException) as error:
            raise UserError(
                f"{path} of {self.name} is neither in git, the cache nor a remote ({type(error).__name__}); "
                f"run `dvc pull`, or check out {self.name} and run `dvc repro`"
            ) from None


def _parts(predictions: pa.Table, facts: Facts) -> dict[str, Scored]:
    k = outputs_for(len(facts.classes))
    kind = predictions.column("part").to_numpy(zero_copy_only=False)
    row = predictions.column(ROW).to_numpy()
    target = table.targets(predictions, msgspec.structs.replace(facts, target="target"))
    flat = predictions.column("probability").combine_chunks().flatten().to_numpy()
    probability = flat.reshape(len(row), -1, k).transpose(1, 0, 2)
    parts = {}
    for part in ("validation", "test"):
        chosen = np.flatnonzero(kind == part)
        chosen = chosen[np.argsort(row[chosen], kind="stable")]
        if len(chosen):
            parts[part] = Scored(row[chosen], target[chosen], probability[:, chosen])
    return parts
