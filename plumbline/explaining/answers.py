"""The probabilities that every network gives to every scored row: all figures are made of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plumbline.basics import files
from plumbline.basics.errors import UserError
from plumbline.basics.params import Split
from plumbline.model.folds import NONE, Folds
from plumbline.model.model import Model
from plumbline.profiling import belonging
from plumbline.scores import metrics
from plumbline.scores.differences import Rows
from plumbline.tables import encoding, store
from plumbline.tables.store import Table


class Answered(NamedTuple):
    """A part and the probabilities of its rows."""

    table: Table
    rows: Rows  # of several networks, and of their ensemble as the last
    together: belonging.Together  # which rows are not independent of one another
    counts: list  # rows of each class that the networks were trained on (k,); of out-of-fold rows (R, folds, k)


def check(parts: tuple[Table, ...], saved: Model) -> None:
    """UserError unless the parts are of one split, and the model was trained on the first of them.

    In one split every row of the dataset is in exactly one part. The exclusive or of all rows' hashes tells whether it
    is so, in any order of rows.
    """
    train, seen = parts[0].facts, 0
    for table in parts:
        facts, its = table.facts, f"SELECT coalesce(bit_xor(hash({store.ROW}::BIGINT)), 0) FROM {table.relation}"
        if (facts.target, facts.classes) != (saved.card.target, saved.card.classes):
            raise UserError(f"{table.path} and the model have different classes; run `dvc repro`")
        seen ^= table.rows(its)[0][0]
    rows = sum(train.class_counts)
    ((every,),) = parts[0].rows(f"SELECT bit_xor(hash(range)) FROM range({rows})")
    if seen != every or any(table.facts.class_counts != train.class_counts for table in parts):
        raise UserError(f"{', '.join(str(table.path) for table in parts)} are not of one split; run `dvc repro`")
    if sum(saved.card.train_counts) != len(parts[0]):
        raise UserError(f"the model was trained on other rows than {parts[0].path} has; run `dvc repro`")


def judges_of(
    saved: Model, judges: Folds, fold_of: np.ndarray | None
) -> Iterator[tuple[Model, slice, np.ndarray | slice]]:
    """The models that score a part; with each its places among the R networks, and the rows it scores (a mask, or all).

    fold_of: for out-of-fold rows, the fold of each row in each replica (R, n). A fold is scored by the model that did
    not train on it.
    """
    if fold_of is None:
        yield saved, slice(saved.networks), slice(None)
        return
    for r, replica in enumerate(judges.models):
        for f, model in enumerate(replica):
            yield model, slice(r, r + 1), fold_of[r] == f


def of_part(
    saved: Model, table: Table, split: Split, batch_size: int, scratch: Path, judges: Folds = NONE, fold_of=None
) -> Answered:
    """Score every row of a part: by all networks of the model, or with `fold_of` by the models of `judges_of`.

    scratch: the folder for probabilities that are too many for memory.
    """
    networks = saved.networks if fold_of is None else judges.replicas
    shape = networks + (networks > 1), len(table), saved.card.sizes[2]
    probability = files.mapped(shape, np.float32, scratch)
    for model, which, own in judges_of(saved, judges, fold_of):
        places = None if fold_of is None else np.flatnonzero(own)
        some = table if places is None else store.part_of(table, own, scratch / "fold.parquet")
        for here, x in _pieces(model, some):
            probability[which, here if places is None else places[here]] = model.probabilities(x, batch_size, len(some))
    if networks > 1:
        for here in metrics.pieces(len(table)):
            probability[-1, here] = metrics.ensemble(probability[:-1, here])
    together = belonging.of_part(table, split)
    rows = Rows(probability, table.classes(), saved.card.positive_number, together.number, fold_of)
    return Answered(table, rows, together, saved.card.train_counts if fold_of is None else judges.train_counts)


def out_of_fold(judges: Folds, saved: Model, table: Table, split: Split, batch_size: int, scratch: Path) -> Answered:
    """Score every training row by networks that did not train on it, one of each replica.

    With folds by time the earliest block has no such network; its rows are left out.
    """
    scored = (judges.fold_of >= 0).all(axis=0)
    if not scored.all():
        table = store.part_of(table, scored, scratch / "scored.parquet")
    return of_part(saved, table, split, batch_size, scratch, judges, judges.fold_of[:, scored])


def by_epoch(saved: Model, table: Table, batch_size: int) -> np.ndarray:
    """Log loss and accuracy of each of the model's networks on a part: float64 (R, 2); (0, 2) for a part without rows.

    The networks are network 0 as it was after one epoch each. UserError where a loss is not finite.
    """
    if not len(table):
        return np.empty((0, 2))
    sums, target = np.zeros((saved.networks, 2)), table.classes()
    for here, x in _pieces(saved, table):
        sums += metrics.loss_and_right(saved.probabilities(x, batch_size, len(table)), target[here])
    wrong = np.flatnonzero(~np.isfinite(sums).all(axis=1))
    if len(wrong):
        epoch = 1 + wrong[0] * saved.card.every
        raise UserError(f"{table.path}: after epoch {epoch} some row gets no finite loss; lower train.learning_rate")
    return sums / len(table)


def _pieces(model: Model, table: Table) -> Iterator[tuple[slice, np.ndarray]]:
    """Encoded rows in order, some at a time, so that neither they nor their probabilities take much memory."""
    start, rows = 0, store.rows_of(max(len(model.card.encoding.layout), model.networks * model.card.sizes[2]))
    for x in encoding.pieces(model.card.encoding, table, rows):
        yield slice(start, start + len(x)), x
        start += len(x)
