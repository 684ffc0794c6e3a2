"""The recommended setting on real tables, beside linear models, boosted trees and the best tabular networks.

Every table of benchmarks/datasets.py is written as a CSV with its gaps and its text as they are, and the stages run on
it with what `plumbline start` writes for its size; only the shares of the parts are one setting for all, so that the
test rows stay the same whatever is recommended. The models of benchmarks/rivals.py get the same training rows.

Figures are means over splits (seeds 0, 1, ...) on the test rows, with the standard error that the splits give; seconds
are CPU time of one fit. The tables that the setting was chosen on flatter it: what counts is the other group.
A difference to a rival is more than noise if a 95 % interval over the splits does not hold 0. Training parts overlap,
so the variance is Nadeau and Bengio's (2003): 1/splits + test rows/training rows, times that of the differences.

    python -m pip install catboost lightgbm pytabkit==1.7.3       # those that are not installed are left out
    python benchmarks/tables.py --figures FILE                    # adds what lacks there, and reports all of it
    python benchmarks/tables.py --figures FILE --only rivals      # only adds; hours, may be stopped and started again
    python benchmarks/tables.py --only report                     # of benchmarks/results/tables.jsonl, measures nothing
"""

import contextlib
import hashlib
import importlib
import io
import itertools
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import rivals
import scratch
from datasets import Dataset, chose, nothing_chosen, titanic
from rivals import Parts, Peers
from ruamel.yaml import YAML
from scipy import stats

from plumbline.basics import inputs
from plumbline.commands.settings import settings_for

SPLIT = {"split.train": 0.8, "split.validation": 0.0, "split.folds": 0, "split.stratify": True, "train.replicas": 4}
UNSEEN = {"evaluate.importance": False, "evaluate.baselines": False}  # they change no figure that is looked at
SMOKE = {"train.epochs": 2, "train.patience": 1, "train.members": 2}
OURS = ("network 0", "ensemble")
AGAINST = [("CatBoost", "LightGBM"), ("RealMLP",), ("TabM",), ("HistGB",), ("LR",)]
GROUPS = {"Tables that chose nothing": nothing_chosen, "Tables that the setting was chosen on": chose}
CLOSE = 0.03  # of the rival's log loss
AIMS = [
    (("CatBoost", "LightGBM"), "at or below the better of", "below", 2 / 3),
    (("CatBoost", "LightGBM"), "within 3 % of the better of", "close", 5 / 6),
    (("RealMLP",), "at or below", "below", 2 / 3),
    (("TabM",), "at or below", "below", 2 / 3),
    (("RealMLP",), "a tenth of the seconds or less of", "faster", 1),
    (("TabM",), "a tenth of the seconds or less of", "faster", 1),
]
FIGURES = scratch.HERE / "results/tables.jsonl"


def main() -> None:
    warnings.simplefilter("ignore")
    parser = scratch.parser(__doc__)
    parser.add_argument("--figures", type=Path, metavar="FILE", default=FIGURES, help="read and completed")
    parser.add_argument("--splits", type=int, default=5, help="splits of each table (5)")
    parser.add_argument("--only", choices=("network", "rivals", "report"), help="measure that side alone, or nothing")
    parser.add_argument("--models", nargs="+", choices=rivals.MODELS, default=list(rivals.MODELS), metavar="RIVAL")
    options = parser.parse_args()
    models = [] if options.only in ("network", "report") else options.models
    peers, seeds = Peers(None if options.smoke else options.figures, models), range(options.splits)
    if options.smoke:
        small = Dataset("titanic", titanic().frame[:300], "survived")
        fill(peers, [small], [0], True, SMOKE)
        scratch.tell(report(peers, [0], {"A smoke test": lambda: [small]}), "tables.txt", options.smoke)
        return
    if options.only != "report":
        cheap = [model for model in peers.models if model not in rivals.NETWORKS]
        for some in [cheap, *([model] for model in peers.models if model in rivals.NETWORKS)]:
            peers.models = rivals.installed(some)
            for group in GROUPS.values():
                fill(peers, group(), seeds, some == cheap and options.only != "rivals", {})
    if options.only in (None, "report"):
        scratch.tell(report(peers, seeds, GROUPS), "tables.txt", options.smoke)


def fill(peers: Peers, tables: Iterable[Dataset], seeds: Iterable[int], network: bool, changed: dict) -> None:
    """Measure what lacks, on the same rows for all."""
    for dataset, seed in itertools.product(tables, seeds):
        with tempfile.TemporaryDirectory() as name:
            folder, setting = Path(name), setting_of(dataset) | changed
            parts = parted(folder, dataset, seed, setting)
            peers.fill(dataset.name, parts, seed)
            if network and (dataset.name, seed, OURS[0], parts.split) not in peers.lines:
                for model, figures in ours(folder, setting).items():
                    peers.add(dataset.name, seed, model, parts, "plumbline", figures)
        print(f"{dataset.name}, split {seed}", file=sys.stderr, flush=True)


