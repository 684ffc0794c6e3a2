"""Prove that the committed revision reproduces: run its pipeline in a scratch copy and compare with its dvc.lock.

Reads HEAD, and the DVC cache for tables that DVC tracks; writes nothing but a scratch folder, which goes again. Prints
a line for every file, and where one differs which stage went off first and by how much. Exits 1 on any difference.

    plumbline verify
"""

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from plumbline.basics.errors import UserError
from plumbline.basics.files import read_yaml
from plumbline.comparing import lock, programs
from plumbline.comparing.apart import difference
from plumbline.comparing.programs import dvc, git
from plumbline.model import network

EXEMPT = ("train", "evaluate")  # the stages whose bits are the machine's own when autograd trains
INSIDE = "commit dvc.lock and run this inside the repository"


class Row(NamedTuple):
    """What is said of one file, or field of dvc.lock."""

    stage: str
    file: str
    verdict: str  # "same", or what is wrong


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "plumbline verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a CI that cancels: the scratch folder goes all the same
    top, prefix = (git("rev-parse", option, remedy=INSIDE).strip() for option in ("--show-toplevel", "--show-prefix"))
    head = git("rev-parse", "HEAD", remedy=INSIDE).strip()
    changed = [line[3:] for line in git("status", "--porcelain").splitlines()]
    print(f"verifying HEAD, {head[:10]}, in a scratch copy", flush=True)
    if changed:
        print(f"not what is uncommitted: {', '.join(changed[:5])}{', ...' if len(changed) > 5 else ''}", flush=True)
    committed = lock.read(committed_file(prefix, "dvc.lock"), "dvc.lock of HEAD")
    train = section_of(committed_file(prefix, "params.yaml"), "train", "params.yaml of HEAD")
    in_git = {path: programs.of_head(prefix + path) for path in uncached(committed_file(prefix, "dvc.yaml"))}

    with tempfile.TemporaryDirectory(prefix="plumbline-verify-") as scratch:
        os.environ["DVC_SITE_CACHE_DIR"] = str(Path(scratch, "site"))  # or DVC leaves a folder for every scratch copy
        copy = Path(scratch, "copy", prefix)
        git("clone", "--quiet", "--no-checkout", top, Path(scratch, "copy"))
        git("checkout", "--quiet", "--detach", head, at=Path(scratch, "copy"))
        fetch_sources(copy, Path(scratch))
        reproduce(copy)
        made = lock.read((copy / "dvc.lock").read_bytes(), "the dvc.lock that the scratch copy wrote")
        why_exempt = bits_of_the_machine(train, copy)
        rows = compare(committed, made, in_git)
        print("\n" + "\n".join(table(rows, bool(why_exempt))), flush=True)
        notes = list(explanations(rows, copy, prefix, committed))
    print("".join(f"\n{note}" for note in notes))
    if why_exempt:
        print(f"{why_exempt}: the bits of train and evaluate are this machine's and are not held to dvc.lock")
    wrong = [row for row in rows if row.verdict != "same" and not (why_exempt and is_machines(row))]
    if wrong:
        raise UserError(
            f"{len(wrong)} of {len(rows)} lines above are not as dvc.lock of {head[:10]} has them; run `dvc repro`, "
            "see what `git diff` shows, and commit it if it is meant"
        )
    print(f"{sum(row.verdict == 'same' for row in rows)} of {len(rows)} files have the bits of dvc.lock")


# ---- HEAD


def committed_file(prefix: str, name: str) -> bytes:
    """HEAD's version of a file that must be there."""
    if (text := programs.of_head(prefix + name)) is None:
        raise UserError(f"{prefix}{name} is not in HEAD; {INSIDE}")
    return text


def section_of(text: bytes, section: str, name: str) -> dict:
    """A section of a YAML file; whether it holds what it must the pipeline says itself."""
    values = read_yaml(text, name)
    found = values.get(section) if isinstance(values, dict) else None
    return found if isinstance(found, dict) else {}


def uncached(text: bytes) -> list[str]:
    """The outputs that a dvc.yaml leaves to git, by `cache: false`."""
    paths = []
    for stage in section_of(text, "stages", "dvc.yaml of HEAD").values():
        for kind in ("outs", "metrics", "plots"):
            entries = [entry for entry in (stage or {}).get(kind) or [] if isinstance(entry, dict)]
            paths += [path for entry in entries for path, said in entry.items() if (said or {}).get("cache") is False]
    return paths


# ---- the scratch copy


def fetch_sources(copy: Path, scratch: Path) -> None:
    """Bring in the files that DVC tracks and no stage makes: from the user's cache, else from the user's remote.

    The copy's own cache is empty, so that every stage runs. The user's cache has a remote's layout and serves as one.
    """
    dvc("cache", "dir", "--local", str(scratch / "cache"), at=copy)
    tracked = [str(path.relative_to(copy)) for path in copy.rglob("*.dvc") if path.is_file()]
    if not tracked:
        return
    cache = dvc("cache", "dir").strip()
    dvc("remote", "add", "--local", "verify", cache, at=copy)
    try:
        dvc("pull", "--quiet", "--remote", "verify", *tracked, at=copy)
    except UserError:
        remedy = "`dvc push` it where it was added, or bring the table back"
        dvc("fetch", *tracked, remedy=remedy)
        dvc("pull", "--remote", "verify", *tracked, at=copy, remedy=remedy)


