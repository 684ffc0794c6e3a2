"""Kill `dvc repro` and all its processes at 200 random moments; go on, and hold every file to an untouched run.

Makes a scratch clone of HEAD whose training takes some seconds and keeps snapshots all along; prints a line every ten
kills and the number of runs whose outputs are the same to the last byte.

    python benchmarks/kill.py [kills] [seed]
"""

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
    """Runs that are killed up to five times each before they may end."""
    done = same = runs = resumed = by_hand = 0
    while done < kills:
        run(["rm", "-rf", ".dvc/cache", "data", "models", "metrics", "dvc.lock"], copy)
        for _ in range(min(5, kills - done)):
            done += killed(copy, moments.uniform(0.5, seconds))
            broken = [name for name, content in contents(copy).items() if name in whole and content != whole[name]]
            broken = [name for name in broken if name != "dvc.lock"]  # it grows stage by stage, and is DVC's to write
            assert not broken, f"half-written or wrong: {broken}"
            resumed += (copy / "models/resume.safetensors").exists()
            if done % 10 == 0:
                print(f"{done} kills, {resumed} with a snapshot at hand", flush=True)
        last = run(["dvc", "repro", "-q"], copy, fails=True)
        if last.returncode:  # DVC does not write dvc.lock whole or not at all
            by_hand += 1
            print(f"dvc repro: {last.stderr.decode().strip().splitlines()[-1]}; going on without dvc.lock", flush=True)
            run(["rm", "-f", "dvc.lock"], copy)
            run(["dvc", "repro", "-q"], copy)
        runs, same = runs + 1, same + (contents(copy) == whole)
    print(f"{done} kills, {runs} runs, {same} with the bytes of an untouched one; {by_hand} needed a hand for dvc.lock")
    sys.exit(same != runs)


def lengthen(copy: Path) -> None:
    """Some seconds of training, a snapshot every tenth of a second."""
    for name, old, new in (
        ("params.yaml", r"epochs: \d+", "epochs: 3000"),
        ("params.yaml", r"replicas: \d+", "replicas: 8"),
        ("stages/snapshot.py", r"EVERY = [\d.]+", "EVERY = 0.1"),
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


def killed(copy: Path, seconds: float) -> bool:
    """Start `dvc repro` and kill it and its stage after so many seconds; False if it ended before."""
    command = ["dvc", "repro", "-q"]
    output = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=copy, env=ENVIRONMENT, stdout=output, stderr=output, start_new_session=True)
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def run(command: list[str], folder: Path, fails: bool = False) -> subprocess.CompletedProcess:
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True)
    assert fails or not done.returncode, done.stderr.decode()
    return done


if __name__ == "__main__":
    main()
