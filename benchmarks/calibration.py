"""How right the verdicts of `plumbline compare` are, and the intervals: many comparisons of which the truth is known.

A world says how probable each label of a row is. A configuration errs on a row in its own way, which all its networks
share; each network adds what its seed makes of it. From that come arrays of probabilities as evaluate writes them, and
they go through the functions that compare and evaluate call. Four changes are tried:

    none     the same configuration with fresh seeds    any verdict is false
    equal    another configuration that errs as much    any verdict is false
    better   another that errs less                     a verdict may be missing, or the wrong way
    bolder   the same, too sure of itself               worse in log loss, which rare rows alone show

The last lines are of networks that were trained: how seeds are spread that sometimes end in a poor minimum, and how
often Student's t of so many of them holds their mean.

Writes benchmarks/results/calibration.txt.

    python benchmarks/calibration.py [--comparisons 300]
"""

import concurrent.futures
import contextlib
import functools
import io
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np
import scratch
from scipy.special import expit, ndtri, stdtrit

from plumbline.basics import params
from plumbline.basics.formats import read_yaml
from plumbline.bits import scoring, stream
from plumbline.model import network
from plumbline.scores import differences, metrics, ranges
from plumbline.scores.differences import Rows
from plumbline.tables.fitted import Encoding, Number
from plumbline.tables.store import Facts
from plumbline.training import loop
from plumbline.training import networks as starts
from stages import synthetic

BASE = params.check(read_yaml((scratch.ROOT / params.PATH).read_bytes(), params.PATH))
SHIPPED = network.read(scratch.ROOT / "stages/network.py")

POOL, SEEDS = 50_000, 12  # rows and networks that the truth is taken from
KINDS = ("none", "equal", "better", "bolder")
JUDGED = ("accuracy", "log_loss", "roc_auc", "macro_roc_auc", "brier")
REPORTED = (*JUDGED, "average_precision", "precision", "recall", "f1", "macro_f1")
COLUMNS = f"{'':<20} rows  R false: none       equal   wrong way  coverage, lowest        of a figure, lowest     power"


class World(NamedTuple):
    """How labels come about, and how configurations and seeds err; numbers are on the scale of the logits."""

    name: str
    classes: int = 2
    signal: float = 2.0  # standard deviation of the true logits
    offset: float = 0.0  # added to that of the first class
    own: float = 0.8  # a configuration's error on a row
    noise: float = 0.4  # a network's on a row
    scale: float = 0.08  # by how much a network's logits are too large or too small
    tails: bool = False  # errors on rows of Student's t with 3 degrees of freedom
    failing: float = 0.0  # share of the networks that learn half as much
    groups: str = ""  # tens; uneven, one of 30 % of the rows beside fives; copies, each row three times


class Cell(NamedTuple):
    """A world tried at so many rows and networks."""

    world: World
    rows: int
    networks: int


PLAIN = World("two classes")
RARE, RARER = World("5 % positives", offset=4.2), World("1 % positives", offset=6.3)
EASY = World("AUC near 1", signal=16.0, own=1.0, noise=0.5)
TAILS, FAILING = World("heavy tails", tails=True), World("1 seed of 8 fails", failing=1 / 8)
TENS, UNEVEN, COPIES = (World(f"groups: {how}", groups=how) for how in ("tens", "uneven", "copies"))
UNLIKE, FIVE, TEN = World("3 classes, 1 rare", 3, offset=-4.6), World("5 classes", 5), World("10 classes", 10)
CELLS = [Cell(PLAIN, rows, 8) for rows in (40, 100, 200, 500, 2000)]
CELLS += [Cell(PLAIN, 500, networks) for networks in (2, 3, 4, 16, 32)]
CELLS += [Cell(RARE, rows, 8) for rows in (100, 200, 500, 2000)] + [Cell(RARER, rows, 8) for rows in (500, 2000)]
CELLS += [Cell(world, rows, 8) for world in (EASY, TAILS) for rows in (40, 200, 2000)]
CELLS += [Cell(FAILING, 500, networks) for networks in (8, 16, 32)]
CELLS += [Cell(world, rows, 8) for world in (TENS, UNEVEN, COPIES) for rows in (90, 300, 900)]
CELLS += [Cell(world, rows, 8) for world in (UNLIKE, FIVE, TEN) for rows in (40, 200, 2000)]


