"""Rows a second of the batched trainer on a GPU (train.device: cuda), for 1 and for 1,024 networks at once.

A row is counted once for every network that it trains. The orders of rows are made beforehand; copying them to the
device is part of an epoch, as is reading its losses. The first epoch, in which the steps are captured, has a column of
its own. Prints one line where there is no GPU, else the table, and writes it to benchmarks/results/gpu.txt.

    python benchmarks/gpu.py [--repetitions 5]
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # a script outside the package, run from anywhere

from stages import batched, model, stream  # noqa: E402
from stages.errors import UserError, run  # noqa: E402

# rows, features, hidden units, outputs, batch size
JOBS = [(800, 10, 32, 1, 32), (100_000, 10, 32, 1, 1024), (1_000_000, 10, 32, 1, 4096), (20_000, 750, 128, 10, 64)]
NETWORKS = (1, 1024)
MOST_ROWS = 2**27  # row numbers of an epoch of all networks on the device; the million rows train 134 networks at once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5)
    repetitions = parser.parse_args().repetitions
    try:
        batched.check_device("cuda")
    except UserError as error:
        print(f"no GPU, nothing measured: {error}")
        return
    device = f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}"
    head = f"{'rows features hidden outputs batch':<34} {'networks':>8} {'1000 rows/s':>12}  first epoch, s"
    lines = [device, head]
    print("\n".join(lines), flush=True)
    for job in JOBS:
        for networks in NETWORKS:
            lines.append(measure(job, min(networks, MOST_ROWS // job[0]), repetitions))
            print(lines[-1], flush=True)
    (ROOT / "benchmarks" / "results" / "gpu.txt").write_text("\n".join(lines) + "\n")


def measure(job: tuple[int, ...], networks: int, repetitions: int) -> str:
    """The table's line for one job and number of networks: median and range over epochs."""
    n, d, h, k, batch = job
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d), np.float32)
    y = (x[:, :5].sum(axis=1) * 1.5).round().astype(np.int32) % max(k, 2)
    weights = model.initial_weights([stream.seeded(r) for r in range(networks)], d, h, k)
    orders = np.stack([rng.permutation(n).astype(np.int32) for _ in range(networks)])
    trainer = batched.Trainer(x, y, weights, batch, 0.01, device="cuda")
    seconds = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        trainer.epoch(orders)  # it ends with its sums on the host, so nothing is left running
        seconds.append(time.perf_counter() - start)
    first, *rest = seconds
    thousands = [networks * n / taken / 1e3 for taken in rest]
    speed = f"{statistics.median(thousands):12.0f} ({min(thousands):.0f} to {max(thousands):.0f})"
    return f"{' '.join(map(str, job)):<34} {networks:>8} {speed}  {first:.3f}"


if __name__ == "__main__":
    run(main)
