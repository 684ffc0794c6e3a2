"""How right verdicts by out-of-fold rows are, beside those by one test part: trainings of which the truth is known.

Every comparison draws a table, and trains all networks of three configurations on it. Cross-fitted, 6 replicas of 5
networks each score all its rows. On one split, 32 networks are trained on four fifths and score the last fifth: as much
work, and as many rows to train on. The truth is what a configuration does on new rows, averaged over all the tables.

    equal    sees other columns, which tell as much: any verdict is false
    better   sees columns that tell more: a verdict may be missing, or the wrong way

A network is 16 random units (ReLU) under a logistic regression. It is trained in milliseconds, and depends on its rows
and its seed as ours do. Writes benchmarks/results/cross_fitting.txt.

    python benchmarks/cross_fitting.py [--comparisons 200]
"""

import concurrent.futures
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scratch
from calibration import JUDGED, lowest, percent
from scipy.special import expit

from plumbline.scores import differences, metrics, ranges
from plumbline.scores.differences import Rows

REPLICAS, FOLDS, NETWORKS = 6, 5, 32  # of cross-fitting, and on one split
FIGURES = (*JUDGED, "average_precision", "macro_average_precision")
UNITS, STEPS, RIDGE, NEW = 16, 4, 3.0, 400
SEEN = {
    "base": (1.0, 0.0),
    "equal": (0.0, 1.0),
    "better": (1.0, 0.5),
}  # how clearly it sees either half of the columns
COLUMNS = (
    f"{'':<43}false: equal   wrong way   coverage, lowest         of ROC AUC               of a figure          power"
)


class World(NamedTuple):
    """How rows come about."""

    name: str
    rows: int
    classes: int = 2
    offset: float = 0.0  # of the first class's logit
    group: int = 1  # rows that share half of what moves them, and of what no column tells


class Table(NamedTuple):
    """Rows, as all configurations could see them."""

    x: np.ndarray  # (n, 8)
    target: np.ndarray  # (n,)
    group: np.ndarray | None


CELLS = [World("two classes", rows) for rows in (300, 1000, 3000)]
CELLS += [
    World("10 % positives", 1000, offset=4.5),
    World("groups of ten", 1000, group=10),
    World("3 classes", 1000, 3),
]


def main() -> None:
    parser = scratch.parser(__doc__)
    parser.add_argument("--comparisons", type=int, default=200)
    options = parser.parse_args()
    cells = [World("two classes", 100), World("3 classes in groups", 100, 3, group=4)] if options.smoke else CELLS
    scratch.tell(report(cells, 3 if options.smoke else options.comparisons), "cross_fitting.txt", options.smoke)


def report(cells: list[World], comparisons: int) -> Iterator[str]:
    """The lines of the results."""
    yield scratch.heading()
    yield f"{comparisons} comparisons of each kind a line, all metrics at once; in percent, with standard errors"
    yield COLUMNS
    with concurrent.futures.ProcessPoolExecutor() as pool:  # a cell's numbers are its own, whoever draws them
        yield from itertools.chain.from_iterable(
            pool.map(lines, cells, itertools.repeat(comparisons), range(len(cells)))
        )


# ---- a world


def drawn(world: World, n: int, rng: np.random.Generator) -> Table:
    """A table of n rows. Both halves of the columns tell as much of the label."""
    group = np.arange(n) // world.group

    def shared(width: int) -> np.ndarray:  # (n, width) of variance 1
        own = rng.normal(size=(n, width))
        return own if world.group == 1 else np.sqrt(0.5) * (own + rng.normal(size=(n, width))[group])

    x = shared(8)
    logits = shared(world.classes) * 0.7 + world.offset * (np.arange(world.classes) == 0)
    for half in (x[:, :4], x[:, 4:]):
        for c in range(world.classes):
            logits[:, c] += 1.2 * half[:, c % 4] + 0.8 * half[:, (c + 1) % 4] * half[:, (c + 2) % 4]
    target = (logits - np.log(-np.log(rng.uniform(size=logits.shape)))).argmax(axis=1)
    return Table(x, target, group if world.group > 1 else None)


def folds(table: Table, rng: np.random.Generator) -> np.ndarray:
    """The folds of the rows for one replica, whole groups or stratified: (n,)."""
    n = len(table.target)
    if table.group is not None:
        return (rng.permutation(table.group.max() + 1) % FOLDS)[table.group]
    order, fold = rng.permutation(n), np.empty(n, int)
    fold[order[np.argsort(table.target[order], kind="stable")]] = np.arange(n) % FOLDS
    return fold


class Trained(NamedTuple):
    """Networks side by side, each of a configuration and a seed of its own."""

    first: np.ndarray  # (m, 9, UNITS)
    last: np.ndarray  # (m, UNITS + 1, k or 1)

    def probability(self, seen: np.ndarray) -> np.ndarray:
        """What they say of rows (n, 8): float32 (m, n, k or 1); of more than two classes each against the rest."""
        p = expit(units(seen, self.first) @ self.last)
        return (p if p.shape[2] == 1 else p / p.sum(axis=2, keepdims=True)).astype(np.float32)


def units(seen: np.ndarray, first: np.ndarray) -> np.ndarray:
    hidden = np.maximum(seen @ first[:, :-1] + first[:, -1:], 0.0)  # (m, n, UNITS)
    return np.concatenate([hidden, np.ones((*hidden.shape[:2], 1))], axis=2)


