"""Prove that the committed revision reproduces: run its pipeline in a scratch copy and compare with its dvc.lock.

Reads HEAD, and the DVC cache for tables that DVC tracks; writes nothing but a scratch folder, which goes again. Prints
a line for every file, and where one differs which stage went off first and by how much. Exits 1 on any difference.

    python -m stages.verify
"""

import graphlib
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from stages import lock
from stages.differing import difference
from stages.errors import UserError, run
from stages.files import read_yaml

EXEMPT = ("train", "evaluate")  # the stages whose bits are the machine's own with train.engine: torch
# What git tells a hook about the repository it runs for; in the scratch copy it would still mean the user's.
OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX")
INSIDE = "commit dvc.lock and run this inside the repository"


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a CI that cancels: the scratch folder goes all the same
    top, prefix = (git("rev-parse", option, remedy=INSIDE).strip() for option in ("--show-toplevel", "--show-prefix"))
    head = git("rev-parse", "HEAD", remedy=INSIDE).strip()
    changed = [line[3:] for line in git("-c", "core.quotePath=false", "status", "--porcelain").splitlines()]
    print(f"verifying HEAD, {head[:10]}, in a scratch copy", flush=True)
    if changed:
        print(f"not what is uncommitted: {', '.join(changed[:5])}{', ...' if len(changed) > 5 else ''}", flush=True)
    committed = lock.read(committed_file(prefix, "dvc.lock"), "dvc.lock of HEAD")
    train = section_of(committed_file(prefix, "params.yaml"), "train", "params.yaml of HEAD")
    in_git = {path: of_head(prefix + path) for path in uncached(committed_file(prefix, "dvc.yaml"))}
    exempt = EXEMPT if train.get("engine") == "torch" else ()

    with tempfile.TemporaryDirectory(prefix="plumbline-verify-") as scratch:
        os.environ["DVC_SITE_CACHE_DIR"] = str(Path(scratch, "site"))  # or DVC leaves a folder for every scratch copy
        copy = Path(scratch, "copy", prefix)
        git("clone", "--quiet", "--no-checkout", top, Path(scratch, "copy"))
        git("checkout", "--quiet", "--detach", head, at=Path(scratch, "copy"))
        fetch_sources(copy, Path(scratch))
        reproduce(copy)
        made = lock.read((copy / "dvc.lock").read_bytes(), "the dvc.lock that the scratch copy wrote")
        rows = compare(committed, made, in_git)
        lines = [f"{stage:<10} {file:<34} {verdict}" for stage, file, verdict in shown(rows, exempt)]
        print("\n" + "\n".join(lines), flush=True)
        wrong = [row for row in rows if row[2] != "same" and not is_exempt(row, exempt)]
        notes = list(explanations(rows, copy, prefix, committed))
    print("".join(f"\n{note}" for note in notes))
    if exempt:
        where = "this GPU's" if train.get("device") == "cuda" else "this machine's"
        print(f"train.engine is torch: the bits of train and evaluate are {where} and are not held to dvc.lock")
    if wrong:
        raise UserError(
            f"{len(wrong)} of {len(rows)} lines above are not as dvc.lock of {head[:10]} has them; run `dvc repro`, "
            "see what `git diff` shows, and commit it if it is meant"
        )
    print(f"{sum(row[2] == 'same' for row in rows)} of {len(rows)} files have the bits of dvc.lock")


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
    """Run every stage of the copy, whatever its dvc.lock says is up to date."""
    command = ["dvc", "repro", "--force", "--no-run-cache"]
    process = subprocess.run(command, cwd=copy, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if process.returncode:
        lines = process.stdout.decode(errors="replace").strip().splitlines()
        reason = next((line for line in lines if line.startswith("error: ")), lines[-1] if lines else "it said nothing")
        raise UserError(f"HEAD's pipeline does not run in a scratch copy: {reason.removeprefix('error: ')[:300]}")


def environment() -> dict[str, str]:
    """The user's, but a stage's `python` and the `dvc` are those that run this."""
    here = Path(sys.executable).parent
    kept = {name: value for name, value in os.environ.items() if name not in OF_A_HOOK}
    return kept | {"PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}"}


def git(*arguments, at: Path | None = None, remedy: str = "") -> str:
    return output_of(["git", *map(str, arguments)], at, remedy).decode(errors="replace")


def dvc(*arguments: str, at: Path | None = None, remedy: str = "") -> str:
    return output_of(["dvc", *arguments], at, remedy).decode(errors="replace")


def of_head(path: str) -> bytes | None:
    """HEAD's version of a file, by its path from the top; None where git does not keep it."""
    done = subprocess.run(["git", "show", f"HEAD:{path}"], env=environment(), capture_output=True)
    return done.stdout if done.returncode == 0 else None


def committed_file(prefix: str, name: str) -> bytes:
    """The same of a file that must be there."""
    if (text := of_head(prefix + name)) is None:
        raise UserError(f"{prefix}{name} is not in HEAD; {INSIDE}")
    return text


def output_of(command: list[str], at: Path | None, remedy: str) -> bytes:
    try:
        return subprocess.run(command, cwd=at, env=environment(), capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not installed, and verify needs it") from None
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout).decode(errors="replace").strip().splitlines() or ["it gave no reason"]
        reason = next((line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")), lines[-1])
        what = f"`{' '.join(command[:3])}` failed: {reason[:300]}"
        raise UserError(f"{what}; {remedy}" if remedy else what) from None


# ---- the comparison


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


def compare(committed: dict, made: dict, in_git: dict[str, bytes | None]) -> list[tuple[str, str, str]]:
    """(stage, file or field, verdict) in the order in which stages run; a verdict of "same" or what is wrong."""
    rows = []
    produced = {path for stage in made.values() for path in stage.outs}
    said_made = {path: md5 for stage in committed.values() for path, md5 in stage.outs.items()}
    order = in_order(made | committed)
    for stage in order:
        if stage not in committed or stage not in made:
            rows.append((stage, "dvc.lock", "stage is not in it" if stage in made else "stage is not in dvc.yaml"))
            continue
        old, new = committed[stage], made[stage]
        for field in ("cmd", "params"):
            if getattr(old, field) != getattr(new, field):
                rows.append((stage, field, "dvc.lock is stale: HEAD has another"))
        for path in old.deps.keys() | new.deps.keys():
            if path not in produced and old.deps.get(path) != new.deps.get(path):
                rows.append((stage, path, "dvc.lock is stale: HEAD has another"))
            elif path in produced and old.deps.get(path) != said_made.get(path):
                rows.append((stage, path, "dvc.lock contradicts itself"))
        for path in old.outs.keys() | new.outs.keys():
            digest = old.outs.get(path)
            if path in in_git and in_git[path] is None:
                verdict = "is not in git, which should keep it"
            elif path in in_git and hashlib.md5(in_git[path], usedforsecurity=False).hexdigest() != digest:
                verdict = f"DIFFERS in git, {'not' if digest == new.outs.get(path) else 'and'} in dvc.lock"
            elif digest != new.outs.get(path):
                verdict = "DIFFERS"
            else:
                forged = old.sizes[path] != new.sizes[path]
                verdict = f"has another size than dvc.lock says, {old.sizes[path]}" if forged else "same"
            rows.append((stage, path, verdict))
    return sorted(rows, key=lambda row: (order.index(row[0]), row[2] == "same", row[1]))


def in_order(stages: dict) -> list[str]:
    """Stages so that each comes after those whose files it reads."""
    maker = {path: name for name, stage in stages.items() for path in stage.outs}
    needs = {name: {maker[path] for path in stage.deps if path in maker} for name, stage in stages.items()}
    try:
        return list(graphlib.TopologicalSorter(needs).static_order())
    except graphlib.CycleError:  # a forged lock may go in circles
        return list(stages)


def is_exempt(row: tuple[str, str, str], exempt: tuple) -> bool:
    """Whether only the bits that this machine computes differ: a lock that is stale or forged is no machine's doing."""
    return row[0] in exempt and row[2] == "DIFFERS"


def shown(rows: list, exempt: tuple) -> list[tuple[str, str, str]]:
    """The table: a heading and the rows, with what is exempt marked."""
    marked = [(*row[:2], "exempt, differs" if is_exempt(row, exempt) else row[2]) for row in rows]
    return [("stage", "file", "same or not"), *marked]


# ---- by how much


def explanations(rows: list, copy: Path, prefix: str, committed: dict):
    """Lines on the first stage that went off, on every file that differs, and on a machine that cannot do it."""
    differing = [(stage, path) for stage, path, verdict in rows if verdict.startswith("DIFFERS")]
    if differing:
        first = differing[0][0]
        order = list(dict.fromkeys(row[0] for row in rows))
        same = all(verdict == "same" for stage, _, verdict in rows if order.index(stage) < order.index(first))
        yield f"{first} is the first stage that went off{'; all before it is the same' if same else ''}"
    with tempfile.TemporaryDirectory(prefix="plumbline-verify-") as folder:
        for stage, path in differing:
            old = Path(folder, Path(path).name)
            if not bring_back(path, committed[stage].outs.get(path), prefix, old):
                yield f"{path}: the committed version is not at hand (`dvc pull` brings it)"
            elif not (copy / path).is_file():
                yield f"{path}: HEAD's pipeline does not make it"
            else:
                yield f"{path}: {difference(old, copy / path)}"
    new = copy / "metrics/train.json"
    texts = of_head(prefix + "metrics/train.json"), new.read_bytes() if new.is_file() else None
    for name, text in zip(("committed", "new"), texts):
        if text and b'"portable": false' in text:
            yield f"the {name} result was made on a machine that fails the known answer; its bits are that machine's"


def bring_back(path: str, digest: str | None, prefix: str, target: Path) -> bool:
    """Put the committed version of a file under `target`, from git or from the DVC cache, if one of them has it."""
    text = of_head(prefix + path)
    if text is None and digest:
        cached = Path(dvc("cache", "dir").strip(), "files", "md5", digest[:2], digest[2:])
        text = cached.read_bytes() if cached.is_file() else None
    if text is not None:
        target.write_bytes(text)
    return text is not None


if __name__ == "__main__":
    run(main)
