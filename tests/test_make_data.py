"""make_data: the notebook's table, any table of a user's own, and what it refuses in one line."""

import datetime
import decimal
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ROOT, assert_one_line, dvc

from plumbline.basics.params import MakeData
from plumbline.bits.stream import seeded
from plumbline.model import model
from plumbline.sources import labels as source_labels
from plumbline.tables import store
from stages import synthetic

FIGURES = json.loads((ROOT / "tests" / "notebook_figures.json").read_text())


def settings(**changes):
    values = {
        "source": "",
        "sheet": None,
        "expect": "stages/expect.yaml",
        "target": "y",
        "positive": None,
        "drop": [],
        "decimal": None,
        "dates": None,
        "samples": 1000,
        "features": 10,
        "noise": 0.25,
        "classes": 2,
    } | changes
    return MakeData(**values)


def notebook_table(seed, n=1000, d=10):
    """The notebook's features, log-odds and target with torch itself."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator)
    signal = 1.4 * x[:, 0] - 1.0 * x[:, 1] + 0.8 * x[:, 2] * x[:, 3] - 0.5 * x[:, 4] ** 2
    log_odds = signal + 0.25 * torch.randn(n, generator=generator)
    return x.numpy(), log_odds.numpy(), (torch.sigmoid(log_odds) > 0.5).numpy()


@pytest.mark.parametrize("seed", [42, 0, 2**32 - 1])
def test_the_synthetic_table_is_the_notebooks(seed):
    made = pd.DataFrame(next(synthetic.make(settings(), seeded(seed))))
    x, _, y = notebook_table(seed)
    np.testing.assert_allclose(made.drop(columns="y").to_numpy(), x, rtol=0, atol=1e-6)
    assert made["y"].astype(bool).tolist() == y.tolist()


def test_classes_are_equal_slices_of_the_probability():
    made = next(synthetic.make(settings(classes=5, target="slice"), seeded(42)))
    _, log_odds, _ = notebook_table(42)
    expected = np.floor(5 / (1 + np.exp(-log_odds.astype(float)))).astype(int)
    assert (made["slice"] == expected).all()
    assert set(made["slice"]) == set(range(5))


def test_a_large_synthetic_table_comes_in_pieces_and_a_small_one_has_few_numbers(monkeypatch):
    monkeypatch.setattr(synthetic, "ROWS", 64)
    pieces = list(synthetic.make(settings(samples=150, features=5), seeded(42)))
    assert [len(piece["y"]) for piece in pieces] == [64, 64, 22]
    assert (pieces[0]["x4"] == synthetic.draw(64, settings(features=5), seeded(42))["x4"]).all()
    assert len(next(synthetic.make(settings(samples=5, features=5), seeded(42)))["y"]) == 5


def test_the_dataset_is_written_with_the_columns_as_they_came(workspace):
    workspace.run("make_data")
    dataset = pd.read_parquet("data/dataset.parquet")
    assert list(dataset.columns) == [f"x{i}" for i in range(10)] + ["y"]
    assert (dataset["x0"].dtype, dataset["y"].dtype) == (np.float32, np.int64)
    assert len(dataset) == FIGURES["rows"]
    assert np.float32(dataset["y"].mean()) == FIGURES["positive_rate"]
    assert [path.name for path in workspace.path("data").iterdir()] == ["dataset.parquet"]


def test_a_users_csv_and_parquet_run_through_all_stages(workspace):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=300), "b b": rng.integers(0, 9, 300), "c": rng.random(300) < 0.5})
    frame["kind"] = np.where(frame["a"] + frame["c"] > 0.4, "yes", "no")
    for source in ("my.csv", "my.csv.gz", "my.parquet"):
        path = workspace.path(source)
        frame.to_parquet(path) if "parquet" in source else frame.to_csv(path, index=False)
        workspace.set(make_data__source=source, make_data__target="kind", train__replicas=2)
        workspace.repro()
        assert json.loads(workspace.read("metrics/evaluate.json"))["accuracy"] > 0.9
        predictions = pd.read_parquet(workspace.path("metrics/predictions.parquet"))
        assert set(predictions["target"]) == {"yes", "no"}


def test_a_users_generator_draws_from_the_stream(workspace):
    workspace.path("mine.py").write_text(
        "import pandas as pd\n"
        "def make(params, generator):\n"
        "    x = generator.normal(size=params.samples)\n"
        "    return pd.DataFrame({'x': x, params.target: x > 0.3})\n"
    )
    workspace.set(make_data__source="mine.py")
    workspace.run("make_data")
    first = workspace.path("data/dataset.parquet").read_bytes()
    workspace.run("make_data")
    assert workspace.path("data/dataset.parquet").read_bytes() == first
    workspace.set(seed=43)
    workspace.run("make_data")
    assert workspace.path("data/dataset.parquet").read_bytes() != first


def test_the_stream_travels_with_a_table_that_was_drawn_from_it_alone(workspace):
    workspace.run("make_data")
    assert store.open("data/dataset.parquet").facts.stream
    pd.DataFrame({"x": range(6), "y": [0, 1] * 3}).to_csv("t.csv", index=False)
    workspace.set(make_data__source="t.csv")
    workspace.run("make_data")
    assert store.open("data/dataset.parquet").facts.stream is None


TWINS = "import pyarrow as pa\ndef make(params, generator):\n    return pa.table([[1], [2]], names=['y', 'y'])\n"
GOOD = "a,b,y\n1,2,0\n3,4,1\n5,6,1\n"
MANY = "".join(f"{i},{i % 2}\n" for i in range(99))


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("t.csv", "", ["t.csv", "empty"]),
        ("t.csv", "a,b,y\n", ["t.csv has no rows"]),
        ("t.csv", "a,b,y\n1,2,0\n", ["t.csv", "'y' has 1 different values in 1 rows"]),
        ("t.csv", "a,b,y\n1,2\n", ["t.csv line 2: 2 cells"]),
        ("t.csv", "a,b,z\n1,2,0\n3,4,1\n", ["no column 'y'", "there are 'a', 'b', 'z'"]),
        ("t.csv", "a,b,yy\n1,2,0\n3,4,1\n", ["no column 'y'", "did you mean 'yy'?"]),
        ("t.csv", "a|b|y\n1|2|0\n3|4|1\n", ["no column 'y'", "a|b|y"]),
        ("t.csv", "a,a,y\n1,2,0\n3,4,1\n", ["columns 'a' and 'a'"]),
        ("t.csv", "a,y,y\n1,2,0\n3,4,1\n", ["columns 'y' and 'y'"]),
        ("t.csv", "y\n0\n1\n", ["no column beside the target"]),
        ("t.csv", "_row,y\n1,0\n2,1\n", ["'_row'", "reserved"]),
        ("t.csv", "file_row_number,y\n1,0\n2,1\n", ["'file_row_number'", "reserved"]),
        ("t.csv", "a,y\n1,0\n2,0\n", ["'y' has 1 different values in 2 rows", "2 to 100"]),
        ("t.csv", "a,y\n1,\n2,NA\n", ["'y' is missing in every row"]),
        ("t.csv", "a,y\n1,0\n2,0\n3,b\n", ["class 'b' of the target 'y' has 1 row", "join it to another"]),
        ("t.csv", "a,y\n1,k\n2,l\n3,m\n", ["3 different values in 3 rows", "2 to 100 that come more than once"]),
        ("t.csv", "a,y\n" + MANY + "x,1\n", ["'a' holds numbers and 1 cells of text ('x' in line 101)", "mend"]),
        ("t.csv", "a,y\n" + MANY + "9007199254740993,1\n" * 2, ["'a' is 9007199254740993 in line 101, past 2^53"]),
        ("t.parquet", GOOD, ["t.parquet", "cannot be read as its name says"]),
        ("t.py", "x = 1\n", ["t.py must define make(params, generator)"]),
        ("t.py", "def make(params, generator):\n    return 1 / 0\n", ["t.py line 2", "ZeroDivisionError"]),
        ("t.py", TWINS, ["t.py has columns 'y' and 'y'"]),
        ("none.csv", None, ["none.csv is not there", "dvc add"]),
        ("none.py", None, ["none.py is not there"]),
        ("data", None, ["data holds what the stages write"]),
        (".", None, ["put the table elsewhere"]),
        ("notes.txt", "hello", ["notes.txt", ".csv"]),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(workspace, name, text, words):
    workspace.path("data").mkdir()
    workspace.path("data/dataset.parquet").write_text("old")
    if text is not None:
        workspace.path(name).write_text(text)
    workspace.set(make_data__source=name)
    assert_one_line(workspace.run("make_data", fails=True), *words)
    assert workspace.read("data/dataset.parquet") == "old"
    assert [path.name for path in workspace.path("data").iterdir()] == ["dataset.parquet"]


def test_targets_of_many_values_are_no_classes(workspace):
    workspace.path("t.csv").write_text("a,y\n" + "".join(f"{i},{i / 7}\n" for i in range(200)))
    workspace.set(make_data__source="t.csv")
    assert_one_line(workspace.run("make_data", fails=True), "200 different values in 200 rows", "cut this measure")


@pytest.mark.parametrize(
    "labels, words",
    [
        ([*range(17, 60), *range(17, 60), 92], "'y' has 44 different numbers, from 17 to 92, and 1 of them come"),
        ([0.5, 0.5, 1.25, 1.25, 90], "class '90' of the target 'y' has 1 row"),
        ([0, 0, 1, 1, 2], "class 2 of the target 'y' has 1 row"),
    ],
)
def test_a_measure_is_said_before_a_class_of_one_row(workspace, labels, words):
    workspace.path("t.csv").write_text("a,y\n" + "".join(f"{i % 7},{label}\n" for i, label in enumerate(labels)))
    workspace.set(make_data__source="t.csv")
    assert_one_line(workspace.run("make_data", fails=True), words)


@pytest.mark.parametrize("labels, word", [(np.inf, "infinite"), ([[1]], "BIGINT[]")])
def test_a_target_that_is_no_label_is_refused(workspace, labels, word):
    pd.DataFrame({"a": range(20), "y": [labels, 0.0] * 10 if word == "infinite" else labels * 20}).to_parquet(
        workspace.path("t.parquet")
    )
    workspace.set(make_data__source="t.parquet")
    assert_one_line(workspace.run("make_data", fails=True), "'y'", word)


@pytest.mark.parametrize("values, word", [([[1]], "BIGINT[]"), ([{"a": 1}], "STRUCT"), ([b"\xff"], "BLOB")])
def test_a_column_that_nothing_can_encode_is_refused_unless_it_is_dropped(workspace, values, word):
    pd.DataFrame({"a": values * 20, "b": 1, "y": [0, 1] * 10}).to_parquet(workspace.path("t.parquet"))
    workspace.set(make_data__source="t.parquet")
    assert_one_line(workspace.run("make_data", fails=True), "'a' holds", word, "make_data.drop")
    workspace.set(make_data__drop=["a"])
    workspace.run("make_data")


def dataset_of(workspace, frame, **changes):
    """What make_data makes of a user's table, and what it says."""
    frame.to_parquet(workspace.path("t.parquet"))
    workspace.set(make_data__source="t.parquet", make_data__target="y", **changes)
    done = workspace.run("make_data")
    return pd.read_parquet("data/dataset.parquet"), store.open("data/dataset.parquet").facts, done


