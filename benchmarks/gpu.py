"""Rows a second on a GPU (train.device: cuda) beside the compiled kernel on the same machine's processors.

A row is counted once for every network that it trains. The orders of rows are made beforehand; copying them to the
device is part of an epoch, as is reading its losses. The first epoch, which records the step that the others replay,
has a column of its own. Says in one line where there is no GPU, else writes benchmarks/results/gpu.txt.

    python benchmarks/gpu.py [--repetitions 5]
"""

import statistics
import time
from collections.abc import Iterator

import numpy as np
import scratch
import torch

from plumbline.basics.errors import UserError, run
from plumbline.bits import initial, kernel, stream
from plumbline.model import network
from plumbline.training import autograd

# rows, features, hidden units, outputs, batch size
JOBS = [(800, 10, 32, 1, 32), (100_000, 10, 32, 1, 1024), (1_000_000, 10, 32, 1, 4096), (20_000, 750, 128, 10, 64)]
NETWORKS = (1, 16, 128)


def main() -> None:
    parser = scratch.parser(__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    device = "cuda"
    try:
        autograd.check_device(device)
    except UserError as error:
        print(f"no GPU, nothing measured: {error}")
        if not options.smoke:
            return
        device = "cpu"
    scratch.tell(report(device, options.repetitions, options.smoke), "gpu.txt", options.smoke)


def report(device: str, repetitions: int, smoke: bool) -> Iterator[str]:
    """The lines of the results."""
    name = torch.cuda.get_device_name() if device == "cuda" else "a CPU"
    yield f"{scratch.heading()}, PyTorch {torch.__version__}, {name}"
    yield "1000 rows a second; rows counted once for every network"
    yield f"{'rows features hidden outputs batch':<34} networks {'kernel':>10} {'GPU':>10}  GPU's first epoch, s"
    for job in [(64, *job[1:]) for job in JOBS[::3]] if smoke else JOBS:
        for networks in (1, 2) if smoke else NETWORKS:
            yield measure(job, networks, 1 if smoke else repetitions, device)


def measure(job: tuple[int, ...], networks: int, repetitions: int, device: str) -> str:
    """The table's line for one job and number of networks: medians over epochs."""
    n, d, h, k, batch = job
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d), np.float32)
    y = (x[:, :5].sum(axis=1) * 1.5).round().astype(np.int32) % max(k, 2)
    weights = initial.weights([stream.seeded(r) for r in range(networks)], d, h, k)
    orders = np.stack([rng.permutation(n).astype(np.int32) for _ in range(networks)])
    shipped = network.read(scratch.ROOT / "stages/network.py")
    processors = kernel.Trainer(weights, batch, 0.01)
    gpu = autograd.Trainer(shipped, (d, h, k), weights, batch, 0.01, device=device)
    (_, *of_kernel), (first, *of_gpu) = (epochs(each, x, y, orders, repetitions) for each in (processors, gpu))
    found = [statistics.median(networks * n / taken / 1e3 for taken in each) for each in (of_kernel, of_gpu)]
    return f"{' '.join(map(str, job)):<34} {networks:>8} {found[0]:10.0f} {found[1]:10.0f} {first:21.3f}"


def epochs(trainer, x: np.ndarray, y: np.ndarray, orders: np.ndarray, repetitions: int) -> list[float]:
    """Seconds of each epoch; the first, which warms up, comes before the repetitions."""
    seconds = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        trainer.train(x, y, orders, np.zeros((len(orders), 2)))  # it ends with its sums on the host
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    run(main)
