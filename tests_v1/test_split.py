import numpy as np
import pandas as pd
import pytest
import torch
from conftest import assert_one_line
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import split
from stages.errors import UserError
from stages.params import Split


def test_the_parts_are_the_notebooks(default):
    generator = torch.Generator().manual_seed(42)
    torch.randn(1000, 10, generator=generator)
    torch.randn(1000, generator=generator)
    order = torch.randperm(1000, generator=generator).tolist()
    train, test = (pd.read_parquet(default.path(f"data/{part}.parquet")) for part in ("train", "test"))
    assert train["_row"].tolist() == order[:800]
    assert test["_row"].tolist() == order[800:]


def test_every_row_is_in_one_part_as_it_was(three_classes):
    dataset = pd.read_parquet(three_classes.path("data/dataset.parquet"))
    parts = {
        part: pd.read_parquet(three_classes.path(f"data/{part}.parquet")) for part in ("train", "validation", "test")
    }
    assert [len(part) for part in parts.values()] == [700, 100, 200]
    joined = pd.concat(parts.values()).set_index("_row").sort_index()
    pd.testing.assert_frame_equal(joined, dataset, check_names=False)


def shares(train, validation, **changes):
    return Split(**{"train": train, "validation": validation, "stratify": False, "group": None, "time": None} | changes)


def parts_of(part_of, split_by):
    """The rows of each part; refused as by the stage when one has none."""
    split.check_rows(part_of, split_by)
    return [np.flatnonzero(part_of == i) for i in range(3)]


def test_sizes_are_rounded_down_and_the_rest_is_test():
    given_shares = shares(0.5, 0.25)
    assert split.check_rows(split.cut(np.arange(11), given_shares), given_shares) == [5, 2, 4]


@pytest.mark.parametrize("n, given_shares", [(3, (0.2, 0.0)), (3, (0.5, 0.1)), (1, (0.5, 0.0))])
def test_a_part_without_rows_is_refused(n, given_shares):
    with pytest.raises(UserError, match="part has no rows"):
        parts_of(split.cut(np.arange(n), shares(*given_shares)), shares(*given_shares))


def test_a_missing_or_foreign_dataset_is_one_line(project):
    assert_one_line(project.stage("split", fails=True), "data/dataset.parquet", "dvc repro")
    project.path("data").mkdir()
    project.path("data/dataset.parquet").write_text("text")
    assert_one_line(project.stage("split", fails=True), "data/dataset.parquet", "dvc repro")
    pd.DataFrame({"x": [1.0], "y": [1]}).to_parquet(project.path("data/dataset.parquet"))
    assert_one_line(project.stage("split", fails=True), "data/dataset.parquet", "dvc repro")


def user_table(project, frame, **changes):
    frame.to_csv(project.path("t.csv"), index=False)
    project.set(make_data__source="t.csv", make_data__target="y", **changes)
    project.stage("make_data")


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=6),
    train=st.floats(0.3, 0.8),
    validation=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 1000),
)
def test_stratified_parts_have_every_classes_share_and_every_row_once(counts, train, validation, seed):
    classes = np.repeat(np.arange(len(counts)), counts)
    order = np.random.default_rng(seed).permutation(len(classes))
    given_shares = shares(train, validation, stratify=True)
    try:
        parts = parts_of(split.cut_by_class(order, classes, given_shares), given_shares)
    except UserError as error:
        assert "part has no rows" in str(error)
        return
    for c, count in enumerate(counts):
        n = [(classes[rows] == c).sum() for rows in parts]
        assert n[0] >= 1
        assert abs(n[0] - train * count) <= 1
        assert abs(n[1] - validation * count) <= 1


@settings(deadline=None)
@given(groups=st.lists(st.integers(0, 12), min_size=5, max_size=200), seed=st.integers(0, 1000))
def test_a_group_is_never_on_two_sides(groups, seed):
    groups = np.unique(groups, return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(len(groups))
    given_shares = shares(0.6, 0.2, group="g")
    try:
        parts = parts_of(split.cut_by_group(order, groups, given_shares), given_shares)
    except UserError as error:
        assert "groups of 'g'" in str(error)
        return
    seen = [set(groups[rows]) for rows in parts]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    assert abs(len(parts[0]) - 0.6 * len(groups)) <= np.bincount(groups).max() / 2 + 1


def test_large_groups_are_not_trained_on_more_often():
    groups = np.r_[np.zeros(50, int), np.arange(1, 51)]
    rng = np.random.default_rng(0)
    in_train = 0
    for _ in range(400):
        in_train += split.cut_by_group(rng.permutation(100), groups, shares(0.5, 0.0, group="g"))[0] == 0
    assert 0.4 < in_train / 400 < 0.6


def test_a_split_by_time_tests_on_the_latest_rows_and_by_group_on_new_groups(project):
    rng = np.random.default_rng(0)
    days = pd.date_range("2020-01-01", periods=60).repeat(2)
    frame = pd.DataFrame({"x": rng.normal(size=120), "day": days, "who": np.arange(120) % 15, "y": np.arange(120) % 3})
    frame = frame.sample(frac=1, random_state=0)
    user_table(project, frame, split__time="day", split__validation=0.1, split__train=0.7, train__replicas=2)
    project.stage("split")
    parts = [pd.read_parquet(project.path(f"data/{part}.parquet")) for part in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [84, 12, 24]
    assert parts[0]["day"].max() <= parts[1]["day"].min()
    assert parts[1]["day"].max() <= parts[2]["day"].min()
    assert "column 'day' is left out: the split goes by it" in project.stage("train").stdout
    project.set(split__time=None, split__group="who")
    project.stage("split")
    parts = [set(pd.read_parquet(project.path(f"data/{part}.parquet"))["who"]) for part in ("train", "test")]
    assert not parts[0] & parts[1]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"split__group": "whom"}, ["split.group 'whom' is not a column", "did you mean who?"]),
        ({"split__time": "kind"}, ["split.time 'kind' holds string", "dates, times or numbers"]),
        ({"split__time": "gap"}, ["split.time 'gap' is missing in 1 rows", "first in row 2"]),
        ({"split__group": "one"}, ["the test part has no rows", "groups of 'one'"]),
    ],
)
def test_a_column_that_cannot_split_is_refused(project, changes, words):
    frame = pd.DataFrame({"who": [1, 2, 3, 4, 5, 6], "kind": list("ababab"), "one": 1, "y": [0, 1] * 3})
    frame["gap"] = [1.0, 2, None, 4, 5, 6]
    user_table(project, frame, **changes)
    assert_one_line(project.stage("split", fails=True), *words)


def test_a_class_that_no_training_row_has_is_refused(project):
    frame = pd.DataFrame({"x": range(40), "y": ["a"] * 19 + ["b"] * 19 + ["rare"] * 2})
    user_table(project, frame, split__train=0.5, split__time="x")
    assert_one_line(project.stage("split", fails=True), "class 'rare' of 'y' has 2 rows", "split.stratify")
    project.set(split__time=None, split__stratify=True)
    project.stage("split")
    assert "rare" in set(pd.read_parquet(project.path("data/train.parquet"))["y"])
