"""Scoring needs the base dependencies and no others. `make wheel` asks the same of a wheel that pip installs."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib

from conftest import ENVIRONMENT, ROOT
from packaging.requirements import Requirement


def needed(requirements) -> set[str]:
    """The packages that a plain `pip install` would bring for these."""
    found, waiting = set(), [Requirement(each) for each in requirements]
    while waiting:
        requirement = waiting.pop()
        if requirement.name not in found and (not requirement.marker or requirement.marker.evaluate({"extra": ""})):
            found.add(requirement.name)
            waiting += map(Requirement, importlib.metadata.requires(requirement.name) or [])
    return found


def test_base_dependencies_are_enough_to_score(default):
    """An environment of links to them, beside the package as a wheel has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = default.folder.parent / "packages"
    packages.mkdir()
    for name in needed(project["dependencies"]):
        files = importlib.metadata.files(name)
        for top in {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}:
            (packages / top).symlink_to(importlib.metadata.distribution(name).locate_file(top))
    shutil.copytree(ROOT / "plumbline", packages / "plumbline", ignore=shutil.ignore_patterns("__pycache__"))
    (default.folder / "tests").mkdir()
    script = shutil.copy(ROOT / "tests/wheel.py", default.folder / "tests")
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "VIRTUAL_ENV"}
    command = [sys.executable, "-S", "-P", script]
    done = subprocess.run(
        command, env=environment | {"PYTHONPATH": str(packages)}, cwd=os.sep, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(default.folder / "tests")
