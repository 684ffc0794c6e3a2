"""What the same bits everywhere cost: the kernel as it is against its own source with fastmath and libm's exp and log.

One thread. Both are compiled in one process and take turns, so that a ratio comes from runs of the same moment; time is
the processor's, which other programs on the machine touch least. Writes the median ratio and the range of its pairs to
benchmarks/results/portable_cost.txt; exits 1 if a median is over its limit.

    python benchmarks/portable_cost.py [--pairs 15]
"""

import os

os.environ["NUMBA_NUM_THREADS"] = "1"  # read when numba is imported

import importlib
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scratch

# name: rows, features, hidden units, batch, networks, epochs, and the most that the ratio may be
JOBS = {
    "default (800 x 10 x 32, batch 32, 32 networks)": (800, 10, 32, 32, 32, 20, 1.2),
    "a million rows (10 x 32, batch 4096)": (1_000_000, 10, 32, 4096, 1, 1, 1.4),
    "100,000 rows (50 x 256, batch 1024)": (100_000, 50, 256, 1024, 1, 1, 1.4),
}
SMOKE = {"a smoke test": (8, 3, 4, 4, 2, 1, np.inf)}


def main() -> None:
    parser = scratch.parser(__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    options = parser.parse_args()
    if options.smoke:
        os.environ["NUMBA_DISABLE_JIT"] = "1"  # compiling takes longer than all else
    with tempfile.TemporaryDirectory(prefix="plumbline-cost-") as folder:
        lines = report(Path(folder), SMOKE if options.smoke else JOBS, 1 if options.smoke else options.pairs)
        scratch.tell(lines, "portable_cost.txt", options.smoke)


def report(folder: Path, jobs: dict[str, tuple], pairs: int) -> Iterator[str]:
    """A line a job, after one about the machine; ends with status 1 where one is over its limit."""
    from plumbline.bits import initial, kernel, stream

    yield scratch.heading()
    kernels, over = {"ours": kernel, "loose": loose(folder)}, False
    for name, (n, d, h, batch, networks, epochs, most) in jobs.items():
        x = stream.normal(stream.seeded(1), n * d).reshape(n, d)
        y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(np.int32)
        weights = initial.weights([stream.seeded(r) for r in range(networks)], d, h, 1)
        orders = np.stack([stream.permutation(stream.seeded(r), n) for r in range(networks)])
        trainers = {key: module.Trainer(weights, batch, 0.01) for key, module in kernels.items()}
        taken = {key: [] for key in kernels}
        for pair in range(pairs + 1):
            for key in sorted(kernels, reverse=bool(pair % 2)):
                start = time.process_time()
                for _ in range(epochs):
                    trainers[key].train(x, y, orders, np.zeros((networks, 2)))
                if pair:  # the first compiled
                    taken[key].append(time.process_time() - start)
        ratios = [ours / loose for ours, loose in zip(*taken.values())]
        ratio, best = statistics.median(ratios), {key: min(seconds) for key, seconds in taken.items()}
        over |= ratio > most
        spread = f"{ratio:.2f} times ({min(ratios):.2f} to {max(ratios):.2f} in {pairs} pairs), limit {most}"
        yield f"{name}: {best['ours']:.3f} s against {best['loose']:.3f} s, {spread}"
    if over:
        sys.exit("the same bits cost more than they may")


def loose(folder: Path):
    """The kernel's own source as a package of another name, with fastmath and with libm's functions."""
    shutil.copytree(scratch.ROOT / "plumbline", folder / "loose", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder / "loose").rglob("*.py"):
        text = re.sub(r"\bplumbline\.", "loose.", path.read_text(encoding="utf-8"))
        if path.name == "compiling.py":
            text, found = re.subn('"fastmath": False', '"fastmath": True', text)
            assert found == 1
        if path.name == "arithmetic.py":
            for function in ("exp", "log"):
                body = rf"(def {function}\(x\):\n)(?:    .*\n|\n(?=    ))+"
                text, found = re.subn(body, rf"\1    return math.{function}(x)\n", text)
                assert found == 1
        path.write_text(text, encoding="utf-8")
    sys.path.insert(0, str(folder))
    return importlib.import_module("loose.bits.kernel")


if __name__ == "__main__":
    main()
