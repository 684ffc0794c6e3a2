"""The last run, read from its files: params.yaml, the facts of metrics/predictions.parquet, small files in metrics/.

`plumbline report` and `plumbline export` tell it.
"""

from pathlib import Path
from typing import NamedTuple

import msgspec

from plumbline.basics import params
from plumbline.basics.errors import UserError
from plumbline.basics.formats import read_csv, read_json
from plumbline.bits.initial import outputs_for
from plumbline.comparing import lock, revisions
from plumbline.pages.page import clean
from plumbline.scores import predictions

MODEL, SCORES = "models/model.safetensors", "metrics/scores.csv"
NAMES = {"log_loss": "log loss", "brier": "Brier score", "roc_auc": "ROC AUC", "f1": "F1"}
GAPS = ("low", "high", "missing", "distinct", "new", "outside")  # columns of numbers whose cells may be empty


class Train(msgspec.Struct, frozen=True):
    """metrics/train.json: network 0 after the epoch that was kept."""

    loss: float
    accuracy: float
    parameters: int
    rows: int
    batches: int
    epoch: int | None = None  # with early stopping
    positive_rate: float | None = None  # of two classes


class Job(NamedTuple):
    """What every section of a report may need of the run."""

    settings: params.Params
    train: Train
    rows: dict[str, int]  # rows of each part; out-of-fold rows are counted in "train" as well
    classes: dict[str, int]  # rows of each class in the whole table
    networks: int
    positive: str | None  # the positive class, where there are two classes
    figures: dict[tuple[str, str, str], dict]  # rows of metrics/scores.csv by part, metric and of whom
    train_epochs: list[dict]  # loss and accuracy of network 0 by epoch, on training and validation part
    test_epochs: list[dict]  # the same on the test part

    @property
    def about(self) -> str:
        """The classes that curves and thresholds are about: the positive one, or all."""
        if self.positive is None:
            return "each class against the rest, all these decisions together"
        return f"positive class: {clean(self.positive, 40)}"

    @property
    def part(self) -> str:
        """The part that figures by class and curves are of: out-of-fold where there are folds, else test."""
        return "out-of-fold" if "out-of-fold" in self.rows else "test"

    @property
    def scored_by(self) -> str:
        """In words: who scored the rows of that part, and how many they are."""
        whose = "Network 0" if self.part == "test" else "Network 0's fold networks"
        return f"{whose}, {self.rows[self.part]:,} {self.part} rows"

    def figure(self, metric: str, of: str = "network", part: str | None = None) -> float | None:
        """A figure of metrics/scores.csv, None if it is not there; part: `Job.part` unless another is named."""
        return self.figures.get((part or self.part, metric, of), {}).get("value")


def read() -> Job:
    """The last run; UserError where a file is not as the stages write it, or is another run's."""
    train, scored = read_json("metrics/train.json", Train), predictions.table()
    classes, counts, positive = scored.facts.classes, scored.facts.class_counts, None
    if len(classes) == 2:
        positive = str(classes[1] if scored.facts.positive is None else scored.facts.positive)
    rows = dict(scored.rows(f"SELECT part, count(*) FROM {scored.relation} GROUP BY part ORDER BY part DESC"))
    values = scored.rows(f"SELECT len(probability) FROM {scored.relation} LIMIT 1")[0][0]
    figures = read_csv(SCORES, ("value", "low", "high", "rows"), ("part", "of", "metric"), GAPS)
    train_epochs, test_epochs = (
        read_csv(path, None, ("epoch", f"{part}_loss", f"{part}_accuracy")) for part, path in revisions.CURVES.items()
    )
    job = Job(
        settings=params.read(),
        train=train,
        rows={"train": sum(counts) - sum(rows[part] for part in rows if part != "out-of-fold"), **rows},
        classes=dict(zip(map(str, classes), counts)),
        networks=values // outputs_for(len(classes)),
        positive=positive,
        figures={(row["part"], row["metric"], row["of"]): row for row in figures},
        train_epochs=train_epochs,
        test_epochs=test_epochs,
    )
    _check_one_run(job)
    return job