@pytest.mark.parametrize(
    "labels, classes",
    [
        (["yes", "no"], ["no", "yes"]),
        ([True, False], [False, True]),
        ([7, -3], [-3, 7]),
        (["7", "-3"], [-3, 7]),
        (["07", "8"], ["07", "8"]),
        (["-0", "8"], ["-0", "8"]),
        ([2.5, 1.0], [1.0, 2.5]),
        ([decimal.Decimal("1.50"), decimal.Decimal("2.00")], ["1.50", "2.00"]),
        ([datetime.date(2020, 1, 2), datetime.date(2019, 1, 2)], ["2019-01-02", "2020-01-02"]),
        ([f"k{i:03}" for i in range(100)], [f"k{i:03}" for i in range(100)]),
    ],
)
def test_labels_of_any_kind_come_back_as_they_were(workspace, labels, classes):
    frame = pd.DataFrame({"x": range(3 * len(labels)), "y": labels * 3})
    dataset, facts, _ = dataset_of(workspace, frame)
    assert facts.classes == classes
    assert [type(label) for label in facts.classes] == [type(label) for label in classes]
    assert dataset["y"].astype(str).tolist() == [str(label) for label in labels] * 3


@pytest.mark.parametrize(
    "labels, asked, positive",
    [
        (["no", "yes"], None, "yes"),
        (["no", "yes"], "no", "no"),
        ([3, 4], 3, 3),
        (["1", "2", "x"], None, None),
        (["01", "1"], "01", "01"),
        (["1", "x"], 1, "1"),
        ([False, True], False, False),
        (["False", "True"], False, "False"),
        (["false", "true"], True, "true"),
        ([0.5, 1.0], 1, 1.0),
    ],
)
def test_the_positive_class_is_the_second_unless_the_parameters_name_another(labels, asked, positive):
    found = source_labels.positive(labels, asked)
    assert found == positive
    assert type(found) is type(positive)


