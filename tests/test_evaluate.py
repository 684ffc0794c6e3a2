"""The fourth stage: its figures are scikit-learn's on the predictions it writes, whatever the pieces."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import Workspace, assert_one_line, scores
from sklearn import metrics as sklearn

from plumbline.model import folds, model
from plumbline.tables import store

WRITTEN = [
    "evaluate.json",
    "predictions.parquet",
    "scores.csv",
    "classes.csv",
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
    ours = scores(workspace)
    functions = {
        "accuracy": lambda q: sklearn.accuracy_score(y, q.argmax(axis=1)),
        "log_loss": lambda q: sklearn.log_loss(y, q),
        "brier": lambda q: sklearn.brier_score_loss(y, q[:, 1] if k == 1 else q),
        "macro_precision": lambda q: sklearn.precision_score(y, q.argmax(axis=1), average="macro", zero_division=0),
        "macro_recall": lambda q: sklearn.recall_score(y, q.argmax(axis=1), average="macro"),
        "macro_f1": lambda q: sklearn.f1_score(y, q.argmax(axis=1), average="macro"),
    }
    if k == 1:
        functions |= {
            "roc_auc": lambda q: sklearn.roc_auc_score(y, q[:, 1]),
            "average_precision": lambda q: sklearn.average_precision_score(y, q[:, 1]),
            "precision": lambda q: sklearn.precision_score(y, q.argmax(axis=1)),
            "recall": lambda q: sklearn.recall_score(y, q.argmax(axis=1)),
            "f1": lambda q: sklearn.f1_score(y, q.argmax(axis=1)),
        }
    else:
        functions |= {
            "macro_roc_auc": lambda q: sklearn.roc_auc_score(y, q, multi_class="ovr"),
            "macro_average_precision": lambda q: sklearn.average_precision_score(y, q, average="macro"),
        }
    assert {metric for _, metric in ours} == functions.keys()
    for metric, function in functions.items():
        each = [function(p[:, r]) for r in range(networks)]
        assert ours["network", metric]["value"] == pytest.approx(each[0], rel=2e-5), metric
        together = function(p.mean(axis=1) / p.mean(axis=1).sum(axis=1, keepdims=True))
        assert ours["ensemble", metric]["value"] == pytest.approx(together, rel=2e-5), metric
        replicas = ours["networks", metric]
        assert replicas["value"] == pytest.approx(np.mean(each), rel=2e-5), metric
        assert replicas["low"] < replicas["value"] < replicas["high"], metric
    train = pd.read_parquet(workspace.path("data/train.parquet"))["y"]
    shares = train.value_counts(normalize=True).sort_index().to_numpy()
    always = {metric: ours["shares", metric]["value"] for metric in ("accuracy", "log_loss")}
    assert always["accuracy"] == pytest.approx((y == shares.argmax()).mean())
    assert always["log_loss"] == pytest.approx(sklearn.log_loss(y, np.tile(shares, (len(y), 1))), rel=1e-5)
    assert {row["rows"] for row in ours.values()} == {len(y)} == {200}


def test_few_figures_are_what_dvc_shows(two):
    """The eight of the model's network and of all networks are those of the table."""
    ours, few = scores(two), evaluated(two)
    for name in ("accuracy", "log_loss"):
        mean = ours["networks", name]
        assert few.pop(name) == ours["network", name]["value"]
        assert few["replicas"].pop(name) == {"mean": mean["value"], "low": mean["low"], "high": mean["high"]}
    assert few == {"replicas": {}}


def test_a_validation_part_has_figures_and_thresholds_of_its_own(three, trained):
    assert {row["rows"] for row in scores(three, "validation").values()} == {100}
    assert three.read("metrics/thresholds.csv") == "threshold,precision,recall,f1,flagged,rows\n"
    assert pd.read_csv(three.path("metrics/classes.csv"))["support"].sum() == 200
    trained.set(make_data__classes=2)
    trained.repro()
    part = pd.read_parquet(trained.path("metrics/predictions.parquet")).query("part == 'validation'")
    given, y = np.array([row[0] for row in part["probability"]]), part["target"].to_numpy()
    for row in pd.read_csv(trained.path("metrics/thresholds.csv")).itertuples():
        assert row.recall == pytest.approx(sklearn.recall_score(y, given >= row.threshold), rel=2e-5)
        assert row.rows == 100


def test_the_positive_class_changes_its_figures_alone(workspace, two):
    """Class order, stored probabilities, and every figure that is of no single class stay."""
    changes = {"make_data__positive": 0, "split__validation": 0.1, "split__train": 0.7, "train__replicas": 4}
    workspace.set(**changes | {"make_data__positive": None})
    workspace.repro()
    before, first = scores(workspace), pd.read_parquet("metrics/predictions.parquet")
    workspace.set(**changes)
    workspace.repro()
    after, second = scores(workspace), pd.read_parquet("metrics/predictions.parquet")
    pd.testing.assert_frame_equal(first, second)
    differ = {metric for (of, metric), row in after.items() if row != before[of, metric]}
    assert differ == {"precision", "recall", "f1", "average_precision"}
    classes = pd.read_csv("metrics/classes.csv")
    assert classes["class"].tolist() == [0, 1]
    assert classes["positive"].tolist() == [1, 0]
    assert after["network", "recall"]["value"] == classes["recall"][0]
    part = second.query("part == 'validation'")
    given = 1 - np.array([row[0] for row in part["probability"]], float)
    for row in pd.read_csv("metrics/thresholds.csv").itertuples():
        assert row.flagged == pytest.approx((given >= row.threshold).mean())


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
    ours = scores(trained)
    for (of, name), row in ours.items():
        if of == "ensemble":
            assert ours["network", name]["value"] == ours["networks", name]["value"] == row["value"]
    p = pd.read_parquet(trained.path("metrics/predictions.parquet"))["probability"]
    assert {len(each) for each in p} == {3}


def test_a_test_part_of_one_class_has_no_auc_and_one_of_one_row_no_interval(workspace):
    rows = "".join(f"{i % 7},{i},{int(i < 5)}\n" for i in range(12))
    workspace.path("t.csv").write_text("p0,part,y\n" + rows)  # names that predictions.parquet has for its own
    workspace.set(make_data__source="t.csv", train__replicas=1, train__epochs=2, split__train=0.9)
    workspace.repro()
    ours = scores(workspace)
    assert ours["network", "accuracy"]["rows"] == 2
    drawn = len(pd.read_csv(workspace.path("metrics/plots/roc.csv"))) > 0
    assert (("network", "roc_auc") in ours) == (("network", "average_precision") in ours) == drawn
    workspace.set(split__train=0.95)
    workspace.repro()
    ours = scores(workspace)
    assert ours["networks", "accuracy"].keys() == {"value", "rows"}
    assert ("network", "roc_auc") not in ours
    assert evaluated(workspace)["replicas"]["accuracy"].keys() == {"mean"}


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
    epochs = model.load("models/epochs.safetensors", beside="models/model.safetensors")
    seal = model.save(saved.weights, saved.card, "models/model.safetensors")
    model.save(epochs.weights, epochs.card, "models/epochs.safetensors", seal)
    folds.save(folds.NONE, "models/folds.safetensors", seal)
    row = pd.read_parquet("data/validation.parquet")["_row"].iloc[0]
    done = trained.run("evaluate", fails=True)
    assert_one_line(done, "data/validation.parquet", "network 2", f"row {row} ", "train.learning_rate")
    assert not trained.path("metrics/evaluate.json").exists()
