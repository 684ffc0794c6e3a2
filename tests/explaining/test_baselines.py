"""The baselines: what scikit-learn itself says of the same models on the same rows."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import Workspace
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from plumbline.explaining import baselines
from plumbline.scores import differences

NAMES = ("shares", "logistic_regression", "boosted_trees")


def made(folder, **changes):
    workspace = Workspace(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace.folder)
        workspace.set(train__replicas=3, train__epochs=10, evaluate__baselines=True, **changes)
        workspace.repro()
    return workspace


@pytest.fixture(scope="module", params=[2, 3])
def run(request, tmp_path_factory):
    return made(tmp_path_factory.mktemp(f"classes-{request.param}") / "workspace", make_data__classes=request.param)


def written(workspace):
    return json.loads(workspace.read("metrics/baselines.json"))


def arrays(workspace, part):
    table = pd.read_parquet(workspace.path(f"data/{part}.parquet"))
    return table[[f"x{i}" for i in range(10)]].to_numpy(np.float32), table["y"].to_numpy()


def test_figures_are_those_of_scikit_learns_models(run):
    x, y = arrays(run, "train")
    rows, target = arrays(run, "test")
    scaler, regression = StandardScaler().fit(x), LogisticRegression(max_iter=1000)
    trees = HistGradientBoostingClassifier(early_stopping=True, random_state=0).fit(x, y)
    answers = {
        "shares": np.tile(np.bincount(y) / len(y), (len(target), 1)),
        "logistic_regression": regression.fit(scaler.transform(x), y).predict_proba(scaler.transform(rows)),
        "boosted_trees": trees.predict_proba(rows),
    }
    found = written(run)
    assert list(found) == [*NAMES, "part", "rows", "trained_rows"]
    assert (found["rows"], found["trained_rows"]) == (200, 800)
    for name, answer in answers.items():
        assert found[name]["log_loss"] == pytest.approx(log_loss(target, answer), rel=1e-4)
        assert found[name]["accuracy"] == pytest.approx(accuracy_score(target, answer.argmax(axis=1)), abs=1e-6)


def test_categories_are_categories_to_both_models(workspace, monkeypatch):
    """However many they are: of a network's inputs, one a category, trees would need minutes and learn little."""
    monkeypatch.setattr(baselines, "MOST_CATEGORIES", 8)
    draws, n = np.random.default_rng(0), 1200
    table = pd.DataFrame(
        {"few": draws.choice(list("abcde"), n), "many": draws.integers(10, 30, n), "x": draws.normal(size=n)}
    )
    table["y"] = (table["x"] + table["few"].isin(["a", "d"]) + table["many"] % 2 + draws.normal(size=n) > 1).astype(int)
    table["many"] = "m" + table["many"].astype(str)
    table.to_csv(workspace.path("t.csv"), index=False)
    workspace.set(make_data__source="t.csv", train__encoding="raw", train__epochs=1, evaluate__baselines=True)
    workspace.repro()
    parts = [pd.read_parquet(workspace.path(f"data/{part}.parquet")) for part in ("train", "test")]
    (x, y), (rows, target) = ((part[["x", "few", "many"]], part["y"]) for part in parts)
    one_hot = make_column_transformer((StandardScaler(), ["x"]), (OneHotEncoder(), ["few", "many"]))
    ordinal = make_column_transformer(("passthrough", ["x"]), (OrdinalEncoder(), ["few", "many"]))
    trees = HistGradientBoostingClassifier(categorical_features=[1], early_stopping=True, random_state=0)
    regression = make_pipeline(one_hot, LogisticRegression(max_iter=1000)).fit(x, y)
    trees = make_pipeline(ordinal, trees).fit(x, y)
    for name, model in ("logistic_regression", regression), ("boosted_trees", trees):
        assert written(workspace)[name]["log_loss"] == pytest.approx(
            log_loss(target, model.predict_proba(rows)), rel=1e-3
        )


def test_the_verdict_is_that_of_compare_between_a_baseline_and_the_networks(run):
    predictions = pd.read_parquet(run.path("metrics/predictions.parquet"))
    target = predictions["target"].to_numpy()
    p = np.stack(predictions["probability"]).reshape(len(target), 3, -1).transpose(1, 0, 2)
    shares = np.bincount(arrays(run, "train")[1]) / 800
    answer = np.tile(shares[1:] if len(shares) == 2 else shares, (len(target), 1)).astype(np.float32)
    base, networks = differences.Rows(answer[None], target), differences.Rows(p, target)
    for expected in differences.compare(base, networks, baselines.METRICS, level=1 - 0.05 / 3):  # of three baselines
        metric = expected.metric
        found = written(run)["shares"]
        found = found["in_accuracy"] if metric == "accuracy" else found
        assert found["verdict"] == expected.verdict == "better"
        for end in ("difference", "low", "high"):
            assert found[end] == pytest.approx(getattr(expected, end), rel=1e-5)


def test_without_being_asked_there_is_nothing(run, monkeypatch):
    monkeypatch.chdir(run.folder)
    before = run.read("metrics/baselines.json")
    run.set(evaluate__baselines=False)
    run.run("evaluate")
    assert written(run) == {}
    run.set(evaluate__baselines=True)
    run.run("evaluate")
    assert run.read("metrics/baselines.json") == before


def test_the_report_says_in_a_line_each_whether_the_network_is_worth_it(run, monkeypatch):
    monkeypatch.chdir(run.folder)
    lines = run.run("commands.report").stdout.splitlines()
    for name in NAMES:
        found = written(run)[name]
        figures = [f"{found[figure]:.4f}" for figure in ("accuracy", "log_loss", "difference", "low", "high")]
        (line,) = [line for line in lines if line.startswith(f"{name.replace('_', ' ')}  ")]
        assert [word for word in line.split() if word[-1].isdigit()] == figures
        assert line.endswith(found["verdict"])


def test_a_single_test_row_has_no_interval_and_one_network_no_verdict():
    sides = [differences.Rows(np.full((1, 1, 1), p, np.float32), np.ones(1, int)) for p in (0.25, 0.75)]
    told = baselines.told(differences.compare(*sides, ["accuracy"])[0])
    assert told == {"verdict": "no verdict", "difference": 1.0}


def test_many_training_rows_are_cut_and_said(run, monkeypatch):
    monkeypatch.chdir(run.folder)
    monkeypatch.setattr(baselines, "MOST_ROWS", 100)
    run.run("evaluate")
    assert written(run)["trained_rows"] == 100


def test_classes_that_training_rows_lack_or_have_once(workspace):
    rows = [f"{i % 7},{i % 5},{'abc'[i % 2]}" for i in range(60)]
    workspace.path("t.csv").write_text("\n".join(["p,q,y", *rows, "1,2,c", "2,3,c"]) + "\n")
    workspace.set(make_data__source="t.csv", split__stratify=True, split__train=0.5)
    workspace.set(train__replicas=2, train__epochs=2, evaluate__baselines=True)
    workspace.repro()
    assert set(NAMES) < set(written(workspace))
    assert all(np.isfinite(written(workspace)[name]["log_loss"]) for name in NAMES)


def test_training_rows_of_one_class_leave_the_shares(run, monkeypatch):
    monkeypatch.chdir(run.folder)
    monkeypatch.setattr(baselines, "MOST_ROWS", 1)
    run.run("evaluate")
    assert set(written(run)) == {"shares", "part", "rows", "trained_rows"}