def reproduce(copy: Path) -> None:
    """Run every stage of the copy's dvc.yaml; without its dvc.lock, which may name stages that are no more."""
    (copy / "dvc.lock").unlink()
    command = ["dvc", "repro", "--force", "--no-run-cache"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.run(command, cwd=copy, env=programs.environment(), **options)
    if process.returncode:
        lines = process.stdout.decode(errors="replace").strip().splitlines()
        why = next((line for line in lines if line.startswith("error: ")), lines[-1] if lines else "it said nothing")
        raise UserError(f"HEAD's pipeline does not run in a scratch copy: {why.removeprefix('error: ')[:300]}")


def bits_of_the_machine(train: dict, copy: Path) -> str | None:
    """Why the training is autograd's, whose bits are the machine's own; None if the kernel trains."""
    if train.get("engine") == "torch":
        return f"train.engine is torch{' on a GPU' if train.get('device') == 'cuda' else ''}"
    if train.get("engine") == "auto" and not network.read(copy / network.PATH).is_shipped:
        return f"{network.PATH} is not as shipped, and autograd trains it"
    return None


# ---- the comparison


def compare(committed: dict, made: dict, in_git: dict[str, bytes | None]) -> list[Row]:
    """Every file and what is wrong with the lock, in the order in which stages run."""
    rows = [Row(*wrong) for wrong in lock.stale_or_forged(committed, made)]
    for stage in committed.keys() & made.keys():
        old, new = committed[stage], made[stage]
        rows += [Row(stage, path, verdict(path, old, new, in_git)) for path in old.outs.keys() | new.outs.keys()]
    order = lock.in_order(made | committed)
    return sorted(rows, key=lambda row: (order.index(row.stage), row.verdict == "same", row.file))


def verdict(path: str, old: lock.Stage, new: lock.Stage, in_git: dict[str, bytes | None]) -> str:
    """Whether an output is the same in dvc.lock, in git if it is kept there, and as made anew."""
    digest = old.outs.get(path)
    if path in in_git:
        if in_git[path] is None:
            return "is not in git, which should keep it"
        if hashlib.md5(in_git[path], usedforsecurity=False).hexdigest() != digest:
            return f"DIFFERS in git, {'not' if digest == new.outs.get(path) else 'and'} in dvc.lock"
    if digest != new.outs.get(path):
        return "DIFFERS"
    if old.sizes[path] != new.sizes[path]:
        return f"has another size than dvc.lock says, {old.sizes[path]}"
    return "same"


def is_machines(row: Row) -> bool:
    """Whether only bits that autograd computes differ: a lock that is stale or forged is no machine's doing."""
    return row.stage in EXEMPT and row.verdict == "DIFFERS"


def table(rows: list[Row], exempt: bool) -> list[str]:
    """A heading and the rows, with what is exempt marked."""
    marked = [row._replace(verdict="exempt, differs") if exempt and is_machines(row) else row for row in rows]
    lines = [Row("stage", "file", "same or not"), *marked]
    return [f"{row.stage:<10} {row.file:<34} {row.verdict}" for row in lines]


# ---- by how much


def explanations(rows: list[Row], copy: Path, prefix: str, committed: dict) -> Iterable[str]:
    """Lines on the first stage that went off, on every file that differs, and on a machine that cannot do it."""
    differing = [row for row in rows if row.verdict.startswith("DIFFERS")]
    if differing:
        first = differing[0].stage
        order = list(dict.fromkeys(row.stage for row in rows))
        same = all(row.verdict == "same" for row in rows if order.index(row.stage) < order.index(first))
        yield f"{first} is the first stage that went off{'; all before it is the same' if same else ''}"
    with tempfile.TemporaryDirectory(prefix="plumbline-verify-") as folder:
        for stage, path, _ in differing:
            old = Path(folder, Path(path).name)
            if not bring_back(path, committed[stage].outs.get(path), prefix, old):
                yield f"{path}: the committed version is not at hand (`dvc pull` brings it)"
            elif not (copy / path).is_file():
                yield f"{path}: HEAD's pipeline does not make it"
            else:
                yield f"{path}: {difference(old, copy / path)}"
    new = copy / "metrics/train.json"
    texts = programs.of_head(prefix + "metrics/train.json"), new.read_bytes() if new.is_file() else None
    for name, text in zip(("committed", "new"), texts):
        if text and b'"portable": false' in text:
            yield f"the {name} result was made on a machine that fails the known answer; its bits are that machine's"


def bring_back(path: str, digest: str | None, prefix: str, target: Path) -> bool:
    """Put the committed version of a file under `target`, from git or from the DVC cache, if one of them has it."""
    text = programs.of_head(prefix + path)
    if text is None and digest:
        cached = Path(dvc("cache", "dir").strip(), "files", "md5", digest[:2], digest[2:])
        text = cached.read_bytes() if cached.is_file() else None
    if text is not None:
        target.write_bytes(text)
    return text is not None
