"""The training loop beside its peers, in one run: what one network costs, of the same sizes, rows, batches and Adam.

The peers: the first version's kernel, autograd on tensors, scikit-learn, the notebook's DataLoader loop, skorch and
Lightning (benchmarks/peers.py), and benchmarks/training.c, which is the limit. Sides take turns within a repetition,
forwards and backwards, so that a noisy machine slows all of them; a ratio is of one repetition, and the table shows the
median and range of all. A side that computes with PyTorch or BLAS has two tries in each, with one thread and with two,
and the faster one counts: two suit large batches, and on small ones, or beside another program, they at times take
twenty times as long. The times include shuffling, and of a peer what its `fit` does around the loop; not importing,
compiling and making the table.

Without a network skorch and Lightning are left out, without a C compiler (`cc`) the C loop, without the commit in git
the first version; the results say so.

Writes benchmarks/results/training.txt, and a plot of it beside it.

    python benchmarks/training.py [--repetitions 7]
    python benchmarks/training.py --plot        # draw benchmarks/results/training.txt again, measure nothing
"""

import ctypes
import importlib
import importlib.metadata
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numba
import numpy as np

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as plumbline.bits.compiling does; after PyTorch it comes too late
import peers
import scratch
import torch
from peers import NETWORK, RATE, Job, Prepare
from threadpoolctl import threadpool_limits

from plumbline.bits import initial, kernel, layers, stream
from plumbline.training import autograd

SLOW_ROWS = 100_000  # the first of the table, all that a side takes which needs seconds for a million
ONE, TWO, MANY = "kernel, 1 thread", "kernel, 2 threads", "kernel, 32 networks at once"
VERSIONS = ("numpy", "numba", "torch", "scikit-learn", "skorch", "lightning")
JOBS = (
    Job(800, 10, 32, 1, 32, epochs=40, slow=True),
    Job(100_000, 10, 32, 1, 1024, epochs=2, slow=True),
    Job(1_000_000, 10, 32, 1, 4096, epochs=1, slow=True),
    Job(100_000, 50, 256, 1, 1024, epochs=1, slow=False),
    Job(20_000, 750, 128, 10, 64, epochs=1, slow=False),
)

Side = Callable[[], float]  # trains and returns the seconds a row and network


def main() -> None:
    parser = scratch.parser(__doc__)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--plot", action="store_true", help="only draw the results that are there")
    options = parser.parse_args()
    results = scratch.HERE / "results"
    if not options.plot:
        jobs = [job._replace(rows=64, epochs=1) for job in (JOBS[0], JOBS[-1])] if options.smoke else JOBS
        with tempfile.TemporaryDirectory(prefix="plumbline-training-") as folder:
            lines = report(Path(folder), jobs, 1 if options.smoke else options.repetitions, options.smoke)
            scratch.tell(lines, "training.txt", options.smoke)
    if not options.smoke:
        draw(measured((results / "training.txt").read_text()), results / "training.svg")


def report(folder: Path, jobs: tuple[Job, ...], repetitions: int, smoke: bool) -> Iterator[str]:
    """The lines of the results."""
    left_out, compiled = "a smoke test installs nothing" if smoke else peers.install(), compile_c(folder)
    first = None if smoke else first_kernel(folder / "first")
    with_versions = [f"{name} {importlib.metadata.version(name)}" for name in VERSIONS[: 4 if left_out else 6]]
    yield f"{repetitions} turns; {scratch.heading()}, {', '.join(with_versions)}"
    if left_out:
        yield f"skorch and Lightning are left out: {left_out}"
    if not compiled:
        yield "hand-written C is left out: there is no C compiler `cc`"
    if not first:
        yield "the first version's kernel is left out"
    yield "what computes with PyTorch or BLAS: the faster of one thread and two, turn by turn"
    yield f"the notebook's loop, skorch and Lightning: at most the first {SLOW_ROWS:,} rows of a table"
    yield f"{'':<76}the kernel is so many times as fast"
    head = f"{'rows features hidden outputs batch':<36}{'side':<28}{'1000 rows/s':>11}"
    yield f"{head} {'with 1 thread':<26}with 2 threads"
    for job in jobs:
        yield from measure(job, sides_of(job, compiled, first, not left_out), repetitions)