def test_a_positive_class_that_cannot_be_is_refused_in_one_line(workspace):
    workspace.path("t.csv").write_text("a,y\n1,no\n2,yes\n3,no\n4,yes\n")
    workspace.set(make_data__source="t.csv", make_data__positive="maybe")
    done = workspace.run("make_data", fails=True)
    assert_one_line(done, "make_data.positive must be a class, 'no' or 'yes', not 'maybe'")
    workspace.set(make_data__source="stages/synthetic.py", make_data__classes=3, make_data__positive=1)
    assert_one_line(workspace.run("make_data", fails=True), "make_data.positive is for two classes, not 3")
    assert not workspace.path("data").exists() or not list(workspace.path("data").iterdir())


def test_the_positive_class_travels_to_every_part_and_the_model(workspace):
    workspace.set(make_data__positive=0, train__epochs=1, train__replicas=1)
    workspace.repro()
    assert {store.open(path).facts.positive for path in workspace.path("data").glob("*.parquet")} == {0}
    card = model.load("models/model.safetensors").card
    assert (card.positive, card.positive_number, card.classes) == (0, 0, [0, 1])
    assert json.loads(workspace.read("metrics/train.json"))["positive_rate"] == pytest.approx(0.605)


def test_zero_is_one_label_whatever_its_sign(workspace):
    dataset, facts, _ = dataset_of(workspace, pd.DataFrame({"x": range(9), "y": [-0.0, 0.0, 1.0] * 3}))
    assert (facts.classes, facts.class_counts) == ([0.0, 1.0], [6, 3])
    assert not np.signbit(dataset["y"]).any()
    assert not np.signbit(facts.classes[0])
    workspace.run("split")


