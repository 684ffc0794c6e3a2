"""The report: the notebook's figures as the notebook prints them, and one line where a file is not as it must be."""

import contextlib
import json

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from plumbline import __main__ as plumbline
from plumbline.basics import formats
from plumbline.basics.errors import UserError
from plumbline.commands import last_run

FIGURES = json.loads((ROOT / "tests" / "notebook_figures.json").read_text())
HEADER = ["class", "precision", "recall", "F1", "test", "rows"]


@pytest.fixture
def report(default, tmp_path, monkeypatch, capsys):
    """The report of a copy of the reproduced project."""
    project = default.copy(tmp_path / "project")
    monkeypatch.chdir(project.folder)

    def run():
        plumbline.command(["report"])
        return capsys.readouterr().out.splitlines()

    run.project = project
    return run


def test_the_report_is_the_notebooks(report):
    lines = report()
    assert f"800 training rows in 25 batches, 200 test rows in {FIGURES['test_batches']}" in lines
    assert f"Positive class rate: {FIGURES['positive_rate']}" in lines
    assert f"Trainable parameters: {FIGURES['parameters']}" in lines
    for line in FIGURES["epochs"]:
        numbers = [
            f"{line[f'{part}_{metric}']:.{d}f}"
            for part in ("train", "test")
            for metric, d in (("loss", 4), ("accuracy", 3))
        ]
        assert any(row.split() == [str(line["epoch"]), *numbers] for row in lines), numbers
    probabilities = lines[lines.index("First 10 predicted probabilities of 1:") + 1]
    assert probabilities.strip().split(", ") == FIGURES["first_ten_test_probabilities"]
    labels = lines[lines.index("First 10 true labels:") + 1]
    assert labels.strip().split(", ") == [str(label) for label in FIGURES["first_ten_test_labels"]]


def test_several_classes_are_named(workspace):
    workspace.set(make_data__classes=3, split__train=0.7, split__validation=0.1, train__replicas=2, train__epochs=2)
    workspace.repro()
    lines = workspace.run("commands.report").stdout.splitlines()
    assert "validation loss" in " ".join(lines)
    given = lines[lines.index("First 10 predicted probabilities, of the most probable class:") + 1].strip().split(", ")
    assert len(given) == 10
    for text in given:
        probability, label = text.split(" ")
        assert 1 / 3 <= float(probability) <= 1
        assert label in ("0", "1", "2")


def test_the_positive_class_and_its_best_threshold_are_told_of_a_table_of_ones_own(workspace):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    rare = np.where(x[:, 0] + 0.5 * rng.normal(size=600) > 1.2, "yes", "no")
    pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": rare}).to_csv("own.csv", index=False)
    workspace.set(make_data__source="own.csv", train__replicas=2)
    workspace.repro()
    lines = workspace.run("commands.report").stdout.splitlines()
    rows = {row["class"]: row for row in formats.read_csv("metrics/classes.csv", ())}
    assert (rows["yes"]["support"], rows["yes"]["positive"]) == (
        str((pd.read_parquet("data/test.parquet")["y"] == "yes").sum()),
        "1",
    )
    (start,) = [number for number, line in enumerate(lines) if line.split() == HEADER]
    for line in lines[start + 1 : start + 3]:
        label, *figures, support = line.split()
        assert figures == [f"{float(rows[label][name]):.4f}" for name in ("precision", "recall", "f1")]
        assert support == rows[label]["support"]
    assert "; positive class: yes." in "\n".join(lines)
    assert "--threshold" not in "\n".join(lines)
    workspace.set(split__train=0.6, split__validation=0.2)
    workspace.repro()
    best = last_run.best_threshold(formats.read_csv("metrics/thresholds.csv", ("threshold", "f1")))
    text = workspace.run("commands.report").stdout
    assert "120 validation rows; positive class: yes." in text
    assert f"F1 is best at {best['threshold']:g}: `plumbline predict" in text


def test_rows_that_are_held_out_are_not_called_validation(workspace):
    workspace.set(train__held_out=0.2, train__patience=3, train__epochs=6, train__replicas=2)
    workspace.repro()
    text = workspace.run("commands.report").stdout
    assert "train accuracy  held-out loss  held-out accuracy  test loss" in text
    assert "640 training rows (160 more held out) in" in text
    assert "that of the lowest held-out loss" in text
    assert "validation" not in text


def test_warnings_of_the_stages_are_told_again(report):
    report.project.set(make_data__source="own.csv")
    assert "warning" not in "\n".join(report()).lower()
    for name, column in (("columns", "x1"), ("test_columns", "y")):
        rows = formats.read_csv(f"metrics/{name}.csv", ())
        for row in rows:
            row["warning"] = f"is odd in {name}" if row["column"] == column else ""
        report.project.path(f"metrics/{name}.csv").unlink()
        pd.DataFrame(rows).to_csv(f"metrics/{name}.csv", index=False)
    lines = report()
    assert lines[lines.index("Warnings") + 1].split() == ["column", "warning"]
    for words in ("x1      is odd in columns", "y       is odd in test_columns"):
        assert words in lines


@pytest.mark.parametrize(
    "scores, best",
    [
        ({0.05: 1, 0.45: 1, 0.5: 1, 0.95: 1}, 0.5),  # the nearest to the middle of equally good ones
        ({0.35: 0.8, 0.367837: 0.8, 0.5: 0.7}, 0.35),  # a round one
        ({0.35: 0.8, 0.367837: 0.81, 0.5: 0.7}, 0.367837),
    ],
)
def test_of_equally_good_thresholds_the_plain_one_is_named(scores, best):
    rows = [{"threshold": threshold, "f1": f1} for threshold, f1 in scores.items()]
    assert last_run.best_threshold(rows)["threshold"] == best


def test_a_network_that_is_no_better_than_the_most_frequent_class_is_said_to_be(workspace, report):
    assert "most frequent class" not in "\n".join(report())
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"a": rng.normal(size=300), "y": np.where(np.arange(300) % 10, "no", "yes")})
    frame.to_csv(workspace.path("noise.csv"), index=False)
    workspace.set(make_data__source="noise.csv", train__replicas=2, train__epochs=3)
    with contextlib.chdir(workspace.folder):
        workspace.repro()
        assert "Always answering the most frequent class is as accurate" in workspace.run("commands.report").stdout


@pytest.mark.parametrize("name", ["metrics/train.json", "metrics/history.csv", "metrics/scores.csv"])
def test_a_file_in_conflict_is_one_line(report, name):
    text = report.project.read(name)
    report.project.path(name).unlink()
    report.project.path(name).write_text(f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> other\n")
    with pytest.raises(UserError, match=rf"^{name} is not as the stages write it.*`dvc repro`$"):
        report()


def test_a_file_that_is_not_there_is_one_line(report):
    report.project.path("metrics/scores.csv").unlink()
    with pytest.raises(UserError, match=r"^metrics/scores.csv is not there; `dvc repro` makes it"):
        report()
