"""Kill at 200 random moments, go on each time, and hold every file at the end to an untouched run.

Every other kill takes the stage alone, under a `dvc repro` that lives on to report it; the others take `dvc repro` and
all its processes at once. Makes a scratch copy of the project whose training keeps snapshots all along. What DVC itself
left half-written (.dvc/tmp/rwlock, dvc.lock: it does not replace them, it writes over them) is deleted, as DVC says to,
and counted. Writes benchmarks/results/kill.txt; half an hour.

    python benchmarks/kill.py [--kills 200] [--seed 0]
"""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import scratch
import yaml
from scratch import Copy

AT_MOST = 20  # kills of a run before it may end
LONG = {"make_data.samples": 100_000, "train.epochs": 500, "train.replicas": 2}  # some ten seconds of training
SHORT = {"make_data.samples": 1_000, "train.epochs": 100, "train.replicas": 2}


def main() -> None:
    parser = scratch.parser(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plumbline-kill-") as folder:
        copy = scratch.project(Path(folder, "copy"))
        copy.set(SHORT if options.smoke else LONG)
        snapshots_all_along(copy.folder / "plumbline/training/snapshot.py")
        lines = report(copy, 1 if options.smoke else options.kills, options.seed)
        scratch.tell(lines, "kill.txt", options.smoke)


def report(copy: Copy, kills: int, seed: int) -> Iterator[str]:
    """The lines of the results; ends with status 1 where a byte differs, or nothing was ever kept."""
    start, moments = time.monotonic(), random.Random(seed)
    copy.run("dvc", "repro", "-q")
    seconds, whole = time.monotonic() - start, contents(copy.folder)
    yield f"{scratch.heading()}; {len(whole)} files; an untouched run takes {seconds:.1f} s; seed {seed}"
    done = same = runs = resumed = 0
    mended = Counter()
    while done < kills:
        copy.run("rm", "-rf", ".dvc/cache", "data", "models", "metrics", "dvc.lock")
        for _ in range(min(AT_MOST, kills - done)):
            done += killed(copy, moments.uniform(0.5, 0.3 * seconds), alone=bool(done % 2))
            found = contents(copy.folder)
            broken = [name for name in found if name in whole and found[name] != whole[name] and name != "dvc.lock"]
            assert not broken, f"half-written or wrong: {broken}"
            resumed += (copy.folder / "models/resume-0-1.snapshot").exists()
            mended.update(mend(copy.folder))
        copy.run("dvc", "repro")
        runs, same = runs + 1, same + (contents(copy.folder) == whole)
        print(f"{done} kills, {resumed} with a snapshot at hand", file=sys.stderr)
    yield f"{done} kills, {resumed} with a snapshot at hand"
    yield f"{runs} runs, {same} with the bytes of an untouched one"
    yield f"half-written by DVC itself and deleted: {dict(mended) or 'nothing'}"
    if same != runs or (not resumed and kills > AT_MOST):
        sys.exit("a killed run did not end as an untouched one, or no snapshot was ever at hand")


def snapshots_all_along(path: Path) -> None:
    """A snapshot every twentieth of a second."""
    text = path.read_text(encoding="utf-8")
    for name, value in (("EVERY", 0.05), ("SHARE", 0.5)):
        text, found = re.subn(rf"^{name} = [\d.]+", f"{name} = {value}", text, flags=re.MULTILINE)
        assert found == 1, name
    path.write_text(text, encoding="utf-8")


def contents(folder: Path) -> dict[str, bytes]:
    """Every output's bytes, and dvc.lock's."""
    paths = [
        folder / "dvc.lock",
        *(path for top in ("data", "models", "metrics") for path in (folder / top).rglob("*")),
    ]
    kept = [path for path in paths if path.is_file() and not path.name.startswith((".", "resume"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def killed(copy: Copy, seconds: float, alone: bool) -> bool:
    """Start `dvc repro` and after so many seconds kill its stage alone, or all; False if it ended before."""
    options = {"cwd": copy.folder, "env": copy.environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(["dvc", "repro", "-q"], start_new_session=True, **options)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or alone:
        if process.poll() is not None:
            return False
        stage = psutil.Process(process.pid).children(recursive=True) if alone else []
        if stage and time.monotonic() >= deadline:
            for child in stage:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            process.wait()
            return True
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def mend(folder: Path) -> list[str]:
    """Delete what DVC left half-written of its own; the names of it."""
    broken = []
    for name, reader in ((".dvc/tmp/rwlock", json.loads), ("dvc.lock", yaml.safe_load)):
        path = folder / name
        try:
            if path.exists() and not isinstance(reader(path.read_text()), dict):
                raise ValueError
        except (ValueError, yaml.YAMLError):
            path.unlink()
            broken.append(name)
    return broken


if __name__ == "__main__":
    main()
