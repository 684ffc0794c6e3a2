"""A scratch copy of the project in which tests run the stages as a user would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A stage's `python` is the one that runs the tests.
# A make of a test's own says nothing of the make the tests run under.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
ENVIRONMENT["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
ENVIRONMENT.pop("PYTHONPATH", None)


class Project:
    """A copy of the project's files as they stand, with a git and a DVC of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in (
            "stages",
            ".github",
            ".dvc/plots",
            ".dvc/config",
            ".dvcignore",
            "dvc.yaml",
            "params.yaml",
            ".gitignore",
        ):
            source, target = ROOT / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, target)
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
        """Run one stage or command by hand."""
        return self.run("python", "-m", f"stages.{name}", *arguments, fails=fails, **environment)

    def copy(self, folder: Path) -> "Project":
        """Another copy, with all that has run here."""
        other = object.__new__(Project)
        other.folder = folder
        shutil.copytree(self.folder, folder, symlinks=True)
        return other

    def restore(self) -> None:
        """Everything as the current commit has it."""
        self.run("git", "restore", ".")
        self.run("dvc", "checkout", "-q", "--force")

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)

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


@pytest.fixture
def project(tmp_path) -> Project:
    """A copy in which nothing has run yet."""
    return Project(tmp_path / "project")


@pytest.fixture(scope="session")
def default(tmp_path_factory) -> Project:
    """A copy after `dvc repro` with the parameters as they are; tests only read it."""
    project = Project(tmp_path_factory.mktemp("default") / "project")
    project.repro = project.run("dvc", "repro").stdout
    project.commit("reproduced")
    return project


@pytest.fixture(scope="session")
def three_classes(tmp_path_factory) -> Project:
    """A copy after `dvc repro` with three classes and a validation part; tests only read it."""
    project = Project(tmp_path_factory.mktemp("three") / "project")
    project.set(make_data__classes=3, split__train=0.7, split__validation=0.1, train__replicas=4)
    project.run("dvc", "repro")
    return project


EXERCISE = {
    "hidden-64": "train.hidden_size=64",
    "rate-1e-3": "train.learning_rate=0.001",
    "epochs-40": "train.epochs=40",
}


@pytest.fixture(scope="session")
def exercise(tmp_path_factory, default) -> Project:
    """The notebook's exercise in a copy of the reproduced project, as the README has it; tests only read it."""
    project = default.copy(tmp_path_factory.mktemp("exercise") / "project")
    project.output = {}
    for name, change in EXERCISE.items():
        project.output[name] = project.run("dvc", "exp", "run", "-n", name, "-S", change).stdout
        project.run("git", "restore", ".")
    project.run("dvc", "checkout", "-q")
    return project


def assert_one_line(done: subprocess.CompletedProcess, *parts: str) -> None:
    """A user's error: one line on stderr that has all these parts, and no traceback."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("compiling ")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0], lines[0]
