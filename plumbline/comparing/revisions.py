"""What a revision of the project holds, read through DVC: from git, the cache or a remote.

A revision is what DVC takes for one: a branch, tag, commit or experiment; None is the workspace.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from plumbline.basics.errors import UserError, reason
from plumbline.basics.files import read_csv
from plumbline.bits.initial import outputs_for
from plumbline.comparing import lock
from plumbline.comparing.programs import git
from plumbline.tables import duck, store

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
    commit: str | None  # None for the workspace
    classes: list
    parts: dict[str, Scored]  # validation (if it has rows) and test
    lock: dict[str, lock.Stage]
    curves: dict[str, list[dict[str, float]]]  # a dict an epoch, for train and test
    stale: bool  # the predictions are not those of dvc.lock


def read(name: str | None) -> Revision:
    """Read a revision; UserError says what is missing and which command brings it."""
    from dvc.exceptions import DvcException

    called = name or "workspace"
    commit, files = opened(name)

    def brought(path: str) -> Path:
        try:
            files.get_file(f"/{path}", str(folder / Path(path).name))
            return folder / Path(path).name
        except (OSError, DvcException) as error:
            raise UserError(
                f"{path} of {called} is neither in git, the cache nor a remote ({type(error).__name__}); "
                f"run `dvc pull`, or check out {called} and run `dvc repro`"
            ) from None

    with tempfile.TemporaryDirectory(prefix="plumbline-compare-") as folder:
        folder = Path(folder)
        stages = lock.read(brought("dvc.lock").read_bytes(), f"dvc.lock of {called}")
        curves = {side: read_csv(brought(path), name=f"{path} of {called}") for side, path in CURVES.items()}
        table = predictions(brought(PREDICTIONS), f"{PREDICTIONS} of {called}")
        with table.path.open("rb") as file:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        stale = md5 != lock.outs(stages).get(PREDICTIONS)
        return Revision(called, commit, table.facts.classes, parts_of(table), stages, curves, stale)


def opened(name: str | None):
    """The commit of a revision, and its files as a file system of DVC's; of the workspace those that lie there."""
    # Here, not at the top: importing DVC takes most of a second.
    from dvc.exceptions import DvcException
    from dvc.fs import DVCFileSystem
    from dvc.repo import Repo
    from dvc.scm import RevError, SCMError, resolve_rev

    try:
        repo = Repo()
        commit = resolve_rev(repo.scm, name) if name else None
        # With the remotes of today: a revision may be older than the remote that now has its files.
        return commit, DVCFileSystem(repo=repo.root_dir, rev=commit, config=dict(repo.config))
    except RevError:
        raise UserError(
            f"{name!r} is no branch, tag, commit or experiment here; see `git branch`, `dvc exp list`"
        ) from None
    except (DvcException, SCMError) as error:
        raise UserError(f"{name or 'workspace'}: {reason(error)}") from None


def experiments(base: str) -> list[str]:
    """Names of the experiments over a base revision, as `dvc exp list` has them."""
    from dvc.repo import Repo

    return sorted(name for named in Repo().experiments.ls(rev=base).values() for name, _ in named)


# ---- predictions


def predictions(path: str | Path = PREDICTIONS, name: str = PREDICTIONS) -> store.Table:
    """The table of predictions, whose facts name its own column of labels; UserErrors call it `name`."""
    try:
        table = store.open(path, "predictions")
    except UserError as error:
        raise UserError(str(error).replace(str(path), name)) from None
    table.facts = msgspec.structs.replace(table.facts, target="target")
    return table


def parts_of(table: store.Table) -> dict[str, Scored]:
    """The rows of the validation part, if there are any, and of the test part."""
    (flat,) = duck.arrays(f"SELECT unnest(probability) FROM {table.relation}")
    k = outputs_for(len(table.facts.classes))
    probability = np.asarray(flat, np.float32).reshape(len(table), -1, k).transpose(1, 0, 2)
    row, part, target = table.column(store.ROW), table.column("part"), table.classes()
    found = {}
    for one in ("validation", "test"):
        chosen = np.flatnonzero(part == one)
        chosen = chosen[np.argsort(row[chosen], kind="stable")]
        if len(chosen):
            found[one] = Scored(row[chosen], target[chosen], probability[:, chosen])
    return found


# ---- what changed from one revision to another


def changed_code(base: Revision, other: Revision) -> dict[str, list[str]]:
    """Python modules that differ and the stages that read them, {path: stages}.

    dvc.lock says which folders differ, and git which modules in them; none if a lock is of code that was never
    committed, and then it is the folder that is named.
    """
    commits = [side.commit for side in (base, other) if side.commit]
    names = git("diff", "--relative", "--name-only", *commits, "--", "*.py").splitlines()
    if len(commits) == 1:  # against the workspace
        names += git("ls-files", "--others", "--exclude-standard", "--", "*.py").splitlines()
    changed: dict[str, list[str]] = {}
    for path, stages in lock.changed_deps(base.lock, other.lock).items():
        inside = [name for name in names if name.startswith(f"{path}/")]
        is_code = path.endswith(".py") or any(Path(path).glob("*.py"))
        for module in inside or [path] * is_code:
            changed.setdefault(module, []).extend(stages)
    return changed
