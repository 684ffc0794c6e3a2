"""The last run as its files tell it: params.yaml, the facts of metrics/predictions.parquet, small files in metrics/."""

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

GAPS = ("low", "high", "missing", "distinct", "new", "outside")  # numbers that some rows have none of


class Train(msgspec.Struct, frozen=True):
    """metrics/train.json: network 0 as it was kept."""

    loss: float
    accuracy: float
    parameters: int
    rows: int
    batches: int
    epoch: int | None = None  # with early stopping
    positive_rate: float | None = None  # of two classes


class Job(NamedTuple):
    """What every section must know. rows: by part, out-of-fold ones train too; classes: rows of the whole table."""

    settings: params.Params
    train: Train
    rows: dict[str, int]
    classes: dict[str, int]
    networks: int
    positive: str | None  # of two classes
    figures: dict[tuple[str, str, str], dict]  # metrics/scores.csv by part, metric and whose it is
    train_epochs: list[dict]  # loss and accuracy of network 0 by epoch: of the parts that train knows
    test_epochs: list[dict]

    @property
    def about(self) -> str:
        """What curves are about: the positive class, or every class."""
        if self.positive is None:
            return "each class against the rest, all these decisions together"
        return f"positive class: {clean(self.positive, 40)}"

    @property
    def judged(self) -> str:
        """The rows that classes and curves are about: out-of-fold where there are folds, else test."""
        return "out-of-fold" if "out-of-fold" in self.rows else "test"

    @property
    def judges(self) -> str:
        """Who scored them, and how many they are."""
        whose = "Network 0" if self.judged == "test" else "Network 0's fold networks"
        return f"{whose}, {self.rows[self.judged]:,} {self.judged} rows"

    def figure(self, metric: str, of: str = "network", part: str | None = None) -> float | None:
        """A figure of metrics/scores.csv, of the rows that judge if none are named."""
        return self.figures.get((part or self.judged, metric, of), {}).get("value")


def read() -> Job:
    """The last run, as its files tell it."""
    train, said = read_json("metrics/train.json", Train), predictions.table()
    facts = said.facts
    classes, counts = facts.classes, facts.class_counts
    rows = dict(said.rows(f"SELECT part, count(*) FROM {said.relation} GROUP BY part ORDER BY part DESC"))
    values = said.rows(f"SELECT len(probability) FROM {said.relation} LIMIT 1")[0][0]
    figures = read_csv(SCORES, ("value", "low", "high", "rows"), ("part", "of", "metric"), GAPS)
    columns = {side: ("epoch", f"{side}_loss", f"{side}_accuracy") for side in revisions.CURVES}
    job = Job(
        params.read(),
        train,
        {"train": sum(counts) - sum(rows[part] for part in rows if part != "out-of-fold"), **rows},
        dict(zip(map(str, classes), counts)),
        values // outputs_for(len(classes)),
        str(classes[1] if facts.positive is None else facts.positive) if len(classes) == 2 else None,
        {(row["part"], row["metric"], row["of"]): row for row in figures},
        *(read_csv(path, None, columns[side]) for side, path in revisions.CURVES.items()),
    )
    _check_one_run(job)
    return job


def _check_one_run(job: Job) -> None:
    """Refuse files of which one is another run's."""
    train, test = revisions.CURVES.values()
    epochs, tested = ([row["epoch"] for row in rows] for rows in (job.train_epochs, job.test_epochs))
    step = max(int(tested[1] - tested[0]) if len(tested) > 1 else len(epochs), 1)
    scored = {part: row["rows"] for (part, *_), row in job.figures.items()}
    are_epochs = epochs == list(range(1, len(epochs) + 1)) and 1 <= (job.train.epoch or 1) <= len(epochs)
    for one, other, is_so in (
        (train, "metrics/train.json", are_epochs),
        (test, train, tested == epochs[::step] * ("test" in job.rows)),
        ("metrics/train.json", predictions.PATH, job.train.rows <= job.rows["train"]),
        (SCORES, predictions.PATH, scored == {part: rows for part, rows in job.rows.items() if part != "train"}),
    ):
        if not is_so:
            raise UserError(f"{one} and {other} are of two runs; run `dvc repro`, or `dvc checkout` and `git restore`")
    if len({"validation_loss", "validation_accuracy"} & job.train_epochs[0].keys()) == 1:
        raise UserError(f"{train} has loss or accuracy of validation alone; run `dvc repro`")
    shown = {(part, "accuracy", of) for part in scored for of in ("network", "shares")}
    if lacking := sorted(shown - job.figures.keys()):
        raise UserError(f"{SCORES} has no {' of '.join(lacking[0][1:])} in part {lacking[0][0]}; run `dvc repro`")


def rule(job: Job) -> str:
    """Which figure is whose, where rows are cross-fitted."""
    own = ", and it has none" * ("test" not in job.rows)
    return f"Out-of-fold figures are of this configuration; the model file's own are of the test part{own}."


def rows_of(path: str, *numbers: str, text: tuple[str, ...] = ()) -> list[dict]:
    """The rows of a small file, as `formats.read_csv` reads them; [] where there is no file."""
    return read_csv(path, numbers, text, GAPS) if Path(path).exists() else []


def best_threshold(rows: list[dict]) -> dict:
    """The row of metrics/thresholds.csv with the best F1; of equally good ones a round one, the nearest to 0.5."""
    by_f1 = sorted(rows, key=lambda row: (abs(row["threshold"] - 0.5), row["threshold"]))
    return max(by_f1, key=lambda row: (row["f1"], row["threshold"] == round(row["threshold"], 2)))


def name_of(metric: str) -> str:
    """A metric as a person writes it."""
    name = metric.removeprefix("macro_")
    return NAMES.get(name, name.replace("_", " ")) + ", macro average" * (name != metric)


def is_of(model: str | Path) -> bool:
    """Whether the figures are of a model file: as dvc.lock has it, or without one by its place."""
    if not Path(SCORES).exists():
        return False
    if not Path("dvc.lock").exists():
        return Path(model).resolve() == Path(MODEL).resolve()
    evaluate = lock.read(Path("dvc.lock").read_bytes(), "dvc.lock").get("evaluate")
    known = evaluate.deps | evaluate.outs if evaluate else {}
    return all(known.get(name) == lock.md5(Path(path)) for name, path in ((MODEL, model), (SCORES, SCORES)))


def about(job: Job) -> str:
    """What the intervals of each part cover."""
    luck = "and random numbers" if job.networks > 1 else "alone"
    of = {part: "networks of this training part" for part in job.rows if part != "train"}
    of |= {"out-of-fold": "this configuration"} if "out-of-fold" in of else {}
    return "; ".join(f"{part}: {whose}, the luck of {job.rows[part]:,} rows {luck}" for part, whose in of.items())
