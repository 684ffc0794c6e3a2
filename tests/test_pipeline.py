"""The whole pipeline as a user runs it: the notebook's figures, the exercise, and what happens when things go wrong."""

import json
import os
import signal
import subprocess

import pandas as pd
import pytest
import yaml
from conftest import ENVIRONMENT, EXERCISE, ROOT, assert_one_line, dvc, scores

FIGURES = json.loads((ROOT / "tests" / "notebook_figures.json").read_text())


def read_json(project, name):
    return json.loads(project.read(name))


def test_every_figure_that_the_notebook_prints(default):
    train, test = (read_json(default, f"metrics/{name}.json") for name in ("train", "evaluate"))
    epochs = pd.read_csv(default.path("metrics/history.csv")).merge(
        pd.read_csv(default.path("metrics/plots/test_epochs.csv")), on="epoch"
    )
    assert train["positive_rate"] == FIGURES["positive_rate"]
    assert train["parameters"] == FIGURES["parameters"]
    rows = scores(default)["network", "accuracy"]["rows"]
    assert (train["rows"], rows) == (FIGURES["train_rows"], FIGURES["test_rows"])
    assert train["batches"] == FIGURES["train_batches"]
    for line in FIGURES["epochs"]:
        ours = epochs.set_index("epoch").loc[line["epoch"]]
        for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
            decimals = FIGURES["printed_decimals"][name.split("_")[1]]
            assert f"{ours[name]:.{decimals}f}" == f"{line[name]:.{decimals}f}", (line["epoch"], name)
    last = FIGURES["epochs"][-1]
    assert f"{train['loss']:.4f} {train['accuracy']:.3f}" == f"{last['train_loss']:.4f} {last['train_accuracy']:.3f}"
    assert f"{test['log_loss']:.4f} {test['accuracy']:.3f}" == f"{last['test_loss']:.4f} {last['test_accuracy']:.3f}"
    first_ten = pd.read_parquet(default.path("metrics/predictions.parquet")).query("part == 'test'").head(10)
    assert [f"{p[0]:.4e}" for p in first_ten["probability"]] == FIGURES["first_ten_test_probabilities"]
    assert first_ten["target"].tolist() == FIGURES["first_ten_test_labels"]


def test_the_committed_lock_and_metrics_are_what_this_code_makes(default):
    """dvc.lock, metrics and plots in git are this code's: a change that moves a bit shows it in its own diff."""
    committed = yaml.safe_load((ROOT / "dvc.lock").read_text())
    assert yaml.safe_load(default.read("dvc.lock")) == committed
    for stage in committed["stages"].values():
        for out in stage["outs"]:
            if (ROOT / out["path"]).suffix in (".json", ".csv"):
                assert default.read(out["path"]) == (ROOT / out["path"]).read_text(encoding="utf-8"), out["path"]


def test_a_second_repro_runs_nothing(default):
    assert "up to date" in default.run("dvc", "repro").stdout


def test_three_classes_run_through_all_stages(workspace):
    workspace.set(make_data__classes=3, split__train=0.7, split__validation=0.1, train__replicas=4)
    workspace.repro()
    test, train = (read_json(workspace, f"metrics/{name}.json") for name in ("evaluate", "train"))
    assert train["parameters"] == 10 * 32 + 32 + 32 * 3 + 3
    assert "positive_rate" not in train
    found = scores(workspace)
    assert test["accuracy"] > found["shares", "accuracy"]["value"] + 0.2
    assert found["network", "macro_roc_auc"]["value"] > 0.9
    confusion = pd.read_csv(workspace.path("metrics/plots/confusion.csv"))
    assert len(confusion) == 9
    assert confusion.query("actual == predicted")["rows"].sum() == round(test["accuracy"] * 200)
    history = pd.read_csv(workspace.path("metrics/history.csv"))
    assert {"validation_loss", "validation_accuracy"} <= set(history.columns)
    assert "validation loss" in workspace.run("commands.report").stdout
    check_numbers(workspace)


def test_metrics_are_finite_numbers_in_objects(default):
    check_numbers(default)


def check_numbers(project):
    def numbers(values):
        for value in values.values():
            yield from numbers(value) if isinstance(value, dict) else [value]

    for name in ("train", "evaluate"):
        for value in numbers(read_json(project, f"metrics/{name}.json")):
            assert isinstance(value, int | float)
            assert abs(value) < float("inf")


@pytest.mark.parametrize("stage", ["make_data", "split", "train", "evaluate"])
def test_outs_are_what_the_stage_writes(default, stage):
    entry = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]
    outs = [out for kind in ("outs", "metrics", "plots") for out in entry.get(kind, [])]
    names = [out if isinstance(out, str) else next(iter(out)) for out in outs]
    assert all(default.path(name).is_file() for name in names)
    for out in outs:  # metrics and plots are in git, data and models in DVC's cache
        assert isinstance(out, str) or next(iter(out.values()))["cache"] is False


