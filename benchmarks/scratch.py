"""What benchmarks have in common: a scratch copy of a pipeline, what each of its stages took, and results as text.

A copy has a git and a DVC of its own. The `python` that it finds is a small one that starts the real one and notes what
that took, under `dvc repro` too. It is small because a process begins with its parent's peak of memory.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from ruamel.yaml import YAML

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))  # this plumbline, whatever is installed
STAGES = ("make_data", "split", "train", "evaluate")
FIRST_VERSION = "e1b8d1a"  # its last commit
COPIED = ("stages", "plumbline", ".dvc", ".dvcignore", ".gitignore", "dvc.yaml", "dvc.lock", "params.yaml", "metrics")
PYTHON = """#!{python} -SE
import os, sys, time
start = time.perf_counter()
child = os.fork()
if not child:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
_, status, usage = os.wait4(child, 0)
seconds, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
name = next(word for word in sys.argv[1:] if word not in ("-m", "plumbline"))
with open({log!r}, "a") as log:
    print(name.removeprefix("stages.").removesuffix(".py"), seconds, cpu, usage.ru_maxrss / 2**10, file=log)
sys.exit(os.waitstatus_to_exitcode(status) & 255)
"""


class Taken(NamedTuple):
    """What a process took."""

    seconds: float
    cpu: float  # seconds, of all its threads
    peak: float  # MiB of memory, the mapped pages of files among them


class Copy:
    """A pipeline in a folder of its own: its files are there, git and DVC come now."""

    def __init__(self, folder: Path):
        self.folder, self.log = folder, Path(f"{folder}.log")
        tools = Path(f"{folder}.bin")
        tools.mkdir()
        (tools / "python").write_text(PYTHON.format(python=sys.executable, log=str(self.log)), encoding="utf-8")
        (tools / "python").chmod(0o755)
        # Not resolved: that would lead out of a virtual environment. What DVC keeps outside stays beside the folder.
        path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = os.environ | {"PATH": path, "DVC_SITE_CACHE_DIR": f"{folder}.site"}
        self.environment.pop("PYTHONPATH", None)
        self.run("git", "init", "--quiet")
        self.run("git", "config", "user.name", "benchmark")
        self.run("git", "config", "user.email", "benchmark@localhost")
        if not Path(folder, ".dvc").exists():
            self.run("dvc", "init", "--quiet")
            for setting in ("analytics", "check_update"):  # off as in this project: neither is the pipeline's own time
                self.run("dvc", "config", f"core.{setting}", "false")
        self.commit()

    def commit(self) -> None:
        """Put everything that git does not ignore into it."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message", "a benchmark")

    def clean(self) -> None:
        """The files as git has them: no outputs, no cache, no run cache."""
        self.run("git", "reset", "--quiet", "--hard")
        self.run("git", "clean", "--quiet", "-fdx", "--exclude=__pycache__")

    def set(self, values: dict) -> None:
        """Write parameters by their names: {"train.epochs": 1}."""
        yaml, path = YAML(), self.folder / "params.yaml"
        params = yaml.load(path.read_text(encoding="utf-8"))
        for name, value in values.items():
            section, _, key = name.rpartition(".")
            (params[section] if section else params)[key] = value
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(params, file)

    def run(self, *command: str, inside: Callable[[], None] | None = None, **environment: str) -> str:
        """What a command prints; ends the benchmark with that if it fails. inside: called in the new process first."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment | environment, preexec_fn=inside,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"{' '.join(command)} ({self.folder.name}) ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def taken(self, *command: str, **options) -> dict[str, Taken]:
        """What each stage took that the command ran, by its name."""
        self.log.unlink(missing_ok=True)
        self.run(*command, **options)
        lines = (line.split() for line in self.log.read_text(encoding="utf-8").splitlines())
        return {name: Taken(*map(float, numbers)) for name, *numbers in lines}

    def stage(self, name: str, *arguments: str, **options) -> Taken:
        """What a stage took, or a command of plumbline; in the first version they all were stages."""
        plumbline = (self.folder / "plumbline").exists() and name not in STAGES
        words = ["plumbline", name] if plumbline else [f"stages.{name}"]
        return self.taken("python", "-m", *words, *arguments, **options)[name]


def project(folder: Path) -> Copy:
    """This project as it stands here, committed or not."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *COPIED]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return Copy(folder)


def first_version_code(folder: Path) -> bool:
    """Put the first version's files there; False, and said so, where git has not kept them, as in a shallow clone."""
    packed = subprocess.run(["git", "archive", FIRST_VERSION], cwd=ROOT, capture_output=True)
    if packed.returncode:
        print(f"the first version is left out: git has no commit {FIRST_VERSION} here", file=sys.stderr)
        return False
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    (folder / "stages/__init__.py").touch()  # or a package of that name elsewhere on the path would be taken first
    return True


def first_version(folder: Path) -> Copy | None:
    """The first version of this project, to measure the second beside it."""
    return Copy(folder) if first_version_code(folder) else None


def ordinary(folder: Path) -> Copy:
    """The four stages written the ordinary way."""
    shutil.copytree(HERE / "ordinary", folder, ignore=shutil.ignore_patterns("__pycache__"))
    return Copy(folder)


def parser(doc: str) -> argparse.ArgumentParser:
    """A benchmark's command line, with its first line as the description."""
    options = argparse.ArgumentParser(description=doc.splitlines()[0])
    options.add_argument("--smoke", action="store_true", help="a tiny size, to see that it runs; no results are kept")
    return options


def heading() -> str:
    """The commit and the machine."""
    command = ["git", "describe", "--always", "--dirty= and changes"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip() or "no commit"
    return f"{commit}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def tell(lines: Iterable[str], name: str, smoke: bool) -> None:
    """Print lines as they come, and write all of them to a file of benchmarks/results but in a smoke test."""
    told = []
    for line in lines:
        print(line, flush=True)
        told.append(line)
    if not smoke:
        (HERE / "results" / name).write_text("\n".join(told) + "\n", encoding="utf-8")
