"""export: what other runtimes get is what predict says, and the file tells what it is."""

import json
import re
import sys

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from conftest import ROOT, assert_one_line, dvc

from plumbline import __main__ as plumbline
from plumbline.basics import inputs
from plumbline.commands import last_run


@pytest.fixture
def ran(workspace):
    """A folder after all stages on a small mixed table."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(18, 90, 240).astype(float), "plan": rng.choice(["a", "b"], 240)})
    frame["since"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, 240), "D")
    frame["vip"] = rng.random(240) < 0.4
    frame["left"] = np.where((frame["age"] > 50) ^ (frame["plan"] == "b"), "Yes", "No ")
    frame.loc[rng.choice(240, 20, replace=False), "age"] = np.nan
    frame.to_csv("customers.csv", index=False)
    workspace.frame = frame
    workspace.set(make_data__source="customers.csv", make_data__target="left", train__encoding="mixed")
    workspace.set(train__members=2, train__epochs=5, train__replicas=3)
    return workspace


def scored(workspace, *options):
    """Labels and probabilities of the table by the exported file and by predict."""
    done = workspace.run("commands.export", "m.onnx", *options)
    workspace.run("commands.predict", "customers.csv", "--output", "s.parquet", *options)
    frame = workspace.frame
    since = (frame["since"] - pd.Timestamp("1970-01-01")) / pd.Timedelta("1s")
    given = {"age": frame["age"], "since": since, "plan": frame["plan"], "vip": frame["vip"].astype(str)}
    kinds = {"plan": object, "vip": object}
    given = {name: np.array(column, kinds.get(name, float)).reshape(-1, 1) for name, column in given.items()}
    answers = onnxruntime.InferenceSession("m.onnx").run(["label", "probabilities"], given)
    return done, answers, pd.read_parquet("s.parquet")


def test_the_file_answers_as_predict_does_and_tells_what_it_is(ran):
    ran.repro()
    for options in ([], ["--ensemble"]):
        done, (label, probability), own = scored(ran, *options)
        assert "4 columns in, 'left' by " in done.stdout
        np.testing.assert_allclose(probability, own.filter(like="probability"), rtol=0, atol=1e-7)
        assert label.tolist() == own["predicted"].tolist()
    page, rows = (ROOT / "docs/export.md").read_text(encoding="utf-8"), {}
    exec(re.search(r"```python\n(.*?)```", page, re.S)[1].replace("model.onnx", "m.onnx"), rows)  # dates, gaps and text
    assert np.isfinite(rows["probabilities"]).all() and len(rows["probabilities"]) == 48
    said = {each.key: each.value for each in onnx.load("m.onnx").metadata_props}
    assert (said["target"], json.loads(said["classes"])) == ("left", ["No ", "Yes"])
    assert (json.loads(said["positive"]), said["answers"]) == ("Yes", "the mean of 3 networks")
    about = "test: networks of this training part, the luck of 48 rows and random numbers"
    assert said["intervals"] == f"about 95 %; {about}"
    figures = json.loads(said["figures"])
    kept = pd.read_csv("metrics/scores.csv")
    assert len(figures) == len(kept)
    (mean,) = [each for each in figures if (each["of"], each["metric"]) == ("networks", "accuracy")]
    row = kept.query("of == 'networks' and metric == 'accuracy'").iloc[0]
    assert [mean[name] for name in ("value", "low", "high", "rows")] == row[["value", "low", "high", "rows"]].tolist()


def test_what_the_docs_say_runs(default, tmp_path, monkeypatch):
    """docs/export.md: the command, what it prints, and the Python below it."""
    project = default.copy(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    page = (ROOT / "docs/export.md").read_text(encoding="utf-8")
    command, printed, python = re.search(
        r"```\n\$ plumbline (.*)\n(.*)\n```.*?```python\n(.*?)```", page, re.S
    ).groups()
    assert project.plumbline(*command.split()).stdout.strip() == printed
    said = {}
    exec(python, said)
    own = pd.read_parquet("metrics/predictions.parquet")
    expected = np.stack(own["probability"])[:, 0]
    assert said["probabilities"][:, 1].tolist() == expected.tolist()
    assert said["label"].tolist() == (expected >= 0.5).astype(int).tolist()
    project.plumbline("report", "--card")
    assert "models/model.md" in project.run("git", "status", "--short", "-uall").stdout  # git keeps it, DVC does not


def test_dvc_and_gto_find_the_model_by_its_name(default, tmp_path):
    """As docs/export.md has it, from a clone that has the remote alone."""
    project = default.copy(tmp_path / "project")
    dvc(project.folder, "remote", "add", "--default", "store", str(tmp_path / "store"))
    project.commit("a remote")
    dvc(project.folder, "push")
    project.run("gto", "register", "model", "--version", "v1.0.0")
    project.run("git", "clone", "-q", str(project.folder), str(tmp_path / "server"))
    (tmp_path / "elsewhere").mkdir()
    got = tmp_path / "elsewhere/model.safetensors"
    project.run("dvc", "artifacts", "get", str(tmp_path / "server"), "model", "--rev", "v1.0.0", "-o", str(got))
    assert got.read_bytes() == project.path("models/model.safetensors").read_bytes()


def test_without_onnx_one_line_says_what_brings_it(default, tmp_path):
    blocked = "import sys; sys.modules['onnx'] = None; sys.argv[1:] = ['export', 'm.onnx']"
    script = f"{blocked}; from plumbline.__main__ import main; main()"
    assert_one_line(default.run("python", "-c", script, fails=True), "this needs onnx; `pip install ")


def test_figures_are_of_this_model_or_not_there(default, tmp_path, monkeypatch, capsys):
    project = default.copy(tmp_path / "project")
    monkeypatch.chdir(project.folder)

    def metadata(*options):
        inputs.forget()  # a process a command, as a user has it
        plumbline.command(["export", "m.onnx", *options])
        return {each.key: each.value for each in onnx.load("m.onnx").metadata_props}, capsys.readouterr().out

    said, _ = metadata()
    written = project.path("m.onnx").read_bytes()
    assert metadata()[0] == said and project.path("m.onnx").read_bytes() == written
    assert said["commit"] == project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert json.loads(said["figures"])[0]["value"] == 0.945
    other = tmp_path / "other.safetensors"
    other.write_bytes(trained_otherwise(project))
    said, out = metadata("--model", str(other))
    assert not {"commit", "figures", "intervals"} & set(said)
    assert "it has no figures, for dvc.lock does not say that metrics/scores.csv is of" in out
    scores = project.path("metrics/scores.csv")
    scores.write_text(scores.read_text().replace("0.945", "0.999"))
    assert "figures" not in metadata()[0]
    assert not last_run.is_of("models/model.safetensors")


def trained_otherwise(project):
    """A model file of one epoch; the project's own is as it was."""
    path = project.path("models/model.safetensors")
    was = path.read_bytes()
    project.set(train__epochs=1)
    project.run(sys.executable, "-m", "stages.train")
    other = path.read_bytes()
    project.run("git", "checkout", "-q", "params.yaml")
    path.write_bytes(was)
    return other


def test_what_cannot_be_exported_is_one_line(workspace):
    assert_one_line(workspace.run("commands.export", "m.pb", fails=True), "m.pb must end in .onnx")
    assert_one_line(workspace.run("commands.export", "m.onnx", fails=True), "is not there", "dvc repro")
    workspace.path("no.safetensors").write_text("x")
    done = workspace.run("commands.export", "m.onnx", "--model", "no.safetensors", fails=True)
    assert_one_line(done, "no.safetensors is not a model that train wrote")
