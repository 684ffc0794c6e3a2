"""Rows a second of the autograd engine on a GPU (train.device: cuda), for 1 and for 1,024 networks at once.

A row is counted once for every network that it trains. The orders of rows are made beforehand; copying them to the
device is part of an epoch, as is reading its losses. The first epoch, which warms up, has a column of its own. Says in
one line where there is no GPU, else writes benchmarks/results/gpu.txt.

    python benchmarks/gpu.py [--repetitions 5]
"""

import statistics
import time
from collections.abc import Iterator

import numpy as np
import scratch
import torch

from plumbline.basics.errors import UserError, run
from plumbline.bits import initial, stream
from plumbline.model import network
from plumbline.training import autograd

# rows, features, hidden units, outputs, batch size
JOBS = [(800, 10, 32, 1, 32), (100_000, 10, 32, 1, 1024), (1_000_000, 10, 32, 1, 4096), (20_000, 750, 128, 10, 64)]
NETWORKS = (1, 1024)
MOST_ROWS = 2**27  # row numbers of an epoch of all networks on the device; the million rows train 134 networks at once


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
    yield f"{'rows features hidden outputs batch':<34} {'networks':>8} {'1000 rows/s':>12}  first epoch, s"
    for job in [(64, *job[1:]) for job in JOBS[::3]] if smoke else JOBS:
        for networks in (1, 2) if smoke else NETWORKS:
            yield measure(job, min(networks, MOST_ROWS // job[0]), 1 if smoke else repetitions, device)


def measure(job: tuple[int, ...], networks: int, repetitions: int, device: str) -> str:
    """The table's line for one job and number of networks: median and range over epochs."""
    n, d, h, k, batch = job
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d), np.float32)
    y = (x[:, :5].sum(axis=1) * 1.5).round().astype(np.int32) % max(k, 2)
    weights = initial.weights([stream.seeded(r) for r in range(networks)], d, h, k)
    orders = np.stack([rng.permutation(n).astype(np.int32) for _ in range(networks)])
    shipped = network.read(scratch.ROOT / "stages/network.py")
    trainer = autograd.Trainer(shipped, (d, h, k), weights, batch, 0.01, device=device)
    seconds = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        trainer.train(x, y, orders, np.zeros((networks, 2)))  # it ends with its sums on the host: nothing still runs
        seconds.append(time.perf_counter() - start)
    first, *rest = seconds
    thousands = [networks * n / taken / 1e3 for taken in rest]
    speed = f"{statistics.median(thousands):12.0f} ({min(thousands):.0f} to {max(thousands):.0f})"
    return f"{' '.join(map(str, job)):<34} {networks:>8} {speed}  {first:.3f}"


if __name__ == "__main__":
    run(main)
