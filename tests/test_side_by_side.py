"""Experiments that run at the same moment have the bits that each has alone, where nothing is compiled yet too."""

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
def project(project) -> Project:
    """A small project that has run."""
    project.set(**FEW)
    project.run("dvc", "repro", "-q")
    project.commit("reproduced")
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
    refs = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    hashes = {}
    for name in SIZES:
        (ref,) = [ref for ref in refs if ref.endswith(f"/{name}")]
        stages = yaml.safe_load(project.run("git", "show", f"{ref}:dvc.lock").stdout)["stages"]
        md5 = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
        hashes[name] = {out: md5[out] for out in OUTS}
    return hashes


def test_two_queued_runs_at_once_on_a_machine_that_has_compiled_nothing(project, alone, tmp_path):
    machine, quiet = {"XDG_CACHE_HOME": str(tmp_path / "cache")}, subprocess.DEVNULL
    for name, size in SIZES.items():
        project.run("dvc", "exp", "run", "--queue", "-n", name, "-S", f"train.hidden_size={size}")
    # `dvc exp run --run-all` may wait for ever for workers that have ended (dvc#10398), so the queue is asked instead.
    start = {"cwd": project.folder, "env": ENVIRONMENT | machine, "stdout": quiet, "stderr": quiet}
    for _ in range(150):
        # It says so and does nothing while workers run. They keep what it prints to open, and one may never end.
        subprocess.run(["dvc", "queue", "start", "--jobs", "2"], **start)
        time.sleep(1)
        if project.run("dvc", "queue", "status").stdout.count("Success") == 2:
            break
    project.run("dvc", "queue", "stop", "--kill")
    assert "compiling" in "".join(project.run("dvc", "queue", "logs", name).stdout for name in SIZES)
    assert made(project) == alone
