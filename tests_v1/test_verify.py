"""verify against revisions that reproduce, that are forged, that are stale, and that cannot reproduce."""

import shutil

import numpy as np
import yaml
from conftest import Project, assert_one_line

from stages import lock, verify


def copy_of(project, folder):
    copy = object.__new__(Project)
    copy.folder = shutil.copytree(project.folder, folder / "project", symlinks=True)
    return copy


def edit_lock(project, change):
    lock = yaml.safe_load(project.read("dvc.lock"))
    change(lock["stages"])
    project.path("dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))


def verdicts(done):
    """{(stage, file): verdict} of the printed table."""
    lines = [line.split(maxsplit=2) for line in done.stdout.split("\n\n")[1].splitlines()]
    return {(stage, file): verdict for stage, file, verdict in lines[1:]}


def test_a_committed_revision_reproduces_and_head_is_what_counts(default, tmp_path):
    project = copy_of(default, tmp_path)
    project.set(train__epochs=3)  # uncommitted
    done = project.stage("verify")
    table = verdicts(done)
    outs = {(name, out["path"]) for name, stage in lock_of(project).items() for out in stage["outs"]}
    assert set(table) == outs
    assert set(table.values()) == {"same"}
    assert f"{len(outs)} of {len(outs)} files have the bits of dvc.lock" in done.stdout
    assert "not what is uncommitted: params.yaml" in done.stdout
    assert default.run("git", "rev-parse", "HEAD").stdout[:10] in done.stdout


def lock_of(project):
    return yaml.safe_load(project.read("dvc.lock"))["stages"]


def test_a_forged_lock_and_forged_metrics_are_found(default, tmp_path):
    project = copy_of(default, tmp_path)

    def forge(stages):
        for out in stages["train"]["outs"]:
            if out["path"] == "models/model.safetensors":
                out["md5"] = "0" * 32
        stages["split"]["deps"][1]["md5"] = "1" * 32
        stages["train"]["params"]["params.yaml"]["train"]["epochs"] = 21

    edit_lock(project, forge)
    project.path("metrics/evaluate.json").write_text(project.read("metrics/evaluate.json").replace("0.9", "0.99", 1))
    project.commit("forged")
    done = project.stage("verify", fails=True)
    table = verdicts(done)
    code = lock_of(project)["split"]["deps"][1]["path"]
    assert {key: verdict for key, verdict in table.items() if verdict != "same"} == {
        ("split", code): "dvc.lock is stale: HEAD has another",
        ("train", "params"): "dvc.lock is stale: HEAD has another",
        ("train", "models/model.safetensors"): "DIFFERS",
        ("evaluate", "models/model.safetensors"): "dvc.lock contradicts itself",
        ("evaluate", "metrics/evaluate.json"): "DIFFERS in git, not in dvc.lock",
    }
    assert "train is the first stage that went off" in done.stdout
    assert "models/model.safetensors: the committed version is not at hand" in done.stdout
    assert "metrics/evaluate.json: figure accuracy differs in 1 of 1 values" in done.stdout
    assert_one_line(done, "5 of", "dvc repro")


def test_what_only_the_machine_computes_is_exempt_and_no_more(default, tmp_path):
    """With the torch engine a stale lock, forged figures, a forged size and a deleted metric are found all the same."""
    project = copy_of(default, tmp_path)
    project.set(train__engine="torch", train__epochs=2, train__replicas=1)
    project.run("dvc", "repro", "-q")
    project.set(train__epochs=3)
    project.path("metrics/train.json").write_text(project.read("metrics/train.json").replace("0.", "0.9", 1))
    project.run("git", "rm", "-q", "--cached", "metrics/history.csv")
    edit_lock(project, lambda stages: stages["split"]["outs"][0].update(size=7))
    project.run("git", "commit", "-qam", "forged")
    done = project.stage("verify", fails=True, GIT_DIR=str(project.path(".git")))  # as in a hook
    found = {key: verdict for key, verdict in verdicts(done).items() if verdict != "same" and "exempt" not in verdict}
    forged = lock_of(project)["split"]["outs"][0]["path"]
    assert found == {
        ("split", forged): "has another size than dvc.lock says, 7",
        ("train", "params"): "dvc.lock is stale: HEAD has another",
        ("train", "metrics/train.json"): "DIFFERS in git, and in dvc.lock",
        ("train", "metrics/history.csv"): "is not in git, which should keep it",
    }
    assert project.run("git", "rev-parse", "--abbrev-ref", "HEAD").stdout != "HEAD\n"  # it is no detached one
    assert not list(project.folder.parent.glob("plumbline-verify-*"))


def test_changed_code_without_a_new_lock_is_found_and_measured(default, tmp_path):
    project = copy_of(default, tmp_path)
    code = project.read("stages/model.py")
    assert "bound = 1.0 / " in code
    project.path("stages/model.py").write_text(code.replace("bound = 1.0 / ", "bound = 0.5 / "))
    project.commit("other initial weights")
    done = project.stage("verify", fails=True)
    assert verdicts(done)["train", "stages/model.py"].startswith("dvc.lock is stale")
    assert verdicts(done)["split", "data/train.parquet"] == "same"
    assert "train is the first stage that went off; all before it is the same" in done.stdout
    assert "array net.0.weight differs in" in done.stdout
    assert "metrics/predictions.parquet: column probability differs in" in done.stdout
    assert "fails the known answer" in done.stdout  # train asked it


def test_a_table_that_dvc_tracks_and_the_torch_engine(project):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    lines = [f"{a:.6f},{b:.6f},{'yes' if a > b else 'no'}" for a, b in x]
    project.path("rows.csv").write_text("a,b,answer\n" + "\n".join(lines) + "\n")
    project.run("dvc", "add", "-q", "rows.csv")
    project.set(make_data__source="rows.csv", make_data__target="answer")
    project.set(train__engine="torch", train__epochs=2, train__replicas=1)
    project.run("dvc", "repro", "-q")
    forge = {"models/model.safetensors": "0" * 32}

    def forged(stages):
        for entry in stages["train"]["outs"] + stages["evaluate"]["deps"]:
            entry["md5"] = forge.get(entry["path"], entry["md5"])

    edit_lock(project, forged)  # as if the committed run had been another machine's
    project.commit("with a table of the user's")
    project.path("rows.csv").unlink()
    done = project.stage("verify")
    assert verdicts(done)["train", "models/model.safetensors"] == "exempt, differs"
    assert verdicts(done)["make_data", "data/dataset.parquet"] == "same"
    assert "train.engine is torch" in done.stdout


def test_a_table_with_windows_line_ends_in_git_reproduces(project):
    rows = "\r\n".join(["a,answer", *(f"{i % 7},{'yes' if i % 7 > 3 else 'no'}" for i in range(60))])
    project.path("rows.csv").write_bytes(f"{rows}\r\n".encode())
    project.set(make_data__source="rows.csv", make_data__target="answer", train__epochs=2, train__replicas=1)
    project.run("git", "add", "rows.csv")
    project.run("dvc", "repro", "-q")
    project.commit("a table as it came")
    assert set(verdicts(project.stage("verify")).values()) == {"same"}


def test_what_cannot_be_verified_is_one_line(project):
    assert_one_line(project.stage("verify", fails=True), "dvc.lock", "commit")
    project.path("dvc.lock").write_text("stages: [1, 2]\n")
    project.commit("nonsense")
    assert_one_line(project.stage("verify", fails=True), "dvc.lock of HEAD", "dvc repro")
    project.path("params.yaml").write_text("foo: [\n")
    project.run("git", "checkout", "-q", "HEAD~1", "--", ".")
    project.path("params.yaml").write_text("foo: [\n")
    project.path("dvc.lock").write_text("stages: {}\n")
    project.commit("no YAML")
    assert_one_line(project.stage("verify", fails=True), "params.yaml of HEAD", "not valid YAML")
    shutil.rmtree(project.path(".git"))
    assert_one_line(project.stage("verify", fails=True, GIT_CEILING_DIRECTORIES=str(project.folder.parent)), "git")


def test_stages_come_in_the_order_of_their_files():
    def stage(**files):
        return lock.Stage("", {}, dict.fromkeys(files["deps"]), dict.fromkeys(files["outs"]), {})

    stages = {"c": stage(deps="b", outs="c"), "a": stage(deps="", outs="a"), "b": stage(deps="a", outs="b")}
    assert verify.in_order(stages) == ["a", "b", "c"]
    stages["a"].deps["c"] = ""  # a forged circle ends too
    assert sorted(verify.in_order(stages)) == ["a", "b", "c"]
