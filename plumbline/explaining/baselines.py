"""Is the network worth it? Models of scikit-learn on the same rows, and whether the networks are better than these.

Logistic regression and gradient-boosted trees learn from the network's training rows: numbers as they are encoded for
the network, categories as categories. They are scored on the test rows. With split.folds they learn what network 0 of
each fold learnt, and are scored on the fold's rows. Their parameters are scikit-learn's defaults, not tuned. The third
baseline is no model: it always answers the shares of the training classes.

The last bits of these figures depend on the machine's linear algebra, so no other file depends on them.
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
MOST_ROWS = 50_000  # training rows
MOST_WORK = 2**22  # training rows times columns times outputs: boosted trees take a quarter of a minute
MOST_CATEGORIES = 254  # to the trees the codes of a column with more categories are numbers
FEWEST_OF_CLASS = 10  # rows of each class for early stopping, which holds out a tenth of the rows


def write(
    path: str | Path, asked: bool, saved: Model, judges: Folds, train: Table, scored: dict[str, Answered]
) -> None:
    """Write the baselines' figures, and how the networks differ from each; {} if not asked."""
    formats.write_json(formats.six_digits(compared(saved, judges, train, scored)) if asked else {}, path)


def compared(saved: Model, judges: Folds, train: Table, scored: dict[str, Answered]) -> dict:
    """Each baseline's figures on the test or the out-of-fold rows, and how the networks differ from it."""
    part = "out-of-fold" if judges.replicas else "test"
    table, rows, *_ = scored[part]
    answers: dict[str, np.ndarray] = {}
    trained = []
    for own, some, count in lessons(saved, judges, train, table, rows.fold):
        trained.append(count)
        for name, answer in some.items():
            answers.setdefault(name, np.full((len(table), answer.shape[1]), np.nan, np.float32))[own] = answer
    # A model that could not be trained for some fold, whose training rows are of one class, is left out
    answers = {name: answer for name, answer in answers.items() if not np.isnan(answer).any()}
    networks, found = rows._replace(probability=rows.probability[: saved.networks]), {}  # without the ensemble
    level = 1 - 0.05 / len(answers)  # Bonferroni's, for so many comparisons
    for name, answer in answers.items():
        base = rows._replace(probability=answer[None])
        judged = {d.metric: d for d in differences.compare(base, networks, METRICS, level=level)}
        found[name] = {m: judged[m].base for m in METRICS} | told(judged["log_loss"])
        found[name]["in_accuracy"] = told(judged["accuracy"])
    return found | {"part": part, "rows": len(table), "trained_rows": min(trained)}


def lessons(saved: Model, judges: Folds, train: Table, table: Table, fold_of: np.ndarray | None) -> Iterator[tuple]:
    """Scored rows, the answers that each baseline gives to them, and how many rows it was trained on.

    Test rows come at once. Out-of-fold rows come fold by fold, and the baselines learn the rows that network 0 of that
    fold was trained on.
    """
    if fold_of is None:
        yield slice(None), *answers_after(saved.card, train, table)
        return
    by_time = train.facts.folds.time is not None
    with files.scratch("metrics") as scratch:
        for f, (model, _, own) in enumerate(judges_of(saved, judges.first(1), fold_of[:1])):
            taught = store.part_of(train, trained_on(judges.fold_of[0], f, by_time), scratch / "taught.parquet")
            asked = store.part_of(table, own, scratch / "fold.parquet")
            yield own, *answers_after(model.card, taught, asked)


def answers_after(card: Card, train: Table, asked: Table) -> tuple[dict[str, np.ndarray], int]:
    """Probabilities that each baseline gives to `asked` after training on `train`, and how many rows it learnt."""
    x, y = training_rows(card.encoding, train, card.sizes[2])
    found = {"shares": np.tile(shares(card.train_counts), (len(asked), 1))}
    if len(np.unique(y)) > 1:
        fitted = fit(models(y, card.encoding), x, y)
        found |= zip(fitted, answers_of(fitted.values(), card.encoding, asked, len(card.classes)))
    return found, len(y)


def told(judged: differences.Difference) -> dict:
    """The verdict on the networks, and by how much they differ; no interval where a single row was scored."""
    numbers = {"difference": judged.difference, "low": judged.low, "high": judged.high}
    return {"verdict": judged.verdict} | {name: value for name, value in numbers.items() if np.isfinite(value)}


def shares(counts: list[int]) -> np.ndarray:
    """The shares of the training classes, as probabilities are stored: float32 (k,), k = 1 for two classes."""
    every = np.array(counts, np.float64) / sum(counts)
    return (every[1:] if len(every) == 2 else every).astype(np.float32)


def training_rows(encoded: Encoding, table: Table, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on: stored columns (m, c), class numbers (m,). Of too many rows some, evenly spaced in the part."""
    seen = inputs(encoded)
    count = min(len(table), MOST_ROWS, max(MOST_WORK // (len(seen) * outputs), 1000))
    with files.scratch("metrics") as scratch:
        if count < len(table):
            table, _ = store.evenly(table, count, scratch / "some.parquet")
        return encoding.encode(encoded, table)[:, seen], table.classes()


def inputs(encoded: Encoding) -> np.ndarray:
    """The numbers of the stored columns that the models see: numbers and categories, no bins and no statistics."""
    return encoded.views[-1]


def models(y: np.ndarray, encoded: Encoding) -> dict:
    """The untrained models by name. y: class numbers of the training rows (m,)."""
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
    """The models by name, trained side by side, each by one thread.

    On cores that other work uses too, several threads wait for one another and took four times as long.
    """
    from concurrent.futures import ThreadPoolExecutor

    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings(), ThreadPoolExecutor(None, "", threadpool_limits, (1,)) as pool:
        warnings.simplefilter("ignore")  # of a regression that has not converged: it is no worse a baseline
        return dict(zip(unfitted, pool.map(lambda model: model.fit(x, y), unfitted.values())))


def answers_of(fitted: Collection, encoded: Encoding, test: Table, classes: int) -> list[np.ndarray]:
    """Each model's probabilities of all rows, as they are stored: float32 (n, k)."""
    answers, start = [np.zeros((len(test), classes), np.float32) for _ in fitted], 0
    for piece in encoding.pieces(encoded, test):
        seen = piece[:, inputs(encoded)]
        for answer, model in zip(answers, fitted):
            answer[start : start + len(piece), model.classes_] = model.predict_proba(seen)
        start += len(piece)
    return [answer[:, 1:] if classes == 2 else answer for answer in answers]