def setting_of(dataset: Dataset) -> dict[str, object]:
    """What `plumbline start` writes for a table of this size, but for the shares."""
    classes, columns = dataset.frame[dataset.target].nunique(), dataset.frame.shape[1] - 1
    return settings_for(len(dataset.frame), classes, columns) | SPLIT | UNSEEN


def report(peers: Peers, seeds: Iterable[int], groups: dict[str, Callable]) -> Iterator[str]:
    """The lines of the results."""
    yield f"Log loss and ROC AUC (macro, one against the rest) of test rows, CPU seconds of a fit; {scratch.heading()}"
    setting = settings_for(rows=1_000, classes=2, columns=10) | SPLIT
    setting = {name: value for name, value in setting.items() if name not in UNSEEN}
    yield "Setting: " + " ".join(f"-S {name}={str(value).lower()}" for name, value in setting.items())
    yield "That is for 1,000 rows; each table has what `plumbline start` writes for its size, but for the shares."
    yield f"Beside it, each on one thread: {', '.join(f'{name} ({what})' for name, what in peers.versions().items())}"
    yield f"Each figure is a mean over splits, ± its standard error; with a * over fewer than {len(seeds)}."
    yield f"- is not measured: not installed, no time for it, or a network that needs more than {rivals.LIMIT} s"
    yield from machines(peers)
    for title, group in groups.items():
        yield from told(title, group(), peers, seeds)


def machines(peers: Peers) -> Iterator[str]:
    """Who measured what: seconds stand only beside seconds of the same machine."""
    for (machine, device), lines in itertools.groupby(sorted(peers.lines.values(), key=rivals.where), rivals.where):
        models = [line["model"] for line in lines]
        counts = ", ".join(f"{models.count(model)} of {model}" for model in [*OURS, *rivals.MODELS] if model in models)
        alone = "" if device == "cpu" else f", on its GPU ({device}; only log loss and ROC AUC are taken)"
        yield f"Fits by {machine}{alone}: {counts}"
    yield "A line has the seconds of the machine that trained network 0 alone; those of others are -."


def told(title: str, group: Iterable[Dataset], peers: Peers, seeds: Iterable[int]) -> Iterator[str]:
    """Three lines a table, and then who won how often."""
    names = [*OURS, *rivals.MODELS]
    yield from ["", title, f"{'':16}{'rows columns classes':>22}{'':10}" + "".join(f"{name:>18}" for name in names)]
    tables = []
    for dataset in group:
        figures = {name: {} for name in names} | peers.table(dataset.name, seeds)
        tables.append(figures)
        n, k, rows = dataset.frame.shape[1] - 1, dataset.frame[dataset.target].nunique(), len(dataset.frame)
        for i, (what, digits) in enumerate([("log loss", 4), ("ROC AUC", 4), ("seconds", 1)]):
            head = f"{dataset.name:16}{rows:8}{n:8}{k:6}" if i == 0 else " " * 38
            cells = [cell([values[i] for values in figures[name].values()], digits, len(seeds)) for name in names]
            yield f"{head}  {what:8}" + "".join(f"{text:>18}" for text in cells)
    for ours in OURS:
        for theirs in AGAINST:
            yield from against(tables, ours, theirs)
    yield from against(tables, "ensemble", ("network 0",))
    if "nothing" in title:
        yield from aims(tables)


def cell(values: list[float], digits: int, splits: int) -> str:
    """A mean and its standard error over splits."""
    values = [value for value in values if not np.isnan(value)]
    if not values:
        return "-"
    error = f" ±{np.std(values, ddof=1) / len(values) ** 0.5:.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{error}{'*' if len(values) < splits else ''}"


class Wins(NamedTuple):
    """On how many tables."""

    compared: int = 0
    below: int = 0  # our log loss is at or below the best of theirs
    close: int = 0  # or within 3 % above it
    better: int = 0  # by more than noise
    worse: int = 0
    faster: int = 0  # a tenth of its seconds or less
    timed: int = 0
    lacking: int = 0  # not all of theirs are measured


def wins(tables: list[dict], ours: str, theirs: tuple[str, ...]) -> Wins:
    """On the splits that all have. Which of theirs is the best is seen on the test rows, which flatters them."""
    counts = np.zeros(len(Wins._fields), int)
    for figures in tables:
        sides = [figures[name] for name in theirs if figures.get(name)]
        seeds = sorted(set(figures[ours]).intersection(*sides))
        if not sides or not seeds:
            continue
        a, *others = (np.array([splits[seed] for seed in seeds]) for splits in [figures[ours], *sides])
        b = min(others, key=lambda values: values[:, 0].mean())
        (loss, _, seconds), (other, _, others_seconds) = a.mean(axis=0), b.mean(axis=0)
        low, high = interval(a[:, 0] - b[:, 0])
        won = [1, loss <= other, loss <= other * (1 + CLOSE), high < 0, low > 0, seconds <= others_seconds / 10]
        counts += np.array([*won, not np.isnan(others_seconds), len(sides) < len(theirs)], int)
    return Wins(*counts.tolist())


