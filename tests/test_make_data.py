import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, assert_one_line

from stages import synthetic
from stages.params import MakeData
from stages.stream import seeded

FIGURES = json.loads((ROOT / "tests" / "notebook_figures.json").read_text())


def settings(**changes):
    values = {
        "source": "",
        "target": "y",
        "drop": [],
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
    made = synthetic.make(settings(), seeded(seed)).to_pandas()
    x, _, y = notebook_table(seed)
    np.testing.assert_allclose(made.drop(columns="y").to_numpy(), x, rtol=0, atol=1e-6)
    assert made["y"].astype(bool).tolist() == y.tolist()


def test_classes_are_equal_slices_of_the_probability():
    made = synthetic.make(settings(classes=5, target="slice"), seeded(42)).to_pandas()
    _, log_odds, _ = notebook_table(42)
    expected = np.floor(5 / (1 + np.exp(-log_odds.astype(float)))).astype(int)
    assert (made["slice"] == expected).all()
    assert set(made["slice"]) == set(range(5))


def test_the_dataset_is_written_with_the_columns_as_they_came(default):
    dataset = pd.read_parquet(default.path("data/dataset.parquet"))
    assert list(dataset.columns) == [f"x{i}" for i in range(10)] + ["y"]
    assert len(dataset) == FIGURES["rows"]
    assert np.float32(dataset["y"].mean()) == FIGURES["positive_rate"]


def test_a_users_csv_and_parquet_run_through_all_stages(project):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=300), "b b": rng.integers(0, 9, 300), "c": rng.random(300) < 0.5})
    frame["kind"] = np.where(frame["a"] + frame["c"] > 0.4, "yes", "no")
    for source in ("my.csv", "my.csv.gz", "my.parquet"):
        frame.to_parquet(project.path(source)) if "parquet" in source else frame.to_csv(
            project.path(source), index=False
        )
        project.set(make_data__source=source, make_data__target="kind", train__replicas=2)
        project.run("dvc", "repro", "-q")
        assert json.loads(project.read("metrics/evaluate.json"))["accuracy"] > 0.9
        predictions = pd.read_parquet(project.path("metrics/predictions.parquet"))
        assert set(predictions["target"]) == {"yes", "no"}


def test_a_users_generator_draws_from_the_stream(project):
    project.path("mine.py").write_text(
        "import pandas as pd\n"
        "def make(params, generator):\n"
        "    x = generator.normal(size=params.samples)\n"
        "    return pd.DataFrame({'x': x, params.target: x > 0.3})\n"
    )
    project.set(make_data__source="mine.py")
    project.stage("make_data")
    first = project.path("data/dataset.parquet").read_bytes()
    project.stage("make_data")
    assert project.path("data/dataset.parquet").read_bytes() == first
    project.set(seed=43)
    project.stage("make_data")
    assert project.path("data/dataset.parquet").read_bytes() != first


GOOD = "a,b,y\n1,2,0\n3,4,1\n5,6,1\n"


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("t.csv", "", ["t.csv", "empty"]),
        ("t.csv", "a,b,y\n", ["t.csv", "0 different values in 0 rows"]),
        ("t.csv", "a,b,y\n1,2\n", ["t.csv", "Expected 3 columns, got 2"]),
        ("t.csv", "a,b,z\n1,2,0\n3,4,1\n", ["no column 'y'", "there are a, b, z"]),
        ("t.csv", "a,b,yy\n1,2,0\n3,4,1\n", ["no column 'y'", "did you mean yy?"]),
        ("t.csv", "a,a,y\n1,2,0\n3,4,1\n", ["2 columns named 'a'"]),
        ("t.csv", "y\n0\n1\n", ["no column beside the target"]),
        ("t.csv", "_row,y\n1,0\n2,1\n", ["'_row'", "reserved"]),
        ("t.csv", "a,y\n1,0\n2,0\n", ["'y' has 1 different values in 2 rows", "2 to 100"]),
        ("t.csv", "a,y\n1,0\n2,\n", ["'y' is missing in 1 rows"]),
        ("t.csv", "a,y\n1,0\nx,1\n", ["column 'a' holds string"]),
        ("t.csv", "a,y\n1,0\n,1\n", ["column 'a' has 1 missing values", "row 1"]),
        ("t.csv", "a,y\n1,0\n1e39,1\n", ["column 'a' is 1e+39 in row 1", "float32"]),
        ("t.parquet", GOOD, ["t.parquet", "cannot be read as its name says"]),
        ("t.py", "x = 1\n", ["t.py must define make(params, generator)"]),
        ("t.py", "def make(params, generator):\n    return 1 / 0\n", ["t.py line 2", "ZeroDivisionError"]),
        ("t.py", "def make(:\n", ["t.py line 1", "SyntaxError"]),
        ("t.py", "def make(params, generator):\n    return [1]\n", ["pyarrow table or a DataFrame, not list"]),
        ("none.csv", None, ["none.csv is not there"]),
        ("none.py", None, ["none.py is not there"]),
        ("data", None, ["data is a folder"]),
        ("notes.txt", "hello", ["notes.txt", ".csv"]),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(project, name, text, words):
    project.path("data").mkdir()
    project.path("data/dataset.parquet").write_text("old")
    if text is not None:
        project.path(name).write_text(text)
    project.set(make_data__source=name)
    assert_one_line(project.stage("make_data", fails=True), *words)
    assert project.read("data/dataset.parquet") == "old"


def test_targets_of_many_values_are_no_classes(project):
    project.path("t.csv").write_text("a,y\n" + "".join(f"{i},{i / 7}\n" for i in range(200)))
    project.set(make_data__source="t.csv")
    assert_one_line(project.stage("make_data", fails=True), "200 different values in 200 rows", "2 to 100")
