"""Who the network is set beside on real tables: linear models, MLPs, boosted trees, and the best tabular networks.

All get the same training rows. Those that stop early, or keep the best of their epochs, watch the same 12.5 % of them,
as many as each of our networks holds out; scikit-learn's MLP draws its own. What a model takes is the CPU time of its
fit, on one thread.
"""

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

WATCHED = 0.125  # share of the training rows
PATIENCE = 50  # trees without a lower loss
LIMIT = 240  # CPU seconds that a network gets


class Parts(NamedTuple):
    """A table's training and test rows, and what tells these from any others."""

    train: pd.DataFrame
    test: pd.DataFrame
    target: str
    rows: int
    split: str


class Prepared(NamedTuple):
    """Rows as models want them: fitted on, watched, both, and test; features as data frames, classes as numbers."""

    x: pd.DataFrame
    y: np.ndarray
    watched: pd.DataFrame
    watched_y: np.ndarray
    all: pd.DataFrame
    all_y: np.ndarray
    test: pd.DataFrame
    texts: list[str]
    numbers: list[str]
    seed: int


Predict = Callable[[], np.ndarray]  # the test rows' probabilities


class TooSlowError(Exception):
    """A fit has had its LIMIT."""


def prepared(parts: Parts, seed: int) -> Prepared:
    """Texts as categories of the training rows, all else as float64.

    Left out are columns of one value, and texts of which more than half are each row's own, names and tickets.
    """
    features, kinds = parts.train.drop(columns=parts.target), pd.api.types
    features = features.loc[:, features.nunique() > 1]
    numbers = [c for c in features if kinds.is_numeric_dtype(features[c]) and not kinds.is_bool_dtype(features[c])]
    texts = [c for c in features if c not in numbers and features[c].nunique() <= features[c].count() / 2]
    features, test = features[numbers + texts].copy(), parts.test[numbers + texts].copy()
    for name in texts:
        values, unseen = (frame[name].astype("string").astype(object) for frame in (features, test))
        kind = pd.CategoricalDtype(sorted(values.dropna().unique()))
        features[name], test[name] = values.astype(kind), unseen.where(unseen.isin(kind.categories)).astype(kind)
    features[numbers], test[numbers] = features[numbers].astype(float), test[numbers].astype(float)
    y = np.searchsorted(np.unique(parts.train[parts.target]), parts.train[parts.target])
    classes = y if np.bincount(y).min() > 1 else None
    x, watched, y_x, y_watched = train_test_split(features, y, test_size=WATCHED, random_state=seed, stratify=classes)
    return Prepared(x, y_x, watched, y_watched, features, y, test, texts, numbers, seed)


def linear(p: Prepared) -> Predict:
    return plain(p, LogisticRegression(max_iter=2000))


def mlp(p: Prepared) -> Predict:
    return plain(p, MLPClassifier(128, random_state=p.seed))


def mlp_early(p: Prepared) -> Predict:
    return plain(p, MLPClassifier(128, random_state=p.seed, early_stopping=True, validation_fraction=WATCHED))


def plain(p: Prepared, model) -> Predict:
    """scikit-learn's: numbers standardized, gaps filled in and marked, text one-hot."""
    scaled = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    columns = make_column_transformer((scaled, p.numbers), (OneHotEncoder(handle_unknown="ignore"), p.texts))
    pipeline = make_pipeline(columns, model).fit(as_text(p.all, p), p.all_y)
    return lambda: pipeline.predict_proba(as_text(p.test, p))


def hist_gradient_boosting(p: Prepared) -> Predict:
    """Columns of up to 255 texts as categories, of more as their alphabetic number."""
    x, watched, test = ({name: frame[name] for name in frame} for frame in (p.x, p.watched, p.test))
    for frame in (x, watched, test):
        frame |= {name: frame[name].cat.codes for name in p.texts if len(frame[name].cat.categories) > 255}
    model = HistGradientBoostingClassifier(
        max_iter=1000,
        early_stopping=True,
        n_iter_no_change=PATIENCE,
        random_state=p.seed,
        categorical_features="from_dtype",
    )
    model.fit(pd.DataFrame(x), p.y, X_val=pd.DataFrame(watched), y_val=p.watched_y)
    return lambda: model.predict_proba(pd.DataFrame(test))


