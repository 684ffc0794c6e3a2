"""Prove that the committed revision reproduces: run its pipeline in a scratch copy and compare with its dvc.lock.

Reads HEAD, and the DVC cache for tables that DVC tracks. Writes nothing but a scratch folder, which it removes. Every
stage of HEAD's dvc.yaml runs, and none of their outputs is there before. Prints a line for every file; where files
differ also which stage was the first to differ, and by how much. Exits 1 on any difference.

    plumbline verify
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plumbline.basics.errors import UserError, reason
from plumbline.basics.formats import read_csv, read_yaml
from plumbline.comparing import lock
from plumbline.comparing.apart import UNITS, difference, says_the_same
from plumbline.comparing.programs import dvc, git
from plumbline.model import network
from plumbline.pages.page import aligned

TOLERANCE = {"metrics/baselines.json": 0.01}  # scikit-learn's figures: their last bits are the machine's linear algebra
RUNS_NOT = "HEAD's pipeline does not run in a scratch copy"
GOOD = ("same", "within the tolerance", "exempt, differs")


class Row(NamedTuple):
    """A line of the printed table: a file, or a field of dvc.lock, and what is said of it."""

    stage: str
    file: str
    verdict: str  # one of GOOD, or what is wrong


def arguments(_: argparse.ArgumentParser) -> None:
    """There are none."""


def main(_: argparse.Namespace) -> None:
    top, folder = (git("rev-parse", option).strip() for option in ("--show-toplevel", "--show-prefix"))
    head = git("rev-parse", "HEAD").strip()[:10]
    print(f"verifying HEAD, {head}, in a scratch copy", flush=True)
    if changed := [line[3:] for line in git("status", "--porcelain").splitlines()]:
        print(f"not what is uncommitted: {', '.join(changed[:5])}{', ...' if len(changed) > 5 else ''}", flush=True)

    with tempfile.TemporaryDirectory(prefix="plumbline-verify-") as scratch:
        os.environ["DVC_SITE_CACHE_DIR"] = f"{scratch}/site"  # or DVC leaves a folder for every scratch copy
        for name in ("committed", "copy"):
            git("clone", "--quiet", top, f"{scratch}/{name}")
        committed, copy = Path(scratch, "committed", folder), Path(scratch, "copy", folder)
        kept = git("show", "HEAD:./dvc.lock", remedy="run `dvc repro` and commit dvc.lock")
        old = lock.read(kept.encode(), "dvc.lock of HEAD")
        cache = dvc("cache", "dir").strip()
        names = prepare(copy, old, cache)
        run = "repro", "--force", "--no-run-cache", "--no-commit"  # every stage, and nothing into the user's cache
        os.environ["PYTHONPATH"] = f"{copy}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"  # the copy's own code
        dvc(*run, at=copy, remedy=RUNS_NOT)
        new = lock.read((copy / "dvc.lock").read_bytes(), "the dvc.lock that the scratch copy wrote")
        if missing := names - new.keys():
            raise UserError(f"DVC ran no stage {sorted(missing)[0]} of HEAD's dvc.yaml, so it proves nothing; see why")
        why_exempt = bits_of_the_machine(copy)
        rows = compare(old, new, committed, copy, bool(why_exempt)) + unmade(new, committed)
        print()
        print("\n".join(aligned(["stage", "file", "same or not"], rows)), flush=True)
        notes = list(explanations(rows, copy, committed, old, Path(cache)))
    print("".join(f"\n{note}" for note in notes))
    if why_exempt:
        print(f"{why_exempt}: the bits of what it trains are this machine's; the figures are held to a tolerance")
    wrong = [row for row in rows if row.verdict not in GOOD]
    if wrong:
        raise UserError(
            f"{len(wrong)} of {len(rows)} lines above are not as dvc.lock of {head} has them; `rm dvc.lock && "
            "dvc repro -f` makes them anew: see what `git diff` shows, and commit it if it is meant"
        )
    print(f"{sum(row.verdict == 'same' for row in rows)} of {len(rows)} files have the bits of dvc.lock")


# ---- the scratch copy


def prepare(copy: Path, old: dict[str, lock.Stage], cache: str) -> set[str]:
    """Remove dvc.lock and the outputs that git keeps; bring in the tables that DVC tracks and no stage makes.

    Returns the names of dvc.yaml's stages. UserError for one that DVC would skip, or that runs in another folder.
    """
    stages = declared(copy)
    for stage in stages:
        if stage.frozen:
            raise UserError(f"stage {stage.name} of HEAD's dvc.yaml is frozen, and DVC does not run it; unfreeze it")
        if Path(stage.wdir).resolve() != copy.resolve():
            raise UserError(f"stage {stage.name} of HEAD's dvc.yaml has a wdir, and verify knows none; remove it")
    outs = [Path(out.fs_path) for stage in stages for out in stage.outs]
    for path in (copy / "dvc.lock", *(copy / path for path in lock.outs(old)), *outs):
        if path.resolve().is_relative_to(copy.resolve()):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    tracked = [str(path.relative_to(copy)) for path in copy.rglob("*.dvc") if path.is_file()]
    if tracked:
        dvc("cache", "dir", "--local", cache, at=copy)
        dvc("checkout", *tracked, at=copy, remedy="`dvc pull` brings it into the cache")
    return {stage.name for stage in stages}


def declared(copy: Path) -> list:
    """The stages of dvc.yaml as DVC itself reads them; UserError where there are none."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(copy)) as repo:
            file = (copy / "dvc.yaml").resolve()
            stages = [stage for stage in repo.index.stages if Path(stage.path).resolve() == file]
    except DvcException as error:
        raise UserError(f"dvc.yaml of HEAD: {reason(error)}; {RUNS_NOT}") from None
    if not stages:
        raise UserError(f"dvc.yaml of HEAD has no stages; {RUNS_NOT}")
    return stages