def trained(
    seen: np.ndarray, target: np.ndarray, taught: np.ndarray, classes: int, rng: np.random.Generator
) -> Trained:
    """Networks trained on their own rows, taught (m, n), by Newton's steps."""
    first = rng.normal(size=(len(taught), 9, UNITS)) * 0.6
    phi, found = units(seen, first), []
    for c in range(1, 2) if classes == 2 else range(classes):
        last = np.zeros((len(taught), UNITS + 1, 1))
        for _ in range(STEPS):
            p = expit(phi @ last)[:, :, 0]
            weighted = phi * (taught * np.maximum(p * (1 - p), 1e-3))[:, :, None]
            slope = phi.transpose(0, 2, 1) @ (taught * ((target == c) - p))[:, :, None] - RIDGE * last
            last = last + np.linalg.solve(weighted.transpose(0, 2, 1) @ phi + RIDGE * np.eye(UNITS + 1), slope)
        found.append(last)
    return Trained(first, np.concatenate(found, axis=2))


# ---- a cell


class Judged(NamedTuple):
    """One table, judged one way."""

    differences: dict[str, list]  # of equal and better to base, every metric
    figures: dict[str, tuple[float, float]]  # the interval around each of base's


def compared(world: World, rng: np.random.Generator) -> tuple[list[Judged], dict]:
    """A table judged both ways, and what every configuration is worth on new rows: {configuration: {metric: value}}."""
    table, new = drawn(world, world.rows, rng), drawn(world._replace(group=1), NEW, rng)
    fold, n = np.stack([folds(table, rng) for _ in range(REPLICAS)]), world.rows
    taught = fold[:, None] != np.arange(FOLDS)[:, None]  # (R, K, n)
    start = n * 4 // 5 // world.group * world.group
    split = np.broadcast_to(np.arange(n) < start, (NETWORKS, n))
    out_of_fold, of_split, worth = {}, {}, {}
    for name, clear in SEEN.items():
        hides = rng.normal(size=(n + NEW, 8)) * (1 - np.repeat(clear, 4))
        seen = np.concatenate([table.x, new.x]) * np.repeat(clear, 4) + hides
        seen, fresh = seen[:n], seen[n:]
        judges = trained(seen, table.target, taught.reshape(-1, n), world.classes, rng)
        said = judges.probability(seen).reshape(REPLICAS, FOLDS, n, -1)
        said = np.take_along_axis(said, fold[:, None, :, None], axis=1)[:, 0]
        out_of_fold[name] = Rows(said, table.target, 1, table.group, fold)
        said = trained(seen[:start], table.target[:start], split[:, :start], world.classes, rng).probability(
            seen[start:]
        )
        group = None if table.group is None else table.group[start:]
        of_split[name] = Rows(said, table.target[start:], 1, group)
        said = judges.probability(fresh)
        names = [name for name in metrics.defined(new.target, world.classes) if name in FIGURES]
        worth[name] = {each: metrics.contributions(each, said, new.target).mean() for each in names}
    return [judged(sides, world.classes) for sides in (out_of_fold, of_split)], worth


def judged(sides: dict[str, Rows], classes: int) -> Judged:
    base, *others = sides.values()
    names = [name for name in metrics.defined(base.target, classes, base.fold) if name in JUDGED]
    found = {name: differences.compare(base, other, names) for name, other in zip(list(sides)[1:], others)}
    figures, answered = {}, ranges.answers_by_class(base)
    for name in metrics.defined(base.target, classes, base.fold):
        phi = metrics.contributions(name, base.probability, base.target, 1, fold=base.fold)
        _, low, high = ranges.reported(name, phi, base, answered)
        if low is not None and name in FIGURES:
            figures[name] = low, high
    return Judged(found, figures)


def lines(world: World, comparisons: int, number: int) -> list[str]:
    """Judge so many tables both ways, and tell how often that was right. number: of the cell."""
    rng, told = np.random.default_rng(number), []
    both, worths = zip(*(compared(world, rng) for _ in range(comparisons)))
    truth = {}  # of each metric, more is better: what base is worth, and how much better the better one is
    for name in {name for worth in worths for name in worth["base"]}:
        base, better = (
            np.mean([worth[side][name] for worth in worths if name in worth[side]]) for side in ("base", "better")
        )
        truth[name] = base, better - base
    for way, how in enumerate((f"{REPLICAS} x {FOLDS} out of fold", f"{NETWORKS} on one split")):
        covered, figures, false, wrong, power = {}, {}, [], [], []
        for found in (tables[way] for tables in both):
            for kind, several in found.differences.items():
                for d in several:
                    low, high, _ = d.estimate.student()
                    if not d.why:
                        real = truth[d.metric][1] if kind == "better" else 0.0
                        covered.setdefault((d.metric, kind), []).append(low <= real <= high)
            for name, (low, high) in found.figures.items():
                base = truth[name][0] * (-1 if name in metrics.LOSSES else 1)
                figures.setdefault(name, []).append(low <= base <= high)
            said = {kind: {d.metric: d.verdict for d in several} for kind, several in found.differences.items()}
            false.append(any(verdict in ("better", "worse") for verdict in said["equal"].values()))
            wrong.append("worse" in said["better"].values())
            power.append(said["better"]["log_loss"] == "better")
        covered = {f"{name} {kind}": held for (name, kind), held in covered.items()}
        ranked = {name: held for name, held in covered.items() if "roc_auc" in name}
        low, of_ranked, of_figure = (lowest(held, comparisons / 4)[0] for held in (covered, ranked, figures))
        name = f"{world.name} {world.rows:>{22 - len(world.name)}}" if way == 0 else " " * 23
        rates = f"{percent(false)}  {percent(wrong)}   {low:<24} {of_ranked:<24} {of_figure:<20} {percent(power)}"
        told.append(f"{name} {how:<17}  {rates}")
    return told


if __name__ == "__main__":
    main()
