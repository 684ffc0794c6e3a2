"""Is the network worth it? What simple models of scikit-learn reach on the same rows, and the verdict between.

Logistic regression and gradient-boosted trees learn from the training rows as the network saw them, numbers encoded and
categories as such, and are scored on the test rows; with split.folds on each fold's rows, after those that network 0 of
the fold learnt from. They are as scikit-learn has them, not tuned. The third baseline is no model: it always answers
the shares of the training classes.

Their last bits are those of the machine's linear algebra, so what is written here no other file depends on.
"""

import warnings
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from plumbline.basics import files, formats
from plumbline.bits import rows
from plumbline.explaining.answers import Answered, judges_of
from plumbline.model.folds import Folds
from plumbline.model.model import Card, Model
from plumbline.scores import differences
from plumbline.tables import encoding, store
from plumbline.tables.fitted import Encoding
from plumbline.tables.folds import trained_on
from plumbline.tables.store import Table

METRICS = ("log_loss", "accuracy")
MOST_ROWS = 50_000  # to train on
MOST_WORK = 2**22  # training rows times columns times outputs: boosted trees take a quarter of a minute
MOST_CATEGORIES = 254  # of a column whose codes the trees take for categories, and not for numbers
FEWEST_OF_CLASS = 10  # rows that early stopping needs, which holds out a tenth of them


def write(
    path: str | Path, asked: bool, saved: Model, judges: Folds, train: Table, scored: dict[str, Answered]
) -> None:
    """Write what the baselines reach, and how the networks differ from each; {} if not asked."""
    formats.write_json(formats.six_digits(compared(saved, judges, train, scored)) if asked else {}, path)


def compared(saved: Model, judges: Folds, train: Table, scored: dict[str, Answered]) -> dict:
    """Every baseline's figures on the rows that judge, and how the networks differ from it."""
    part = "out-of-fold" if judges.replicas else "test"
    table, rows, *_ = scored[part]
    answers: dict[str, np.ndarray] = {}
    trained = []
    for own, found, count in lessons(saved, judges, train, table, rows.fold):
        trained.append(count)
        for name, answer in found.items():
            answers.setdefault(name, np.full((len(table), answer.shape[1]), np.nan, np.float32))[own] = answer
    answers = {name: answer for name, answer in answers.items() if not np.isnan(answer).any()}
    networks, compared = rows._replace(probability=rows.probability[: saved.networks]), {}
    for name, answer in answers.items():
        level = 1 - 0.05 / len(answers)
        base = rows._replace(probability=answer[None])
        judged = {d.metric: d for d in differences.compare(base, networks, METRICS, level=level)}
        compared[name] = {m: judged[m].base for m in METRICS} | told(judged["log_loss"])
        compared[name]["in_accuracy"] = told(judged["accuracy"])
    return compared | {"part": part, "rows": len(table), "trained_rows": min(trained)}


def lessons(saved: Model, judges: Folds, train: Table, table: Table, fold_of: np.ndarray | None) -> Iterator[tuple]:
    """What the baselines say of some of the scored rows: these rows, what each says of them, and the rows they learnt.

    Of out-of-fold rows those of each fold in turn, by models that learn what network 0's judge of the fold has learnt.
    """
    with files.scratch("metrics") as scratch:
        first = None if fold_of is None else fold_of[:1]
        for f, (model, _, own) in enumerate(judges_of(saved, judges.first(1), first)):
            taught = train
            if first is not None:
                by_time = train.facts.folds.time is not None
                taught = store.part_of(train, trained_on(judges.fold_of[0], f, by_time), scratch / "taught.parquet")
            asked = table if first is None else store.part_of(table, own, scratch / "fold.parquet")
            yield own, *said(model.card, taught, asked)


def said(card: Card, train: Table, asked: Table) -> tuple[dict[str, np.ndarray], int]:
    """What each baseline says of some rows after others, as probabilities are stored, and how many rows it learnt."""
    x, y = training_rows(card.encoding, train, card.sizes[2])
    found = {"shares": np.tile(shares(card.train_counts), (len(asked), 1))}
    if len(np.unique(y)) > 1:
        fitted = fit(models(y, card.encoding), x, y)
        found |= zip(fitted, answers_of(fitted.values(), card.encoding, asked, len(card.classes)))
    return found, len(y)


def told(judged: differences.Difference) -> dict:
    """The verdict on the networks and by how much they differ: without an interval where a single row was tested."""
    numbers = {"difference": judged.difference, "low": judged.low, "high": judged.high}
    return {"verdict": judged.verdict} | {name: value for name, value in numbers.items() if np.isfinite(value)}


def shares(counts: list[int]) -> np.ndarray:
    """The shares of the training classes as probabilities are stored: float32 (k,), of two classes the second's."""
    every = np.array(counts, np.float64) / sum(counts)
    return (every[1:] if len(every) == 2 else every).astype(np.float32)


def training_rows(encoded: Encoding, table: Table, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on, evenly spaced in the part if they are too many: stored columns (m, c), class numbers (m,)."""
    seen = inputs(encoded)
    count = min(len(table), MOST_ROWS, max(MOST_WORK // (len(seen) * outputs), 1000))
    with files.scratch("metrics") as scratch:
        if count < len(table):
            table, _ = store.evenly(table, count, scratch / "some.parquet")
        return encoding.encode(encoded, table)[:, seen], table.classes()


def inputs(encoded: Encoding) -> np.ndarray:
    """The stored columns that the models see, by number: numbers and categories, without bins and statistics."""
    return encoded.views[-1]


def models(y: np.ndarray, encoded: Encoding) -> dict:
    """The models as scikit-learn has them, for these training classes and the columns of an encoding."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    can_stop = bool(np.unique(y, return_counts=True)[1].min() >= FEWEST_OF_CLASS)
    kind, _, width = encoded.layout[inputs(encoded)].T
    is_code = kind == rows.CODE
    columns = make_column_transformer(
        (StandardScaler(), ~is_code), (OneHotEncoder(handle_unknown="ignore", dtype=np.float32), is_code)
    )
    categories = is_code & (width <= MOST_CATEGORIES)
    return {
        "logistic_regression": make_pipeline(columns, LogisticRegression(max_iter=1000)),
        "boosted_trees": HistGradientBoostingClassifier(
            categorical_features=categories, early_stopping=can_stop, random_state=0
        ),
    }


def fit(unfitted: dict, x: np.ndarray, y: np.ndarray) -> dict:
    """The models by name, trained side by side.

    One thread each: on cores that others use too, threads that wait for one another took four times as long.
    """
    from concurrent.futures import ThreadPoolExecutor

    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings(), ThreadPoolExecutor(None, "", threadpool_limits, (1,)) as pool:
        warnings.simplefilter("ignore")  # of a regression that has not converged: it is no worse a baseline
        return dict(zip(unfitted, pool.map(lambda model: model.fit(x, y), unfitted.values())))


def answers_of(fitted: Collection, encoded: Encoding, test: Table, classes: int) -> list[np.ndarray]:
    """What models say of all test rows: probabilities as they are stored, float32 (n, k) each."""
    answers, start = [np.zeros((len(test), classes), np.float32) for _ in fitted], 0
    for piece in encoding.pieces(encoded, test):
        seen = piece[:, inputs(encoded)]
        for answer, model in zip(answers, fitted):
            answer[start : start + len(piece), model.classes_] = model.predict_proba(seen)
        start += len(piece)
    return [answer[:, 1:] if classes == 2 else answer for answer in answers]
