"""The pipeline with folds: figures are scikit-learn's on the out-of-fold rows, however folds and classes are cut."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from conftest import scores
from sklearn import metrics as sklearn
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

R, K = 3, 3


def table(n: int = 240) -> str:
    """Days, customers of four rows, numbers with gaps, and text with rare categories."""
    rng, lines = np.random.default_rng(0), ["day,who,x,z,kind,y"]
    for i in range(n):
        x, kind = rng.normal(), rng.choice(["p", "q", "r", f"rare{i % 40}"])
        z = "" if i % 9 == 0 else f"{rng.exponential():.4f}"
        label = "yes" if x + (kind == "p") + 0.5 * rng.normal() > 0.3 else "no"
        lines.append(f"2024-{1 + i // 20:02}-{1 + i % 20:02},{i // 4},{x:.4f},{z},{kind},{label}")
    return "\n".join(lines) + "\n"


def repro(workspace, **changes):
    """All four stages on the table, or on the synthetic one; what they printed."""
    workspace.path("t.csv").write_text(table())
    workspace.set(
        **{
            "make_data__source": "t.csv",
            "split__folds": K,
            "split__train": 1.0,
            "train__encoding": "robust",
            "train__replicas": R,
            "train__epochs": 3,
            "train__hidden_size": 4,
        }
        | changes
    )
    return [done.stdout for done in workspace.repro()]


def out_of_fold(workspace):
    """Rows, targets (n,), probabilities (R, n, k) and folds (R, n) of the part."""
    found = pd.read_parquet(workspace.path("metrics/predictions.parquet")).query("part == 'out-of-fold'")
    p = np.stack(found["probability"]).reshape(len(found), R, -1).transpose(1, 0, 2).astype(float)
    p = np.concatenate([1 - p, p], axis=2) if p.shape[2] == 1 else p
    return found, found["target"].to_numpy(), p / p.sum(axis=2, keepdims=True), np.stack(found["fold"]).T


@pytest.mark.parametrize("classes", [2, 3])
def test_figures_are_scikit_learns_and_auc_is_a_mean_over_folds(workspace, classes):
    changes = {"make_data__source": "stages/synthetic.py", "make_data__samples": 300, "make_data__classes": classes}
    said = repro(workspace, split__train=0.8, split__stratify=True, **changes)
    assert f"cross-fitting: {R} replicas x {K} folds, {R * K} networks" in said[2]
    found, y, p, fold = out_of_fold(workspace)
    ours, train = scores(workspace, "out-of-fold"), pd.read_parquet(workspace.path("data/train.parquet"))
    assert found["_row"].tolist() == train["_row"].tolist() and len(y) == len(train)
    assert {row["rows"] for row in ours.values()} == {len(y)}

    def area(r):
        each = [(fold[r] == f) for f in range(K)]
        if classes == 2:
            return np.mean([sklearn.roc_auc_score(y[own], p[r, own, 1]) for own in each])
        return np.mean([sklearn.roc_auc_score(y[own], p[r, own], multi_class="ovr") for own in each])

    for metric, of in {
        "accuracy": lambda r: sklearn.accuracy_score(y, p[r].argmax(axis=1)),
        "log_loss": lambda r: sklearn.log_loss(y, p[r]),
        "macro_f1": lambda r: sklearn.f1_score(y, p[r].argmax(axis=1), average="macro"),
        "roc_auc" if classes == 2 else "macro_roc_auc": area,
    }.items():
        each = [of(r) for r in range(R)]
        assert ours["network", metric]["value"] == pytest.approx(each[0], rel=2e-5), metric
        assert ours["networks", metric]["value"] == pytest.approx(np.mean(each), rel=2e-5), metric
    few = json.loads(workspace.read("metrics/evaluate.json"))
    assert few["out_of_fold"]["log_loss"]["mean"] == ours["networks", "log_loss"]["value"]
    assert few["accuracy"] == scores(workspace)["network", "accuracy"]["value"]  # the model file's, of the test part
    # Always answering the shares that each fold's network was trained on, not those of the fold's own rows
    told = [
        (sklearn.log_loss(y[own], np.tile(np.bincount(y[~own]) / (~own).sum(), (own.sum(), 1))), own.mean())
        for r in range(R)
        for own in (fold[r] == f for f in range(K))
    ]
    assert ours["shares", "log_loss"]["value"] == pytest.approx(sum(a * b for a, b in told) / R, rel=1e-5)


def test_baselines_learn_what_network_0_of_each_fold_learnt(workspace):
    changes = {"make_data__source": "stages/synthetic.py", "make_data__samples": 300, "train__encoding": "raw"}
    repro(workspace, evaluate__baselines=True, evaluate__importance=True, **changes)
    _, y, _, fold = out_of_fold(workspace)
    x = pd.read_parquet(workspace.path("data/train.parquet"))[[f"x{i}" for i in range(10)]].to_numpy(np.float32)
    written = json.loads(workspace.read("metrics/baselines.json"))
    for name, make in {
        "logistic_regression": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "boosted_trees": lambda: HistGradientBoostingClassifier(early_stopping=True, random_state=0),
    }.items():
        answer = np.empty((len(y), 2))
        for f in range(K):
            own = fold[0] == f
            answer[own] = make().fit(x[~own], y[~own]).predict_proba(x[own])
        assert written[name]["log_loss"] == pytest.approx(-np.log(answer[np.arange(len(y)), y]).mean(), rel=1e-4), name
    assert (written["part"], written["rows"], written["trained_rows"]) == ("out-of-fold", 300, 200)
    drops = list(csv.DictReader(workspace.read("metrics/importance.csv").splitlines()))
    assert {(drop["part"], drop["rows"], drop["networks"]) for drop in drops} == {("out-of-fold", "300", str(R))}
    assert drops[0]["column"] in ("x0", "x1")


@pytest.mark.parametrize("by", ["group", "time", "empty"])
def test_every_reader_reads_a_run_without_a_test_part(workspace, by):
    """Or with one, where time cuts it off; groups stay whole, and blocks of time learn from the past."""
    changes = {"group": {"split__group": "who"}, "time": {"split__time": "day", "split__train": 0.8}}.get(by, {})
    said = repro(workspace, evaluate__importance=True, evaluate__baselines=True, **changes)
    found, _, _, fold = out_of_fold(workspace)
    train = pd.read_parquet(workspace.path("data/train.parquet"))
    if by == "group":
        assert found.groupby("group")["fold"].agg(lambda folds: len({tuple(each) for each in folds})).max() == 1
        assert len(set(found["group"])) == 60 and "60 groups" in said[3]
    elif by == "time":
        unscored = set(train["_row"]) - set(found["_row"])
        assert f"the earliest {len(unscored)} rows are not scored" in said[2]
        assert len(unscored) == 64 and len({tuple(each) for each in fold}) == 1
        assert set(train.sort_values("day", kind="stable")["_row"].iloc[:64]) == unscored
    report = workspace.run("commands.report").stdout
    rule = "Out-of-fold figures are of this configuration; the model file's own are of the test part"
    assert f"{rule}." in report if by == "time" else f"{rule}, and it has none." in report
    assert "out-of-fold rows" in report and "0 test rows" not in report
    workspace.run("commands.report", "--html", "r.html")
    assert "out-of-fold rows" in workspace.read("r.html")
    workspace.run("commands.predict", "t.csv", "--output", "p.csv", "--threshold", "0.4")
    assert bool(scores(workspace)) == (by == "time")
