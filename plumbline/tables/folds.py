"""Cross-fitting: how the rows of a training part are cut into folds, anew for every replica.

A replica's networks are trained one without each fold, and every row is scored by the network that did not train on it.
"""

import heapq
import math

import numpy as np

from plumbline.basics.errors import UserError
from plumbline.bits import stream
from plumbline.tables import splits
from plumbline.tables.store import Table

NOT_SCORED = -1  # the fold of the earliest rows where folds are blocks of time


def of_replica(part: Table, seed: int, replica: int) -> np.ndarray:
    """The fold of each row of a training part, from 0: int32 (n,).

    Drawn from a generator of the replica's own, so that no parameter of the training moves them, nor they its numbers.
    Folds have the same number of rows (of every class, where the split is stratified) to within one. Whole groups stay
    together, each put where the fewest rows are. Blocks of time follow one another and are the same for all replicas;
    the first is NOT_SCORED, for nothing lies before it. UserError where there are too few rows, groups or times.
    """
    facts, n = part.facts, len(part)
    count = facts.folds.count
    if facts.folds.time:
        fold_of = _by_time(splits.times(part, facts.folds.time), count, facts.folds.time)
        absent = np.bincount(part.classes()[fold_of == NOT_SCORED], minlength=len(facts.classes)) == 0
        if absent.any():
            label = facts.classes[int(absent.argmax())]
            raise UserError(
                f"class {label!r} of {facts.target!r} is not in the earliest of {count} blocks of time, whose rows "
                "teach who scores the next one; lower split.folds, or drop that class"
            )
        return fold_of
    order = stream.permutation(stream.seeded(stream.seed_of(seed, replica, "folds")), n)
    if facts.folds.group:
        fold = _by_group(splits.group_firsts(part, facts.folds.group)[order], count, facts.folds.group)
    else:
        if facts.folds.stratify:
            order = order[np.argsort(part.classes()[order], kind="stable")]
        fold = np.arange(n, dtype=np.int32) % count
    fold_of = np.empty(n, np.int32)
    fold_of[order] = fold
    return _checked(fold_of, part)


def trained_on(fold_of: np.ndarray, fold: int, by_time: bool) -> np.ndarray:
    """The rows that the network of a fold is trained on, a mask (n,): all others, or earlier blocks of time."""
    return fold_of < fold if by_time else fold_of != fold


def some_of(taught: np.ndarray, part: Table, share: float, seed: int, replica: int) -> np.ndarray:
    """A share of the rows that a network would be trained on, to tell what the others bring: a mask (n,).

    A larger share has all rows of a smaller one. As folds are: whole groups, or the share of every class. UserError
    where a class has no row left.
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
    absent = np.bincount(classes[chosen], minlength=len(facts.classes)) == 0
    if absent.any():
        raise UserError(
            f"train.fold_rows {share} leaves no row of class {facts.classes[int(absent.argmax())]!r} of "
            f"{facts.target!r} to train on; raise it, or set split.stratify to true"
        )
    return chosen


def _by_group(shuffled: np.ndarray, count: int, name: str) -> np.ndarray:
    """Folds of rows by their group numbers (n,): group after group as they first come, to the fold of fewest rows."""
    groups, first, sizes = np.unique(shuffled, return_index=True, return_counts=True)
    if len(groups) < count:
        raise UserError(
            f"split.folds {count} of {len(groups)} groups of {name!r} would leave a fold empty; lower split.folds"
        )
    fold_of_group = np.empty(shuffled.max() + 1, np.int32)
    lightest = [(0, fold) for fold in range(count)]
    for i in np.argsort(first).tolist():
        rows, fold = heapq.heappop(lightest)
        fold_of_group[groups[i]] = fold
        heapq.heappush(lightest, (rows + int(sizes[i]), fold))
    return fold_of_group[shuffled]


def _by_time(times: np.ndarray, count: int, name: str) -> np.ndarray:
    """Blocks of as many rows, but that rows of the same time are never cut apart; the first is NOT_SCORED."""
    ordered = np.sort(times)
    block = np.searchsorted(ordered, times) * count // len(times)  # by the place of the first row of the same time
    if len(np.unique(block)) < count:
        raise UserError(
            f"split.folds {count} would leave a block of time empty, for many rows have the same {name!r}; "
            "lower split.folds"
        )
    return (block + NOT_SCORED).astype(np.int32)


def _checked(fold_of: np.ndarray, part: Table) -> np.ndarray:
    """Refuse folds that are empty, or whose networks would not be trained on some class."""
    facts, classes = part.facts, part.classes()
    count, k = facts.folds.count, len(facts.classes)
    rows = np.bincount(classes * count + fold_of, minlength=k * count).reshape(k, count)
    if not rows.sum(axis=0).all():
        raise UserError(f"split.folds {count} of {len(part)} training rows leaves a fold empty; lower split.folds")
    alone = (rows == rows.sum(axis=1, keepdims=True)).any(axis=1)
    if alone.any():
        c = int(alone.argmax())
        raise UserError(
            f"class {facts.classes[c]!r} of {facts.target!r} has all its {rows[c].sum()} training rows in one fold, "
            "whose network could learn nothing of it; set split.stratify to true, or drop that class"
        )
    return fold_of
