"""A scratch copy of the project in which tests run the stages: as a user would, or by their `main` in this process."""

import contextlib
import csv
import fcntl
import importlib
import io
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest

from plumbline import __main__ as plumbline
from plumbline.basics import errors, inputs

# How long an example takes depends on what else the machine does, and the first one may compile. `make test` draws the
# same examples each time: a change does not fail by what it did not touch. `pytest --hypothesis-profile search` draws
# others, and a case that it finds becomes an example of its test.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("same")

ROOT = Path(__file__).parents[1]
COPIED = (
    "stages",
    "plumbline",
    ".github",
    ".dvc/plots",
    ".dvc/config",
    ".dvcignore",
    "dvc.yaml",
    "params.yaml",
    ".gitignore",
)
# Every call of DVC in a repository that a test makes anew would start a process to tell its makers of it.
os.environ["DVC_NO_ANALYTICS"] = "1"
# A stage's `python` is the one that runs the tests.
# A make of a test's own says nothing of the make the tests run under.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
ENVIRONMENT["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
ENVIRONMENT.pop("PYTHONPATH", None)


# The files that take longest, which begin first: then no worker is left with one when the others have ended.
LONGEST = ("benchmarks", "readme", "remotes", "train", "verify", "pipeline", "side_by_side", "workers", "pull_request")


def pytest_collection_modifyitems(items):
    names = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: names.get(item.path.name, len(names)))


@pytest.fixture(autouse=True)
def forgotten():
    """What an earlier test read and still watches: a process a command, as a user has it."""
    inputs.forget()


class Files:
    """A folder with params.yaml and what the stages write."""

    folder: Path

    def set(self, **changes) -> None:
        """Write parameters: section__name=value, or name=value for one that is in no section."""
        from ruamel.yaml import YAML

        yaml = YAML()
        values = yaml.load(self.read("params.yaml"))
        for name, value in changes.items():
            *section, name = name.split("__")
            (values[section[0]] if section else values)[name] = value
        with self.path("params.yaml").open("w") as file:
            yaml.dump(values, file)

    def path(self, name: str) -> Path:
        return self.folder / name

    def read(self, name: str) -> str:
        return self.path(name).read_text(encoding="utf-8")


def scores(files: Files, part: str = "test") -> dict[tuple[str, str], dict[str, float]]:
    """metrics/scores.csv of a part: {(of, metric): {value, rows, and low and high where there is an interval}}."""
    rows = [row for row in csv.DictReader(files.read("metrics/scores.csv").splitlines()) if row["part"] == part]
    numbers = ("value", "low", "high", "rows")
    return {(row["of"], row["metric"]): {name: float(row[name]) for name in numbers if row[name]} for row in rows}


class Done(NamedTuple):
    """How a `main` in this process ended: as a subprocess would."""

    returncode: int
    stdout: str
    stderr: str


def called(main, *arguments: str) -> Done:
    """Run a `main` with these on its command line, in this process."""
    inputs.forget()
    out, err, code = io.StringIO(), io.StringIO(), 0
    before, sys.argv = sys.argv, [main.__module__, *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                errors.run(main)
            except SystemExit as end:
                code = 1 if isinstance(end.code, str) else end.code or 0
                print(end.code, file=sys.stderr) if isinstance(end.code, str) else None
    finally:
        sys.argv = before
    return Done(code, out.getvalue(), err.getvalue())


def dvc(folder: Path, *words: str) -> None:
    """Run DVC in this process, for most of a call's time is its start."""
    from dvc.cli import main

    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patched, warnings.catch_warnings(action="ignore"):
        patched.setenv("PATH", ENVIRONMENT["PATH"])
        patched.delenv("PYTHONPATH", raising=False)
        assert main(list(words)) == 0, words


class Workspace(Files):
    """A folder in which stages and commands run by their `main`, in this process: no git, no DVC, no start-up."""

    def __init__(self, folder: Path):
        self.folder = folder
        shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "params.yaml", folder)

    def run(self, module: str, *arguments: str, fails: bool | None = False) -> Done:
        """Run a stage ("make_data") or a command ("commands.predict") with its arguments."""
        if module.startswith("commands."):
            done = called(lambda: plumbline.command([module.removeprefix("commands."), *arguments]))
        else:
            done = called(importlib.import_module(f"stages.{module}").main, *arguments)
        assert fails is None or (done.returncode != 0) == fails, (module, *done)
        return done

    def repro(self) -> list[Done]:
        """All four stages, one after the other."""
        return [self.run(stage) for stage in ("make_data", "split", "train", "evaluate")]