def main() -> None:
    parser = scratch.parser(__doc__)
    parser.add_argument("--comparisons", type=int, default=300)
    options = parser.parse_args()
    cells = [Cell(PLAIN, 40, 3), Cell(COPIES, 60, 3), Cell(FIVE, 40, 2)] if options.smoke else CELLS
    lines = report(cells, 4 if options.smoke else options.comparisons)
    scratch.tell(itertools.chain(lines, trained_lines(1 if options.smoke else 12)), "calibration.txt", options.smoke)


def report(cells: list[Cell], comparisons: int) -> Iterator[str]:
    """The lines of the results."""
    yield scratch.heading()
    yield f"{comparisons} comparisons of each kind a line, all metrics at once; in percent, with standard errors"
    yield COLUMNS
    with concurrent.futures.ProcessPoolExecutor() as pool:  # a cell's numbers are its own, whoever draws them
        yield from pool.map(line, cells, itertools.repeat(comparisons), range(len(cells)))


# ---- a world


def sides(world: World, kind: str, n: int, networks: int, rng, is_even: bool = False) -> tuple[Rows, Rows]:
    """Two configurations on the same rows."""
    copies, k = 3 if world.groups == "copies" else 1, world.classes
    rows = -(-n // copies)  # that are drawn
    group = {"": None, "tens": np.arange(rows) // 10, "copies": None}.get(world.groups, np.arange(0))
    if world.groups == "uneven":
        first = int(0.3 * rows)
        group = np.r_[np.zeros(first, int), 1 + np.arange(rows - first) // 5]

    def drawn(tails: bool = False) -> np.ndarray:  # (rows, k) of variance 1/2 each, half of it the group's
        own = rng.standard_t(3, (rows, k)) / np.sqrt(3) if tails else rng.normal(size=(rows, k))
        if group is not None:
            own = np.sqrt(0.5) * (own + rng.normal(size=(group[-1] + 1, k))[group])
        return own * np.sqrt(0.5)

    true = drawn() * world.signal + world.offset * (np.arange(k) == 0)
    target = (true - np.log(-np.log(rng.uniform(size=(rows, k))))).argmax(axis=1)  # drawn by Gumbel's trick
    errs = drawn(world.tails) * world.own
    others = {"none": errs, "equal": drawn(world.tails) * world.own, "better": 0.4 * errs, "bolder": errs}[kind]
    found = []
    for error, bold in ((errs, 1.0), (others, 1.6 if kind == "bolder" else 1.0)):
        probability = trained(world, bold * (true + error), networks, rng, is_even)
        if copies > 1:
            probability = np.repeat(probability, copies, axis=1)[:, :n]
        found.append(probability)
    if copies > 1:
        target, group = np.repeat(target, copies)[:n], np.arange(n) // copies
    return tuple(Rows(probability, target, 1, group) for probability in found)


def trained(
    world: World, logits: np.ndarray, networks: int, rng: np.random.Generator, is_even: bool = False
) -> np.ndarray:
    """What R networks with fresh seeds make of a configuration's logits (n, k): float32 (R, n, k), or (R, n, 1).

    is_even: seeds spread evenly over what seeds do (a Latin hypercube), so that their mean is exact with few of them.
    """
    drawn = rng.uniform(size=(world.classes + 2, networks))
    if is_even:
        drawn = (drawn.argsort(axis=1) + 0.5) / networks
    (size, fails), shift = drawn[:2], ndtri(drawn[2:]).T[:, None]
    gain = (1.0 + world.scale * ndtri(size)) * np.where(fails < world.failing, 0.5, 1.0)
    z = gain.astype(np.float32)[:, None, None] * logits.astype(np.float32) + np.float32(0.07) * shift.astype(np.float32)
    z += np.float32(world.noise * np.sqrt(0.5)) * rng.standard_normal(z.shape, np.float32)
    if world.classes == 2:
        return expit(z[:, :, 1:] - z[:, :, :1])
    np.exp(z - z.max(axis=2, keepdims=True), out=z)
    return z / z.sum(axis=2, keepdims=True)


@functools.cache
def truth(world: World, kind: str) -> dict[str, tuple[float, float]]:
    """Every metric of both configurations, in the sign of files, over very many rows and networks."""
    alone = world._replace(groups="")  # a row is as likely whatever group it is in
    base, other = sides(alone, kind, POOL, SEEDS, np.random.default_rng(0), is_even=True)
    some = REPORTED if kind == "better" else JUDGED
    names = [name for name in metrics.defined(base.target, world.classes) if name in some]
    return {name: tuple(value(name, side) for side in (base, other)) for name in names}


def value(name: str, rows: Rows) -> float:
    return metrics.reported(name, metrics.contributions(name, rows.probability, rows.target, rows.positive))


# ---- a cell


def line(cell: Cell, comparisons: int, seed: int) -> str:
    """Judge so many comparisons of each kind, and tell how often that was right."""
    rng, (false, covered, figures) = np.random.default_rng(seed), ({kind: [] for kind in KINDS}, {}, {})
    found = []  # the better side, by its log loss
    for kind in KINDS:
        truths = truth(cell.world, kind if kind in ("better", "bolder") else "better")
        for _ in range(comparisons):
            base, other = sides(cell.world, kind, cell.rows, cell.networks, rng)
            there = metrics.defined(base.target, cell.world.classes)
            said = []
            for d in differences.compare(base, other, [name for name in JUDGED if name in there]):
                real = truths[d.metric][1] - truths[d.metric][0] if kind in ("better", "bolder") else 0.0
                is_worse = (real > 0) == (d.metric in metrics.LOSSES)
                said.append(d.verdict in ("better", "worse") and (real == 0 or (d.verdict == "worse") != is_worse))
                reach = d.estimate.student()[1] - d.estimate.mean
                if not d.why:
                    covered.setdefault(f"{d.metric} {kind}", []).append(abs(real - d.difference) <= reach)
                if (kind, d.metric) == ("better", "log_loss"):
                    found.append(d.verdict == "better")
            false[kind].append(any(said))
            if kind == "better":
                for name, held in held_by(base, truths, there).items():
                    figures.setdefault(name, []).append(held)
    wrong = max(false["better"], false["bolder"], key=np.mean)
    low, of_figure = (lowest(held, comparisons / 4) for held in (covered, figures))
    is_missed = [exceeds(false["none"], 0.05), exceeds(false["equal"], 0.05), exceeds(wrong, 0.01)]
    is_missed += [exceeds(np.logical_not(held), 0.09) for held in (low[1], of_figure[1])]
    rates = " ".join(f"{percent(held):>11}" for held in (false["none"], false["equal"], wrong))
    told = f"{low[0]:<23} {of_figure[0]:<22} {percent(found):>11}{' <- misses' * any(is_missed)}"
    return f"{cell.world.name:<20}{cell.rows:>5}{cell.networks:>3} {rates}  {told}"


def held_by(rows: Rows, truths: dict, there: list[str]) -> dict[str, bool]:
    """Of the base's figures, whether the interval around each holds the truth."""
    answered, held = ranges.answers_by_class(rows), {}
    for name in there:
        if name in REPORTED:
            phi = metrics.contributions(name, rows.probability, rows.target, rows.positive)
            _, low, high = ranges.reported(name, phi, rows, answered)
            if low is not None:
                held[name] = low <= truths[name][0] <= high
    return held


def error(held: list[bool]) -> float:
    """The standard error of a share; of none and of all that of half a case."""
    share = np.clip(np.mean(held), 0.5 / len(held), 1 - 0.5 / len(held))
    return np.sqrt(share * (1 - share) / len(held))


def exceeds(held: list[bool], most: float) -> bool:
    """Whether a share is larger than it may be, by more than two standard errors."""
    return len(held) > 0 and np.mean(held) - 2 * error(held) > most


def percent(held: list[bool]) -> str:
    """A share in percent with its standard error."""
    return f"{np.mean(held):5.1%} ± {error(held):4.1%}".replace("%", "")


def lowest(held: dict[str, list[bool]], fewest: float) -> tuple[str, list[bool]]:
    """The smallest of some shares and what it is of, of those that so many comparisons have; and what it is made of."""
    of = {name: cases for name, cases in held.items() if len(cases) >= fewest}
    if not of:
        return "no verdict", []
    name = min(of, key=lambda name: np.mean(of[name]))
    return f"{np.mean(of[name]):5.1%} {name}".replace("%", ""), of[name]


# ---- networks that are trained


def trained_lines(times: int) -> Iterator[str]:
    """The notebook's networks of 32 hidden units beside others: log losses on 20,000 rows, seeds alone."""
    made = msgspec.structs.replace(BASE.make_data, samples=20_800)
    columns = synthetic.draw(made.samples, made, stream.seeded(42))
    y = columns.pop(made.target).astype(np.int32)
    x = np.column_stack(list(columns.values()))
    yield ""
    yield f"{32 * times} trained networks of each; coverage of the mean difference in log loss, seeds alone, percent"
    yield "hidden units  skewness    R = 3      8     16     32"
    of_notebook = losses(x, y, 32, 0, times)
    for hidden in (16, 8):
        seeds = losses(x, y, hidden, times, times) - of_notebook
        held = [f"{covered(seeds, networks):6.1%}".replace("%", "") for networks in (3, 8, 16, 32)]
        skewness = ((seeds - seeds.mean()) ** 3).mean() / seeds.std() ** 3
        yield f"{hidden:>12}{skewness:>10.1f}   {' '.join(held)}"


def losses(x: np.ndarray, y: np.ndarray, hidden: int, seed: int, times: int) -> np.ndarray:
    """Log losses of networks with so many hidden units, trained on the first 800 rows: (32 times,)."""
    found = []
    for number in range(seed, seed + times):
        train = msgspec.structs.replace(BASE.train, replicas=32, engine="compiled", hidden_size=hidden)
        settings = msgspec.structs.replace(BASE, seed=number, train=train)
        first = stream.to_text(stream.seeded(stream.seed_of(number, 0)))
        plain = [Number(f"x{i}", "number", 0, 0, 0, 0, 1, 1, False) for i in range(x.shape[1])]
        drawn = starts.draw(settings, Facts("y", [0, 1], [1, 1], first), Encoding(plain), SHIPPED)
        with contextlib.redirect_stdout(io.StringIO()):
            weights = loop.train(drawn, (x[:800], y[:800]), (x[:0], y[:0]), train, SHIPPED, None).weights
        probability = scoring.probabilities(x[800:], weights)
        found += [float(metrics.log_losses(network, y[800:]).mean()) for network in probability]
    return np.array(found)


def covered(seeds: np.ndarray, count: int) -> float:
    """How often Student's interval of so many of the seeds holds the mean of all."""
    drawn = np.random.default_rng(0).choice(seeds, (4000, count))
    half = stdtrit(count - 1, 0.975) * drawn.std(axis=1, ddof=1) / np.sqrt(count)
    return float((np.abs(drawn.mean(axis=1) - seeds.mean()) <= half).mean())


if __name__ == "__main__":
    main()