def measure(job: Job, sides: dict[str, Side], repetitions: int) -> list[str]:
    """A line for each side."""
    times = {name: [] for name in sides}
    for repetition in range(repetitions + 1):
        for name in list(sides)[:: 1 if repetition % 2 else -1]:
            seconds = sides[name]()
            if repetition:  # the first one compiles and warms up
                times[name].append(seconds)
    return [
        f"{job.name:<36}{name:<28}{1e-3 / statistics.median(seconds):>11.0f} "
        f"{ratio(seconds, times[ONE]):<26}{ratio(seconds, times.get(TWO))}".rstrip()
        for name, seconds in times.items()
    ]


def ratio(theirs: list[float], ours: list[float] | None) -> str:
    """Median and range of the paired ratios."""
    if not ours:
        return "-"
    ratios = [a / b for a, b in zip(theirs, ours)]
    return f"{statistics.median(ratios):6.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def sides_of(job: Job, compiled: Path | None, first, with_peers: bool) -> dict[str, Side]:
    """What takes part in a job."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((job.rows, job.features), np.float32)
    y = (x[:, :5].sum(axis=1) * 1.5).round().astype(np.int32) % max(job.outputs, 2)
    few = x[:SLOW_ROWS], y[:SLOW_ROWS]
    threads = min(2, numba.config.NUMBA_NUM_THREADS)

    sides = {ONE: timed(job, job.rows, ours(job, x, y, 1, 1))}
    if threads == 2:
        sides[TWO] = timed(job, job.rows, ours(job, x, y, 2, 1))
    if job.rows == JOBS[0].rows:
        sides[MANY] = timed(job, 32 * job.rows, ours(job, x, y, threads, 32))
    if first:
        for count in range(1, threads + 1):
            side = timed(job, job.rows, first_version(job, x, y, count, first))
            sides[f"first version, {count} thread{'s' * (count > 1)}"] = side
    if compiled and job.slow:
        sides["hand-written C, 1 thread"] = timed(job, job.rows, hand_written(job, x, y, compiled))
    prepared = {"train.engine: torch": engine_torch(job, x, y), "autograd on tensors": peers.autograd(job, x, y)}
    prepared["scikit-learn"] = peers.scikit_learn(job, x, y)
    slow = {"the notebook's loop": peers.notebook} if job.slow else {}
    if job.slow and with_peers:
        slow |= {"skorch": peers.skorch, "Lightning": peers.lightning}
    for name, prepare in prepared.items():
        sides[name] = faster_of(timed(job, job.rows, prepare), threads)
    for name, peer in slow.items():
        sides[name] = faster_of(timed(job, len(few[0]), peer(job, *few)), threads)
    return sides


def timed(job: Job, rows: int, prepare: Prepare) -> Side:
    """A side that passes so many rows an epoch, of all its networks together."""

    def side() -> float:
        train = prepare()
        start = time.perf_counter()
        train()
        return (time.perf_counter() - start) / job.epochs / rows

    return side


def faster_of(side: Side, threads: int) -> Side:
    """A side whose faster run counts of those with so many threads of PyTorch and BLAS, from one on."""

    def run() -> float:
        seconds = []
        for count in range(1, threads + 1):
            torch.set_num_threads(count)
            with threadpool_limits(count):
                seconds.append(side())
        return min(seconds)

    return run


# ---- this project


def ours(job: Job, x, y, threads: int, networks: int) -> Prepare:
    """train.engine: compiled."""

    def prepare():
        numba.set_num_threads(threads)
        trainer = kernel.Trainer(weights_for(job, networks), job.batch, RATE)
        return lambda: epochs(job, networks, x, y, trainer)

    return prepare


def engine_torch(job: Job, x, y) -> Prepare:
    """train.engine: torch, on a CPU."""

    def prepare():
        sizes = job.features, job.hidden, job.outputs
        trainer = autograd.Trainer(NETWORK, sizes, weights_for(job, 1), job.batch, RATE)
        return lambda: epochs(job, 1, x, y, trainer)

    return prepare


def epochs(job: Job, networks: int, x, y, trainer) -> None:
    """Train as plumbline.training.loop does."""
    for epoch in range(job.epochs):
        seeds = np.arange(epoch * networks, (epoch + 1) * networks)
        trainer.train(x, y, stream.permutations(seeds, len(x)), np.zeros((networks, 2)))


def weights_for(job: Job, networks: int) -> dict[str, np.ndarray]:
    """Initial weights of some networks."""
    generators = [stream.seeded(r) for r in range(networks)]
    return initial.weights(generators, job.features, job.hidden, job.outputs)


# ---- the first version


def first_kernel(folder: Path):
    """The first version's kernel, whose package is named stages; None without its commit."""
    if not scratch.first_version_code(folder):
        return None
    sys.path.insert(0, str(folder))
    return importlib.import_module("stages.kernel")


