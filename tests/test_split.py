import numpy as np
import pandas as pd
import pytest
import torch
from conftest import assert_one_line

from plumbline.bits import stream
from plumbline.tables import duck, store
from plumbline.tables.store import Facts

PARTS = ("train", "validation", "test")


def write_dataset(workspace, frame, drawn=None):
    """data/dataset.parquet as make_data leaves it."""
    counts = frame["y"].value_counts().sort_index()
    facts = Facts("y", counts.index.tolist(), counts.tolist(), drawn)
    frame.to_parquet(workspace.path("source.parquet"), index=False)
    source = duck.text(workspace.path("source.parquet"))
    store.copy(f"FROM read_parquet({source})", workspace.path("data/dataset.parquet"), "dataset", facts)
    return facts


def read_parts(workspace):
    return [pd.read_parquet(workspace.path(f"data/{part}.parquet")) for part in PARTS]


def table(n):
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    return pd.DataFrame({"x": x.astype("f4"), "kind": rng.choice(["a", None, "b"], n), "y": 1 * (x > 0)})


def test_the_parts_are_the_notebooks(workspace):
    ours = stream.seeded(42)
    stream.normal(ours, 10_000), stream.normal(ours, 1000)
    facts = write_dataset(workspace, table(1000), stream.to_text(ours))
    said = workspace.run("split").stdout
    generator = torch.Generator().manual_seed(42)
    torch.randn(1000, 10, generator=generator)
    torch.randn(1000, generator=generator)
    order = torch.randperm(1000, generator=generator).tolist()
    train, _, test = read_parts(workspace)
    assert train["_row"].tolist() == order[:800]
    assert test["_row"].tolist() == order[800:]
    assert said.splitlines() == ["train: 800 rows", "validation: 0 rows", "test: 200 rows"]

    # The stream goes on with the training part alone, from where torch's stands
    at = store.open(workspace.path("data/train.parquet")).facts.stream
    drawn = stream.uniform(stream.from_text(at), 5)
    np.testing.assert_array_equal(drawn, torch.rand(5, generator=generator).numpy())
    for part in ("validation", "test"):
        assert store.open(workspace.path(f"data/{part}.parquet")).facts == Facts("y", [0, 1], facts.class_counts, None)


@pytest.mark.parametrize("limit, most", [(None, None), ("ROWS", 2**14), ("SMALL", 2**17)])
def test_every_row_is_in_one_part_as_it_was(workspace, monkeypatch, limit, most):
    """A small table's rows come in the permutation's order, a large one's in its own; they are the same rows."""
    if limit:
        monkeypatch.setattr(store, limit, most)
    write_dataset(workspace, frame := table(50_000))
    workspace.set(split__train=0.7, split__validation=0.1)
    workspace.run("split")
    parts, order = read_parts(workspace), stream.permutation(stream.seeded(42), 50_000)
    for part, own in zip(parts, np.split(order, [35_000, 40_000])):
        assert part["_row"].tolist() == (np.sort(own) if limit else own).tolist()
    joined = pd.concat(parts).set_index("_row").sort_index()
    pd.testing.assert_frame_equal(joined, frame, check_names=False)


@pytest.mark.parametrize("way", [{"stratify": True}, {"group": "kind"}, {"time": "x"}])
def test_small_and_large_tables_are_cut_alike(workspace, monkeypatch, way):
    frame = table(3000)
    frame["kind"] = np.arange(3000) % 100
    write_dataset(workspace, frame)
    workspace.set(**{f"split__{name}": value for name, value in way.items()})
    seen = []
    for rows in (2**20, 2048):
        monkeypatch.setattr(store, "ROWS", rows)
        said = workspace.run("split").stdout
        seen.append((said, [part.sort_values("_row", ignore_index=True) for part in read_parts(workspace)]))
    assert seen[0][0] == seen[1][0]
    for one, other in zip(seen[0][1], seen[1][1]):
        pd.testing.assert_frame_equal(one, other)


def test_by_time_the_test_part_is_the_latest_and_by_group_others(workspace):
    days = pd.date_range("2020-01-01", periods=60).repeat(2)
    frame = pd.DataFrame({"x": np.arange(120.0), "day": days, "who": np.arange(120) % 15, "y": np.arange(120) % 3})
    write_dataset(workspace, frame.sample(frac=1, random_state=0))
    workspace.set(split__time="day", split__validation=0.1, split__train=0.7)
    workspace.run("split")
    parts = read_parts(workspace)
    assert [len(part) for part in parts] == [84, 12, 24]
    assert parts[0]["day"].max() <= parts[1]["day"].min()
    assert parts[1]["day"].max() <= parts[2]["day"].min()
    assert store.open("data/test.parquet").facts.split_by == ["day"]
    workspace.set(split__time=None, split__group="who")
    workspace.run("split")
    seen = [set(part["who"]) for part in read_parts(workspace)]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    assert store.open("data/test.parquet").facts.split_by == ["who"]


def test_rows_of_one_time_stay_in_the_permutations_order(workspace):
    write_dataset(workspace, pd.DataFrame({"t": np.arange(100) // 50, "y": np.arange(100) % 2}))
    workspace.set(split__time="t", split__train=0.5)
    workspace.run("split")
    order = stream.permutation(stream.seeded(42), 100)
    assert read_parts(workspace)[0]["_row"].tolist() == order[order < 50].tolist()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"split__group": "whom"}, ["split.group 'whom' is not a column", "did you mean 'who'?"]),
        ({"split__time": "kind"}, ["split.time 'kind' holds text", "dates, times or numbers"]),
        ({"split__time": "gap"}, ["split.time 'gap' is missing in 1 rows", "first in row 2"]),
        ({"split__group": "one"}, ["the test part has no rows", "groups of 'one'"]),
    ],
)
def test_a_column_that_cannot_split_is_refused_and_nothing_is_written(workspace, changes, words):
    frame = pd.DataFrame({"who": [1, 2, 3, 4, 5, 6], "kind": list("ababab"), "one": 1, "y": [0, 1] * 3})
    frame["gap"] = [1.0, 2, None, 4, 5, 6]
    write_dataset(workspace, frame)
    workspace.set(**changes)
    assert_one_line(workspace.run("split", fails=True), *words)
    assert [path.name for path in workspace.path("data").iterdir()] == ["dataset.parquet"]


def test_a_class_that_no_training_row_has_is_refused(workspace):
    write_dataset(workspace, pd.DataFrame({"x": range(40), "y": ["a"] * 19 + ["b"] * 19 + ["rare"] * 2}))
    workspace.set(split__train=0.5, split__time="x")
    assert_one_line(workspace.run("split", fails=True), "class 'rare' of 'y' has 2 rows", "split.stratify")
    workspace.set(split__time=None, split__stratify=True)
    workspace.run("split")
    assert "rare" in set(read_parts(workspace)[0]["y"])


def test_a_missing_or_foreign_dataset_is_one_line(workspace):
    assert_one_line(workspace.run("split", fails=True), "data/dataset.parquet", "dvc repro")
    workspace.path("data").mkdir()
    workspace.path("data/dataset.parquet").write_text("text")
    assert_one_line(workspace.run("split", fails=True), "data/dataset.parquet", "dvc repro")
    pd.DataFrame({"x": [1.0], "y": [1]}).to_parquet(workspace.path("data/dataset.parquet"))
    assert_one_line(workspace.run("split", fails=True), "data/dataset.parquet", "dvc repro")
