"""The whole pipeline as a user runs it: the notebook's figures, the exercise, and what happens when things go wrong."""

import json

import pandas as pd
import pytest
import yaml
from conftest import ROOT, assert_one_line

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
    assert (train["rows"], test["rows"]) == (FIGURES["train_rows"], FIGURES["test_rows"])
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


def test_the_report_is_the_notebooks_table(default):
    lines = default.stage("report").stdout.splitlines()
    assert f"800 training rows in 25 batches, 200 test rows in {FIGURES['test_batches']}" in lines
    for line in FIGURES["epochs"]:
        numbers = [
            f"{line[f'{part}_{metric}']:.{d}f}"
            for part in ("train", "test")
            for metric, d in (("loss", 4), ("accuracy", 3))
        ]
        assert any(row.split() == [str(line["epoch"]), *numbers] for row in lines), numbers


@pytest.mark.parametrize("name", ["metrics/train.json", "metrics/history.csv"])
def test_a_report_of_a_file_in_conflict_is_one_line(default, tmp_path, name):
    project = default.copy(tmp_path / "project")
    text = project.read(name)
    project.path(name).unlink()
    project.path(name).write_text(f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> other\n")
    assert_one_line(project.stage("report", fails=True), f"{name} is not as the stages write it", "`dvc repro`")


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


def test_three_classes_run_through_all_stages(three_classes):
    test = read_json(three_classes, "metrics/evaluate.json")
    train = read_json(three_classes, "metrics/train.json")
    assert train["parameters"] == 10 * 32 + 32 + 32 * 3 + 3
    assert "positive_rate" not in train
    assert test["accuracy"] > test["baseline"]["accuracy"] + 0.2
    assert test["roc_auc"] > 0.9
    confusion = pd.read_csv(three_classes.path("metrics/plots/confusion.csv"))
    assert len(confusion) == 9
    assert confusion.query("actual == predicted")["rows"].sum() == round(test["accuracy"] * 200)
    history = pd.read_csv(three_classes.path("metrics/history.csv"))
    assert {"validation_loss", "validation_accuracy"} <= set(history.columns)
    assert "validation loss" in three_classes.stage("report").stdout


def test_metrics_are_finite_numbers_in_objects(default, three_classes):
    def numbers(values):
        for value in values.values():
            yield from numbers(value) if isinstance(value, dict) else [value]

    for project in (default, three_classes):
        for name in ("train", "evaluate"):
            for value in numbers(read_json(project, f"metrics/{name}.json")):
                assert isinstance(value, int | float)
                assert abs(value) < float("inf")


def test_the_exercise_runs_train_and_evaluate_alone(exercise):
    for change, output in exercise.output.items():
        assert "stages.train" in output, change
        assert "stages.evaluate" in output, change
        assert "stages.make_data" not in output, change
        assert "stages.split" not in output, change


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
        "Loss by epoch",
        "Accuracy by epoch",
        "ROC",
        "Precision and recall",
        "Calibration",
        "Confusion matrix",
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
    project.run("dvc", "checkout", "-q")
    assert before == {name: project.path(name).read_bytes() for name in before}
    assert "up to date" in project.run("dvc", "status").stdout


def test_a_temporary_run_gives_the_same_bits(default, tmp_path):
    project = default.copy(tmp_path / "project")
    project.run("dvc", "exp", "run", "-S", "train.hidden_size=48")
    names = ("models/model.safetensors", "metrics/predictions.parquet", "metrics/evaluate.json")
    here = {name: project.path(name).read_bytes() for name in names}
    project.run("git", "restore", ".")
    project.run("rm", "-rf", ".dvc/cache/runs")  # or DVC would take the first run's results
    output = project.run("dvc", "exp", "run", "--temp", "-n", "apart", "-S", "train.hidden_size=48").stdout
    assert "stages.train" in output
    project.run("dvc", "exp", "apply", "apart")
    assert here == {name: project.path(name).read_bytes() for name in names}


def test_an_interrupted_stage_leaves_nothing_half_written(project):
    import os
    import signal
    import subprocess

    from conftest import ENVIRONMENT

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
    assert not list(project.path("models").glob("*") if project.path("models").exists() else [])


def test_a_folder_that_cannot_be_written_is_one_line(project):
    project.path("data").write_text("a file where a folder should be")
    assert_one_line(project.stage("make_data", fails=True), "data", "error")