def _check_one_run(job: Job) -> None:
    """Refuse files that contradict one another: one of them is another run's."""
    train, test = revisions.CURVES.values()
    epochs, tested = ([row["epoch"] for row in rows] for rows in (job.train_epochs, job.test_epochs))
    step = max(int(tested[1] - tested[0]) if len(tested) > 1 else len(epochs), 1)  # of many epochs some are tested
    scored = {part: row["rows"] for (part, *_), row in job.figures.items()}
    are_epochs = epochs == list(range(1, len(epochs) + 1)) and 1 <= (job.train.epoch or 1) <= len(epochs)
    for one, other, agree in (
        (train, "metrics/train.json", are_epochs),
        (test, train, tested == epochs[::step] * ("test" in job.rows)),
        ("metrics/train.json", predictions.PATH, job.train.rows <= job.rows["train"]),
        (SCORES, predictions.PATH, scored == {part: rows for part, rows in job.rows.items() if part != "train"}),
    ):
        if not agree:
            raise UserError(f"{one} and {other} are of two runs; run `dvc repro`, or `dvc checkout` and `git restore`")
    if len({"validation_loss", "validation_accuracy"} & job.train_epochs[0].keys()) == 1:
        raise UserError(f"{train} has loss or accuracy of validation alone; run `dvc repro`")
    shown = {(part, "accuracy", of) for part in scored for of in ("network", "shares")}
    if lacking := sorted(shown - job.figures.keys()):
        raise UserError(f"{SCORES} has no {' of '.join(lacking[0][1:])} in part {lacking[0][0]}; run `dvc repro`")


def rule(job: Job) -> str:
    """What out-of-fold figures are of, and what test figures are of."""
    own = ", and it has none" * ("test" not in job.rows)
    return f"Out-of-fold figures are of this configuration; the model file's own are of the test part{own}."


def rows_of(path: str, *numbers: str, text: tuple[str, ...] = ()) -> list[dict]:
    """The rows of a file in metrics/ as `formats.read_csv` has them; [] where there is no file."""
    return read_csv(path, numbers, text, GAPS) if Path(path).exists() else []


def best_threshold(rows: list[dict]) -> dict:
    """The row of metrics/thresholds.csv with the best F1.

    Of several a threshold of two decimals is taken before others, and then the one nearest to 0.5.
    """

    def merit(row: dict) -> tuple:
        threshold = row["threshold"]
        return row["f1"], threshold == round(threshold, 2), -abs(threshold - 0.5), -threshold

    return max(rows, key=merit)


def name_of(metric: str) -> str:
    """A metric's name in words."""
    name = metric.removeprefix("macro_")
    return NAMES.get(name, name.replace("_", " ")) + ", macro average" * (name != metric)


def is_of(model: str | Path) -> bool:
    """Whether metrics/scores.csv is of a model file: dvc.lock has the MD5 of both; without a dvc.lock by its path."""
    if not Path(SCORES).exists():
        return False
    if not Path("dvc.lock").exists():
        return Path(model).resolve() == Path(MODEL).resolve()
    evaluate = lock.read(Path("dvc.lock").read_bytes(), "dvc.lock").get("evaluate")
    known = evaluate.deps | evaluate.outs if evaluate else {}
    return all(known.get(name) == lock.md5(Path(path)) for name, path in ((MODEL, model), (SCORES, SCORES)))


def intervals_about(job: Job) -> str:
    """What the intervals of each part are about, and which luck they count."""
    luck = "and random numbers" if job.networks > 1 else "alone"
    of = {part: "networks of this training part" for part in job.rows if part != "train"}
    of |= {"out-of-fold": "this configuration"} if "out-of-fold" in of else {}
    return "; ".join(f"{part}: {whose}, the luck of {job.rows[part]:,} rows {luck}" for part, whose in of.items())