def first_version(job: Job, x, y, threads: int, first) -> Prepare:
    """The first version's kernel."""

    def prepare():
        numba.set_num_threads(threads)
        trainer = first.Trainer(x, y, weights_for(job, 1), job.batch, RATE)

        def train():
            for epoch in range(job.epochs):
                trainer.epoch(stream.permutations(np.array([epoch]), len(x)))

        return train

    return prepare


# ---- the limit


def compile_c(folder: Path) -> Path | None:
    """benchmarks/training.c for the sizes of the slow jobs; None without a compiler."""
    (sizes,) = {(job.features, job.hidden) for job in JOBS if job.slow}
    compiled, library = folder / "training.o", folder / "training.so"
    defined = [f"-D{name}={size}" for name, size in zip(("FEATURES", "HIDDEN"), sizes)]
    source = scratch.HERE / "training.c"
    try:
        command = ["cc", "-O3", "-ffast-math", "-march=native", "-fPIC", *defined, "-c", source, "-o", compiled]
        subprocess.run(command, check=True)
    except FileNotFoundError:
        return None
    # Linked without -ffast-math, for a library linked with it makes the whole process flush denormals.
    subprocess.run(["cc", "-shared", compiled, "-o", library, "-lm"], check=True)
    return library


def c_epoch(library: Path):
    """`epoch` of benchmarks/training.c."""
    epoch = ctypes.CDLL(str(library)).epoch
    floats, integers = np.ctypeslib.ndpointer(np.float32), np.ctypeslib.ndpointer(np.int32)
    epoch.restype = ctypes.c_double
    epoch.argtypes = [floats, floats, integers, ctypes.c_int64, ctypes.c_int64, ctypes.c_double, ctypes.c_uint64]
    epoch.argtypes += [floats, floats, floats, np.ctypeslib.ndpointer(np.float64)]
    return epoch


def hand_written(job: Job, x, y, library: Path) -> Prepare:
    """benchmarks/training.c; its shuffle is its own."""
    epoch, target = c_epoch(library), y.astype(np.float32)

    def prepare():
        weights = layers.pack(weights_for(job, 1))[0]
        state = weights, np.zeros_like(weights), np.zeros_like(weights), np.ones(2)
        order = np.arange(len(x), dtype=np.int32)

        def train():
            for number in range(job.epochs):
                epoch(x, target, order, len(x), job.batch, RATE, number + 1, *state)

        return train

    return prepare


# ---- the plot


def measured(text: str) -> dict[str, dict[str, float]]:
    """{job: {side: thousand rows a second}} of the results."""
    found = re.findall(r"^(\d+(?: \d+){4})  +(.+?)  +(\d+) ", text, flags=re.MULTILINE)
    jobs = {}
    for job, side, speed in found:
        jobs.setdefault(job, {})[side] = float(speed)
    return jobs


def draw(jobs: dict[str, dict[str, float]], path: Path) -> None:
    """Bars on a logarithmic scale, a panel a job."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams |= {"svg.hashsalt": "plumbline", "font.size": 9}
    heights = [len(sides) + 1.5 for sides in jobs.values()]
    figure = Figure(figsize=(8, 0.2 * sum(heights) + 0.5), layout="constrained")
    panels = figure.subplots(len(jobs), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for panel, (job, sides) in zip(panels, jobs.items()):
        rows, features, hidden, outputs, batch = job.split()
        bars = panel.barh(list(sides), list(sides.values()), color=[colour(side) for side in sides], height=0.75)
        panel.bar_label(bars, [f"{speed:,.0f}" for speed in sides.values()], padding=3, fontsize=8)
        title = f"{int(rows):,} rows, batch {batch}, network {features}-{hidden}-{outputs}"
        panel.set_title(title, loc="left", fontsize=9)
        panel.invert_yaxis()
        panel.set_xscale("log")
        panel.set_xlim(1, 3 * max(max(sides.values()) for sides in jobs.values()))
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(left=False)
    panels[-1].set_xlabel("thousand rows a second, of all networks together; longer is faster (logarithmic)")
    figure.savefig(path, metadata={"Date": None})


def colour(side: str) -> str:
    """This project blue, its first version pale, the limit grey, the peers orange."""
    colours = {"kernel": "#1f78b4", "train.engine": "#1f78b4", "first": "#a6cee3", "hand-written": "#969696"}
    return next((colour for start, colour in colours.items() if side.startswith(start)), "#fdae6b")


if __name__ == "__main__":
    main()
