"""The training loop beside its peers, in one run: what one network costs, of the same sizes, rows, batches and Adam.

The peers: autograd on tensors, scikit-learn, the notebook's DataLoader loop, skorch and Lightning, and benchmarks/
training.c, which is the limit. Sides take turns within a repetition, forwards and backwards, so that a noisy machine
slows all of them; a ratio is of one repetition, and the table shows the median and range of all. A side that computes
with PyTorch or BLAS has two tries in each, with one thread and with two, and the faster one counts: two suit large
batches, and on small ones, or beside another program, they at times take twenty times as long. The times include
shuffling, and of a peer what its `fit` does around the loop; not importing, compiling and making the table.

skorch and Lightning are installed into .venv-bench, which sees the project's packages (no second PyTorch) and which
nothing else uses. Without a network they are left out, without a C compiler (`cc`) the C loop is; the results say so.

Prints the table and writes it to benchmarks/results/training.txt, and a plot of it beside it.

    python benchmarks/training.py [--repetitions 7]
    python benchmarks/training.py --plot        # draw benchmarks/results/training.txt again, measure nothing
"""

import argparse
import ctypes
import importlib.metadata
import logging
import os
import platform
import re
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as stages.compiled does; after PyTorch it would come too late
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script outside the package, run from anywhere

from stages import kernel, model, network, stream  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PEERS = ("skorch==1.4.0", "lightning==2.6.6")
ENVIRONMENT = ROOT / ".venv-bench"
RATE = 0.01
SLOW_ROWS = 100_000  # the first of the table, all that a side takes which needs seconds for a million
ONE, TWO, MANY = "kernel, 1 thread", "kernel, 2 threads", "kernel, 32 networks at once"

Side = Callable[[], float]  # trains and returns the seconds a row and network


class Job(NamedTuple):
    """What every side trains; all of them take part in a job with `slow`."""

    rows: int
    features: int
    hidden: int
    outputs: int
    batch: int
    epochs: int
    slow: bool

    @property
    def name(self) -> str:
        """Its numbers, as they stand in the table."""
        return " ".join(map(str, self[:5]))