class Project(Files):
    """A copy of the project's files as they stand, with a git and a DVC of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in COPIED:
            source, target = ROOT / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        self.run("git", "init", "-q", "-b", "main")
        self.run("git", "config", "user.name", "test")
        self.run("git", "config", "user.email", "test@example.org")
        self.commit("start")

    def run(self, *command: str, fails: bool = False, **environment: str) -> subprocess.CompletedProcess:
        """Run a command in the copy; it must succeed, or fail if that is what is tested."""
        done = subprocess.run(
            command, cwd=self.folder, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=300
        )
        assert (done.returncode != 0) == fails, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def stage(self, name: str, *arguments: str, fails: bool = False, **environment) -> subprocess.CompletedProcess:
        """Run one stage by hand."""
        return self.run("python", "-m", f"stages.{name}", *arguments, fails=fails, **environment)

    def plumbline(self, *arguments: str, fails: bool = False, **environment) -> subprocess.CompletedProcess:
        """Run a command of the command line."""
        return self.run("python", "-m", "plumbline", *arguments, fails=fails, **environment)

    def copy(self, folder: Path) -> "Project":
        """Another copy, with all that has run here."""
        other = object.__new__(Project)
        other.folder = folder
        shutil.copytree(self.folder, folder, symlinks=True)
        return other

    def restore(self) -> None:
        """Everything as the current commit has it."""
        self.run("git", "restore", ".")
        dvc(self.folder, "checkout", "-q", "--force")

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Workspace:
    """A folder with the stages and the parameters, which is the current one."""
    workspace = Workspace(tmp_path / "workspace")
    monkeypatch.chdir(workspace.folder)
    return workspace


@pytest.fixture
def project(tmp_path) -> Project:
    """A copy in which nothing has run yet."""
    return Project(tmp_path / "project")


def made_once(factory, name: str, make) -> Project:
    """A prepared project: the first of pytest-xdist's workers that asks makes it, and each has a copy of its own."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return make(factory.mktemp(name) / "project")
    folder = factory.getbasetemp().parent / name  # of this run, and of all its workers
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(folder.with_suffix(".made"), ignore_errors=True)  # of a worker that failed
            make(folder.with_suffix(".made"))
            folder.with_suffix(".made").rename(folder)
    made = object.__new__(Project)
    made.folder = folder
    return made.copy(factory.mktemp(name) / "project")


@pytest.fixture(scope="session")
def default(tmp_path_factory) -> Project:
    """A copy after `dvc repro` with the parameters as they are; tests only read it."""

    def make(folder):
        project = Project(folder)
        project.run("dvc", "repro")
        project.commit("reproduced")
        return project

    return made_once(tmp_path_factory, "default", make)


EXERCISE = {
    "hidden-64": "train.hidden_size=64",
    "rate-1e-3": "train.learning_rate=0.001",
    "epochs-40": "train.epochs=40",
}


@pytest.fixture(scope="session")
def exercise(tmp_path_factory, default) -> Project:
    """The notebook's exercise in a copy of the reproduced project, as the README has it; tests only read it.

    What an experiment printed is in `.git/NAME.txt`.
    """

    def make(folder):
        project = default.copy(folder)
        for name, change in EXERCISE.items():
            printed = project.run("dvc", "exp", "run", "--temp", "-n", name, "-S", change).stdout
            project.path(f".git/{name}.txt").write_text(printed)
        return project

    return made_once(tmp_path_factory, "exercise", make)


def assert_one_line(done, *parts: str) -> None:
    """A user's error: one line on stderr that has all these parts, and no traceback."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("compiling ")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0], lines[0]
