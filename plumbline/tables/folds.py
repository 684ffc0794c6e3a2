"""Cross-fitting: the rows of a training part are cut into folds, anew for every replica.

A replica trains one network for each fold, on the other folds. So each row is scored by a network that was not trained
on it.
"""

import heapq
import math

import numpy as np

from plumbline.basics.errors import UserError
from plumbline.bits import stream
from plumbline.tables import splits
from plumbline.tables.store import Table

NOT_SCORED = -1  # the fold of the earliest rows, if folds are blocks of time


def of_replica(part: Table, seed: int, replica: int) -> np.ndarray:
    """The fold of each row of a training part, from 0: int32 (n,).

    Folds are drawn from a generator of their own, so that they do not depend on training, nor training on them. They
    differ by one row at most, or by one row of each class if the split is stratified. A group stays whole and goes to
    the fold that has the fewest rows. Blocks of time are the same for all replicas. The first block is NOT_SCORED, for
    no rows come before it to train on.

    UserError if there are too few rows, groups or times, or a network would lack a class.
    """
    facts, n, classes = part.facts, len(part), part.classes()
    count, by_time = facts.folds.folds, facts.folds.time is not None
    if by_time:
        times = splits.times(part, facts.folds.time)
        # By the first place of each time among the sorted times, so that rows of the same time stay together
        fold_of = (np.searchsorted(np.sort(times), times) * count // n).astype(np.int32)
    else:
        fold_of = np.empty(n, np.int32)
        order = stream.permutation(stream.seeded(stream.seed_of(seed, replica, "folds")), n)
        if facts.folds.group:
            fold_of[order] = _by_group(splits.group_firsts(part, facts.folds.group)[order], count)
        else:
            if facts.folds.stratify:
                order = order[np.argsort(classes[order], kind="stable")]
            fold_of[order] = np.arange(n) % count
    if not np.bincount(fold_of, minlength=count).all():
        name = facts.folds.group or facts.folds.time
        kept = f", for rows of the same {name!r} stay together" if name else ""
        raise UserError(f"split.folds {count} of {n} training rows leaves a fold empty{kept}; lower split.folds")
    if by_time:
        fold_of -= 1  # the first block becomes NOT_SCORED
    for fold in range(fold_of.max() + 1):
        if lacking := splits.absent(classes[trained_on(fold_of, fold, by_time)], facts):
            _, label = lacking
            raise UserError(
                f"{label} is in no row that the network of fold {fold} would be trained on; "
                "set split.stratify to true, lower split.folds, or drop that class"
            )
    return fold_of


def trained_on(fold_of: np.ndarray, fold: int, by_time: bool) -> np.ndarray:
    """The rows that a fold's network is trained on, as a mask (n,): all other folds, or earlier blocks of time."""
    return fold_of < fold if by_time else fold_of != fold


def some_of(taught: np.ndarray, part: Table, share: float, seed: int, replica: int) -> np.ndarray:
    """Choose a share of the rows `taught` that a network would be trained on, to see what more rows bring: a mask (n,).

    A larger share contains every smaller one. As in folds, groups stay whole, and a stratified split keeps the share of
    each class. UserError if a class has no row left.
    """
    if share == 1.0:
        return taught
    facts, n = part.facts, len(part)
    place, classes = np.empty(n, np.int64), part.classes()
    place[stream.permutation(stream.seeded(stream.seed_of(seed, replica, "folds", "rows")), n)] = np.arange(n)
    if facts.folds.group:
        place = place[splits.group_firsts(part, facts.folds.group)]
    chosen = np.zeros(n, bool)
    for c in range(len(facts.classes)) if facts.folds.stratify else [None]:
        own = np.flatnonzero(taught if c is None else taught & (classes == c))
        last = math.ceil(share * len(own)) - 1
        chosen[own[place[own] <= np.partition(place[own], last)[last]]] = True
    if lacking := splits.absent(classes[chosen], facts):
        _, label = lacking
        raise UserError(f"train.fold_rows {share} leaves no row of {label} to train on; raise it, or split.stratify")
    return chosen


def _by_group(shuffled: np.ndarray, count: int) -> np.ndarray:
    """Folds of rows, given each row's group number (n,). Groups go in order to the fold that has the fewest rows."""
    groups, first, sizes = np.unique(shuffled, return_index=True, return_counts=True)
    fold_of_group = np.empty(shuffled.max() + 1, np.int32)
    lightest = [(0, fold) for fold in range(count)]
    for i in np.argsort(first, kind="stable").tolist():
        rows, fold = heapq.heappop(lightest)
        fold_of_group[groups[i]] = fold
        heapq.heappush(lightest, (rows + int(sizes[i]), fold))
    return fold_of_group[shuffled]