def bits_of_the_machine(copy: Path) -> str | None:
    """Why PyTorch's autograd trains, whose last bits depend on the machine; None if the kernel trains."""
    settings = read_yaml((copy / "params.yaml").read_bytes(), "params.yaml of HEAD")["train"]
    if settings["engine"] == "torch":
        return "train.engine is torch"
    if settings.get("device") == "cuda":
        return "train.device is cuda, and autograd trains there"
    if settings["engine"] == "auto" and not network.read(copy / network.PATH).is_shipped:
        return f"{network.PATH} is not as shipped, and autograd trains it"
    return None


# ---- the comparison


def compare(
    old: dict[str, lock.Stage], new: dict[str, lock.Stage], committed: Path, copy: Path, exempt: bool
) -> list[Row]:
    """A row for every output, and for all that is wrong in dvc.lock, in the order in which stages ran.

    old: the committed lock, new: that of the scratch copy. exempt: autograd trains, so last bits do not count.
    """
    rows, of_the_machine = [], after_training(new) if exempt else set()
    scores = copy / "metrics/scores.csv"
    parts = read_csv(scores, ["rows"]) if scores.exists() else []
    scored = min((row["rows"] for row in parts), default=np.inf)  # rows of the smallest part
    for stage in new | old:
        if stage not in old or stage not in new:
            rows.append(Row(stage, "dvc.lock", f"stage is not in {'it' if stage in new else 'dvc.yaml'}"))
            continue
        was, now = old[stage], new[stage]
        # What an earlier stage made counts as dvc.lock has it: where it differs that stage has a row for it
        read = now.deps | {path: md5 for path, md5 in lock.outs(old).items() if path in now.deps}
        stale = [field for field in ("cmd", "params") if getattr(was, field) != getattr(now, field)]
        stale += [path for path in was.deps | read if was.deps.get(path) != read.get(path)]
        found = [Row(stage, what, "dvc.lock is stale: HEAD has another") for what in sorted(stale)]
        for path in sorted(was.outs | now.outs):
            verdict = "same" if was.outs.get(path) == now.outs.get(path) else "DIFFERS"
            if (committed / path).exists() and lock.md5(committed / path) != was.outs.get(path):
                verdict = f"DIFFERS in git, {'not' if verdict == 'same' else 'and'} in dvc.lock"
            if verdict == "DIFFERS":
                verdict = excused(path, committed, copy, stage in of_the_machine, scored) or verdict
            found.append(Row(stage, path, verdict))
        rows += sorted(found, key=lambda row: row.verdict == "same")
    return rows


def excused(path: str, committed: Path, copy: Path, is_of_the_machine: bool, scored: float) -> str | None:
    """The verdict on a file that may differ: within a tolerance, or made by autograd and not in git; None for others.

    scored: rows of the smallest part, by which the tolerance of an accuracy is told.
    """
    in_git, tolerance = committed / path, TOLERANCE.get(path)
    if is_of_the_machine and not in_git.exists():
        return "exempt, differs"
    near = tolerance and says_the_same(in_git, copy / path, np.inf, tolerance)
    near = near or (is_of_the_machine and says_the_same(in_git, copy / path, scored))
    return "within the tolerance" if near else None


def after_training(stages: dict[str, lock.Stage]) -> set[str]:
    """The stages that train, which have the parameter train.engine, and those that go by their outputs."""
    found, made = set(), set()
    for name, stage in stages.items():
        if "train.engine" in lock.params({name: stage}) or made & stage.deps.keys():
            found.add(name)
            made |= stage.outs.keys()
    return found


def unmade(stages: dict[str, lock.Stage], committed: Path) -> list[Row]:
    """Rows for figures that git keeps in the folders of the stages' outputs, and that no stage makes or reads."""
    kept = {path for path in lock.outs(stages) if (committed / path).exists()}
    known = [*lock.outs(stages), *(path for stage in stages.values() for path in stage.deps)]
    folders = sorted({str(Path(path).parent) for path in kept} - {"."})
    listed = git("ls-files", "-z", *folders, at=committed).split("\0") if folders else []
    found = [path for path in listed if Path(path).suffix in UNITS]
    found = [path for path in found if not any(Path(path).is_relative_to(other) for other in known)]
    return [Row("none", path, "no stage makes it; `git rm` it") for path in found]


def explanations(
    rows: list[Row], copy: Path, committed: Path, old: dict[str, lock.Stage], cache: Path
) -> Iterable[str]:
    """Lines on the first stage that differs, on how each file differs, and on a machine that computes other bits."""
    differing = [row for row in rows if "differs" in row.verdict.lower()]
    if differing:
        yield f"{differing[0].stage} is the first stage that went off"
    for stage, path, _ in differing:
        digest = old[stage].outs.get(path, "")
        before = committed / path if (committed / path).is_file() else cache / "files/md5" / digest[:2] / digest[2:]
        gone = "the committed version is not at hand (`dvc pull` brings it)"
        yield f"{path}: {difference(before, copy / path) if before.exists() else gone}"
    for name, folder in (("committed", committed), ("new", copy)):
        file = folder / "metrics/train.json"
        if file.is_file() and b'"portable": false' in file.read_bytes():
            yield f"the {name} result was made on a machine that fails the known answer; its bits are that machine's"
