"""A model file as scikit-learn's users expect a classifier: `plumbline.load` gives it, and `plumbline predict` uses it.

import plumbline
model = plumbline.load("models/model.safetensors")
model.predict_proba(frame)  # a pandas, Polars or pyarrow table, in any order of columns, with or without others
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

VALUES = 2**21  # numbers of encoded rows, or probabilities of all networks, at a time
_one_at_a_time = threading.Lock()  # DuckDB's connection is the process's, and a server has many threads


class Scored(NamedTuple):
    """Some rows of a table, in their order."""

    row: np.ndarray  # their numbers from 0, (n,)
    probability: np.ndarray  # float64 (n, classes)
    predicted: np.ndarray  # numbers of classes (n,)
    warning: np.ndarray  # what of them the training rows had not: text, '' for nothing (n,)
    unseen: dict[tuple[str, str], int]  # the same by column and by what it is, with the number of rows


class Classifier:
    """A trained model that labels new rows; plumbline.UserError says in one line what is wrong with a table or file."""

    def __init__(self, path: str | Path, ensemble: bool = False, network: str | Path | None = None):
        saved = model.load(path, network)
        self.model = saved if ensemble else saved.first()
        self.classes_ = np.array(saved.card.classes)  # of the target's kind: whole numbers, bool, or text
        self.feature_names_in_ = np.array([column.name for column in saved.card.encoding.columns], object)
        self.n_features_in_ = len(self.feature_names_in_)

    def predict_proba(self, frame: object) -> np.ndarray:
        """Of each row the probabilities of `classes_`: float64 (n, classes)."""
        return np.concatenate([piece.probability for piece in self._of_frame(frame)])

    def predict(self, frame: object) -> np.ndarray:
        """Of each row the most probable class: (n,), of the dtype of `classes_`."""
        return self.classes_[np.concatenate([piece.predicted for piece in self._of_frame(frame)])]

    def warnings(self, frame: object) -> np.ndarray:
        """Of each row what the training rows had not, as `plumbline predict` says it, '' for nothing: (n,)."""
        return np.concatenate([piece.warning for piece in self._of_frame(frame)])

    def score(self, frame: object, y: object) -> float:
        """The accuracy on rows whose labels are known."""
        return float(np.mean(self.predict(frame) == np.asarray(y)))

    def fit(self, frame: object = None, y: object = None) -> "Classifier":
        """Itself as it is, as scikit-learn's FrozenEstimator: its displays and `permutation_importance` ask for it."""
        return self

    def __sklearn_tags__(self):
        """What scikit-learn asks an estimator: a classifier."""
        from sklearn.utils import ClassifierTags, Tags, TargetTags

        return Tags("classifier", TargetTags(required=True), classifier_tags=ClassifierTags())

    def scored(self, table: store.Table) -> Iterator[Scored]:
        """Rows of a table, piece by piece."""
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
        """The model's columns; UserError where one is missing among the names of a table's."""
        for name in self.feature_names_in_:
            if name not in names:
                told = f"column {name!r} is missing, and the model was trained with it; add it to the table"
                raise UserError(told + nearest(name, names))
        return list(self.feature_names_in_)

    def _of_frame(self, frame: object) -> list[Scored]:
        with _one_at_a_time, tempfile.TemporaryDirectory(prefix="plumbline-") as scratch:
            return list(self.scored(in_memory.table(frame, Path(scratch), self.needed)))


def _warnings(found: Iterable[tuple[str, str, np.ndarray]], n: int) -> tuple[np.ndarray, dict[tuple[str, str], int]]:
    said, counts = np.full(n, "", object), {}
    for column, what, mask in found:
        if count := int(np.count_nonzero(mask)):
            counts[column, what] = count
            said[mask] = [f"{before}; {column}: {what}" if before else f"{column}: {what}" for before in said[mask]]
    return said, counts


def _check_finite(probability: np.ndarray, row: np.ndarray, x: np.ndarray, fitted: Encoding) -> None:
    """Refuse rows whose values, or weights, leave what float32 can hold: by row and its largest column."""
    bad = np.flatnonzero(~np.isfinite(probability).all(axis=1))
    if len(bad):
        largest = int(np.abs(x[bad[0]]).argmax())
        (name,) = [column.name for column, own in zip(fitted.columns, fitted.places) if largest in own]
        raise UserError(
            f"row {row[bad[0]]}: it gets no finite probability ({len(bad)} such rows here), for its values (most in "
            f"column {name!r}) or the weights leave what float32 can hold; mend it, or train with train.encoding robust"
        )
