"""Big tables: time a row and peak memory of the four stages, what DVC takes itself, and the ordinary way beside it.

Makes a scratch folder (under TMPDIR) with a clone of HEAD and runs `dvc repro` on the synthetic table of each size,
with one epoch at batch 16,384 and one network, and nothing in DVC's cache. A stage's seconds, CPU seconds and memory
are its own process's, told by a `python` put before the real one; what is left of `dvc repro` is DVC. The start-up, a
run of 1,000 rows, is taken off before dividing by the rows. Where others use the machine too, trust the CPU seconds.
At ten million rows the ordinary pipeline (benchmarks/ordinary) runs beside this one, both at batch 4,096.
Writes benchmarks/results/big.txt. What is not committed is not measured.

The scratch folder needs about 100 bytes a row: 10 GB for a hundred million rows; that size takes some ten minutes.

    python benchmarks/big.py [--rows 1e6,1e7,1e8]
"""

import argparse
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
STAGES = ("make_data", "split", "train", "evaluate")
BESIDE = 10_000_000  # rows at which the ordinary pipeline runs too
REPEATS = {1_000: 3, 1_000_000: 3}  # with a seed of its own each time; medians are taken
SETTING = {"train.epochs": 1, "train.replicas": 1, "train.batch_size": 16384, "evaluate.batch_size": 65536}
# Runs the real python and notes what the process took. The child's peak memory is its own: this one is small.
SHIM = """#!{python} -SE
import os, sys, time
start = time.perf_counter()
child = os.fork()
if not child:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
_, status, usage = os.wait4(child, 0)
with open({log!r}, "a") as log:
    name = sys.argv[-1].removeprefix("stages.").removesuffix(".py")
    print(name, time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, file=log)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="1e6,1e7,1e8", help="sizes, separated by commas (default %(default)s)")
    sizes = [int(float(size)) for size in parser.parse_args().rows.split(",")]
    with tempfile.TemporaryDirectory(prefix="plumbline-big-") as scratch:
        room, needed = shutil.disk_usage(scratch).free, 100 * max(sizes)
        if room < needed:
            sys.exit(f"{scratch} has {room / 1e9:.0f} GB left and {needed / 1e9:.0f} GB are needed; set TMPDIR")
        folder, log = Path(scratch, "ours"), Path(scratch, "log")
        prepare(scratch, folder, log)
        lines, start_up = [heading(folder)], measured(folder, log, 1_000, SETTING)
        lines += section("start-up: 1,000 rows", start_up, None, 0)
        for rows in sizes:
            lines += section(f"{rows:,} rows, batch 16,384", measured(folder, log, rows, SETTING), start_up, rows)
            if rows == BESIDE:
                lines += beside(folder, Path(scratch, "ordinary"), log)
            print("\n".join(lines), end="\n\n", file=sys.stderr)
    text = "\n".join(lines) + "\n"
    (HERE / "results" / "big.txt").write_text(text, encoding="utf-8")
    print(text, end="")


def prepare(scratch: str, folder: Path, log: Path) -> None:
    """Clone HEAD and put the noting python in front of the real one."""
    shim = Path(scratch, "bin", "python")
    shim.parent.mkdir()
    shim.write_text(SHIM.format(python=sys.executable, log=str(log)), encoding="utf-8")
    shim.chmod(0o755)
    # Not resolved: that would lead out of a virtual environment. What DVC keeps outside goes with the scratch folder.
    os.environ["PATH"] = f"{shim.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["DVC_SITE_CACHE_DIR"] = f"{scratch}/site"
    run(folder.parent, "git", "clone", "--quiet", str(HERE.parent), str(folder))


def heading(folder: Path) -> str:
    commit = run(folder, "git", "rev-parse", "--short", "HEAD").strip()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return f"{commit}, {machine}; one epoch, one network, 10 features\n"


def measured(folder: Path, log: Path, rows: int, setting: dict) -> dict[str, list[float]]:
    """Medians of `dvc repro` with nothing cached: {stage or dvc: [seconds, CPU seconds, peak bytes]}; and bytes."""
    runs = []
    for repeat in range(REPEATS.get(rows, 1)):
        clean(folder)
        set_params(folder, {"make_data.samples": rows, "seed": 42 + repeat} | setting)
        log.unlink(missing_ok=True)
        start = time.perf_counter()
        run(folder, "dvc", "repro")
        whole = time.perf_counter() - start
        taken = noted(log)
        taken["dvc"] = [whole - sum(stage[0] for stage in taken.values()), 0.0, 0.0]
        runs.append(taken)
    figures = {name: [median(numbers) for numbers in zip(*(taken[name] for taken in runs))] for name in runs[0]}
    outputs = [path for part in ("data", "models", "metrics") for path in Path(folder, part).rglob("*")]
    outputs = [path for path in outputs if path.suffix in (".parquet", ".safetensors")]
    figures["outputs"] = [sum(path.stat().st_size for path in outputs), min(path.stat().st_nlink for path in outputs)]
    start = time.perf_counter()
    run(folder, "dvc", "repro")
    figures["again"] = [time.perf_counter() - start]
    clean(folder)
    return figures


def clean(folder: Path) -> None:
    """The checkout as git has it, without outputs, cache or run cache."""
    run(folder, "git", "reset", "--quiet", "--hard")
    run(folder, "git", "clean", "--quiet", "-fdx", "--exclude=__pycache__")


def set_params(folder: Path, setting: dict) -> None:
    """Write parameters by their names in params.yaml, where each name is on a line of its own."""
    path = folder / "params.yaml"
    text = path.read_text(encoding="utf-8")
    for name, value in setting.items():
        section, _, key = name.rpartition(".")
        start = text.index(f"{section}:") if section else 0
        text = text[:start] + re.sub(rf"(\b{key}:) \S+", rf"\1 {value}", text[start:], count=1)
    path.write_text(text, encoding="utf-8")


def noted(log: Path) -> dict[str, list[float]]:
    lines = (line.split() for line in log.read_text(encoding="utf-8").splitlines())
    return {name: [float(number) for number in numbers] for name, *numbers in lines}


def section(title: str, figures: dict, start_up: dict | None, rows: int) -> list[str]:
    """The figures of one size as text."""
    lines = [title, f"{'':12}{'s':>9}{'CPU s':>9}{'us a row':>10}{'CPU us a row':>14}{'peak GiB':>10}"]
    totals = [0.0, 0.0]
    for stage in STAGES:
        seconds, cpu, peak = figures[stage]
        net = [0.0, 0.0] if start_up is None else [seconds - start_up[stage][0], cpu - start_up[stage][1]]
        totals = [a + b for a, b in zip(totals, net)]
        lines.append(f"{stage:12}{seconds:9.2f}{cpu:9.2f}" + per_row(net, rows) + f"{peak / 2**30:10.2f}")
    if rows:
        together = [sum(figures[stage][i] for stage in STAGES) for i in range(2)]
        lines.append(f"{'together':12}{together[0]:9.2f}{together[1]:9.2f}" + per_row(totals, rows))
    size, links = figures["outputs"]
    linked = "linked into the cache, not copied" if links > 1 else "COPIED into the cache"
    lines.append(f"{'DVC itself':12}{figures['dvc'][0]:9.2f}  for {size / 1e9:.3f} GB of outputs, {linked};")
    lines.append(f"{'':12}{figures['again'][0]:9.2f}  for a second dvc repro, which runs nothing")
    return [*lines, ""]


def per_row(seconds: list[float], rows: int) -> str:
    return "".join(f"{1e6 * value / rows:{width}.3f}" for value, width in zip(seconds, (10, 14))) if rows else " " * 24


def beside(folder: Path, ordinary: Path, log: Path) -> list[str]:
    """The same table the ordinary way, right after this one."""
    ours = measured(folder, log, BESIDE, SETTING | {"train.batch_size": 4096})
    shutil.copytree(HERE / "ordinary", ordinary, ignore=shutil.ignore_patterns("__pycache__"))
    setting = {"make_data.samples": BESIDE, "train.epochs": 1, "train.batch_size": 4096, "evaluate.batch_size": 65536}
    set_params(ordinary, setting)
    log.unlink(missing_ok=True)
    for stage in STAGES:
        run(ordinary, "python", f"{stage}.py")
    theirs = noted(log)
    shutil.rmtree(ordinary)
    lines = [f"{BESIDE:,} rows, batch 4,096, beside the ordinary way; ours, theirs"]
    lines.append(f"{'':12}{'s':>9}{'s':>9}{'CPU s':>9}{'CPU s':>9}{'peak GiB':>10}{'peak GiB':>10}")
    for stage in STAGES:
        a, b = ours[stage], theirs[stage]
        lines.append(f"{stage:12}{a[0]:9.2f}{b[0]:9.2f}{a[1]:9.2f}{b[1]:9.2f}{a[2] / 2**30:10.2f}{b[2] / 2**30:10.2f}")
    (a, b), (c, d) = ([sum(side[stage][i] for stage in STAGES) for side in (ours, theirs)] for i in range(2))
    return [*lines, f"{'together':12}{a:9.2f}{b:9.2f}{c:9.2f}{d:9.2f}  ratio {a / b:.2f}, of CPU {c / d:.2f}", ""]


def run(folder: Path, *command: str) -> str:
    """What a command prints; ends the benchmark with that if it fails."""
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ({folder.name}) failed:\n{done.stdout}")
    return done.stdout


if __name__ == "__main__":
    main()
