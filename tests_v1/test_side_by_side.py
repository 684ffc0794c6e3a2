"""Experiments that run at the same moment have the bits that each has alone, also when both compile the kernel."""

import hashlib
import subprocess
import time

import pytest
import yaml
from conftest import ENVIRONMENT, Project

SIZES = {"one": 12, "two": 20}
OUTS = ("models/model.safetensors", "models/epochs.safetensors", "metrics/predictions.parquet")


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A small project, and {experiment: hashes} of what each makes alone."""
    project = Project(tmp_path_factory.mktemp("together") / "project")
    project.set(train__epochs=2, train__replicas=2)
    project.run("dvc", "repro", "-q")
    project.commit("reproduced")
    alone = Project(tmp_path_factory.mktemp("alone") / "project")
    alone.run("cp", "-r", str(project.folder / "data"), "data")
    hashes = {}
    for name, size in SIZES.items():
        alone.set(train__epochs=2, train__replicas=2, train__hidden_size=size)
        alone.stage("train")
        alone.stage("evaluate")
        hashes[name] = {out: hashlib.md5(alone.path(out).read_bytes()).hexdigest() for out in OUTS}
    return project, hashes


def made(project, prefix):
    """{experiment: hashes} from the locks that DVC recorded."""
    refs = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    hashes = {}
    for name in SIZES:
        (ref,) = [ref for ref in refs if ref.endswith(f"/{prefix}{name}")]
        stages = yaml.safe_load(project.run("git", "show", f"{ref}:dvc.lock").stdout)["stages"]
        md5 = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
        hashes[name] = {out: md5[out] for out in OUTS}
    return hashes


def test_two_temporary_runs_at_once_that_both_compile(together, tmp_path):
    project, alone = together
    processes = [
        subprocess.Popen(
            ["dvc", "exp", "run", "--temp", "-n", f"temp-{name}", "-S", f"train.hidden_size={size}"],
            cwd=project.folder,
            env=ENVIRONMENT | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, size in SIZES.items()
    ]
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert all("compiling" in text for text in said), said
    assert made(project, "temp-") == alone


def test_two_queued_runs_at_once(together):
    (project, alone), quiet = together, subprocess.DEVNULL
    for name, size in SIZES.items():
        project.run("dvc", "exp", "run", "--queue", "-n", f"queued-{name}", "-S", f"train.hidden_size={size}")
    project.run("rm", "-rf", ".dvc/cache/runs")  # or DVC would take the results of the other test
    # `dvc exp run --run-all` may wait for ever for workers that have ended (dvc#10398), so the queue is asked instead.
    for _ in range(100):
        # It says so and does nothing while workers run. They keep what it prints to open, and one may never end.
        subprocess.run(
            ["dvc", "queue", "start", "--jobs", "2"], cwd=project.folder, env=ENVIRONMENT, stdout=quiet, stderr=quiet
        )
        time.sleep(1)
        if project.run("dvc", "queue", "status").stdout.count("Success") == 2:
            break
    project.run("dvc", "queue", "stop", "--kill")
    assert made(project, "queued-") == alone
