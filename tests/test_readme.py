"""What README.md and docs/ say that a command prints, against what it prints; and what they say that one may do."""

import os
import re
import shlex
import subprocess
import sys

import pytest
from conftest import EXERCISE, ROOT, dvc

PAGES = {path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
README, TABLES, TEACHING = (PAGES[name] for name in ("README.md", "tables.md", "teaching.md"))
PITFALL = "return torch.sigmoid(self.net(x))"


def blocks(page: str) -> list[str]:
    return [block.strip() for block in re.findall(r"^```\w*\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)]


def typed(start: str, page: str = README) -> tuple[str, str]:
    """The command of a page that begins so, and what stands below it, in its block or after it."""
    (block,) = [block for block in blocks(page) if block.startswith(f"$ {start}")]
    command, _, shown = block[2:].replace(" \\\n", " ").partition("\n")
    return command, shown or page[page.index(block) + len(block) :].removeprefix("\n```").strip()


def test_the_report_is_what_make_prints(default):
    assert default.plumbline("report").stdout.strip() in blocks(README)


@pytest.mark.parametrize("page", ["README.md", "comparisons.md"])
def test_the_comparison_is_what_compare_prints(exercise, page):
    command, shown = typed("plumbline compare HEAD rate-1e-3", PAGES[page])
    assert exercise.plumbline(*shlex.split(command)[1:]).stdout.strip() == shown


def test_the_ranking_is_what_compare_prints(exercise):
    command, shown = typed("plumbline compare --experiments")
    assert exercise.plumbline(*shlex.split(command)[1:]).stdout.strip() == shown


def test_the_experiments_table_is_what_dvc_shows(exercise):
    """But for the hashes of the experiments, which hold the time."""
    command, shown = typed("dvc exp show")
    printed = exercise.run(*shlex.split(command)).stdout.strip()
    without_hashes = [re.sub(r"\b[0-9a-f]{7}\b", "-", text) for text in (printed, shown[: len(printed)])]
    assert without_hashes[0] == without_hashes[1]
    assert printed.splitlines()[0].count("|") == 8


@pytest.mark.parametrize("name, change", EXERCISE.items())
def test_the_exercise_is_the_one_tested(name, change):
    assert f"dvc exp run --temp -n {name} -S {change}" in README


@pytest.fixture(scope="module")
def pitfall(default, tmp_path_factory):
    """The reproduced project with a sigmoid in `forward`, not committed, and the experiment that the README makes."""
    project = default.copy(tmp_path_factory.mktemp("pitfall") / "project")
    network = project.path("stages/network.py")
    assert "return self.net(x)" in network.read_text()
    network.write_text(network.read_text().replace("return self.net(x)", PITFALL))
    command, _ = typed("dvc exp run --temp -n sigmoid")
    project.output = project.run(*shlex.split(command), OMP_NUM_THREADS="1").stdout
    return project


def same_to_rounding(shown: str, printed: str) -> bool:
    """Whether two lines have the same words, and figures that are close: autograd's last bits are the machine's."""
    number = r"[-+]?\d+\.\d+"
    pairs = zip(re.findall(number, shown), re.findall(number, printed))
    close = all(abs(float(a) - float(b)) <= 0.004 for a, b in pairs)
    return close and re.sub(number, "-", shown).split() == re.sub(number, "-", printed).split()


def test_the_pitfall_is_what_is_printed(pitfall):
    for page in (README, TEACHING):
        assert PITFALL in page
    _, shown = typed("dvc exp run --temp -n sigmoid")
    assert len(shown.splitlines()) == 3
    for line in shown.splitlines():
        assert any(same_to_rounding(line, printed) for printed in pitfall.output.splitlines()), line
    _, shown = typed("dvc exp run --temp -n sigmoid && plumbline compare HEAD sigmoid", TEACHING)
    printed = pitfall.plumbline("compare", "HEAD", "sigmoid").stdout.strip()
    for line, theirs in zip(shown.splitlines(), printed.splitlines(), strict=True):
        assert same_to_rounding(line, theirs) or "%" in line, line


def test_an_experiment_leaves_the_workspace_alone_and_there_is_a_way_back(pitfall):
    """`--temp` changes no file; what `dvc exp apply` brings goes with a stash, and edits come back."""
    changed = pitfall.run("git", "status", "--porcelain").stdout
    assert changed.split() == ["M", "stages/network.py"]
    dvc(pitfall.folder, "exp", "apply", "sigmoid")
    assert "M dvc.lock" in pitfall.run("git", "status", "--porcelain").stdout
    for page in (README, TEACHING):
        assert "git stash && dvc checkout" in page
    pitfall.run("git", "stash")
    dvc(pitfall.folder, "checkout")
    assert pitfall.run("git", "status", "--porcelain").stdout == ""
    assert "up to date" in pitfall.run("dvc", "status").stdout
    pitfall.run("git", "stash", "pop")
    assert PITFALL in pitfall.read("stages/network.py")


def test_the_pytorch_example_runs(default):
    (example,) = [block for block in blocks(TEACHING) if "module.load" in block]
    printed = default.run("python", "-c", example + "\nprint(table['probability'].iloc[0])").stdout
    assert f"{float(printed):.4e}" == "2.3238e-05"


def test_the_example_of_scoring_in_python_runs(default):
    (example,) = [block for block in blocks(PAGES["model.md"]) if "plumbline.load" in block]
    printed = default.run("python", "-c", example).stdout
    assert printed.startswith("[0 1] ['x0' 'x1'")
    assert "2.32381481e-05" in printed


def test_the_run_on_a_real_table_is_as_the_page_has_it(workspace):
    (make,) = re.findall(r'^    PYTHONPATH=benchmarks python -c "(.*)"$', TABLES, flags=re.MULTILINE)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "benchmarks")}
    subprocess.run([sys.executable, "-c", make], env=environment, check=True)
    command, shown = typed("plumbline start titanic.csv", TABLES)
    workspace.path(".dvc").mkdir()
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "add", "params.yaml"], check=True)
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *author, "commit", "-qm", "start"], check=True)
    assert workspace.run("commands.start", *shlex.split(command)[2:]).stdout.strip() == shown.strip()
    printed = [done.stdout.strip() for done in workspace.repro()]
    assert "\n".join(printed) in blocks(TABLES)
    report = workspace.run("commands.report").stdout.strip()
    (shown,) = [block for block in blocks(TABLES) if block.startswith("Final train accuracy")]
    assert shown in report

    assert "`dvc exp run -S evaluate.importance=true`" in TABLES
    assert "`dvc exp run -S evaluate.baselines=true`" in TABLES
    for start in ("What the model goes by", "Beside other models"):
        (shown,) = [block for block in blocks(TABLES) if block.startswith(start)]
        assert shown in report

    (block,) = [block for block in blocks(TABLES) if "plumbline predict new.csv" in block]
    for step in block.removeprefix("$ ").split("\n$ "):
        command, _, shown = step.partition("\n")
        if command.startswith("plumbline predict"):
            assert workspace.run("commands.predict", *shlex.split(command)[2:]).stdout.strip() == shown
        else:
            assert subprocess.run(["bash", "-c", command], capture_output=True, text=True).stdout.strip() == shown


def test_several_classes_are_as_the_page_has_them(workspace):
    assert "-S make_data.classes=3" in TEACHING
    workspace.set(make_data__classes=3, train__epochs=1, train__replicas=2)
    workspace.repro()
    assert "most probable class" in workspace.run("commands.report").stdout
