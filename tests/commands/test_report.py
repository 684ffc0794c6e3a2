"""The report: the notebook's figures as the notebook prints them, and one line where a file is not as it must be."""

import json

import pytest
from conftest import ROOT

from plumbline import __main__ as plumbline
from plumbline.basics.errors import UserError

FIGURES = json.loads((ROOT / "tests" / "notebook_figures.json").read_text())


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


@pytest.mark.parametrize("name", ["metrics/train.json", "metrics/history.csv"])
def test_a_file_in_conflict_is_one_line(report, name):
    text = report.project.read(name)
    report.project.path(name).unlink()
    report.project.path(name).write_text(f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> other\n")
    with pytest.raises(UserError, match=rf"^{name} is not as the stages write it.*`dvc repro`$"):
        report()


def test_a_file_that_is_not_there_is_one_line(report):
    report.project.path("metrics/evaluate.json").unlink()
    with pytest.raises(UserError, match=r"^metrics/evaluate.json is not there; `dvc repro` makes it"):
        report()
