"""The fourth stage: its figures are scikit-learn's on the predictions it writes, whatever the pieces."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import Workspace, assert_one_line
from sklearn import metrics as sklearn

from plumbline.model import model
from plumbline.tables import store

WRITTEN = [
    "evaluate.json",
    "predictions.parquet",
    *(f"plots/{name}.csv" for name in ("test_epochs", "roc", "confusion")),
]


def made(folder, **changes) -> Workspace:
    """A workspace after all four stages."""
    workspace = Workspace(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace.folder)
        workspace.set(**changes)
        workspace.repro()
    return workspace


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Workspace:
    """The parameters as they are; tests only read it."""
    return made(tmp_path_factory.mktemp("two") / "workspace")


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> Workspace:
    """Three classes and a validation part; tests only read it."""
    changes = {"make_data__classes": 3, "split__train": 0.7, "split__validation": 0.1, "train__replicas": 4}
    return made(tmp_path_factory.mktemp("three") / "workspace", **changes)


@pytest.fixture
def trained(workspace, three) -> Workspace:
    """A copy of three whose model can be evaluated again."""
    workspace.path("params.yaml").write_text(three.read("params.yaml"))
    for name in ("data", "models"):
        shutil.copytree(three.path(name), workspace.path(name))
    return workspace


def evaluated(workspace) -> dict:
    return json.loads(workspace.read("metrics/evaluate.json"))


def test_predictions_hold_a_line_per_row_and_every_networks_probabilities(three):
    predictions = pd.read_parquet(three.path("metrics/predictions.parquet"))
    assert list(predictions.columns) == ["_row", "part", "target", "probability"]
    assert predictions["part"].tolist() == ["validation"] * 100 + ["test"] * 200
    p = np.stack(predictions["probability"]).reshape(300, 4, 3)
    assert p.dtype == np.float32
    np.testing.assert_allclose(p.sum(axis=2), 1, atol=1e-6)
    rows = pd.concat(pd.read_parquet(three.path(f"data/{part}.parquet")) for part in ("validation", "test"))
    assert predictions["_row"].tolist() == rows["_row"].tolist()
    assert predictions["target"].tolist() == rows["y"].tolist()


@pytest.mark.parametrize("name, networks, k", [("two", 32, 1), ("three", 4, 3)])
def test_figures_are_scikit_learns_on_the_predictions(name, networks, k, request):
    workspace = request.getfixturevalue(name)
    predictions = pd.read_parquet(workspace.path("metrics/predictions.parquet")).query("part == 'test'")
    y = predictions["target"].to_numpy()
    p = np.stack(predictions["probability"]).reshape(len(y), networks, k).astype(float)
    if k == 1:
        p = np.concatenate([1 - p, p], axis=2)
    p = p / p.sum(axis=2, keepdims=True)
    second = (lambda q: q[:, 1]) if k == 1 else (lambda q: q)
    ours = evaluated(workspace)
    for metric, function in {
        "accuracy": lambda q: sklearn.accuracy_score(y, q.argmax(axis=1)),
        "log_loss": lambda q: sklearn.log_loss(y, q),
        "roc_auc": lambda q: sklearn.roc_auc_score(y, second(q), multi_class="ovr"),
        "brier": lambda q: sklearn.brier_score_loss(y, second(q)),
        "precision": lambda q: sklearn.precision_score(y, q.argmax(axis=1), average="macro", zero_division=0),
        "recall": lambda q: sklearn.recall_score(y, q.argmax(axis=1), average="macro"),
        "f1": lambda q: sklearn.f1_score(y, q.argmax(axis=1), average="macro"),
    }.items():
        each = [function(p[:, r]) for r in range(networks)]
        assert ours[metric] == pytest.approx(each[0], rel=2e-5), metric
        together = function(p.mean(axis=1) / p.mean(axis=1).sum(axis=1, keepdims=True))
        assert ours["ensemble"][metric] == pytest.approx(together, rel=2e-5), metric
        replicas = ours["replicas"][metric]
        assert replicas["mean"] == pytest.approx(np.mean(each), rel=2e-5), metric
        assert replicas["low"] < replicas["mean"] < replicas["high"], metric
    train = pd.read_parquet(workspace.path("data/train.parquet"))["y"]
    shares = train.value_counts(normalize=True).sort_index().to_numpy()
    assert ours["baseline"]["accuracy"] == pytest.approx((y == shares.argmax()).mean())
    assert ours["baseline"]["log_loss"] == pytest.approx(sklearn.log_loss(y, np.tile(shares, (len(y), 1))), rel=1e-5)
    assert ours["rows"] == len(y) == 200


def test_no_figure_depends_on_the_batch_size(three, trained):
    for batch_size in (1, 7, 100_000):
        trained.set(evaluate__batch_size=batch_size)
        trained.run("evaluate")
        for name in WRITTEN:
            assert trained.path(f"metrics/{name}").read_bytes() == three.path(f"metrics/{name}").read_bytes(), name


def test_no_figure_depends_on_how_many_rows_are_scored_at_a_time(three, trained, monkeypatch):
    for rows in (33, 1):
        monkeypatch.setattr(store, "rows_of", lambda values, rows=rows: rows)
        trained.run("evaluate")
        for name in WRITTEN:
            if name != "predictions.parquet":
                assert trained.path(f"metrics/{name}").read_bytes() == three.path(f"metrics/{name}").read_bytes(), name
        ours, theirs = (pd.read_parquet(each.path("metrics/predictions.parquet")) for each in (trained, three))
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


def test_the_last_epoch_is_the_model(two, three):
    for workspace in (two, three):
        last = pd.read_csv(workspace.path("metrics/plots/test_epochs.csv")).iloc[-1]
        assert last["test_loss"] == evaluated(workspace)["log_loss"]
        assert last["test_accuracy"] == evaluated(workspace)["accuracy"]


def test_one_network_is_its_own_ensemble(trained):
    trained.set(train__replicas=1)
    for stage in ("train", "evaluate"):
        trained.run(stage)
    ours = evaluated(trained)
    for name, value in ours["ensemble"].items():
        assert ours[name] == ours["replicas"][name]["mean"] == value
    p = pd.read_parquet(trained.path("metrics/predictions.parquet"))["probability"]
    assert {len(each) for each in p} == {3}


def test_a_test_part_of_one_class_has_no_auc_and_one_of_one_row_no_interval(workspace):
    rows = "".join(f"{i % 7},{i},{int(i < 5)}\n" for i in range(12))
    workspace.path("t.csv").write_text("p0,part,y\n" + rows)  # names that predictions.parquet has for its own
    workspace.set(make_data__source="t.csv", train__replicas=1, train__epochs=2, split__train=0.9)
    workspace.repro()
    ours = evaluated(workspace)
    assert ours["rows"] == 2
    assert ("roc_auc" in ours) == (len(pd.read_csv(workspace.path("metrics/plots/roc.csv"))) > 0)
    workspace.set(split__train=0.95)
    workspace.repro()
    ours = evaluated(workspace)
    assert ours["rows"] == 1
    assert "roc_auc" not in ours
    assert ours["replicas"]["accuracy"].keys() == {"mean"}


def test_a_missing_model_is_one_line(workspace):
    assert_one_line(workspace.run("evaluate", fails=True), "models/model.safetensors", "dvc checkout")


def test_a_model_and_epochs_of_two_trainings_are_refused_in_one_line(two, trained):
    trained.path("models/epochs.safetensors").write_bytes(two.path("models/epochs.safetensors").read_bytes())
    assert_one_line(trained.run("evaluate", fails=True), "models/epochs.safetensors", "two trainings", "dvc repro")


def test_a_part_of_other_classes_is_refused_in_one_line(two, trained):
    trained.path("data/test.parquet").write_bytes(two.path("data/test.parquet").read_bytes())
    assert_one_line(trained.run("evaluate", fails=True), "data/test.parquet", "different classes", "dvc repro")


def test_a_probability_that_is_no_number_is_refused_by_row_and_network(trained):
    saved = model.load("models/model.safetensors")
    saved.weights["net.0.bias"][2] = saved.weights["net.2.weight"][2] = 1e30  # their products leave float32
    model.save(saved.weights, saved.card, "models/model.safetensors")
    row = pd.read_parquet("data/validation.parquet")["_row"].iloc[0]
    done = trained.run("evaluate", fails=True)
    assert_one_line(done, "data/validation.parquet", "network 2", f"row {row} ", "train.learning_rate")
    assert not trained.path("metrics/evaluate.json").exists()
