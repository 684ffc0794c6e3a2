"""git and dvc run as programs: what they print, or a UserError of one line with their own reason."""

import os
import subprocess
import sys
from pathlib import Path

from plumbline.basics.errors import UserError


def git(*arguments: str, **options) -> str:
    """What git prints."""
    return _output("git", *arguments, **options)


def dvc(*arguments: str, **options) -> str:
    """What dvc prints."""
    return _output("dvc", *arguments, **options)


def _output(*command: str, at: Path | None = None, remedy: str = "") -> str:
    """What a program prints. remedy: what the error advises.

    The folder of this Python comes first in PATH, so that `dvc` and the `python` of its stages are from here.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        done = subprocess.run(command, cwd=at, env=os.environ | {"PATH": path}, capture_output=True)
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not installed, or not in PATH; install it") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines() or ["it gave no reason"]
        marked = [line[7:] for line in lines if line.lower().startswith(("error: ", "fatal: "))]
        why = (marked or lines)[0][:300]  # a stage's own reason stands before DVC's
        raise UserError(f"`{' '.join(command[:3])}` failed: {why}{f'; {remedy}' if remedy else ''}")
    return done.stdout.decode(errors="replace")
