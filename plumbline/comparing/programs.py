"""git and dvc as programs: what they print, or their own reason as one line."""

import os
import subprocess
import sys
from pathlib import Path

from plumbline.basics.errors import UserError

# What git tells a hook about the repository it runs for; in a scratch copy it would still mean the user's. And the
# setting that keeps Python from looking where it runs: stages of a copy must import the copy's modules.
NOT_FOR_A_COPY = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
    "PYTHONSAFEPATH",
)


def environment() -> dict[str, str]:
    """The user's, but a stage's `python` and the `dvc` are those that run this."""
    here = Path(sys.executable).parent
    kept = {name: value for name, value in os.environ.items() if name not in NOT_FOR_A_COPY}
    return kept | {"PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}"}


def git(*arguments: str | Path, at: Path | None = None, remedy: str = "") -> str:
    """What git prints; paths as they are, without quotes."""
    return _output(["git", "-c", "core.quotePath=false", *map(str, arguments)], at, remedy)


def dvc(*arguments: str, at: Path | None = None, remedy: str = "") -> str:
    """What dvc prints."""
    return _output(["dvc", *arguments], at, remedy)


def of_head(path: str) -> bytes | None:
    """HEAD's version of a file, by its path from the top; None where git does not keep it."""
    done = subprocess.run(["git", "show", f"HEAD:{path}"], env=environment(), capture_output=True)
    return done.stdout if done.returncode == 0 else None


def _output(command: list[str], at: Path | None, remedy: str) -> str:
    try:
        done = subprocess.run(command, cwd=at, env=environment(), capture_output=True, check=True)
        return done.stdout.decode(errors="replace")
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not installed, or not in PATH; install it") from None
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout).decode(errors="replace").strip().splitlines() or ["it gave no reason"]
        reason = next((line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")), lines[-1])
        words = [word for word in command if word not in ("-c", "core.quotePath=false")]
        what = f"`{' '.join(words[:3])}` failed: {reason[:300]}"
        raise UserError(f"{what}; {remedy}" if remedy else what) from None
