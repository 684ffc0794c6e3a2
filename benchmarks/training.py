"""The training loop beside its peers, in one run: the notebook's DataLoader loop, scikit-learn, autograd on tensors.

Sides take turns within a repetition, so that a noisy machine slows all of them; a ratio is of one repetition, and the
table shows their median and range. Prints the table and writes it to benchmarks/results/training.txt.

    python benchmarks/training.py [--repetitions 5]
"""

import argparse
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # a script outside the package, run from anywhere

from stages import kernel, model, network, stream  # noqa: E402

# rows, features, hidden units, outputs, batch size, epochs a measurement, and whether the notebook's loop takes part
JOBS = [
    (800, 10, 32, 1, 32, 20, True),
    (100_000, 10, 32, 1, 1024, 2, True),
    (1_000_000, 10, 32, 1, 4096, 1, True),
    (100_000, 50, 256, 1, 1024, 1, False),
    (20_000, 750, 128, 10, 64, 1, False),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5)
    repetitions = parser.parse_args().repetitions
    warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch at a time is what is asked for
    lines = [f"{'rows features hidden outputs batch':<34} {'side':<24} {'1000 rows/s':>11}  slower than the kernel"]
    print(lines[0], flush=True)
    for job in JOBS:
        for line in measure(job, repetitions):
            print(line, flush=True)
            lines.append(line)
    (ROOT / "benchmarks" / "results" / "training.txt").write_text("\n".join(lines) + "\n")


def measure(job: tuple, repetitions: int) -> list[str]:
    """Lines of one job; a side's time is for training one network through all epochs."""
    n, d, h, k, batch, epochs, notebook = job
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d), np.float32)
    y = (x[:, :5].sum(axis=1) * 1.5).round().astype(np.int32) % max(k, 2)
    sides = {"kernel": kernel_side(x, y, h, k, batch, epochs, networks=1)}
    if n == 800:
        sides["kernel, 32 at once"] = kernel_side(x, y, h, k, batch, epochs, networks=32)
    sides["autograd on tensors"] = autograd_side(x, y, h, k, batch, epochs)
    sides["scikit-learn"] = sklearn_side(x, y, h, batch, epochs)
    if notebook:
        sides["the notebook's loop"] = notebook_side(x, y, h, batch, 1)
    times = {name: [] for name in sides}
    for repetition in range(repetitions + 1):
        for name, side in sides.items():
            seconds = side()
            if repetition:  # the first one compiles and warms up
                times[name].append(seconds)
    lines = []
    for name, seconds in times.items():
        ratios = [theirs / ours for theirs, ours in zip(seconds, times["kernel"])]
        spread = f"{statistics.median(ratios):6.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(
            f"{f'{n} {d} {h} {k} {batch}':<34} {name:<24} {n / statistics.median(seconds) / 1e3:>11.0f}  {spread}"
        )
    return lines


def kernel_side(x, y, h, k, batch, epochs, networks):
    """Seconds an epoch and network of the compiled engine, shuffling included."""

    def run():
        weights = model.initial_weights([stream.seeded(r) for r in range(networks)], x.shape[1], h, k)
        trainer = kernel.Trainer(x, y, weights, batch, 0.01)
        start = time.perf_counter()
        for epoch in range(epochs):
            seeds = np.arange(epoch * networks, (epoch + 1) * networks)
            trainer.epoch(stream.permutations(seeds, len(x)))
        return (time.perf_counter() - start) / epochs / networks

    return run


def autograd_side(x, y, h, k, batch, epochs):
    """Seconds an epoch of train.engine: torch."""

    def run():
        trainer = network.Trainer(x, y, model.initial_weights([stream.seeded(0)], x.shape[1], h, k), batch, 0.01)
        start = time.perf_counter()
        for _ in range(epochs):
            trainer.epoch(torch.randperm(len(x)).numpy()[None])
        return (time.perf_counter() - start) / epochs

    return run


def sklearn_side(x, y, h, batch, epochs):
    """Seconds an epoch of scikit-learn's MLPClassifier with the same network and optimizer."""

    def run():
        mlp = MLPClassifier((h,), batch_size=batch, learning_rate_init=0.01, alpha=0.0, max_iter=epochs, tol=0.0)
        start = time.perf_counter()
        mlp.fit(x, y)
        return (time.perf_counter() - start) / epochs

    return run


def notebook_side(x, y, h, batch, epochs):
    """Seconds an epoch of the notebook's loop over a shuffled DataLoader."""
    data = TensorDataset(torch.from_numpy(x), torch.from_numpy(y).float().unsqueeze(1))

    def run():
        loader = DataLoader(data, batch_size=batch, shuffle=True)
        module = network.TwoLayerNet(x.shape[1], h, 1)
        loss_fn, optimizer = nn.BCEWithLogitsLoss(), torch.optim.Adam(module.parameters(), lr=0.01)
        start = time.perf_counter()
        for _ in range(epochs):
            for xb, yb in loader:
                logits = module(xb)
                loss = loss_fn(logits, yb)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss.item() * len(xb)
                ((torch.sigmoid(logits) >= 0.5).float() == yb).float().mean().item()
        return (time.perf_counter() - start) / epochs

    return run


if __name__ == "__main__":
    main()