def lightgbm(p: Prepared) -> Predict:
    import lightgbm

    model = lightgbm.LGBMClassifier(
        n_estimators=2000, learning_rate=0.05, n_jobs=1, random_state=p.seed, verbosity=-1
    )  # fmt: skip
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    named = {name: f"f{i}" for i, name in enumerate(p.x)}  # it refuses some characters
    x, watched, test = (frame.rename(columns=named) for frame in (p.x, p.watched, p.test))
    model.fit(x, p.y, eval_set=[(watched, p.watched_y)], callbacks=[stop])
    return lambda: model.predict_proba(test)


def catboost(p: Prepared) -> Predict:
    """Its own learning rate, which it chooses by the rows, and the best of its 1,000 trees."""
    import catboost

    model = catboost.CatBoostClassifier(
        random_seed=p.seed, thread_count=1, cat_features=p.texts, verbose=False, allow_writing_files=False
    )
    watched = as_text(p.watched, p), p.watched_y
    model.fit(as_text(p.x, p), p.y, eval_set=watched, early_stopping_rounds=PATIENCE, use_best_model=True)
    return lambda: model.predict_proba(as_text(p.test, p))


def realmlp(p: Prepared) -> Predict:
    """As its authors advise for log loss: the epoch of the lowest cross entropy, no label smoothing."""
    import pytabkit

    return tabular(p, pytabkit.RealMLP_TD_Classifier, use_ls=False)


def tabm(p: Prepared) -> Predict:
    import pytabkit

    return tabular(p, pytabkit.TabM_D_Classifier)


def tabular(p: Prepared, kind: type, **options) -> Predict:
    """pytabkit's, which know no gaps in numbers: filled in and marked."""
    fill = SimpleImputer(add_indicator=True).fit(p.all[p.numbers]) if p.numbers else None

    def whole(frame):
        if fill is None:
            return as_text(frame, p)
        filled = pd.DataFrame(fill.transform(frame[p.numbers]), index=frame.index).add_prefix("n")
        return pd.concat([filled, as_text(frame[p.texts], p)], axis=1)

    model = kind(device="cpu", n_threads=1, random_state=p.seed, val_metric_name="cross_entropy", **options)
    model.fit(whole(p.x), p.y, X_val=whole(p.watched), y_val=p.watched_y, cat_col_names=p.texts)
    return lambda: model.predict_proba(whole(p.test))


def as_text(frame: pd.DataFrame, p: Prepared) -> pd.DataFrame:
    """Categories as words, a gap as a word of its own."""
    return frame.assign(**{name: frame[name].astype(object).where(frame[name].notna(), "missing") for name in p.texts})


MODELS = {
    "LR": ("scikit-learn", linear), "MLP": ("scikit-learn", mlp), "MLP early": ("scikit-learn", mlp_early),
    "HistGB": ("scikit-learn", hist_gradient_boosting), "CatBoost": ("catboost", catboost),
    "LightGBM": ("lightgbm", lightgbm), "RealMLP": ("pytabkit", realmlp), "TabM": ("pytabkit", tabm),
}  # fmt: skip
NETWORKS = ("MLP", "MLP early", "RealMLP", "TabM")  # with a limit of time


def installed(models: Iterable[str]) -> dict[str, str]:
    """Those of them that can be fitted here, each with its package and version; of those left out it is said."""
    found = {}
    for name in models:
        package, _ = MODELS[name]
        if importlib.util.find_spec(package.replace("scikit-learn", "sklearn")):
            found[name] = f"{package} {importlib.metadata.version(package)}"
        else:
            print(f"{name} is not fitted: {package} is not installed", file=sys.stderr)
    return found