def against(tables: list[dict], ours: str, theirs: tuple[str, ...]) -> Iterator[str]:
    """How often our log loss is at or below theirs, near it, and apart from it by more than noise."""
    n = wins(tables, ours, theirs)
    if n.compared:
        rival = f"the better of {', '.join(theirs[:-1])} and {theirs[-1]}" if len(theirs) > 1 else theirs[0]
        rival += f" (one alone on {n.lacking})" if n.lacking else ""
        slow = theirs in (("RealMLP",), ("TabM",)) and n.timed
        tenth = f"; a tenth of its seconds or less on {n.faster} of {n.timed}" if slow else ""
        yield (
            f"{ours} against {rival}, log loss: at or below on {n.below} of {n.compared} tables, within 3 % on "
            f"{n.close}; better by more than noise on {n.better}, worse on {n.worse}{tenth}"
        )


def aims(tables: list[dict]) -> Iterator[str]:
    """What network 0 was to reach on tables that chose nothing, and whether it does; the ensemble beside it."""
    for theirs, what, field, share in AIMS:
        sides = [wins(tables, name, theirs) for name in OURS]
        reached = [(getattr(n, field), n.timed if field == "faster" else n.compared) for n in sides]
        if reached[0][1]:
            said = [f"{count} of {of}, {'met' if count >= share * of else 'missed'}" for count, of in reached]
            wanted = f"{what} {' and '.join(theirs)} on {share * 100:.0f} % of tables"
            yield f"Wanted: {wanted}. network 0: {said[0]}; ensemble: {said[1]}"


def interval(differences: np.ndarray) -> tuple[float, float]:
    """Of 95 %, for a mean over splits whose training parts overlap; all numbers where there is one split."""
    n = len(differences)
    if n < 2:
        return -np.inf, np.inf
    share = (1 - SPLIT["split.train"]) / SPLIT["split.train"]
    half = stats.t.ppf(0.975, n - 1) * differences.std(ddof=1) * (1 / n + share) ** 0.5
    return differences.mean() - half, differences.mean() + half


def ours(folder: Path, setting: dict) -> dict[str, dict[str, float]]:
    """The figures of network 0 and of the ensemble, where the parts are cut; networks take the same seconds each."""
    start = time.process_time()
    run_stages(folder, "train")
    seconds = time.process_time() - start
    run_stages(folder, "evaluate")
    scores = pd.read_csv(folder / "metrics/scores.csv").query("part == 'test'").set_index(["of", "metric"])["value"]
    figures = {}
    for name, of, share in [("network 0", "network", setting["train.replicas"]), ("ensemble", "ensemble", 1)]:
        area = "roc_auc" if "roc_auc" in scores[of] else "macro_roc_auc"
        figures[name] = {"log_loss": round(scores[of]["log_loss"], 6), "roc_auc": round(scores[of][area], 6)}
        figures[name] |= {"seconds": round(seconds / share, 2)}
    return figures


def parted(folder: Path, dataset: Dataset, seed: int, setting: dict) -> Parts:
    """The table's parts, cut by the pipeline's own stages in a folder of their own."""
    dataset.frame.to_csv(folder / "table.csv", index=False)
    (folder / "stages").mkdir()
    for name in ("network.py", "expect.yaml"):
        shutil.copy(scratch.ROOT / "stages" / name, folder / "stages")
    yaml = YAML()
    values = yaml.load((scratch.ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["seed"] = seed
    for name, value in (setting | {"make_data.source": "table.csv", "make_data.target": dataset.target}).items():
        section, _, field = name.partition(".")
        values[section][field] = value
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(values, file)
    run_stages(folder, "make_data", "split")
    train, test = (pd.read_parquet(folder / f"data/{part}.parquet") for part in ("train", "test"))
    told_by = (folder / "table.csv").read_bytes() + test["_row"].to_numpy("<i8").tobytes()
    split = hashlib.sha256(told_by).hexdigest()[:12]
    train, test = train.drop(columns="_row"), test.drop(columns="_row")
    return Parts(train, test, dataset.target, len(dataset.frame), split)


def run_stages(folder: Path, *names: str) -> None:
    """In this process: starting one costs more than the training."""
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        for stage in names:
            inputs.forget()
            importlib.import_module(f"stages.{stage}").main()


if __name__ == "__main__":
    main()
