"""A revision of the project, read through DVC: its predictions, curves and stages, from git, the cache or a remote.

A revision is named as DVC takes it: a branch, tag, commit or experiment. None is the workspace.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from plumbline.basics import files
from plumbline.basics.errors import UserError, reason
from plumbline.basics.formats import read_csv
from plumbline.comparing import lock
from plumbline.comparing.lock import Stage
from plumbline.comparing.programs import git
from plumbline.comparing.result import Changes, Side
from plumbline.scores import predictions
from plumbline.scores.differences import Rows

CURVES = {"train": "metrics/history.csv", "test": "metrics/plots/test_epochs.csv"}
MOST = 5  # things in one message


class Revision(NamedTuple):
    """What is read of a revision."""

    side: Side
    commit: str | None  # None for the workspace
    classes: list
    parts: dict[str, Rows]
    stages: dict[str, Stage]  # those that the predictions come from, as they ran; {} without a pipeline
    mark: str  # a hash of the predictions
    path: str  # of the file of predictions
    root: str  # the repository's folder, which paths start from

    @property
    def name(self) -> str:
        """As it was asked for."""
        return self.side.name

    @property
    def watched(self) -> bool | None:
        """Whether early stopping watched the validation part; None where that is not known."""
        params = lock.params(self.stages)
        if "train.patience" not in params:
            return None
        return bool(params["train.patience"] and not params.get("train.held_out"))


def read(name: str | None, path: str = predictions.PATH) -> Revision:
    """Read a revision, whose predictions are in the file `path`.

    UserError if something is missing, or is not as dvc.lock has it.
    """
    called = name or "workspace"
    with _opened(name) as (repo, commit, root), files.scratch(tempfile.gettempdir()) as folder:
        brought = _brought(repo, path, folder)
        if not brought:
            ours = f"run `dvc pull`, or check out {called} and run `dvc repro`"
            brings = ours if path == predictions.PATH else "commit it, or give it to DVC"
            raise UserError(f"{path} of {called} is neither in git, the cache nor a remote; {brings}")
        stages, changed = _pipeline(repo, path, is_workspace=name is None)
        if changed:
            more = f" and {len(changed) - MOST} more" * (len(changed) > MOST)
            raise UserError(
                f"no verdict: {called} is not as its dvc.lock has it: {', '.join(changed[:MOST])}{more}; "
                f"run `dvc repro`{' there and commit' * (name is not None)}"
            )
        classes, parts = predictions.read(brought, f"{path} of {called}")
        curves = {}
        for side, curve in CURVES.items():
            if brought := _brought(repo, curve, folder):
                numbers = ("epoch", f"{side}_loss", f"{side}_accuracy")
                curves[side] = read_csv(brought, numbers, name=f"{curve} of {called}")
    mark = hashlib.sha256(repr(classes).encode())
    for part, rows in parts.items():
        for value in (part.encode(), rows.row, rows.target, rows.probability):
            mark.update(value)
    networks = len(next(iter(parts.values())).probability)
    side = Side(called, *_place(name, commit), networks, curves)
    return Revision(side, commit, classes, parts, stages, mark.hexdigest(), path, root)


def experiments(base: str) -> list[str]:
    """Names of the experiments over a base revision, as `dvc exp list` has them."""
    with _opened(None) as (repo, *_):
        return sorted(name for named in repo.experiments.ls(rev=base).values() for name, _ in named)


# ---- through DVC


@contextlib.contextmanager
def _opened(name: str | None) -> Iterator[tuple]:
    """In the block, DVC's repository switched to a revision; with it the commit and the root. Git alone does, too."""
    from dvc.exceptions import DvcException  # here, not at the top: importing DVC takes most of a second
    from dvc.repo import Repo
    from dvc.scm import NoSCMError, RevError, SCMError, resolve_rev

    try:
        with Repo(uninitialized=True) as repo:
            root, config, commit = repo.root_dir, repo.config, resolve_rev(repo.scm, name) if name else None
            with repo.switch(commit) if commit else contextlib.nullcontext():
                repo.config = config  # a revision may be older than the remote that now has its files
                yield repo, commit, root
    except NoSCMError:
        raise UserError("there is no git repository here; revisions are what git keeps") from None
    except RevError:
        raise UserError(f"{name!r} is no branch, tag, commit or experiment; see `dvc exp list`") from None
    except (DvcException, SCMError) as error:
        raise UserError(f"{name or 'workspace'}: {reason(error)}; run `dvc repro`") from None


def _brought(repo, path: str, folder: Path) -> Path | None:
    """A file of the revision, copied into a folder; None if it is neither in git, the cache nor a remote."""
    from dvc.exceptions import DvcException

    copy = folder / Path(path).name
    try:
        repo.dvcfs.get_file(f"/{path}", str(copy))
    except (OSError, DvcException):
        return None
    return copy