class Peers:
    """Figures by table, seed and model, of a file where there is one: a line of JSON each, the network's among them.

    A line holds for the rows it was measured on: `split` tells them. A loss of null is a fit that took too long, and
    that model is then tried on no larger table. What is missing of `models` is measured and added, if it is installed;
    several runs, on several machines, may complete one file.
    """

    def __init__(self, path: Path | None, models: Iterable[str]):
        self.path, self.models, self.lines = path, installed(models), {}
        self.read()

    def versions(self) -> dict[str, str]:
        """The package of each model that there is a figure of or will be."""
        found = {line["model"]: line["version"] for line in self.lines.values()} | self.models
        return {model: found[model] for model in MODELS if model in found}

    def read(self) -> None:
        """What the file holds by now."""
        if self.path and self.path.exists():
            for line in map(json.loads, self.path.read_text(encoding="utf-8").splitlines()):
                self.lines[line["table"], line["seed"], line["model"], line["split"]] = line

    def add(self, name: str, seed: int, model: str, parts: Parts, version: str, figures: dict) -> None:
        """Keep what was measured here, in the file too."""
        line = {"table": name, "seed": seed, "model": model, "version": version, "machine": machine()}
        line |= {"split": parts.split, "rows": parts.rows} | figures
        self.lines[name, seed, model, parts.split] = line
        if self.path:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def fill(self, name: str, parts: Parts, seed: int) -> None:
        """Measure what is missing of a table's split."""
        self.read()
        missing = [m for m in self.models if (name, seed, m, parts.split) not in self.lines]
        if missing := [model for model in missing if not self.too_slow(model, parts.rows)]:
            rows = prepared(parts, seed)
            for model in missing:
                self.add(name, seed, model, parts, self.models[model], measured(model, rows, parts))

    def table(self, name: str, seeds: Iterable[int]) -> dict[str, dict[int, list[float]]]:
        """[log loss, ROC AUC, seconds] by model and seed; nan for seconds of another machine than the network's."""
        lines = [line for line in self.lines.values() if line["table"] == name and line["seed"] in seeds]
        splits = {(line["seed"], line["split"]) for line in lines}
        if len(splits) > len({seed for seed, _ in splits}):
            sys.exit(f"{self.path}: {name} has figures of one seed on different rows; remove the older lines")
        ours, found = {line["seed"]: where(line) for line in lines if line["model"] == "network 0"}, {}
        for line in lines:
            if line["log_loss"] is not None:
                same = ours.get(line["seed"], where(line)) == where(line)
                figures = [line["log_loss"], line["roc_auc"], line["seconds"] if same else float("nan")]
                found.setdefault(line["model"], {})[line["seed"]] = figures
        return found

    def too_slow(self, model: str, rows: int) -> bool:
        """Whether it took too long for as many rows or fewer."""
        mine = (line for line in self.lines.values() if line["model"] == model)
        return any(line["log_loss"] is None and line["rows"] <= rows for line in mine)


def where(line: dict) -> tuple[str, str]:
    """The machine, and what of it took the seconds."""
    return line["machine"], line.get("device", "cpu")


def machine() -> str:
    """The number of cores and their name."""
    path = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", path.read_text(encoding="utf-8")) if path.exists() else []
    return f"{os.cpu_count()} cores, {names[0] if names else platform.machine()}"


def measured(model: str, rows: Prepared, parts: Parts) -> dict[str, float | None]:
    """A model's figures on the test rows, and the CPU seconds that its fit took, its work on the columns included."""
    package, fit = MODELS[model]
    importlib.import_module(package.replace("scikit-learn", "sklearn"))  # no part of a fit
    start = time.process_time()
    try:
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            signal.signal(signal.SIGPROF, stop)
            signal.setitimer(signal.ITIMER_PROF, LIMIT if model in NETWORKS else 0)
            predict = fit(rows)
            seconds = time.process_time() - start
            p = np.asarray(predict(), float)
    except TooSlowError:
        return {"log_loss": None, "roc_auc": None, "seconds": None}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    y = parts.test[parts.target]
    p /= p.sum(axis=1, keepdims=True)
    area = roc_auc_score(y, p[:, 1]) if p.shape[1] == 2 else roc_auc_score(y, p, multi_class="ovr")
    loss = log_loss(y, p, labels=np.unique(parts.train[parts.target]))
    return {"log_loss": round(loss, 6), "roc_auc": round(area, 6), "seconds": round(seconds, 2)}


def stop(*_) -> None:
    raise TooSlowError
