"""Places to run in: a folder of a larger repository; a container whose user has no name and no home."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, assert_one_line

from plumbline.bits import compiling

TABLE = "x0,x1,x2,x3,x4,x5,x6,x7,x8,x9\n" + "0.5,1,0,0,0,0,0,0,0,-2\n" * 3


@pytest.fixture(scope="module")
def inner(default):
    """The reproduced project as a folder of a repository that has other things too, where every user may go."""
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o755)
        yield within(Path(outer), default)


def within(outer, default):
    project = default.copy(outer / "models/one")
    shutil.rmtree(project.path(".git"))
    project.path("new.csv").write_text(TABLE)
    (outer / "params.yaml").write_text("another: 1\n")
    for words in ("init -qb main", "config user.name t", "config user.email t@example.org", "add -A"):
        subprocess.run(["git", "-C", outer, *words.split()], check=True)
    project.commit("all")
    return project


def test_a_project_in_a_folder_of_a_larger_repository(inner):
    assert "up to date" in inner.run("dvc", "status").stdout
    inner.run("git", "checkout", "-qb", "other")
    inner.set(train__epochs=3)
    assert_one_line(inner.plumbline("compare", "main", fails=True), "workspace is not as its dvc.lock has it: params.y")
    inner.run("git", "restore", ".")
    told = inner.plumbline("compare", "main", "other", "--html", "compared.html").stdout
    assert "other predicts exactly what main does" in told
    assert inner.path("compared.html").exists()
    assert "mean" in inner.plumbline("report").stdout.lower()
    inner.plumbline("predict", "new.csv", "--output", "scored.csv")
    assert inner.read("scored.csv").count("\n") == 4


@pytest.mark.skipif(os.getuid() or not shutil.which("setpriv"), reason="only root can become a user without a name")
def test_a_user_without_a_name_and_a_home(inner):
    outer = inner.folder.parents[1]
    for path in (outer, *outer.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    reads = "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"  # the interpreter may be root's own
    become = "setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", *reads
    kept = [f"NUMBA_CACHE_DIR={outer / 'kept'}"]
    # With what is compiled here: where nothing can be kept every run compiles, as the first of these does.
    compiled = compiling._folder()
    shutil.copytree(compiled, outer / "kept/plumbline" / compiled.name)
    for home, words in (
        ([], ["-c", "from plumbline.bits.compiling import exp; print(exp(0.0))"]),
        (kept, ["-m", "stages.split"]),
        (kept, ["-m", "stages.train"]),
        ([], ["-m", "plumbline", "predict", "new.csv", "--output", "nameless.csv"]),
        ([], ["-m", "plumbline", "compare", "main"]),
    ):
        command = [*become, "env", "-i", f"PATH={ENVIRONMENT['PATH']}", *home, "python", *words]
        done = subprocess.run(command, cwd=inner.folder, capture_output=True, text=True)
        assert not done.returncode, done.stderr
        assert "Traceback" not in done.stderr
