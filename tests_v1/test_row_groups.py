"""Tables of several row groups, small ones here, against the same tables taken whole."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Project, assert_one_line
from test_make_data import settings

from stages import stream, synthetic, table

ROWS = 96


def set_rows(project, rows):
    for module, name, value in (("table", "ROWS", rows), ("encoding", "IN_CACHE", max(rows // 3, 2))):
        path = project.path(f"stages/{module}.py")
        text, found = re.subn(rf"^{name} = \S+", f"{name} = {value}", path.read_text(), flags=re.MULTILINE)
        assert found == 1
        path.write_text(text)


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    """The pipeline on 1,000 rows in groups of 96; tests only read it."""
    project = Project(tmp_path_factory.mktemp("grouped") / "project")
    set_rows(project, ROWS)
    project.set(split__train=0.7, split__validation=0.1, train__replicas=2, train__epochs=3)
    for stage in ("make_data", "split", "train", "evaluate"):
        project.stage(stage)
    return project


def test_the_dataset_is_drawn_group_by_group_from_one_stream(grouped):
    file = pq.ParquetFile(grouped.path("data/dataset.parquet"))
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [ROWS] * 10 + [40]
    generator = stream.seeded(42)
    drawn = [synthetic.draw(n, settings(), generator) for n in [ROWS] * 10 + [40]]
    dataset, facts = table.read(grouped.path("data/dataset.parquet"))
    assert dataset.equals(pa.concat_tables(drawn))
    assert facts.stream == stream.to_text(generator)
    assert facts.class_counts == np.bincount(dataset.column("y").to_numpy()).tolist()


def test_parts_are_the_permutations_in_the_datasets_order(grouped):
    dataset, facts = table.read(grouped.path("data/dataset.parquet"))
    generator = stream.from_text(facts.stream)
    order = stream.permutation(generator, 1000)
    for part, rows in zip(("train", "validation", "test"), np.split(order, [700, 800])):
        taken, part_facts = table.read(grouped.path(f"data/{part}.parquet"))
        assert taken.column("_row").to_pylist() == sorted(rows)
        assert taken.drop_columns(["_row"]).equals(dataset.take(np.sort(rows)))
        assert part_facts.stream == (stream.to_text(generator) if part == "train" else None)


def test_training_scoring_and_predicting_know_no_groups(grouped, tmp_path):
    whole = grouped.copy(tmp_path / "project")
    set_rows(whole, 2**20)
    for project in (grouped, whole):
        project.stage("train")
        project.stage("evaluate")
        for output in ("scored.csv", "scored.parquet"):
            project.stage("predict", "data/test.parquet", "--output", output, "--ensemble")
    assert whole.path("models/model.safetensors").read_bytes() == grouped.path("models/model.safetensors").read_bytes()
    for name in ("metrics/evaluate.json", "metrics/plots/roc.csv", "metrics/plots/test_epochs.csv", "scored.csv"):
        assert whole.read(name) == grouped.read(name)
    for name in ("metrics/predictions.parquet", "scored.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(whole.path(name)), pd.read_parquet(grouped.path(name)))


def mixed(n=500):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=n), "kind": rng.choice(["x", "y", "z"], n), "who": np.arange(n) % 50})
    frame["y"] = np.where(frame["a"] > 0, "no", "yes")
    frame.loc[::7, "y"] = None
    return frame


@pytest.mark.parametrize("way", [{"split__stratify": True}, {"split__group": "who"}, {"split__time": "a"}])
def test_a_users_parquet_is_the_same_in_groups_and_whole(project, way):
    mixed().to_parquet(project.path("t.parquet"), row_group_size=130)
    project.set(make_data__source="t.parquet", make_data__drop=["kind"], **way)
    seen = []
    for rows in (100, 2**20):
        set_rows(project, rows)
        said = project.stage("make_data").stdout + project.stage("split").stdout
        parts = [table.read(project.path(f"data/{part}.parquet"))[0] for part in ("train", "validation", "test")]
        seen.append((said, [part.sort_by("_row") for part in parts], table.read(project.path("data/dataset.parquet"))))
    assert seen[0] == seen[1]
    assert "t.parquet: 72 rows of 500 are left out, their 'y' is missing" in seen[0][0]
    assert "t.parquet: 428 rows, 2 features, y {no: " in seen[0][0]


GENERATOR = """
import pandas as pd
def make(params, generator):
    for i in range(4):
        x = generator.normal(size=params.samples)
        yield pd.DataFrame({"x": x, params.target: LABELS})
