"""The whole pipeline beside the same four stages written the ordinary way (benchmarks/ordinary): time and memory.

Makes a scratch folder (under TMPDIR) with a clone of HEAD and a repository of the ordinary pipeline, runs both once so
that kernel, byte code and file caches are warm, and then N pairs, in each the other side first:

- a cold `dvc repro`: the checkout as git has it, no outputs, no cache, no run cache; all four stages run;
- after it one `dvc exp run -S train.learning_rate=...` with a value not seen before; train and evaluate run.

Prints medians, the median and range of the paired ratios, and the peak memory of each stage run by itself; writes these
and every single time to benchmarks/results/whole.json. What is not committed is not measured.

    python benchmarks/whole.py [--pairs 5]

With more than one thread torch's small steps at times take many times as long (seen on two cores, idle ones too): that
flatters us. OMP_NUM_THREADS=1 in front of the command takes it out.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent  # not resolved: that would lead out of a virtual environment
STAGES = ("make_data", "split", "train", "evaluate")
SIDES = {"ours": ("python", "-m", "stages.{}"), "ordinary": ("python", "{}.py")}  # and how each runs a stage
REPRO, EXPERIMENT = "dvc repro, cold", "dvc exp run"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5, help="how often both sides are measured (default 5)")
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory(prefix="plumbline-whole-") as scratch:
        # What DVC keeps outside a repository goes with the scratch folder too.
        os.environ |= {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "DVC_SITE_CACHE_DIR": f"{scratch}/site"}
        folders = {side: Path(scratch, side) for side in SIDES}
        commit = prepare(folders)
        seconds = {what: {side: [] for side in SIDES} for what in (REPRO, EXPERIMENT)}
        for pair in range(pairs + 1):  # the first warms up
            for what, side, taken in measure(folders, pair):
                if pair:
                    seconds[what][side].append(taken)
            print(f"pair {pair} of {pairs}" if pair else "warmed up", file=sys.stderr)
        memory = {stage: {side: peak_memory(folders[side], side, stage) for side in SIDES} for stage in STAGES}

    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    results = {"commit": commit, "machine": machine, "OMP_NUM_THREADS": threads, "pairs": pairs}
    results["time"] = {what: summary(**both) for what, both in seconds.items()}
    results["peak_memory_mib"] = {stage: both | {"ratio": ratio(**both)} for stage, both in memory.items()}
    path = HERE / "results" / "whole.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(table(results))


def prepare(folders: dict[str, Path]) -> str:
    """Make both repositories; returns the commit of this project that is measured."""
    ours, ordinary = folders["ours"], folders["ordinary"]
    run(HERE, "git", "clone", "--quiet", str(HERE.parent), str(ours))
    shutil.copytree(HERE / "ordinary", ordinary, ignore=shutil.ignore_patterns("__pycache__"))
    run(ordinary, "git", "init", "--quiet")
    run(ordinary, "dvc", "init", "--quiet")
    for setting in ("analytics", "check_update"):  # off as in this project: neither is the pipeline's own time
        run(ordinary, "dvc", "config", f"core.{setting}", "false")
    for folder in folders.values():  # `dvc exp run` commits
        run(folder, "git", "config", "user.name", "benchmark")
        run(folder, "git", "config", "user.email", "benchmark@localhost")
    run(ordinary, "dvc", "repro")  # so that dvc.lock and metrics are in git, as they are in this project
    run(ordinary, "git", "add", ".")
    run(ordinary, "git", "commit", "--quiet", "--message", "the ordinary pipeline")
    return run(ours, "git", "rev-parse", "HEAD").strip()


def measure(folders: dict[str, Path], pair: int):
    """One pair, the two sides right after each other: yields (what, side, seconds)."""
    order = list(SIDES) if pair % 2 else list(SIDES)[::-1]
    for side in order:
        run(folders[side], "git", "reset", "--quiet", "--hard")
        run(folders[side], "git", "clean", "--quiet", "-fdx", "--exclude=__pycache__")  # DVC's cache is ignored by git
        if Path(folders[side], ".dvc", "cache").exists():
            sys.exit(f"{side}: .dvc/cache is still there, so nothing here would be cold")
    for side in order:
        yield REPRO, side, timed(folders[side], STAGES, "dvc", "repro")
    setting = f"train.learning_rate={0.01 + (pair + 1) / 10_000:.4f}"
    for side in order:
        yield EXPERIMENT, side, timed(folders[side], STAGES[2:], "dvc", "exp", "run", "-S", setting)


def timed(folder: Path, expected: tuple[str, ...], *command: str) -> float:
    """Seconds that a DVC command takes; ends the benchmark unless just the expected stages ran."""
    start = time.perf_counter()
    output = run(folder, *command)
    taken = time.perf_counter() - start
    ran = tuple(re.findall(r"^Running stage '(\w+)'", output, re.MULTILINE))
    if ran != expected:
        sys.exit(f"{' '.join(command)} ({folder.name}) ran {ran}, not {expected}:\n{output}")
    return taken


def run(folder: Path, *command: str) -> str:
    """What a command prints; ends the benchmark with that if it fails."""
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ({folder.name}) failed:\n{done.stdout}")
    return done.stdout


def peak_memory(folder: Path, side: str, stage: str) -> float:
    """Most resident memory of one stage run by itself, in MiB."""
    command = [part.format(stage) for part in SIDES[side]]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)  # this child's alone, where RUSAGE_CHILDREN is the most of all so far
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ({side}) failed")
    return round(usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10), 1)


def summary(ours: list[float], ordinary: list[float]) -> dict:
    """Medians of both sides, the paired ratios' median and range, and the single times."""
    ratios = [ratio(a, b) for a, b in zip(ours, ordinary)]
    figures = {"ours": median(ours), "ordinary": median(ordinary), "ratio": median(ratios)}
    figures |= {"lowest": min(ratios), "highest": max(ratios)}
    figures = {name: round(value, 3) for name, value in figures.items()}
    single = {"ours": ours, "ordinary": ordinary}
    return figures | {"single": {side: [round(t, 3) for t in times] for side, times in single.items()}}


def ratio(ours: float, ordinary: float) -> float:
    """Ours as a share of the ordinary one."""
    return round(ours / ordinary, 3)


def table(results: dict) -> str:
    """The figures as text."""
    lines = [f"{'':24}{'ours':>8}{'ordinary':>10}{'ratio':>8}  min..max of {results['pairs']} pairs"]
    for what, row in results["time"].items():
        numbers = f"{row['ours']:8.2f}{row['ordinary']:10.2f}{row['ratio']:8.2f}"
        lines.append(f"{what + ', s':24}{numbers}  {row['lowest']:.2f}..{row['highest']:.2f}")
    for stage, row in results["peak_memory_mib"].items():
        lines.append(f"{stage + ' peak, MiB':24}{row['ours']:8.0f}{row['ordinary']:10.0f}{row['ratio']:8.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
