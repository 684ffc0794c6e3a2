"""A model file as a classifier in scikit-learn's manner: `plumbline.load` returns it, and `plumbline predict` uses it.

import plumbline
model = plumbline.load("models/model.safetensors")
model.predict_proba(frame)  # a pandas, Polars or pyarrow table; columns in any order, others are ignored
"""

import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plumbline.basics.errors import UserError
from plumbline.basics.params import nearest
from plumbline.model import model
from plumbline.scores import metrics
from plumbline.sources import in_memory
from plumbline.tables import encoding, store, unseen
from plumbline.tables.fitted import Encoding

VALUES = 2**21  # so many encoded numbers, or probabilities of all networks, are in memory at a time
_one_at_a_time = threading.Lock()  # a process has one DuckDB connection, and a server has many threads


class Scored(NamedTuple):
    """Some rows of a table, in their order."""

    row: np.ndarray  # their numbers, from 0 (n,)
    probability: np.ndarray  # float64 (n, classes)
    predicted: np.ndarray  # class numbers (n,)
    warning: np.ndarray  # text on what is in the row and was in no training row, '' for nothing (n,)
    unseen: dict[tuple[str, str], int]  # the same counted: rows by (column, what)


class Classifier:
    """A trained model that labels new rows. A plumbline.UserError says in one line what is wrong with a table or file.

    ensemble: the mean of all networks answers, not network 0 alone. network: the file that defines an edited network.
    """

    def __init__(self, path: str | Path, ensemble: bool = False, network: str | Path | None = None):
        saved = model.load(path, network)
        self.model = saved if ensemble else saved.first()
        self.classes_ = np.array(saved.card.classes)  # of the target's kind: whole numbers, bool, or text
        self.feature_names_in_ = np.array([column.name for column in saved.card.encoding.columns], object)
        self.n_features_in_ = len(self.feature_names_in_)

    def predict_proba(self, frame: object) -> np.ndarray:
        """The probabilities of `classes_` in each row: float64 (n, classes)."""
        return np.concatenate([piece.probability for piece in self._of_frame(frame)])

    def predict(self, frame: object) -> np.ndarray:
        """The most probable class of each row: (n,), of the dtype of `classes_`."""
        return self.classes_[np.concatenate([piece.predicted for piece in self._of_frame(frame)])]

    def warnings(self, frame: object) -> np.ndarray:
        """What each row has that no training row had, as `plumbline predict` says it, '' for nothing: (n,)."""
        return np.concatenate([piece.warning for piece in self._of_frame(frame)])

    def score(self, frame: object, y: object) -> float:
        """The accuracy on rows whose labels are known."""
        return float(np.mean(self.predict(frame) == np.asarray(y)))

    def fit(self, frame: object = None, y: object = None) -> "Classifier":
        """The model, unchanged, as of scikit-learn's FrozenEstimator; scikit-learn asks every estimator for a `fit`."""
        return self

    def __sklearn_tags__(self):
        """Tells scikit-learn that this is a classifier."""
        from sklearn.utils import ClassifierTags, Tags, TargetTags

        return Tags("classifier", TargetTags(required=True), classifier_tags=ClassifierTags())

    def scored(self, table: store.Table) -> Iterator[Scored]:
        """The rows of a table, some at a time."""
        fitted, k, start = self.model.card.encoding, self.model.card.sizes[2], 0
        rows = max(VALUES // max(len(fitted.layout), self.model.networks * k), 1)
        for x, values in encoding.with_values(fitted, table, rows):
            mean = metrics.ensemble(self.model.probabilities(x, rows=len(table)))  # (n, k)
            row = np.arange(start, start + len(x))
            _check_finite(mean, row, x, fitted)
            said = _warnings(unseen.of_rows(fitted, values), len(x))
            yield Scored(row, metrics.by_class(mean), metrics.predicted(mean), *said)
            start += len(x)

    def needed(self, names: Iterable[str]) -> list[str]:
        """The model's columns; UserError where one is not among the names of a table's columns."""
        for name in self.feature_names_in_:
            if name not in names:
                told = f"column {name!r} is missing, and the model was trained with it; add it to the table"
                raise UserError(told + nearest(name, names))
        return list(self.feature_names_in_)

    def _of_frame(self, frame: object) -> list[Scored]:
        with _one_at_a_time, tempfile.TemporaryDirectory(prefix="plumbline-") as scratch:
            return list(self.scored(in_memory.table(frame, Path(scratch), self.needed)))


def _warnings(found: Iterable[tuple[str, str, np.ndarray]], n: int) -> tuple[np.ndarray, dict[tuple[str, str], int]]:
    """`Scored.warning` and `Scored.unseen` of n rows. found: column, what is new in it, and in which rows (n,)."""
    said, counts = np.full(n, "", object), {}
    for column, what, mask in found:
        if count := int(np.count_nonzero(mask)):
            counts[column, what] = count
            said[mask] = [f"{before}; {column}: {what}" if before else f"{column}: {what}" for before in said[mask]]
    return said, counts


def _check_finite(probability: np.ndarray, row: np.ndarray, x: np.ndarray, fitted: Encoding) -> None:
    """Refuse rows with a probability that is not finite; the first is named, with the column of its largest input."""
    bad = np.flatnonzero(~np.isfinite(probability).all(axis=1))
    if len(bad):
        largest = int(np.abs(x[bad[0]]).argmax())
        (name,) = [column.name for column, own in zip(fitted.columns, fitted.places) if largest in own]
        raise UserError(
            f"row {row[bad[0]]}: it gets no finite probability ({len(bad)} such rows here), for its values (most in "
            f"column {name!r}) or the weights leave what float32 can hold; mend it, or train with train.encoding robust"
        )
