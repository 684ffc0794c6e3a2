import json

import numpy as np
import pandas as pd
import pytest
from conftest import assert_one_line
from sklearn import metrics


def evaluated(project):
    return json.loads(project.read("metrics/evaluate.json"))


def test_predictions_hold_a_line_per_row_and_every_networks_probabilities(three_classes):
    predictions = pd.read_parquet(three_classes.path("metrics/predictions.parquet"))
    assert list(predictions.columns) == ["_row", "part", "target", "probability"]
    assert predictions["part"].tolist() == ["validation"] * 100 + ["test"] * 200
    p = np.stack(predictions["probability"]).reshape(300, 4, 3)
    assert p.dtype == np.float32
    np.testing.assert_allclose(p.sum(axis=2), 1, atol=1e-6)
    rows = pd.concat(pd.read_parquet(three_classes.path(f"data/{part}.parquet")) for part in ("validation", "test"))
    assert predictions["_row"].tolist() == rows["_row"].tolist()
    assert predictions["target"].tolist() == rows["y"].tolist()


@pytest.mark.parametrize("name, networks, k", [("default", 32, 1), ("three_classes", 4, 3)])
def test_figures_are_scikit_learns_on_the_predictions(name, networks, k, request):
    project = request.getfixturevalue(name)
    predictions = pd.read_parquet(project.path("metrics/predictions.parquet")).query("part == 'test'")
    y = predictions["target"].to_numpy()
    p = np.stack(predictions["probability"]).reshape(len(y), networks, k).astype(float)
    if k == 1:
        p = np.concatenate([1 - p, p], axis=2)
    p = p / p.sum(axis=2, keepdims=True)
    second = (lambda q: q[:, 1]) if k == 1 else (lambda q: q)
    ours = evaluated(project)
    for metric, function in {
        "accuracy": lambda q: metrics.accuracy_score(y, q.argmax(axis=1)),
        "log_loss": lambda q: metrics.log_loss(y, q),
        "roc_auc": lambda q: metrics.roc_auc_score(y, second(q), multi_class="ovr"),
        "brier": lambda q: metrics.brier_score_loss(y, second(q)),
        "precision": lambda q: metrics.precision_score(y, q.argmax(axis=1), average="macro", zero_division=0),
        "recall": lambda q: metrics.recall_score(y, q.argmax(axis=1), average="macro"),
        "f1": lambda q: metrics.f1_score(y, q.argmax(axis=1), average="macro"),
    }.items():
        each = [function(p[:, r]) for r in range(networks)]
        assert ours[metric] == pytest.approx(each[0], rel=2e-5), metric
        together = function(p.mean(axis=1) / p.mean(axis=1).sum(axis=1, keepdims=True))
        assert ours["ensemble"][metric] == pytest.approx(together, rel=2e-5), metric
        replicas = ours["replicas"][metric]
        assert replicas["mean"] == pytest.approx(np.mean(each), rel=2e-5), metric
        assert replicas["low"] < replicas["mean"] < replicas["high"], metric
    train = pd.read_parquet(project.path("data/train.parquet"))["y"]
    shares = train.value_counts(normalize=True).sort_index().to_numpy()
    assert ours["baseline"]["accuracy"] == pytest.approx((y == shares.argmax()).mean())
    assert ours["baseline"]["log_loss"] == pytest.approx(metrics.log_loss(y, np.tile(shares, (len(y), 1))), rel=1e-5)
    assert ours["rows"] == len(y) == 200


def test_no_figure_depends_on_the_batch_size(default, project):
    for folder in ("data", "models"):
        project.run("cp", "-r", str(default.path(folder)), folder)
    for batch_size in (1, 7, 100_000):
        project.set(evaluate__batch_size=batch_size)
        project.stage("evaluate")
        for name in ("metrics/evaluate.json", "metrics/predictions.parquet", "metrics/plots/test_epochs.csv"):
            assert project.path(name).read_bytes() == default.path(name).read_bytes()


def test_the_last_epoch_is_the_model(default, three_classes):
    for project in (default, three_classes):
        last = pd.read_csv(project.path("metrics/plots/test_epochs.csv")).iloc[-1]
        assert last["test_loss"] == evaluated(project)["log_loss"]
        assert last["test_accuracy"] == evaluated(project)["accuracy"]


def test_a_test_part_of_one_class_has_no_auc(project):
    rows = "".join(f"{i % 7},{i},{int(i < 5)}\n" for i in range(12))
    project.path("t.csv").write_text("a,b,y\n" + rows)
    project.set(make_data__source="t.csv", train__replicas=1, train__epochs=2, split__train=0.9)
    project.run("dvc", "repro", "-q")
    ours = evaluated(project)
    assert ours["rows"] == 2
    assert ("roc_auc" in ours) == (len(pd.read_csv(project.path("metrics/plots/roc.csv"))) > 0)
    project.set(split__train=0.95)
    project.run("dvc", "repro", "-q")
    ours = evaluated(project)
    assert ours["rows"] == 1
    assert "roc_auc" not in ours
    assert "low" not in ours["replicas"]["accuracy"]


def test_a_missing_model_is_one_line(project):
    assert_one_line(project.stage("evaluate", fails=True), "models/model.safetensors", "dvc checkout")


def test_a_model_and_epochs_of_two_trainings_are_refused_in_one_line(default, three_classes, project):
    for folder in ("data", "models"):
        project.run("cp", "-r", str(default.path(folder)), folder)
    project.run("cp", str(three_classes.path("models/epochs.safetensors")), "models")
    assert_one_line(project.stage("evaluate", fails=True), "models/epochs.safetensors", "two trainings", "dvc repro")
