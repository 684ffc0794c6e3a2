"""Run the pipeline on every kind of CPU at hand, native and emulated, and show every artefact's hash side by side.

Native with 1, 2 and 4 threads; emulated by Debian's qemu-user (`apt-get install qemu-user`) as four x86-64 models from
Haswell (2013) on, for DuckDB's packages need AVX2, and as 64-bit ARM if a Python for it is at hand. The four stages
run as they are, in a folder of their own. For an x86-64 CPU LLVM compiles the kernel natively first, as it would there
(what it makes depends on the CPU's name alone; emulated it takes ten times as long), and the emulated stages load it;
64-bit ARM compiles for itself.
Writes benchmarks/results/cpu_matrix.txt; some minutes a CPU.

    python benchmarks/cpu_matrix.py [--arm FOLDER] [--only NAME,...] [--keep FOLDER]

FOLDER of --arm has `root`, packages unpacked by `dpkg -x` (python3.11-minimal:arm64, libpython3.11-stdlib:arm64,
libstdc++6:arm64 and what they depend on), and `site`, the ARM wheels of duckdb, llvmlite, msgspec, numba, numpy,
ruamel.yaml, safetensors and tqdm of requirements.txt, unzipped (`pip download --platform manylinux_2_28_aarch64
--only-binary=:all: --no-deps`). Results of the same code in --keep are not computed again.
"""

import csv
import datetime
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import scratch
from ruamel.yaml import YAML
from scratch import ROOT, STAGES

NOTEBOOKS = {"train": {"replicas": 4}}  # four networks tell as much about bits as 32 do

JOBS = {
    "default": {},  # as params.yaml has it
    "three classes": {"make_data": {"classes": 3}, "split": {"train": 0.7, "validation": 0.1}, **NOTEBOOKS},
    "larger": {
        "make_data": {"samples": 4000, "features": 50},
        "train": {"hidden_size": 256, "batch_size": 1024, "epochs": 3, "replicas": 2},
    },
    "mixed table": {
        "make_data": {"source": "mixed.csv", "target": "churned"},
        "split": {"train": 0.7, "validation": 0.0, "folds": 2, "stratify": True},
        "train": {
            "encoding": "mixed",
            "hidden_size": 64,
            "learning_rate": 0.003,
            "weight_decay": 0.1,
            "input_rate": 3.0,
            "ema_decay": 0.7,
            "members": 3,
            "held_out": 0.125,
            "schedule": "cosine",
            "epochs": 15,
            "patience": 4,
            "replicas": 3,
        },
    },
}

# QEMU's name of a CPU and LLVM's
CPUS = {
    "Haswell": "haswell",
    "Skylake-Client": "skylake",
    "EPYC": "znver1",
    "EPYC-Milan": "znver3",
}


SMOKE = {"mixed table": {**JOBS["mixed table"], "train": {**JOBS["mixed table"]["train"], "epochs": 1, "patience": 0}}}


def main() -> None:
    parser = scratch.parser(__doc__)
    parser.add_argument("--arm", type=Path)
    parser.add_argument("--only", help="names of machines, separated by commas")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    there = machines(options.arm)
    chosen = options.only.split(",") if options.only else list(there)
    for name in chosen:
        if name not in there:
            sys.exit(f"--only {name}: there is no such machine here; there are {', '.join(there)}")
    with tempfile.TemporaryDirectory(prefix="plumbline-cpu-") as folder:
        if options.smoke:  # with this machine's cache: compiling takes longer than all else
            cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
            lines = report({name: there[name] for name in chosen[:2]}, SMOKE, Path(folder), cache)
        else:
            kept = options.keep or Path(folder)
            lines = report({name: there[name] for name in chosen}, JOBS, kept / code(), kept / "cache")
        scratch.tell(lines, "cpu_matrix.txt", options.smoke)


