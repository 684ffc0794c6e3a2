"""The whole pipeline beside the same four stages written the ordinary way (benchmarks/ordinary): time and memory.

Makes scratch copies of both (under TMPDIR), runs each once so that kernel, byte code and file caches are warm, and then
N pairs, in each the other side first:

- a cold `dvc repro`: the files as git has them, no outputs, no cache, no run cache; all four stages run;
- after it one `dvc exp run -S train.learning_rate=...` with a value not seen before; train and evaluate run.

Tells medians, median and range of the paired ratios, and time and peak memory of each stage in `dvc repro`. Where
others use the machine too, trust the CPU seconds. With more than one thread torch's small steps at times take many
times as long (seen on two cores, idle ones too), which flatters us; so all run with one thread. Writes
benchmarks/results/whole.txt.

    python benchmarks/whole.py [--pairs 5]
"""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import scratch
from scratch import STAGES, Copy

os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
REPRO, EXPERIMENT = "dvc repro, cold", "dvc exp run"
WANTED = {REPRO: 0.40, EXPERIMENT: 0.45}  # at most this share of the ordinary pipeline's time


def main() -> None:
    parser = scratch.parser(__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="how often both sides are measured (default %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plumbline-whole-") as folder:
        scratch.tell(report(Path(folder), options.pairs, options.smoke), "whole.txt", options.smoke)


def report(folder: Path, pairs: int, smoke: bool) -> Iterator[str]:
    """The lines of the results; a smoke test has one cold `dvc repro` of one stage a side."""
    sides = {"ours": scratch.project(folder / "ours"), "ordinary": scratch.ordinary(folder / "ordinary")}
    expected = STAGES[:1] if smoke else STAGES
    if not smoke:
        sides["ordinary"].run("dvc", "repro")  # so that dvc.lock and metrics are in git, as they are in this project
        sides["ordinary"].commit()
        measure(sides, 0, expected)
    measured = []
    for pair in range(1, 2 if smoke else pairs + 1):
        measured.append(measure(sides, pair, expected))
        print(f"pair {pair} of {pairs}", file=sys.stderr)

    yield f"{scratch.heading()}; one thread, {pairs} pairs"
    yield f"{'':24}{'ours':>8}{'ordinary':>10}{'ratio':>8}"
    for what in [REPRO] if smoke else WANTED:
        for i, (unit, wanted) in enumerate((("s", f"; at most {WANTED[what]:.2f} wanted"), ("CPU s", ""))):
            ours, ordinary = ([whole[what, side][i] for whole, _ in measured] for side in sides)
            ratios = [a / b for a, b in zip(ours, ordinary)]
            spread = f"({min(ratios):.2f} to {max(ratios):.2f}{wanted})"
            yield f"{f'{what}, {unit}':24}{median(ours):8.2f}{median(ordinary):10.2f}{median(ratios):8.2f} {spread}"
    for field, unit, digits in (("seconds", "s", 2), ("peak", "MiB", 0)):
        for stage in expected:
            ours, ordinary = (median(getattr(stages[side][stage], field) for _, stages in measured) for side in sides)
            yield f"{f'{stage}, {unit}':24}{ours:8.{digits}f}{ordinary:10.{digits}f}{ours / ordinary:8.2f}"


def measure(sides: dict[str, Copy], pair: int, expected: tuple[str, ...]) -> tuple[dict, dict]:
    """One pair, the two sides right after each other: by (what, side) what it took, and what each side's stages did."""
    order = list(sides) if pair % 2 else list(sides)[::-1]
    whole, stages = {}, {}
    for side in order:
        sides[side].clean()
        if (sides[side].folder / ".dvc/cache").exists():
            sys.exit(f"{side}: .dvc/cache is still there, so nothing here would be cold")
    for side in order:
        whole[REPRO, side], stages[side] = timed(sides[side], expected, "dvc", "repro", expected[-1])
    if expected == STAGES:
        setting = f"train.learning_rate={0.01 + (pair + 1) / 10_000:.4f}"
        for side in order:
            whole[EXPERIMENT, side], _ = timed(sides[side], STAGES[2:], "dvc", "exp", "run", "-S", setting)
    return whole, stages


def timed(copy: Copy, expected: tuple[str, ...], *command: str) -> tuple[tuple[float, float], dict]:
    """Seconds and CPU seconds of a DVC command, and what its stages took; ends unless just the expected ones ran."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    taken = copy.taken(*command)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if tuple(taken) != expected:
        sys.exit(f"{' '.join(command)} ({copy.folder.name}) ran {', '.join(taken)}, not {', '.join(expected)}")
    return (seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime), taken


if __name__ == "__main__":
    main()