def test_nothing_else_is_written(default):
    """No file that no stage names: DVC would neither keep it nor bring it back."""
    lock = yaml.safe_load(default.read("dvc.lock"))["stages"]
    outs = {out["path"] for stage in lock.values() for out in stage["outs"]}
    written = {path for top in ("data", "models", "metrics") for path in default.path(top).rglob("*") if path.is_file()}
    assert {str(path.relative_to(default.folder)) for path in written} == outs


def test_the_exercise_runs_train_and_evaluate_alone(exercise):
    for name in EXERCISE:
        output = exercise.read(f".git/{name}.txt")
        assert "stages.train" in output, name
        assert "stages.evaluate" in output, name
        assert "stages.make_data" not in output, name
        assert "stages.split" not in output, name


def test_experiments_are_compared_side_by_side(exercise):
    shown = exercise.run("dvc", "exp", "show", "--json").stdout
    experiments = [e for revision in json.loads(shown) for e in revision["experiments"] or []]
    trained = [e["revs"][0]["data"]["params"]["params.yaml"]["data"]["train"] for e in experiments]
    changed = {(t["hidden_size"], t["learning_rate"], t["epochs"]) for t in trained}
    assert changed == {(64, 0.01, 20), (32, 0.001, 20), (32, 0.01, 40)}
    difference = exercise.run("dvc", "metrics", "diff", "HEAD", "hidden-64", "--md").stdout
    assert "replicas.accuracy.mean" in difference


def test_plots_are_drawn(exercise, tmp_path):
    exercise.run("dvc", "plots", "diff", "HEAD", "epochs-40", "-o", str(tmp_path / "plots"))
    page = (tmp_path / "plots" / "index.html").read_text()
    for title in (
        "Loss by epoch, network 0",
        "Accuracy by epoch, network 0",
        "Figures of test and out-of-fold rows; bars: about 95 %",
        "F1 of each class, network 0, test or out-of-fold rows",
        "ROC, network 0, test or out-of-fold rows (several classes: micro, each against the rest)",
        "Precision and recall, network 0, test or out-of-fold rows (several classes: micro)",
        "Calibration, network 0, test or out-of-fold rows (several classes: micro)",
        "Confusion matrix, network 0, test or out-of-fold rows",
    ):
        assert f'"text": "{title}"' in page, title
    assert "test_loss" in page


def test_a_wrong_parameter_under_dvc_and_the_way_back(default, tmp_path):
    project = default.copy(tmp_path / "project")
    before = {name: project.path(name).read_bytes() for name in ("models/model.safetensors", "metrics/train.json")}
    project.set(train__epochs=0)
    failed = project.run("dvc", "repro", fails=True)
    assert "train.epochs must be an integer >= 1, not 0" in failed.stderr
    assert "Traceback" not in failed.stderr
    project.run("git", "restore", "params.yaml", "metrics", "dvc.lock")
    dvc(project.folder, "checkout", "-q")
    assert before == {name: project.path(name).read_bytes() for name in before}
    assert "up to date" in project.run("dvc", "status").stdout


def test_a_temporary_run_gives_the_same_bits(exercise, tmp_path):
    project = exercise.copy(tmp_path / "project")
    project.run("rm", "-rf", ".dvc/cache/runs")  # or DVC would take the experiment's results
    project.set(train__hidden_size=64)
    assert "stages.train" in project.run("dvc", "repro").stdout
    (apart,) = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps/*/*/hidden-64").stdout.split()
    apart = yaml.safe_load(project.run("git", "show", f"{apart}:dvc.lock").stdout)
    assert yaml.safe_load(project.read("dvc.lock"))["stages"] == apart["stages"]


def test_an_interrupted_stage_leaves_nothing_half_written(project):
    project.set(train__epochs=100_000, train__replicas=1)
    project.stage("make_data")
    project.stage("split")
    command = ["python", "-u", "-m", "stages.train"]
    # A shell starts what runs in its background deaf to interrupts, and children inherit that.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(
        command, cwd=project.folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **heard
    )
    while not process.stdout.readline().startswith(b"epoch"):  # then it trains
        assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.decode().splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in errors.decode()
    assert not list(project.path("models").glob("*"))


def test_a_folder_that_cannot_be_written_is_one_line(workspace):
    workspace.path("data").write_text("a file where a folder should be")
    assert_one_line(workspace.run("make_data", fails=True), "data", "error")
