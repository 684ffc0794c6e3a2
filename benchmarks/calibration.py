"""How right the verdicts of `plumbline compare` are: the pipeline's own functions, many comparisons, known truth.

No change: the notebook's configuration against itself with fresh training seeds, table and split staying as they are;
any verdict is a false alarm. Changes: hidden 8 against 32, learning rate 1e-3 against 1e-2, 40 epochs against 20, each
comparison on fresh test rows; the truth is the mean difference over a large pool of rows and all seeds trained.
Writes benchmarks/results/calibration.txt.

    python benchmarks/calibration.py [--comparisons 200]
"""

import contextlib
import io
from collections.abc import Iterator

import msgspec
import numpy as np
import scratch

from plumbline.basics import params
from plumbline.bits import scoring, stream
from plumbline.comparing.judging import JUDGED
from plumbline.model import network
from plumbline.scores import differences, metrics
from plumbline.tables.store import Facts
from plumbline.training import loop, networks
from stages import synthetic

TRAINING, FEATURES = 800, 10  # rows and columns
POOL = 20_000  # rows that stand for the population
FOR_TRUTH = 20  # comparisons whose networks are scored on the whole pool
REPLICAS = (8, 16, 32)
BASE = params.read(path=scratch.ROOT / "params.yaml")
SHIPPED = network.read(scratch.ROOT / "stages/network.py")
CHANGES = {
    "no change": {},
    "hidden 8": {"hidden_size": 8},
    "rate 1e-3": {"learning_rate": 0.001},
    "40 epochs": {"epochs": 40},
}


def main() -> None:
    parser = scratch.parser(__doc__)
    parser.add_argument("--comparisons", type=int, default=200)
    options = parser.parse_args()
    lines = report(1, (3,), (200,)) if options.smoke else report(options.comparisons, (2, 3), (200, 2000))
    scratch.tell(lines, "calibration.txt", options.smoke)


def report(comparisons: int, tasks: tuple[int, ...], sizes: tuple[int, ...]) -> Iterator[str]:
    """The lines of the results, for tasks of so many classes and so many test rows."""
    yield scratch.heading()
    yield f"{comparisons} comparisons a line; four metrics, corrected for together, as `compare` does"
    yield "classes  rows change       R any metric  right  wrong coverage"
    for classes in tasks:
        for rows in sizes:
            yield from calibrate(classes, rows, comparisons)


def calibrate(classes: int, rows: int, comparisons: int) -> list[str]:
    """The table's lines for one kind of task and one number of test rows."""
    x, y = table(classes)
    data, pool = (x[:TRAINING], y[:TRAINING]), (x[TRAINING:], y[TRAINING:])
    rng = np.random.default_rng(0)
    verdicts = {(change, r): [] for change in CHANGES for r in REPLICAS}
    truth = {change: [] for change in CHANGES}
    for number in range(comparisons):
        base = trained(data, classes, {}, seed=2 * number)
        fixed, fresh = np.arange(rows), rng.choice(POOL, rows, replace=False)
        for change, settings in CHANGES.items():
            other = trained(data, classes, settings, seed=2 * number + 1)
            chosen = fixed if change == "no change" else fresh
            phi = [contributions(weights, pool[0][chosen], pool[1][chosen]) for weights in (base, other)]
            for r in REPLICAS:
                judged = [differences.compare(phi[0][m][:r], phi[1][m][:r], m, len(phi[0])) for m in phi[0]]
                verdicts[change, r].append(judged)
            if number < FOR_TRUTH and change != "no change":
                means = [{m: phi.mean() for m, phi in contributions(w, *pool).items()} for w in (base, other)]
                truth[change].append([means[1][m] - means[0][m] for m in means[0]])
    return [line(classes, rows, change, r, judged, truth[change]) for (change, r), judged in verdicts.items()]


def table(classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The training rows and the pool, from the synthetic rule: x (n, 10), y (n,)."""
    made = msgspec.structs.replace(BASE.make_data, samples=TRAINING + POOL, features=FEATURES, classes=classes)
    columns = synthetic.draw(made.samples, made, stream.seeded(42))
    y = columns.pop(made.target).astype(np.int32)
    return np.column_stack(list(columns.values())), y


def trained(data, classes: int, changes: dict, seed: int) -> dict[str, np.ndarray]:
    """Weights of as many networks as are asked for at most, every network with a fresh seed."""
    train = msgspec.structs.replace(BASE.train, replicas=max(REPLICAS), engine="compiled", **changes)
    settings = msgspec.structs.replace(BASE, seed=seed, train=train)
    first = stream.to_text(stream.seeded(stream.seed_of_replica(seed, 0)))
    labels = list(range(classes))
    drawn = networks.draw(settings, Facts("y", labels, [1] * classes, first), FEATURES, SHIPPED)
    nothing = data[0][:0], data[1][:0]
    with contextlib.redirect_stdout(io.StringIO()):
        return loop.train(drawn, data, nothing, train, SHIPPED, None).weights


def contributions(weights, x, y) -> dict[str, np.ndarray]:
    """phi of the judged metrics, (R, n) each; they say more is better, losses too."""
    probability = scoring.probabilities(x, weights)
    there = metrics.defined(y, max(probability.shape[2], 2))
    return {name: metrics.contributions(name, probability, y) for name in JUDGED if name in there}


def line(classes: int, rows: int, change: str, r: int, comparisons: list, truths: list) -> str:
    """Rates in percent: any metric called different; each metric called as the truth is, or the other way; coverage."""
    called = np.mean([any(d.verdict in ("better", "worse") for d in judged) for judged in comparisons])
    truth = np.mean(truths, axis=0) if truths else np.zeros(len(comparisons[0]))
    signs = np.array([[{"better": 1, "worse": -1}.get(d.verdict, 0) for d in judged] for judged in comparisons])
    intervals = np.array([[d.estimate.student(0.95)[:2] for d in judged] for judged in comparisons])  # (c, m, 2)
    coverage = ((intervals[..., 0] <= truth) & (truth <= intervals[..., 1])).mean()
    right = f"{(signs == np.sign(truth)).mean():6.1%}" if truths else f"{'':>6}"
    wrong = f"{(signs == -np.sign(truth)).mean():6.1%}" if truths else f"{'':>6}"
    return f"{classes:>7} {rows:>5} {change:<10} {r:>3} {called:>10.1%} {right} {wrong} {coverage:>8.1%}"


if __name__ == "__main__":
    main()
