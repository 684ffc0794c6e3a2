"""The one command line: what it offers, how it starts, and that all of it is documented."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT, assert_one_line

from plumbline import __main__ as plumbline

FILES = {path.stem for path in (ROOT / "plumbline" / "commands").glob("*.py") if "\ndef main(" in path.read_text()}


def run(*words, fails=False, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "plumbline", *words],
        cwd=ROOT,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode != 0) == fails, done
    return done


def test_every_command_is_in_the_help_with_an_example():
    assert set(plumbline.COMMANDS) == FILES
    text = run("--help").stdout
    assert run().stdout == run("help").stdout == text
    for name, (what, example) in plumbline.COMMANDS.items():
        assert what in text
        assert example.startswith(f"plumbline {name}")
        assert example in text


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_command_explains_itself_and_is_documented(name, capsys):
    with pytest.raises(SystemExit) as end:
        plumbline.command([name, "--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert f"usage: plumbline {name}" in said
    assert f"    plumbline {name}" in said  # an example
    documents = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    assert any(f"plumbline {name}" in path.read_text(encoding="utf-8") for path in documents)


def test_a_wrong_name_is_one_line():
    assert_one_line(run("predcit", fails=True), "'predcit' is no command", "predict")


def test_help_needs_none_of_the_heavy_modules():
    """A command's own modules are imported when it is asked for; without docstrings it works too."""
    script = "import sys; from plumbline import __main__ as p; p.command([{}]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-OO", "-c", script.format("'--help'")], cwd=ROOT, capture_output=True, text=True
    )
    assert "compare main" in done.stdout
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"numpy", "duckdb", "dvc", "numba", "torch", "scipy", "plumbline.commands.compare"}
    for name in sorted(FILES):
        end = subprocess.run([sys.executable, "-OO", "-m", "plumbline", name, "--help"], cwd=ROOT, capture_output=True)
        assert (end.returncode, end.stderr) == (0, b"")


@pytest.mark.parametrize("name", sorted(FILES))
def test_commands_import_dvc_and_torch_only_when_they_need_them(name):
    script = f"import sys; import plumbline.commands.{name}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"dvc", "torch", "numba", "scipy", "matplotlib", "pandas", "pyarrow"}


def test_the_entry_point_is_this_command_line():
    import tomllib

    scripts = tomllib.loads(Path(ROOT, "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"plumbline": "plumbline.__main__:main"}