def test_a_categorical_target_gaps_in_it_and_columns_to_drop(workspace):
    frame = pd.DataFrame({"a b": range(8), "é": 1.5, "y": pd.Categorical(["u", "v", None, "u", "v", "u", "v", None])})
    dataset, facts, done = dataset_of(workspace, frame, make_data__drop=["é"])
    assert facts.classes == ["u", "v"]
    assert facts.class_counts == [3, 3]
    assert list(dataset.columns) == ["a b", "y"]
    assert dataset["a b"].tolist() == [0, 1, 3, 4, 5, 6]
    assert "2 rows of 8 are left out, their 'y' is missing" in done.stdout
    dataset, _, _ = dataset_of(workspace, frame, make_data__drop=["é", "é"])
    assert list(dataset.columns) == ["a b", "y"]
    workspace.set(make_data__drop=["e"])
    assert_one_line(workspace.run("make_data", fails=True), "no column 'e' to leave out (make_data.drop)")


def test_kinds_that_arrow_has_and_few_others(workspace):
    """A label of 16 bits, views of text as Polars may write them, and categories of whole numbers."""
    texts = pa.array(["a", "b", None, "a", "b", "a"], pa.string_view())
    half = pa.array(np.array([0, 1, 0, 1, 0, 1], np.float16))
    codes = pa.array([10, 20, 10, 20, 10, 20]).dictionary_encode()
    pq.write_table(pa.table({"x": half, "view": texts, "code": codes, "y": half}), workspace.path("t.parquet"))
    workspace.set(make_data__source="t.parquet", make_data__target="y", train__encoding="robust", split__train=0.5)
    workspace.run("make_data")
    dataset, facts = pd.read_parquet("data/dataset.parquet"), store.open("data/dataset.parquet").facts
    assert (facts.classes, facts.class_counts) == ([0.0, 1.0], [3, 3])
    assert [None if text != text else text for text in dataset["view"]] == texts.to_pylist()
    assert dataset["code"].tolist() == ["10", "20"] * 3
    workspace.run("split")