def _place(name: str | None, commit: str | None) -> tuple[str | None, str | None]:
    """The branch of a revision and its short commit; None for what git does not know."""
    try:
        branch = git("rev-parse", "--abbrev-ref", name or "HEAD").strip()
        commit = commit or git("rev-parse", "HEAD").strip()
    except UserError:  # an experiment, or no commit yet
        branch = ""
    return (None if branch in ("", "HEAD") else branch), commit and commit[:7]


def _pipeline(repo, path: str, is_workspace: bool) -> tuple[dict[str, Stage], list[str]]:
    """The stages that a file comes from, as they ran, and in words what has changed since then."""
    from dvc.dependency.param import ParamsDependency

    stages, changed = {}, []
    for stage in _upstream(repo, path):
        name = "/".join([*Path(stage.path_in_repo).parts[:-1], stage.name])
        outs = {_path(out, repo): out for out in stage.outs}
        params = {_path(dep, repo): dep for dep in stage.deps if isinstance(dep, ParamsDependency)}
        deps = {_path(dep, repo): dep for dep in stage.deps if not isinstance(dep, ParamsDependency)}
        read = ({file: of.hash_info.value for file, of in each.items()} for each in (params, deps, outs))
        stages[name] = Stage(stage.cmd, *read)
        if not any(out.hash_info for out in stage.outs):
            changed.append(f"stage {name} has not run")
            continue
        if stage.changed_stage():
            changed.append(f"the command of {name}")
        for file, of in params.items():
            for key, (then, now) in lock.unequal(of.hash_info.value or {}, of.read_params()).items():
                changed.append(f"{file} ({key} is {now!r} and was {then!r})")
        for file, of in (deps | outs).items():
            said = next(iter(of.workspace_status().values()), None) if of.is_in_repo else None
            # Whatever is not checked out is "deleted" to DVC; it may yet be in the cache
            is_gone = said == "deleted" and is_workspace and not repo.dvcfs.exists(f"/{file}")
            if is_gone or said not in (None, "deleted"):
                changed.append(file)
    return stages, list(dict.fromkeys(changed))


def _upstream(repo, path: str) -> list:
    """DVC's stages that a file comes from, in the order in which DVC lists them."""
    makers = {_path(out, repo): stage for stage in repo.index.stages if stage.cmd for out in stage.outs}
    found, waiting = set(), [path]
    while waiting:
        stage = makers.get(waiting.pop())
        if stage and stage not in found:
            found.add(stage)
            waiting += [_path(dep, repo) for dep in stage.deps]
    return [stage for stage in repo.index.stages if stage in found]


def _path(of, repo) -> str:
    """The path of a dep or an output, from the repository's root."""
    return repo.fs.relpath(of.fs_path, repo.root_dir) if of.is_in_repo else of.def_path


# ---- what changed from one revision to another


def changes(base: Revision, other: Revision) -> Changes:
    """What differs, by the two locks; instead of a folder its files that differ in git.

    A folder is named itself if no file of it differs in git, for its lock may be of files that were never committed.
    Without a pipeline it is all files that differ in git.
    """
    found = lock.changes(base.stages, other.stages)
    if not base.stages and not other.stages:
        return Changes({}, {name: [] for name in _differing(base, other, ".") if name != other.path}, [], [])
    names, listed = _differing(base, other, *found.files) if found.files else [], {}
    for read, stages in found.files.items():
        for name in [name for name in names if name.startswith(f"{read}/")] or [read]:
            listed.setdefault(name, []).extend(stages)
    return msgspec.structs.replace(found, files=listed)


def _differing(base: Revision, other: Revision, *paths: str) -> list[str]:
    """The files under these paths that differ in git."""
    root, commits = Path(other.root), [side.commit for side in (base, other) if side.commit]
    names = git("diff", "--relative", "--name-only", "-z", *commits, "--", *paths, at=root)
    if len(commits) == 1:  # against the workspace
        names += git("ls-files", "--others", "--exclude-standard", "-z", "--", *paths, at=root)
    return [name for name in names.split("\0") if name]


def changed_metrics(base: str, other: str | None) -> dict[str, dict[str, tuple]]:
    """The numbers of `dvc metrics diff`, {file: {metric: (base, other)}}; None for one that is not there."""
    with _opened(None) as (repo, *_):
        diff = repo.metrics.diff(a_rev=base, b_rev=other or "workspace").get("diff", {})
    found = {}
    for path, told in diff.items():
        both = {name: (of.get("old"), of.get("new")) for name, of in told.items()}
        numbers = {name: two for name, two in both.items() if all(isinstance(x, int | float | None) for x in two)}
        found |= {path: numbers} if numbers else {}
    return found