def report(there: dict[str, tuple], jobs: dict[str, dict], results: Path, cache: Path) -> Iterator[str]:
    """The lines of the results; ends with status 1 where an artefact differs."""
    yield scratch.heading()
    results.mkdir(parents=True, exist_ok=True)
    hashes: dict[str, dict[str, dict[str, str]]] = {job: {} for job in jobs}
    for name, (command, environment) in there.items():
        for job, changes in jobs.items():
            result = results / f"{job}, {name}.json".replace(" ", "_")
            if not result.exists():
                start = time.monotonic()
                if "qemu-x86_64" in command:  # compile
                    artefacts([sys.executable], environment, changes, cache)
                result.write_text(json.dumps(artefacts(command, environment, changes, cache)))
                print(f"{name}, {job}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
            hashes[job][name] = json.loads(result.read_text())
    for job, of_machines in hashes.items():
        yield from table(job, of_machines)
    yield from summary(hashes)
    differ = sum(len(differing(of_machines)) for of_machines in hashes.values())
    yield f"{differ} artefacts differ" if differ else "every artefact has the same bytes on every machine"
    if differ:
        sys.exit("artefacts differ between machines")


def code() -> str:
    """What runs: results of other code or parameters are not taken for these."""
    paths = [ROOT / "params.yaml", Path(__file__), *sorted((ROOT / "stages").glob("*.py"))]
    paths += sorted((ROOT / "plumbline").rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]


def machines(arm: Path | None) -> dict[str, tuple[list[str], dict[str, str]]]:
    """{name: (command that stands for `python`, environment)}."""
    found = {f"{n} thread{'s' * (n > 1)}": ([sys.executable], {"NUMBA_NUM_THREADS": str(n)}) for n in (1, 2, 4)}
    one = {"NUMBA_NUM_THREADS": "1"}
    if shutil.which("qemu-x86_64"):
        for cpu, name in CPUS.items():
            target = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": ""}
            found[cpu] = ["qemu-x86_64", "-cpu", cpu, sys.executable], one | target
    if arm:
        root = arm.resolve() / "root"
        command = ["qemu-aarch64", "-L", str(root), str(root / "usr/bin/python3.11")]
        found["aarch64"] = command, one | {"PYTHONPATH": str(arm.resolve() / "site"), "PYTHONNOUSERSITE": "1"}
    return found


def artefacts(command: list[str], environment: dict[str, str], changes: dict, cache: Path) -> dict[str, str]:
    """The hash of every file that the stages write; ends the benchmark where a stage fails."""
    with tempfile.TemporaryDirectory(prefix="plumbline-cpu-") as folder:
        copy = Path(folder)
        for top in ("stages", "plumbline"):
            shutil.copytree(ROOT / top, copy / top, ignore=shutil.ignore_patterns("__pycache__"))
        write_mixed_table(copy / "mixed.csv")
        write_params(copy / "params.yaml", changes)
        machine = {"PATH": os.environ["PATH"], "HOME": folder, "XDG_CACHE_HOME": str(cache), "LC_ALL": "C.UTF-8"}
        for stage in STAGES:
            run = [*command, "-m", f"stages.{stage}"]
            done = subprocess.run(run, cwd=copy, env=machine | environment, capture_output=True, text=True)
            if done.returncode:
                said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
                sys.exit(f"{' '.join(run)} ended with {done.returncode}: {said}")
        files = (path for top in ("data", "models", "metrics") for path in sorted((copy / top).rglob("*.*")))
        return {str(path.relative_to(copy)): hashlib.sha256(path.read_bytes()).hexdigest()[:8] for path in files}


def write_params(path: Path, changes: dict) -> None:
    """params.yaml with a job's changes, section by section."""
    yaml = YAML()
    values = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, changed in changes.items():
        values[section].update(changed)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(values, file)


def write_mixed_table(path: Path) -> None:
    """900 made-up customers: numbers of odd scales, zeros of both signs, text, dates, times, truths, gaps in all.

    Written by this process, so that every machine reads the same bytes.
    """
    draw = random.Random(0)
    plans, day = ("basic", "plus", "Größe XL", "pro", "rare one"), datetime.date(2021, 1, 1)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        names = ["number", "age", "income", "tiny", "plan", "since", "last_call", "minutes", "active"]
        names += ["balance", "city", "constant"]
        rows.writerow([*names, "churned"])
        for row in range(900):
            age, income = draw.randint(18, 90), draw.paretovariate(1.2) * 1e4
            since = day + datetime.timedelta(days=draw.randrange(1500))
            call = datetime.datetime(2025, 3, 1) + datetime.timedelta(seconds=draw.randrange(10**7))
            plan = draw.choices(plans, (50, 30, 15, 5, 0.3))[0]
            city = draw.randrange(150)  # so many that they become target statistics
            logit = (age - 50) / 12 + (plan == "pro") - (income > 3e4) + city % 3 - 1 + draw.gauss(0, 1)
            cells = [age, f"{income:.2f}", draw.gauss(0, 1e-18), plan, since, call, draw.randint(0, 300) / 4]
            cells += [draw.choice(["true", "false"]), f"{draw.gauss(0, 0.1):.1f}", f"city {city}"]
            rows.writerow([row, *("" if draw.random() < 0.07 else c for c in cells), 7, "yes" if logit > 0 else "no"])


def differing(hashes: dict[str, dict[str, str]]) -> list[str]:
    """The files that are not the same on all machines."""
    files = sorted({file for found in hashes.values() for file in found})
    return [file for file in files if len({found.get(file) for found in hashes.values()}) > 1]


def table(job: str, hashes: dict[str, dict[str, str]]) -> Iterator[str]:
    """A job's table: a line a file, a column a machine."""
    files, differ = sorted({file for found in hashes.values() for file in found}), differing(hashes)
    width = max(len(name) for name in hashes) + 2
    yield from ["", job, (f"{'':<36}" + "".join(f"{name:<{width}}" for name in hashes)).rstrip()]
    for file in files:
        cells = "".join(f"{found.get(file, 'missing'):<{width}}" for found in hashes.values())
        yield f"{file:<36}{cells}".rstrip() + ("  NOT THE SAME" if file in differ else "")


def summary(hashes: dict[str, dict[str, dict[str, str]]]) -> Iterator[str]:
    """A line a machine, a column a job: the number of artefacts and one hash over all of them."""
    yield from ["", (f"{'all artefacts of':<18}" + "".join(f"{job:<20}" for job in hashes)).rstrip()]
    for name in next(iter(hashes.values())):
        found = [of_machines[name] for of_machines in hashes.values()]
        cells = [f"{len(files)}: {hashlib.sha256(json.dumps(files).encode()).hexdigest()[:12]}" for files in found]
        yield (f"{name:<18}" + "".join(f"{cell:<20}" for cell in cells)).rstrip()
    yield ""


if __name__ == "__main__":
    main()
