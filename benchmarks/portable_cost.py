"""What the same bits everywhere cost: the kernel as it is against its own source with fastmath and libm's exp and log.

One thread. Both are compiled in one process and take turns, so that a ratio comes from runs of the same moment; time is
the processor's, which other programs on the machine touch least. Prints the median ratio and the range of its pairs,
and writes them to benchmarks/results/portable_cost.txt; exits 1 if a median is over its limit.

    python benchmarks/portable_cost.py [pairs]
"""

import os

os.environ["NUMBA_NUM_THREADS"] = "1"  # read when numba is imported

import importlib
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

# name: rows, features, hidden units, batch, networks, epochs, and the most that the ratio may be
JOBS = {
    "default (800 x 10 x 32, batch 32, 32 networks)": (800, 10, 32, 32, 32, 20, 1.2),
    "a million rows (10 x 32, batch 4096)": (1_000_000, 10, 32, 4096, 1, 1, 1.4),
    "100,000 rows (50 x 256, batch 1024)": (100_000, 50, 256, 1024, 1, 1, 1.4),
}


def main() -> None:
    from stages import kernel, model, stream

    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory(prefix="plumbline-cost-") as folder:
        kernels = {"ours": kernel, "loose": loose(Path(folder))}
        over, lines = False, []
        for name, (n, d, h, batch, networks, epochs, most) in JOBS.items():
            x = stream.normal(stream.seeded(1), n * d).reshape(n, d)
            y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(np.int32)
            weights = model.initial_weights([stream.seeded(r) for r in range(networks)], d, h, 1)
            orders = np.stack([stream.permutation(stream.seeded(r), n) for r in range(networks)])
            trainers = {key: module.Trainer(x, y, weights, batch, 0.01) for key, module in kernels.items()}
            ratios, best = [], dict.fromkeys(trainers, np.inf)
            for pair in range(pairs + 1):
                seconds = {}
                for key in sorted(trainers, reverse=bool(pair % 2)):
                    start = time.process_time()
                    for _ in range(epochs):
                        trainers[key].epoch(orders)
                    seconds[key] = time.process_time() - start
                if pair:  # the first compiled
                    ratios.append(seconds["ours"] / seconds["loose"])
                    best = {key: min(best[key], seconds[key]) for key in best}
            ratio = statistics.median(ratios)
            over |= ratio > most
            taken = f"{best['ours']:.3f} s against {best['loose']:.3f} s"
            spread = f"{ratio:.2f} times ({min(ratios):.2f} to {max(ratios):.2f} in {pairs} pairs), limit {most}"
            lines.append(f"{name}: {taken}, {spread}")
            print(lines[-1], flush=True)
    (ROOT / "benchmarks" / "results" / "portable_cost.txt").write_text("\n".join(lines) + "\n")
    sys.exit(over)


def loose(folder: Path):
    """The kernel's own source as a package of another name, with fastmath and with libm's functions."""
    package = folder / "loose"
    package.mkdir()
    for path in (ROOT / "stages").glob("*.py"):
        text = re.sub(r"\b(from|import) stages\b", r"\1 loose", path.read_text(encoding="utf-8"))
        if path.name == "compiled.py":
            assert '"fastmath": False' in text
            text = text.replace('"fastmath": False', '"fastmath": True')
        if path.name == "arithmetic.py":
            for function in ("exp", "log"):
                text, found = re.subn(
                    rf"(def {function}\(x\):\n)(?:    .*\n|\n(?=    ))+", rf"\1    return math.{function}(x)\n", text
                )
                assert found == 1
        (package / path.name).write_text(text, encoding="utf-8")
    sys.path.insert(0, str(folder))
    return importlib.import_module("loose.kernel")


if __name__ == "__main__":
    main()
