"""Big tables: time a row and peak memory of the four stages, what DVC takes itself, and the ordinary way beside it.

Makes a scratch copy of the project (under TMPDIR) and runs `dvc repro` on the synthetic table of each size, with one
epoch at batch 16,384 and one network, and nothing in DVC's cache. A stage's seconds, CPU seconds and memory are its own
process's; what is left of `dvc repro` is DVC. The start-up, a run of 1,000 rows, is taken off before dividing by the
rows. Where others use the machine too, trust the CPU seconds. At ten million rows the ordinary pipeline
(benchmarks/ordinary) runs beside this one, both at batch 4,096. Writes benchmarks/results/big.txt.

The scratch folder needs about 150 bytes a row: 15 GB for a hundred million rows; that size takes some ten minutes.

    python benchmarks/big.py [--rows 1e6,1e7,1e8]
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import scratch
from scratch import STAGES, Copy, Taken

BESIDE = 10_000_000  # rows at which the ordinary pipeline runs too
REPEATS = {1_000: 3, 1_000_000: 3}  # with a seed of its own each time; medians are taken
BYTES = 150  # on the disk, a row
SETTING = {"train.epochs": 1, "train.replicas": 1, "train.batch_size": 16384, "evaluate.batch_size": 65536}


def main() -> None:
    parser = scratch.parser(__doc__)
    parser.add_argument("--rows", default="1e6,1e7,1e8", help="sizes, separated by commas (default %(default)s)")
    options = parser.parse_args()
    sizes = [2_000] if options.smoke else [int(float(size)) for size in options.rows.split(",")]
    with tempfile.TemporaryDirectory(prefix="plumbline-big-") as folder:
        room, needed = shutil.disk_usage(folder).free, BYTES * max(sizes)
        if room < needed:
            sys.exit(f"{folder} has {room / 1e9:.0f} GB left and {needed / 1e9:.0f} GB are needed; set TMPDIR")
        scratch.tell(report(Path(folder), sizes, options.smoke), "big.txt", options.smoke)


def report(folder: Path, sizes: list[int], smoke: bool) -> Iterator[str]:
    """The lines of the results."""
    yield f"{scratch.heading()}; one epoch, one network, 10 features"
    project = scratch.project(folder / "ours")
    start_up = dict.fromkeys(STAGES, Taken(0.0, 0.0, 0.0))
    if not smoke:
        start_up = measured(project, 1_000, SETTING)
        yield from section("start-up: 1,000 rows", start_up, None, 0)
    for rows in sizes:
        yield from section(f"{rows:,} rows, batch 16,384", measured(project, rows, SETTING), start_up, rows)
        if rows == BESIDE:
            yield from beside(project, scratch.ordinary(folder / "ordinary"), rows)


def measured(project: Copy, rows: int, setting: dict) -> dict[str, Taken]:
    """Medians of `dvc repro` with nothing cached, by stage; "dvc" for DVC itself, "again" for one that runs nothing."""
    runs = []
    for repeat in range(REPEATS.get(rows, 1)):
        project.clean()
        project.set({"make_data.samples": rows, "seed": 42 + repeat} | setting)
        start = time.perf_counter()
        taken = project.taken("dvc", "repro")
        rest = time.perf_counter() - start - sum(stage.seconds for stage in taken.values())
        start = time.perf_counter()
        project.run("dvc", "repro")
        runs.append(taken | {"dvc": Taken(rest, 0.0, 0.0), "again": Taken(time.perf_counter() - start, 0.0, 0.0)})
    return {name: Taken(*map(median, zip(*(taken[name] for taken in runs)))) for name in runs[0]}


def section(title: str, taken: dict[str, Taken], start_up: dict[str, Taken] | None, rows: int) -> Iterator[str]:
    """The figures of one size as text."""
    yield from ["", title, f"{'':12}{'s':>9}{'CPU s':>9}{'us a row':>10}{'CPU us a row':>14}{'peak MiB':>10}"]
    total = [0.0] * 4
    for stage in STAGES:
        seconds, cpu, peak = taken[stage]
        net = [1e6 * (a - b) / rows for a, b in zip(taken[stage][:2], start_up[stage])] if rows else [0.0, 0.0]
        total = [a + b for a, b in zip(total, (seconds, cpu, *net))]
        yield f"{stage:12}{seconds:9.2f}{cpu:9.2f}{per_row(net, rows)}{peak:10.0f}"
    yield f"{'together':12}{total[0]:9.2f}{total[1]:9.2f}{per_row(total[2:], rows)}".rstrip()
    yield f"{'DVC itself':12}{taken['dvc'].seconds:9.2f}"
    yield f"{'':12}{taken['again'].seconds:9.2f}  for a second dvc repro, which runs nothing"


def per_row(net: list[float], rows: int) -> str:
    """Two columns of microseconds, empty without rows."""
    return f"{net[0]:10.3f}{net[1]:14.3f}" if rows else " " * 24


def beside(project: Copy, ordinary: Copy, rows: int) -> Iterator[str]:
    """The same table the ordinary way, right after this one."""
    batches = {"make_data.samples": rows, "train.epochs": 1, "train.batch_size": 4096, "evaluate.batch_size": 65536}
    taken = measured(project, rows, SETTING | batches)
    ordinary.set(batches)
    theirs = {stage: ordinary.taken("python", f"{stage}.py")[stage] for stage in STAGES}
    yield from ["", f"{rows:,} rows, batch 4,096, beside the ordinary way; ours, theirs"]
    yield f"{'':12}" + "".join(f"{unit:>9}{unit:>9}" for unit in ("s", "CPU s", "peak MiB"))
    for stage in STAGES:
        yield f"{stage:12}" + "".join(
            f"{a:9.{d}f}{b:9.{d}f}" for a, b, d in zip(taken[stage], theirs[stage], (2, 2, 0))
        )
    (a, b), (c, d) = ([sum(side[stage][i] for stage in STAGES) for side in (taken, theirs)] for i in range(2))
    yield f"{'together':12}{a:9.2f}{b:9.2f}{c:9.2f}{d:9.2f}  ratio {a / b:.2f}, of CPU {c / d:.2f}"


if __name__ == "__main__":
    main()
