"""Which rows belong together: groups of the split, days, copies; and what evaluate makes of them."""

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from making import stored

from plumbline.basics.params import Split
from plumbline.profiling import belonging
from plumbline.tables.store import Facts


def split(**changes):
    return Split(
        **({"train": 0.8, "validation": 0.0, "folds": 0, "stratify": False, "group": None, "time": None} | changes)
    )


def part(columns, by=()):
    n = len(next(iter(columns.values())))
    y = np.random.default_rng(0).integers(0, 2, n).astype(bool)
    return stored(
        pa.table(columns | {"y": y, "_row": np.arange(n) * 3}), Facts("y", [False, True], [1, 1], None, [*by])
    )


def same(ours, theirs):
    """Whether two numberings make the same groups."""
    both = pd.DataFrame({"ours": ours, "theirs": theirs}).drop_duplicates()
    return both["ours"].is_unique and both["theirs"].is_unique


def test_groups_of_the_split_are_those_of_its_column():
    who = np.random.default_rng(1).choice(["a", "b", "ccc"], 50)
    found = belonging.of_part(part({"x": np.arange(50.0), "who": who}, ["who"]), split(group="who"))
    assert same(found.number, who)
    assert found.says == " in 3 groups (rows of one who)"


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_times_are_grouped_by_calendar_day_before_1970_as_well(zone):
    hours = [datetime.datetime(1969, 12, 30) + datetime.timedelta(hours=7 * i) for i in range(40)]
    table = part({"x": np.arange(40.0), "at": pa.array(hours, pa.timestamp("us", tz=zone))}, ["at"])
    found = belonging.of_part(table, split(time="at"))
    assert same(found.number, [hour.date() for hour in hours])
    days = [hour.date() for hour in hours]
    assert same(belonging.of_part(part({"at": pa.array(days)}, ["at"]), split(time="at")).number, days)


def test_numbers_are_no_days_and_that_is_said():
    found = belonging.of_part(part({"x": np.arange(9.0), "step": np.arange(9)}, ["step"]), split(time="step"))
    assert found.number is None
    assert found.says == " (step holds no dates or times to group them by)"


def test_copies_are_groups_where_they_are_more_than_chance_has():
    x = np.random.default_rng(2).normal(size=(3, 60)).round(3)
    whole = {name: values[np.arange(90) % 60] for name, values in zip("abc", x)}
    y = np.random.default_rng(0).integers(0, 2, 60).astype(bool)[np.arange(90) % 60]
    table = stored(pa.table(whole | {"y": y, "_row": np.arange(90)}), Facts("y", [False, True], [1, 1], None))
    found = belonging.of_part(table, split())
    assert same(found.number, np.arange(90) % 60)
    assert found.says == " in 60 groups (rows equal in all features)"
    few = np.random.default_rng(3).integers(0, 3, (3, 90))  # rows agree by chance, and are no copies
    assert belonging.of_part(part(dict(zip("abc", few))), split()) == (None, "")


def test_evaluate_counts_groups_and_its_predictions_have_them(workspace):
    rng = np.random.default_rng(4)
    who, x = np.repeat(np.arange(60), 5), rng.normal(size=300)
    y = (x + np.repeat(rng.normal(size=60), 5) > 0).astype(int)
    pd.DataFrame({"x": x, "who": who, "y": y}).to_csv(workspace.path("t.csv"), index=False)
    workspace.set(
        make_data__source="t.csv", split__group="who", split__train=0.6, split__validation=0.2, train__replicas=3
    )
    said = [workspace.run(stage).stdout for stage in ("make_data", "split", "train", "evaluate")][-1]
    predictions = pd.read_parquet(workspace.path("metrics/predictions.parquet"))
    assert same(predictions["group"], who[predictions["_row"]])
    tested = predictions.query("part == 'test'")["group"]
    assert said.splitlines()[-1].startswith(f"{len(tested)} test rows in {tested.nunique()} groups (rows of one who): ")
    scores = pd.read_csv(workspace.path("metrics/scores.csv")).query("part == 'test'")
    assert set(scores["groups"]) == {tested.nunique()}
