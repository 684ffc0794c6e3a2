"""The last run as its files tell it: params.yaml, the facts of metrics/predictions.parquet, small files in metrics/."""

import math
from pathlib import Path
from typing import NamedTuple

from plumbline.basics import params
from plumbline.basics.errors import UserError, reason
from plumbline.basics.files import read_cells, read_json
from plumbline.bits.initial import outputs_for
from plumbline.comparing import revisions
from plumbline.pages.page import clean

NAMES = {"log_loss": "log loss", "brier": "Brier score", "roc_auc": "ROC AUC", "f1": "F1"}


class Job(NamedTuple):
    """What every section must know. rows: by part; classes: rows of the whole table."""

    settings: params.Params
    train: dict  # metrics/train.json
    rows: dict[str, int]
    classes: dict[str, int]
    networks: int
    positive: str | None  # of two classes
    figures: dict[tuple[str, str, str], dict]  # metrics/scores.csv by part, metric and whose it is

    @property
    def about(self) -> str:
        """What curves are about: the positive class, or every class."""
        if self.positive is None:
            return "each class against the rest, all these decisions together"
        return f"positive class: {clean(self.positive, 40)}"

    def figure(self, metric: str, of: str = "network", part: str = "test") -> float | None:
        """A figure of metrics/scores.csv."""
        return self.figures.get((part, metric, of), {}).get("value")


def read() -> Job:
    """The last run, as its files tell it."""
    train, said = read_json("metrics/train.json"), revisions.predictions()
    facts = said.facts
    classes, counts = facts.classes, facts.class_counts
    rows = dict(said.rows(f"SELECT part, count(*) FROM {said.relation} GROUP BY part ORDER BY part DESC"))
    values = said.rows(f"SELECT len(probability) FROM {said.relation} LIMIT 1")[0][0]
    figures = rows_of("metrics/scores.csv", "value", "low", "high", "rows", text=("part", "of", "metric"))
    return Job(
        params.read(),
        train,
        {"train": sum(counts) - sum(rows.values()), **rows},
        dict(zip(map(str, classes), counts)),
        values // outputs_for(len(classes)),
        str(classes[1] if facts.positive is None else facts.positive) if len(classes) == 2 else None,
        {(row["part"], row["metric"], row["of"]): row for row in figures},
    )


def rows_of(path: str, *numbers: str, text: tuple[str, ...] = ()) -> list[dict]:
    """The rows of a small file, {column: text or number}; [] where there is no file.

    Columns of `numbers` are finite numbers, or None where a cell is empty; those of `text` must be there too.
    """
    found = read_cells(path) if Path(path).exists() else []
    try:
        for row in found:
            row |= {name: row[name] for name in text} | {name: _number(row[name]) for name in numbers}
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is not as the stages write it ({reason(error)}); run `dvc repro`") from None
    return found


def _number(cell: str) -> float | None:
    value = float(cell) if cell else None
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{cell} is no finite number")
    return value


def best_threshold(rows: list[dict]) -> dict:
    """The row of metrics/thresholds.csv with the best F1; of equally good ones a round one, the nearest to 0.5."""

    def rank(row: dict) -> tuple[float, bool, float]:
        threshold = float(row["threshold"])
        return float(row["f1"]), threshold == round(threshold, 2), -abs(threshold - 0.5)

    return max(rows, key=rank)


def name_of(metric: str) -> str:
    """A metric as a person writes it."""
    name = metric.removeprefix("macro_")
    return NAMES.get(name, name.replace("_", " ")) + ", macro average" * (name != metric)
