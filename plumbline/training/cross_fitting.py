"""Cross-fitting: for every replica and fold one more network, trained on the rows of the other folds.

A fold's network sees the fold's own rows for the first time when evaluate scores them. Threads train networks side by
side, each on an encoded table of its own.
"""

from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event, Lock

import numpy as np

from plumbline.basics import files, memory
from plumbline.basics.params import Train
from plumbline.model.folds import NONE, Folds
from plumbline.model.model import Card, Model
from plumbline.model.network import Network
from plumbline.tables import encoding, folds, store
from plumbline.tables.fitted import Encoding
from plumbline.tables.store import Facts, Table
from plumbline.training import loop, networks
from plumbline.training.snapshot import Keeper
from plumbline.training.workers import Group

FOLDER = Path("models")
OF_MEMORY = 16  # all threads' encoded tables together take at most one sixteenth of the memory


def cross_fit(part: Table, seed: int, train: Train, network: Network, keeper: Keeper, group: Group) -> Folds:
    """The fold networks of all replicas; NONE where the split has no folds. Each worker and each thread trains some."""
    if part.facts.folds is None:
        return NONE
    replicas, by_time = range(train.replicas), part.facts.folds.time
    fold_of = np.stack([folds.of_replica(part, seed, r) for r in replicas])
    count = int(fold_of.max()) + 1
    tasks = [(r, f) for r in replicas for f in range(count)]
    cut = f"{count} {f'later blocks of {by_time}' if by_time else 'folds'}"
    before = f"; the earliest {(fold_of[0] == folds.NOT_SCORED).sum()} rows are not scored" if by_time else ""
    print(f"cross-fitting: {train.replicas} replicas x {cut}, {len(tasks)} networks{before}")
    ours, over, reading = tasks[group.rank :: group.size], Event(), Lock()
    threads = threads_for(part, train, len(ours))

    def fold_network(r: int, f: int, own: Keeper) -> Model:
        with reading:  # one thread at a time may use the tables' connection
            taught = lesson(part, fold_of[r], r, f, seed, train)
        return trained(taught, part.facts, (seed, r, "folds", f), 1 + tasks.index((r, f)), train, network, own)

    def of_thread(number: int) -> dict[tuple[int, int], Model]:
        if threads > 1:
            from plumbline.bits import compiling

            compiling.alone()
        own = keeper.named(f"folds-{group.rank}-of-{group.size}-{number}-of-{threads}", over)
        return {task: fold_network(*task, own) for task in ours[number::threads]}

    mine = {}
    with ThreadPoolExecutor(threads) as pool:
        try:
            for ended in as_completed([pool.submit(of_thread, number) for number in range(threads)]):
                mine |= ended.result()
        finally:  # where a thread has failed the others need not go on
            over.set()
    everyones = {task: model for found in group.exchange(mine) for task, model in found.items()}
    return Folds(fold_of, [[everyones[r, f] for f in range(count)] for r in replicas])


def threads_for(part: Table, train: Train, networks: int) -> int:
    """How many networks are trained side by side: as many as there are cores, if their tables take little memory."""
    if train.engine != "compiled":  # torch has threads of its own
        return 1
    from plumbline.bits import compiling

    table = 8 * len(part) * len(part.columns)  # bytes
    return max(min(compiling.threads(), networks, memory.limit() // OF_MEMORY // table), 1)


Lesson = tuple[Encoding, np.ndarray, np.ndarray]  # an encoding, and x and y of the rows that it was fitted on


def lesson(part: Table, fold_of: np.ndarray, replica: int, fold: int, seed: int, train: Train) -> Lesson:
    """What a fold's network is trained on, in one replica. fold_of: each row's fold (n,)."""
    taught = folds.trained_on(fold_of, fold, part.facts.folds.time is not None)
    taught = folds.some_of(taught, part, train.fold_rows, seed, replica)
    with files.scratch(FOLDER) as folder:
        rows = store.part_of(part, taught, folder / "taught.parquet")
        fitted = encoding.fit(rows, train.encoding)
        return fitted, encoding.encode(fitted, rows, trained=True), rows.classes()


def trained(
    taught: Lesson, facts: Facts, path: tuple, number: int, train: Train, network: Network, keeper: Keeper
) -> Model:
    """Train the network of a fold. path: that of its seed. number: what an error calls it; 0 is the notebook's."""
    fitted, x, y = taught
    own = networks.generators(path, train.members)
    drawn = networks.draw_from(own, facts, fitted, train, network, number)
    became = loop.train(drawn, (x, y), (x[:0], y[:0]), train, network, keeper)
    whole = networks.whole(became, drawn, network)
    counts = networks.class_counts(y, len(facts.classes)).tolist()
    card = Card(facts.target, facts.classes, counts, fitted, network.tree, whole.hidden_size, whole.members)
    return Model(whole.weights, card, network)