JOBS = (
    Job(800, 10, 32, 1, 32, epochs=40, slow=True),
    Job(100_000, 10, 32, 1, 1024, epochs=2, slow=True),
    Job(1_000_000, 10, 32, 1, 4096, epochs=1, slow=True),
    Job(100_000, 50, 256, 1, 1024, epochs=1, slow=False),
    Job(20_000, 750, 128, 10, 64, epochs=1, slow=False),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--plot", action="store_true", help="only draw the results that are there")
    arguments = parser.parse_args()
    if not arguments.plot:
        lines = []
        for line in report(arguments.repetitions):
            print(line, flush=True)
            lines.append(line)
        (RESULTS / "training.txt").write_text("\n".join(lines) + "\n")
    draw(measured((RESULTS / "training.txt").read_text()), RESULTS / "training.svg")


def report(repetitions: int):
    """The lines of the results."""
    left_out = install_peers()
    with tempfile.TemporaryDirectory(prefix="plumbline-c-") as folder:
        compiled = compile_c(Path(folder))
        yield f"{repetitions} turns; {about_here()}"
        if left_out:
            yield f"skorch and Lightning are left out: {left_out}"
        if not compiled:
            yield "hand-written C is left out: there is no C compiler `cc`"
        yield "what computes with PyTorch or BLAS: the faster of one thread and two, turn by turn"
        yield f"the notebook's loop, skorch and Lightning: at most the first {SLOW_ROWS:,} rows of a table"
        yield f"{'':<76}the kernel is so many times as fast"
        head = f"{'rows features hidden outputs batch':<36}{'side':<28}{'1000 rows/s':>11}"
        yield f"{head} {'with 1 thread':<26}with 2 threads"
        for job in JOBS:
            yield from measure(job, compiled, not left_out, repetitions)


def measure(job: Job, compiled: Path | None, with_peers: bool, repetitions: int) -> list[str]:
    """A line for each side."""
    sides = sides_of(job, compiled, with_peers)
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


def sides_of(job: Job, compiled: Path | None, with_peers: bool) -> dict[str, Side]:
    """What takes part in a job."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((job.rows, job.features), np.float32)
    y = (x[:, :5].sum(axis=1) * 1.5).round().astype(np.int32) % max(job.outputs, 2)
    few = x[:SLOW_ROWS], y[:SLOW_ROWS]
    threads = min(2, numba.config.NUMBA_NUM_THREADS)
    sides = {ONE: kernel_side(job, x, y, 1, 1)}
    if threads == 2:
        sides[TWO] = kernel_side(job, x, y, 2, 1)
    if job.rows == 800:
        sides[MANY] = kernel_side(job, x, y, threads, 32)
    if compiled and job.slow:
        sides["hand-written C, 1 thread"] = c_side(job, x, y, compiled)
    peers = {"train.engine: torch": torch_side(job, x, y), "autograd on tensors": autograd_side(job, x, y)}
    peers["scikit-learn"] = sklearn_side(job, x, y)
    if job.slow:
        peers["the notebook's loop"] = notebook_side(job, *few)
    if job.slow and with_peers:
        peers |= {"skorch": skorch_side(job, *few), "Lightning": lightning_side(job, *few)}
    return sides | {name: faster_of(side, range(1, threads + 1)) for name, side in peers.items()}


def faster_of(side: Side, threads: range) -> Side:
    """A side whose faster run counts of those with so many threads of PyTorch and BLAS."""

    def run():
        seconds = []
        for count in threads:
            torch.set_num_threads(count)
            with threadpool_limits(count):
                seconds.append(side())
        return min(seconds)

    return run


# ---- this project


def kernel_side(job: Job, x, y, threads: int, networks: int) -> Side:
    """train.engine: compiled."""

    def run():
        numba.set_num_threads(threads)
        trainer = kernel.Trainer(x, y, weights_for(job, networks), job.batch, RATE)
        start = time.perf_counter()
        for epoch in range(job.epochs):
            seeds = np.arange(epoch * networks, (epoch + 1) * networks)
            trainer.epoch(stream.permutations(seeds, len(x)))
        return (time.perf_counter() - start) / job.epochs / len(x) / networks

    return run


def torch_side(job: Job, x, y) -> Side:
    """train.engine: torch, on a CPU."""

    def run():
        trainer = network.Trainer(x, y, weights_for(job, 1), job.batch, RATE)
        start = time.perf_counter()
        for epoch in range(job.epochs):
            trainer.epoch(stream.permutations(np.array([epoch]), len(x)))
        return (time.perf_counter() - start) / job.epochs / len(x)

    return run


def weights_for(job: Job, networks: int) -> dict[str, np.ndarray]:
    """Initial weights of some networks."""
    generators = [stream.seeded(r) for r in range(networks)]
    return model.initial_weights(generators, job.features, job.hidden, job.outputs)


# ---- the limit


def compile_c(folder: Path) -> Path | None:
    """benchmarks/training.c for the sizes of the slow jobs; None without a compiler."""
    (sizes,) = {(job.features, job.hidden) for job in JOBS if job.slow}
    compiled, library = folder / "training.o", folder / "training.so"
    defined = [f"-D{name}={size}" for name, size in zip(("FEATURES", "HIDDEN"), sizes)]
    source = ROOT / "benchmarks" / "training.c"
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


def c_side(job: Job, x, y, library: Path) -> Side:
    """benchmarks/training.c; its shuffle is its own."""
    epoch, target = c_epoch(library), y.astype(np.float32)

    def run():
        weights = kernel.pack(weights_for(job, 1))[0]
        state = weights, np.zeros_like(weights), np.zeros_like(weights), np.ones(2)
        order = np.arange(len(x), dtype=np.int32)
        start = time.perf_counter()
        for number in range(job.epochs):
            epoch(x, target, order, len(x), job.batch, RATE, number + 1, *state)
        return (time.perf_counter() - start) / job.epochs / len(x)

    return run


# ---- the peers


def autograd_side(job: Job, x, y) -> Side:
    """Plain PyTorch without a DataLoader, and without a look at losses and answers."""
    x, y, loss_fn = torch.from_numpy(x), *targets_and_loss(job, y)

    def run():
        module = module_for(job)
        optimizer = torch.optim.Adam(module.parameters(), lr=RATE)
        start = time.perf_counter()
        for _ in range(job.epochs):
            for rows in torch.randperm(len(x)).split(job.batch):
                loss = loss_fn(module(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return (time.perf_counter() - start) / job.epochs / len(x)

    return run


def sklearn_side(job: Job, x, y) -> Side:
    """scikit-learn's MLPClassifier."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # so few epochs are what is asked for
    options = {"batch_size": job.batch, "learning_rate_init": RATE, "alpha": 0.0, "max_iter": job.epochs}
    options |= {"tol": 0.0, "n_iter_no_change": job.epochs + 1}  # so that it stops after these epochs and not before

    def run():
        classifier = MLPClassifier((job.hidden,), **options)
        start = time.perf_counter()
        classifier.fit(x, y)
        return (time.perf_counter() - start) / job.epochs / len(x)

    return run


def notebook_side(job: Job, x, y) -> Side:
    """The notebook's loop over a shuffled DataLoader."""
    y, loss_fn = targets_and_loss(job, y)
    data = TensorDataset(torch.from_numpy(x), y)

    def run():
        module = module_for(job)
        optimizer = torch.optim.Adam(module.parameters(), lr=RATE)
        loader = DataLoader(data, batch_size=job.batch, shuffle=True)
        start = time.perf_counter()
        for _ in range(job.epochs):
            total_loss = total_correct = 0.0
            for xb, yb in loader:
                logits = module(xb)
                loss = loss_fn(logits, yb)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total_loss += loss.item() * len(xb)
                total_correct += ((torch.sigmoid(logits) >= 0.5).float() == yb).float().sum().item()
        return (time.perf_counter() - start) / job.epochs / len(x)

    return run


def skorch_side(job: Job, x, y) -> Side:
    """skorch, without a validation part and silent."""
    from skorch import NeuralNetBinaryClassifier

    target = y.astype(np.float32)
    sizes = {"module__features": job.features, "module__hidden_size": job.hidden, "module__outputs": job.outputs}
    options = {"max_epochs": job.epochs, "batch_size": job.batch, "lr": RATE, "iterator_train__shuffle": True}

    def run():
        classifier = NeuralNetBinaryClassifier(
            network.TwoLayerNet, **sizes, **options, optimizer=torch.optim.Adam, train_split=None, verbose=0
        )
        start = time.perf_counter()
        classifier.fit(x, target)
        return (time.perf_counter() - start) / job.epochs / len(x)

    return run


def lightning_side(job: Job, x, y) -> Side:
    """Lightning without logger, checkpoints, progress bar and summary: what it calls barebones."""
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # what barebones leaves out, what one could buy
    warnings.filterwarnings("ignore", module="lightning")  # advice on workers
    y, loss_fn = targets_and_loss(job, y)
    data = TensorDataset(torch.from_numpy(x), y)

    class Lit(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.module = module_for(job)

        def training_step(self, batch, index):
            xb, yb = batch
            return loss_fn(self.module(xb), yb)

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=RATE)

    def run():
        trainer = lightning.Trainer(max_epochs=job.epochs, accelerator="cpu", barebones=True)
        loader = DataLoader(data, batch_size=job.batch, shuffle=True)
        start = time.perf_counter()
        trainer.fit(Lit(), loader)
        return (time.perf_counter() - start) / job.epochs / len(x)

    return run


def module_for(job: Job) -> nn.Module:
    """The network with weights of its own."""
    return network.TwoLayerNet(job.features, job.hidden, job.outputs)


def targets_and_loss(job: Job, y: np.ndarray) -> tuple[torch.Tensor, nn.Module]:
    """Targets as the loss takes them, and the loss."""
    if job.outputs == 1:
        return torch.from_numpy(y).float().unsqueeze(1), nn.BCEWithLogitsLoss()
    return torch.from_numpy(y).long(), nn.CrossEntropyLoss()


def install_peers() -> str | None:
    """Make skorch and Lightning importable, installing them at the first time; says why where that cannot be done."""
    packages, done = Path(sysconfig.get_path("purelib", "venv", {"base": str(ENVIRONMENT)})), ENVIRONMENT / "installed"
    if not done.exists() or done.read_text() != " ".join(PEERS):
        print(f"installing {' and '.join(PEERS)} into {ENVIRONMENT.name}", file=sys.stderr)
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
        # The project's packages, its PyTorch among them, count as installed there, and stay as they are pinned.
        (packages / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
        pip = [ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        installed = subprocess.run([*pip, "-c", ROOT / "requirements.txt", *PEERS], capture_output=True, text=True)
        if installed.returncode:
            return (installed.stderr.strip().splitlines() or ["pip failed"])[-1]
        done.write_text(" ".join(PEERS))
    sys.path.append(str(packages))
    return None


def about_here() -> str:
    """The machine and what is measured, for the head of the results."""
    names = ("numpy", "numba", "torch", "scikit-learn", "skorch", "lightning")
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{machine}, {', '.join(versions)}; commit {head.stdout.strip() or 'unknown'}"


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
        panel.set_title(
            f"{int(rows):,} rows, batch {batch}, network {features}-{hidden}-{outputs}", loc="left", fontsize=9
        )
        panel.invert_yaxis()
        panel.set_xscale("log")
        panel.set_xlim(1, 3 * max(max(sides.values()) for sides in jobs.values()))
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(left=False)
    panels[-1].set_xlabel("thousand rows a second, of all networks together; longer is faster (logarithmic)")
    figure.savefig(path, metadata={"Date": None})


def colour(side: str) -> str:
    """This project blue, the limit grey, the peers orange."""
    if side.startswith(("kernel", "train.engine")):
        return "#1f78b4"
    return "#969696" if side.startswith("hand-written") else "#fdae6b"


if __name__ == "__main__":
    main()
