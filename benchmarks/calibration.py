"""How right the verdicts of `stages.compare` are: the pipeline's own functions, many comparisons, known truth.

No change: the notebook's configuration against itself with fresh training seeds, table and split staying as they are;
any verdict is a false alarm. Changes: hidden 8 against 32, learning rate 1e-3 against 1e-2, 40 epochs against 20, each
comparison on fresh test rows; the truth is the mean difference over a large pool of rows and all seeds trained.
Prints the table that the README shows and writes it to benchmarks/results/calibration.txt.

    python benchmarks/calibration.py [--comparisons 200]
"""

import argparse
import sys
from pathlib import Path

import msgspec
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # a script outside the package, run from anywhere

from stages import comparison, kernel, model, params, scores, stream, synthetic, training  # noqa: E402
from stages.comparison import JUDGED  # noqa: E402

MOST_NETWORKS = 32
POOL = 20_000  # rows that stand for the population
FOR_TRUTH = 20  # comparisons whose networks are scored on the whole pool
BASE = params.read(ROOT / "params.yaml")
CHANGES = {
    "no change": {},
    "hidden 8": {"hidden_size": 8},
    "rate 1e-3": {"learning_rate": 0.001},
    "40 epochs": {"epochs": 40},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=200)
    comparisons = parser.parse_args().comparisons
    head = "classes  rows change       R any metric  right  wrong coverage"
    lines = [f"{comparisons} comparisons a line; four metrics, corrected for together, as `compare` does", head]
    print("\n".join(lines), flush=True)
    for classes in (2, 3):
        for rows in (200, 2000):
            for line in calibrate(classes, rows, comparisons):
                print(line, flush=True)
                lines.append(line)
    (ROOT / "benchmarks" / "results" / "calibration.txt").write_text("\n".join(lines) + "\n")


def calibrate(classes: int, rows: int, comparisons: int) -> list[str]:
    """The table's lines for one kind of task and one number of test rows."""
    x, y = table(classes)
    data, pool = (x[:800], y[:800]), (x[800:], y[800:])
    rng = np.random.default_rng(0)
    verdicts = {(change, r): [] for change in CHANGES for r in (8, 16, 32)}
    truth = {change: [] for change in CHANGES}
    for number in range(comparisons):
        base = trained(data, classes, {}, seed=2 * number)
        fixed, fresh = np.arange(rows), rng.choice(POOL, rows, replace=False)
        for change, settings in CHANGES.items():
            other = trained(data, classes, settings, seed=2 * number + 1)
            chosen = fixed if change == "no change" else fresh
            phi = [contributions(weights, pool[0][chosen], pool[1][chosen]) for weights in (base, other)]
            for r in (8, 16, 32):
                judged = [comparison.compare(phi[0][m][:r], phi[1][m][:r], m, len(JUDGED)) for m in JUDGED]
                verdicts[change, r].append(judged)
            if number < FOR_TRUTH and change != "no change":
                means = [{m: v.mean() for m, v in contributions(w, *pool).items()} for w in (base, other)]
                truth[change].append([means[1][m] - means[0][m] for m in JUDGED])
    return [line(classes, rows, change, r, judged, truth[change]) for (change, r), judged in verdicts.items()]


def table(classes: int):
    """800 training rows and the pool, from the synthetic rule: x (n, 10), y (n,)."""
    settings = msgspec.structs.replace(BASE.make_data, samples=800 + POOL, classes=classes)
    made = next(synthetic.make(settings, stream.seeded(42)))
    x = np.column_stack([made.column(f"x{i}").to_numpy() for i in range(10)])
    return np.ascontiguousarray(x), made.column("y").to_numpy().astype(np.int32)


def trained(data, classes: int, changes: dict, seed: int) -> dict[str, np.ndarray]:
    """Weights of 32 networks by the pipeline's own training, every network with a fresh seed."""
    settings = msgspec.structs.replace(BASE.train, **changes)
    generators = [stream.seeded(stream.seed_of_replica(seed, r)) for r in range(MOST_NETWORKS)]
    weights = model.initial_weights(generators, 10, settings.hidden_size, model.outputs_for(classes))
    shuffles = np.stack([stream.shuffle_seeds(generator, settings.epochs) for generator in generators])
    nothing = data[0][:0], data[1][:0]
    return training.train(data, nothing, weights, shuffles, settings, lambda networks, line: None)[0]


def contributions(weights, x, y) -> dict[str, np.ndarray]:
    """phi of the judged metrics, (R, n) each; they say more is better, losses too."""
    return scores.contributions(kernel.probabilities(np.ascontiguousarray(x), weights), y, JUDGED)


def line(classes: int, rows: int, change: str, r: int, comparisons: list, truths: list) -> str:
    """Rates in percent: any metric called different; each metric called as the truth is, or the other way; coverage."""
    called = np.mean([any(d.verdict in ("better", "worse") for d in judged) for judged in comparisons])
    truth = np.mean(truths, axis=0) if truths else np.zeros(len(JUDGED))
    signs = np.array([[{"better": 1, "worse": -1}.get(d.verdict, 0) for d in judged] for judged in comparisons])
    intervals = np.array([[d.estimate.interval(0.95) for d in judged] for judged in comparisons])  # (c, m, 2)
    coverage = ((intervals[..., 0] <= truth) & (truth <= intervals[..., 1])).mean()
    right = f"{(signs == np.sign(truth)).mean():6.1%}" if truths else f"{'':>6}"
    wrong = f"{(signs == -np.sign(truth)).mean():6.1%}" if truths else f"{'':>6}"
    return f"{classes:>7} {rows:>5} {change:<10} {r:>3} {called:>10.1%} {right} {wrong} {coverage:>8.1%}"


if __name__ == "__main__":
    main()
