"""Cross-fitting: of every replica one more network a fold, trained on the rows of the other folds alone.

What a fold's network is trained on, watches and is encoded by are rows of the other folds: it meets the fold's own rows
for the first time when evaluate scores them. One fold's encoded table exists at a time.
"""

from pathlib import Path

import numpy as np

from plumbline.basics import files
from plumbline.basics.params import Train
from plumbline.bits import initial, stream
from plumbline.model.folds import NONE, Folds
from plumbline.model.model import Card, Model
from plumbline.model.network import Network
from plumbline.tables import encoding, folds, store
from plumbline.tables.encoding import Encoding
from plumbline.tables.store import Table
from plumbline.training import loop, networks
from plumbline.training.snapshot import Keeper
from plumbline.training.workers import Group

FOLDER = Path("models")


def cross_fit(part: Table, seed: int, train: Train, network: Network, keeper: Keeper, group: Group) -> Folds:
    """The fold networks of all replicas, each worker training some of them; none where the split has no folds."""
    if part.facts.folds is None:
        return NONE
    replicas, by_time = range(train.replicas), part.facts.folds.time
    fold_of = np.stack([folds.of_replica(part, seed, r) for r in replicas])
    tasks = [(r, f) for r in replicas for f in range(fold_of.max() + 1)]
    cut = f"{fold_of.max() + 1} {f'later blocks of {by_time}' if by_time else 'folds'}"
    before = f"; the earliest {(fold_of[0] == folds.NOT_SCORED).sum()} rows are not scored" if by_time else ""
    print(f"cross-fitting: {train.replicas} replicas x {cut}, {len(tasks)} networks{before}")
    keeper = keeper.named(f"folds-{group.rank}-of-{group.size}")
    mine = {}
    for r, f in tasks[group.rank :: group.size]:
        mine[r, f] = trained(part, fold_of[r], r, f, seed, train, network, keeper)
    everyones = {task: model for found in group.exchange(mine) for task, model in found.items()}
    return Folds(fold_of, [[everyones[r, f] for f in range(fold_of.max() + 1)] for r in replicas])


def trained(
    part: Table, fold_of: np.ndarray, replica: int, fold: int, seed: int, train: Train, network: Network, keeper: Keeper
) -> Model:
    """The network of one fold of a replica. fold_of: each row's fold (n,)."""
    facts = part.facts
    taught = folds.trained_on(fold_of, fold, facts.folds.time is not None)
    taught = folds.some_of(taught, part, train.fold_rows, seed, replica)
    fitted = fitted_on(part, taught, train.encoding)
    x, y, rows = encoding.encode(fitted, part, taught), part.classes(), np.flatnonzero(taught)
    own = [(seed, replica, "folds", fold, *([member] * (member > 0))) for member in range(train.members)]
    generators = [stream.seeded(stream.seed_of(*path)) for path in own]
    sizes = fitted.width, train.hidden_size, initial.outputs_for(len(facts.classes))
    drawn = networks.draw_from(generators, sizes, train, network, replica, fitted.layout, fitted.views)
    became = loop.train(drawn, (x, y), (x[:0], y[:0]), train, network, keeper, rows=rows)
    whole = networks.whole(became, drawn, network)
    counts = networks.class_counts(y[rows], len(facts.classes)).tolist()
    card = Card(facts.target, facts.classes, counts, fitted, network.tree, whole.hidden_size, whole.members)
    return Model(whole.weights, card, network)


def fitted_on(part: Table, taught: np.ndarray, setting: str) -> Encoding:
    """The encoding that some rows of a part (a mask) say, and no other row."""
    with files.scratch(FOLDER) as folder:
        return encoding.fit(store.part_of(part, taught, folder / "taught.parquet"), setting)