def test_nan_is_no_class_whether_a_number_or_text(workspace):
    for labels in ([1.0, 2.0, np.nan, 2.0, 1.0], ["a", "b", "nan", "b", "a"], ["a", "b", "  ", "b", "a"]):
        dataset, facts, done = dataset_of(workspace, pd.DataFrame({"x": range(5), "y": labels}))
        assert facts.class_counts == [2, 2]
        assert dataset["x"].tolist() == [0, 1, 3, 4]
        assert "1 rows of 5" in done.stdout


def test_labels_that_differ_in_case_or_spaces_are_kept_apart_and_said_in_one_line(workspace):
    frame = pd.DataFrame({"x": range(8), "y": ["Yes", "yes", "no", "no ", "Yes", "yes", "no", "no "]})
    _, facts, done = dataset_of(workspace, frame)
    assert facts.classes == ["Yes", "no", "no ", "yes"]
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    for part in ("warning", "'no' (2 rows) and 'no ' (2 rows)", "'Yes' (2 rows) and 'yes' (2 rows)", "kept apart"):
        assert part in lines[0]


def test_a_changed_source_runs_the_stage_again_and_an_experiment_drops_a_column(project):
    """The stage alone: that others follow it is in dvc.yaml."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60), "y": ["u", "v"] * 30})
    frame.to_csv(project.path("t.csv"), index=False)
    dvc(project.folder, "add", "-q", "t.csv")
    project.set(make_data__source="t.csv")
    dvc(project.folder, "repro", "-q", "make_data")
    frame.iloc[:50].to_csv(project.path("t.csv"), index=False)
    assert "stages.make_data" in project.run("dvc", "repro", "make_data").stdout
    project.commit("a changed table")
    project.run("dvc", "exp", "run", "-n", "fewer", "-S", "make_data.drop=[b]", "make_data")
    assert list(pd.read_parquet(project.path("data/dataset.parquet"))) == ["a", "y"]


@pytest.mark.parametrize("damaged", ["feature", "y"])
def test_parquet_text_that_is_not_utf8_is_told_of_its_file(workspace, damaged):
    text = pa.array([b"M\xfcnchen", b"Bonn"] * 40, pa.binary()).view(pa.string())  # as a writer in Latin-1 leaves it
    columns = {"feature": pa.array([1.5, 2.5] * 40), "y": pa.array([0, 1] * 40)} | {damaged: text}
    pq.write_table(pa.table(columns), "t.parquet")
    workspace.set(make_data__source="t.parquet")
    assert_one_line(workspace.run("make_data", fails=True), "t.parquet cannot be read as its name says", "UTF8")
