"""What a revision of the project holds, read through DVC: from git, the cache or a remote, never the workspace's files.

A revision is what DVC takes for one: a branch, tag, commit or experiment; None is the workspace.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import NamedTuple

from plumbline.basics.errors import UserError, reason
from plumbline.basics.files import read_csv
from plumbline.comparing import lock, predictions, programs

CURVES = {"train": "metrics/history.csv", "test": "metrics/plots/test_epochs.csv"}


class Revision(NamedTuple):
    """One side of a comparison."""

    name: str
    commit: str | None  # None for the workspace
    classes: list
    parts: dict[str, predictions.Scored]  # validation (if it has rows) and test
    lock: dict[str, lock.Stage]
    curves: dict[str, list[dict[str, float]]]  # a dict an epoch, for train and test
    stale: bool  # the predictions are not those of dvc.lock


def read(name: str | None) -> Revision:
    """Read a revision; UserError says what is missing and which command brings it."""
    files = Workspace() if name is None else Committed(name)
    stages = lock.read(files.read("dvc.lock"), f"dvc.lock of {files.name}")
    curves = {side: curve(files.read(path), side, f"{path} of {files.name}") for side, path in CURVES.items()}
    with tempfile.TemporaryDirectory(prefix="plumbline-compare-") as folder:
        path, called = files.bring(predictions.PATH, Path(folder)), f"{predictions.PATH} of {files.name}"
        table = predictions.open(path, called)
        parts = predictions.parts(table, called)
        stale = name is None and _md5(path) != lock.outs(stages).get(predictions.PATH)
    return Revision(files.name, files.commit, table.facts.classes, parts, stages, curves, stale)


def curve(text: bytes, side: str, name: str) -> list[dict[str, float]]:
    """Loss and accuracy by epoch, a dict an epoch; UserError for what is none."""
    rows = read_csv(text, name)
    if not rows or not {"epoch", f"{side}_loss", f"{side}_accuracy"} <= rows[0].keys():
        raise UserError(
            f"{name} is not as the stages write it (a line an epoch, {side}_loss and others); run `dvc repro`"
        )
    return rows


def experiments(base: str) -> list[str]:
    """Names of the experiments over a base revision, as `dvc exp list` has them."""
    committed = Committed(base)
    return sorted(name for named in committed.repo.experiments.ls(rev=committed.commit).values() for name, _ in named)


class Workspace:
    """Files as they lie in the folder."""

    name = "workspace"
    commit = None

    def read(self, path: str) -> bytes:
        """A file's content."""
        return self.bring(path, None).read_bytes()

    def bring(self, path: str, folder: Path | None) -> Path:
        """Where the file is."""
        if not Path(path).is_file():
            raise UserError(f"{path} is not in the workspace; run `dvc repro`, or `dvc checkout` if it has run")
        return Path(path)


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
            self.commit = resolve_rev(self.repo.scm, name)
            # With the remotes of today: a revision may be older than the remote that now has its files.
            self.files = DVCFileSystem(repo=self.repo.root_dir, rev=self.commit, config=dict(self.repo.config))
        except RevError:
            raise UserError(
                f"{name!r} is no branch, tag, commit or experiment here; see `git branch`, `dvc exp list`"
            ) from None
        except (DvcException, SCMError) as error:
            raise UserError(f"{name}: {reason(error)}") from None

    def read(self, path: str) -> bytes:
        """A small file's content, from git, the cache or the remote."""
        return self._ask(path, lambda: self.files.read_bytes(f"/{path}"))

    def bring(self, path: str, folder: Path) -> Path:
        """Put the file into `folder`, from git, the cache or the remote."""
        target = folder / Path(path).name
        self._ask(path, lambda: self.files.get_file(f"/{path}", str(target)))
        return target

    def _ask(self, path: str, question):
        from dvc.exceptions import DvcException

        try:
            return question()
        except (OSError, DvcException) as error:
            raise UserError(
                f"{path} of {self.name} is neither in git, the cache nor a remote ({type(error).__name__}); "
                f"run `dvc pull`, or check out {self.name} and run `dvc repro`"
            ) from None


def _md5(path: Path) -> str:
    """As DVC has it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


# ---- what changed from one revision to another


def changed_code(base: Revision, other: Revision) -> dict[str, list[str]]:
    """Modules that differ and the stages that read them, {path: stages}; those of a folder by what git has of it."""
    changed: dict[str, list[str]] = {}
    for path, stages in lock.changed_deps(base.lock, other.lock).items():
        digests = [side.lock[stage].deps.get(path) for side in (base, other) for stage in stages if stage in side.lock]
        folder = any(digest and digest.endswith(".dir") for digest in digests)
        for module in _modules_below(path, base.commit, other.commit) if folder else [path]:
            if folder or module.endswith(".py"):
                changed.setdefault(module, []).extend(stages)
    return changed


def _modules_below(folder: str, base: str | None, other: str | None) -> list[str]:
    """Python modules below a folder that two commits have otherwise (None: the workspace).

    The folder itself if there is none: then a dvc.lock is of code that was never committed. A folder without modules
    holds data.
    """
    modules = [f"{folder}/*.py"]
    commits = [commit for commit in (base, other) if commit]
    names = programs.git("diff", "--relative", "--name-only", *commits, "--", *modules).splitlines()
    if None in (base, other):
        names += programs.git("ls-files", "--others", "--exclude-standard", "--", *modules).splitlines()
    return names or [folder] * bool(programs.git("ls-files", "--", *modules))


def changed_data(base: Revision, other: Revision, path: str) -> bool:
    """Whether a table that stages read is another one."""
    return path in lock.changed_deps(base.lock, other.lock)
