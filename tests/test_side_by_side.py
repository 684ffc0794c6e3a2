"""Experiments that run at the same moment have the bits that each has alone."""

import hashlib
import subprocess
import time

import pytest
import yaml
from conftest import ENVIRONMENT, Project, Workspace

SIZES = {"one": 12, "two": 20}
OUTS = ("models/model.safetensors", "models/epochs.safetensors", "metrics/predictions.parquet")
FEW = {"train__epochs": 2, "train__replicas": 2}


@pytest.fixture
def project(default, tmp_path) -> Project:
    """A project whose training is small, in which the rows are made."""
    project = default.copy(tmp_path / "project")
    project.set(**FEW)
    project.commit("few")
    return project


@pytest.fixture
def alone(tmp_path, monkeypatch) -> dict[str, dict[str, str]]:
    """{experiment: hashes} of what each makes alone."""
    hashes = {}
    for name, size in SIZES.items():
        workspace = Workspace(tmp_path / name)
        monkeypatch.chdir(workspace.folder)
        workspace.set(**FEW, train__hidden_size=size)
        workspace.repro()
        hashes[name] = {out: hashlib.md5(workspace.path(out).read_bytes()).hexdigest() for out in OUTS}
    return hashes


def made(project) -> dict[str, dict[str, str]]:
    """{experiment: hashes} from the locks that DVC recorded."""
    hashes = {}
    for ref in experiments(project):
        stages = yaml.safe_load(project.run("git", "show", f"{ref}:dvc.lock").stdout)["stages"]
        md5 = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
        hashes[ref.rpartition("/")[2]] = {out: md5[out] for out in OUTS}
    return hashes


def experiments(project) -> list[str]:
    """Where git has those that have ended."""
    named = [f"refs/exps/*/*/{name}" for name in SIZES]
    return project.run("git", "for-each-ref", "--format=%(refname)", *named).stdout.split()


def test_two_queued_runs_at_once(project, alone):
    for name, size in SIZES.items():
        project.run("dvc", "exp", "run", "--queue", "-n", name, "-S", f"train.hidden_size={size}")
    # `dvc exp run --run-all` may wait for ever for workers that have ended (dvc#10398), so git is asked instead.
    start = {"cwd": project.folder, "env": ENVIRONMENT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for second in range(150):
        if second % 30 == 0:
            # It does nothing while workers run. They keep what it prints to open, and one may never end.
            subprocess.run(["dvc", "queue", "start", "--jobs", "2"], **start)
        time.sleep(1)
        if len(experiments(project)) == 2:
            break
    project.run("dvc", "queue", "stop", "--kill")
    assert made(project) == alone
