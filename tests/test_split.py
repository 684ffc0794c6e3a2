import numpy as np
import pandas as pd
import pytest
import torch
from conftest import assert_one_line

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


def test_sizes_are_rounded_down_and_the_rest_is_test():
    parts = split.cut(np.arange(11), shares(0.5, 0.25))
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 5, "validation": 2, "test": 4}


@pytest.mark.parametrize("n, given", [(3, (0.2, 0.0)), (3, (0.5, 0.1)), (1, (0.5, 0.0))])
def test_a_part_without_rows_is_refused(n, given):
    with pytest.raises(UserError, match="part has no rows"):
        split.cut(np.arange(n), shares(*given))


def test_a_missing_or_foreign_dataset_is_one_line(project):
    assert_one_line(project.stage("split", fails=True), "data/dataset.parquet", "dvc repro")
    project.path("data").mkdir()
    project.path("data/dataset.parquet").write_text("text")
    assert_one_line(project.stage("split", fails=True), "data/dataset.parquet", "dvc repro")
    pd.DataFrame({"x": [1.0], "y": [1]}).to_parquet(project.path("data/dataset.parquet"))
    assert_one_line(project.stage("split", fails=True), "data/dataset.parquet", "dvc repro")
