"""Kill at 200 random moments, go on each time, and hold every file at the end to an untouched run.

Every other kill takes the stage alone, under a `dvc repro` that lives on to report it; the others take `dvc repro` and
all its processes at once. Makes a scratch clone of HEAD whose training keeps snapshots all along. A `dvc repro` that
fails because DVC's own files were half-written (.dvc/tmp/rwlock, dvc.lock: DVC does not replace them, it writes over
them) is counted and named; what DVC says to delete is deleted then.

    python benchmarks/kill.py [kills] [seed]
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
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def main() -> None:
    kills, seed = (int(value) for value in (*sys.argv[1:], *("200", "0")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory(prefix="plumbline-kill-") as folder:
        copy = Path(folder, "copy")
        run(["git", "clone", "-q", str(ROOT), str(copy)], ROOT)
        lengthen(copy)
        run(["dvc", "repro", "-q", "--force"], copy)
        whole = contents(copy)
        start = time.monotonic()
        run(["dvc", "repro", "-q", "--force", "--no-run-cache"], copy)
        seconds = time.monotonic() - start
        assert contents(copy) == whole
        print(f"{len(whole)} files; an untouched run takes {seconds:.1f} s; seed {seed}", flush=True)
        kill_and_compare(copy, whole, kills, seconds, random.Random(seed))


def kill_and_compare(copy: Path, whole: dict, kills: int, seconds: float, moments: random.Random) -> None:
    """Runs that are killed up to twenty times each before they may end."""
    done = same = runs = resumed = 0
    mended = Counter()
    while done < kills:
        run(["rm", "-rf", ".dvc/cache", "data", "models", "metrics", "dvc.lock"], copy)
        for _ in range(min(20, kills - done)):
            done += killed(copy, moments.uniform(0.5, 0.3 * seconds), alone=bool(done % 2))
            found = contents(copy)
            broken = [name for name in found if name in whole and found[name] != whole[name] and name != "dvc.lock"]
            assert not broken, f"half-written or wrong: {broken}"
            resumed += (copy / "models/resume.safetensors").exists()
            if done % 10 == 0:
                print(f"{done} kills, {resumed} with a snapshot at hand", flush=True)
            mended.update(mend(copy))
        run(["dvc", "repro"], copy)
        runs, same = runs + 1, same + (contents(copy) == whole)
    print(f"{done} kills, {runs} runs, {same} with the bytes of an untouched one")
    print(f"half-written by DVC itself and deleted: {dict(mended) or 'nothing'}")
    sys.exit(same != runs or not resumed)


def mend(copy: Path) -> list[str]:
    """Delete what DVC left half-written of its own; the names of it."""
    broken = []
    for name, reader in ((".dvc/tmp/rwlock", json.loads), ("dvc.lock", yaml.safe_load)):
        path = copy / name
        try:
            if path.exists() and not isinstance(reader(path.read_text()), dict):
                raise ValueError
        except (ValueError, yaml.YAMLError):
            path.unlink()
            broken.append(name)
    return broken


def lengthen(copy: Path) -> None:
    """Some ten seconds of training, most of the run, a snapshot every tenth of a second."""
    for name, old, new in (
        ("params.yaml", r"samples: \d+", "samples: 100000"),
        ("params.yaml", r"epochs: \d+", "epochs: 500"),
        ("params.yaml", r"replicas: \d+", "replicas: 2"),
        ("stages/snapshot.py", r"EVERY = [\d.]+", "EVERY = 0.05"),
        ("stages/snapshot.py", r"SHARE = [\d.]+", "SHARE = 0.5"),
    ):
        text = (copy / name).read_text(encoding="utf-8")
        assert re.search(old, text), (name, old)
        (copy / name).write_text(re.sub(old, new, text), encoding="utf-8")


def contents(copy: Path) -> dict[str, bytes]:
    """Every output's bytes, and dvc.lock's."""
    names = [
        "dvc.lock",
        *(
            str(path.relative_to(copy))
            for top in ("data", "models", "metrics")
            for path in (copy / top).rglob("*")
            if path.is_file()
        ),
    ]
    kept = [name for name in names if not Path(name).name.startswith((".", "resume"))]
    return {name: (copy / name).read_bytes() for name in kept if (copy / name).exists()}


def killed(copy: Path, seconds: float, alone: bool) -> bool:
    """Start `dvc repro` and after so many seconds kill its stage alone, or all; False if it ended before."""
    command = ["dvc", "repro", "-q"]
    output = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=copy, env=ENVIRONMENT, stdout=output, stderr=output, start_new_session=True)
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


def run(command: list[str], folder: Path, fails: bool = False) -> subprocess.CompletedProcess:
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True)
    assert fails or not done.returncode, done.stderr.decode()
    return done


if __name__ == "__main__":
    main()