"""


def test_a_generator_may_yield_pieces(project):
    project.path("mine.py").write_text(GENERATOR.replace("LABELS", "x > i / 10"))
    project.set(make_data__source="mine.py")
    said = project.stage("make_data").stdout
    assert "mine.py: 4000 rows, 1 features, y {False: " in said
    generator = stream.seeded(42)
    drawn = [generator.normal(size=1000) for _ in range(4)]
    dataset, facts = table.read(project.path("data/dataset.parquet"))
    assert dataset.column("x").to_numpy().tolist() == np.concatenate(drawn).tolist()
    assert facts.stream == stream.to_text(generator)


@pytest.mark.parametrize(
    "labels, words",
    [
        ("x > 0 if i < 2 else 1", ["different columns (x: double, y: bool; x: double, y: int64)"]),
        ("['1', '2'] * 500 if i < 2 else ['1', 'b'] * 500", ["'y' is whole numbers at first", "of one kind"]),
        ("x[:i]", ["mine.py line 6", "ValueError"]),
        ("x", ["'y' has 4000 different values in 4000 rows"]),
    ],
)
def test_pieces_that_do_not_go_together_are_refused(project, labels, words):
    project.path("mine.py").write_text(GENERATOR.replace("LABELS", labels))
    project.set(make_data__source="mine.py")
    assert_one_line(project.stage("make_data", fails=True), *words)
    assert not list(project.path("data").iterdir())


def test_an_iterator_without_tables_is_refused(project):
    project.path("mine.py").write_text("def make(params, generator):\n    return iter([])\n")
    project.set(make_data__source="mine.py")
    assert_one_line(project.stage("make_data", fails=True), "mine.py yields no table")


def test_a_file_damaged_inside_is_one_line(grouped, tmp_path):
    project = grouped.copy(tmp_path / "project")
    content = bytearray(project.path("data/dataset.parquet").read_bytes())
    place = pq.read_metadata(project.path("data/dataset.parquet")).row_group(5).column(2).data_page_offset
    content[place : place + 30] = bytes(30)
    project.path("data/dataset.parquet").write_bytes(content)
    before = project.path("data/train.parquet").read_bytes()
    assert_one_line(project.stage("split", fails=True), "data/dataset.parquet is not a table that a stage wrote", "dvc")
    assert project.path("data/train.parquet").read_bytes() == before
    assert not list(project.path("data").glob(".*"))


def test_a_row_group_of_text_ends_by_its_bytes_whatever_the_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "TEXTS", 1000)
    rng = np.random.default_rng(0)
    texts = [None if rng.random() < 0.1 else "x" * int(rng.integers(0, 200)) for _ in range(300)]
    rows = pa.table({"text": texts, "other": pa.array(texts, pa.large_string()), "n": range(300)})
    for name, size in (("whole", 300), ("sevens", 7), ("ones", 1)):
        with table.writing(tmp_path / name) as writer:
            for start in range(0, 300, size):
                writer.write(rows.slice(start, size))
            assert writer.finish().read().equals(rows)
    assert len({(tmp_path / name).read_bytes() for name in ("whole", "sevens", "ones")}) == 1
    file, ends = pq.ParquetFile(tmp_path / "whole"), 0
    for i in range(file.num_row_groups):
        found = rows.slice(ends, file.metadata.row_group(i).num_rows)
        held = [2 * len(text or "") for text in found.column("text").to_pylist()]
        assert sum(held[:-1]) < 1000 and (sum(held) >= 1000 or i == file.num_row_groups - 1)
        ends += len(held)
    assert ends == 300 and file.num_row_groups > 20
