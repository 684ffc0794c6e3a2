"""What the README says, against what the commands print."""

import json
import re

import pytest
from conftest import EXERCISE, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def test_the_report_is_what_make_prints(default):
    assert default.stage("report").stdout.strip() in {block.strip() for block in BLOCKS}


def test_the_ranking_and_the_comparison_are_what_compare_prints(exercise):
    shown = {block.strip() for block in BLOCKS}
    assert exercise.stage("compare", "--experiments").stdout.strip() in shown
    compared = exercise.stage("compare", "HEAD", "rate-1e-3").stdout.strip()
    assert f"$ python -m stages.compare HEAD rate-1e-3\n{compared}" in shown


def test_the_experiments_table_is_what_dvc_shows(exercise):
    command = ("dvc", "exp", "show", "--only-changed", "--hide-workspace", "--md")
    shown = exercise.run(*command).stdout
    cells = {frozenset(re.findall(r"(?<=\| )[\d.]+(?= )", line)) for line in shown.splitlines()}
    rows = [line for line in README.splitlines() if line.startswith("| main  ") or re.match(r"\| [├└]", line)]
    assert len(rows) == 4
    for row in rows:
        numbers = set(re.findall(r"(?<=\| )[\d.]+(?= )", row))
        assert len(numbers) >= 5
        assert any(numbers <= line for line in cells), row


@pytest.mark.parametrize("name, change", EXERCISE.items())
def test_the_exercise_is_the_one_tested(name, change):
    assert f"dvc exp run -n {name} -S {change}" in README


def test_the_figures_on_real_tables_are_the_benchmarks():
    text = (ROOT / "benchmarks/results/tables.txt").read_text(encoding="utf-8")
    command = next(block for block in BLOCKS if "customers.csv" in block)
    setting = next(line for line in text.splitlines() if line.startswith("Setting:"))
    assert set(re.findall(r"-S (\S+)", setting)) == set(re.findall(r"-S (\S+)", command)[2:])
    won = re.findall(r"log loss on (\d+) of (\d+) tables .* in ROC AUC on (\d+)", text)
    (alone, n, alone_area), (ours, _, ours_area), (new_alone, new, new_alone_area), (new_ours, _, new_area) = won
    better = re.findall(r"ensemble is better than network 0 in log loss on (\d+) .* in ROC AUC on (\d+)", text)
    losses, areas = (sum(int(count) for count in counts) for counts in zip(*better))
    told = re.search(r"How good it is: .*", README, flags=re.DOTALL)[0].split("\n\n")[0].replace("\n", " ")
    assert f"on {new} tables that this setting was not chosen on" in told
    assert f"in log loss on {new_alone} and in ROC AUC on {new_alone_area}, and the ensemble on {new_ours} and" in told
    assert f"the ensemble on {new_ours} and {new_area}. These {new} were looked at for one earlier setting" in told
    assert f"On the {n} tables" in told
    assert f"they are {alone} and {alone_area}, {ours} and {ours_area}. The ensemble" in told
    assert f"on {losses} of the {int(n) + int(new)} in log loss and on {areas} in ROC AUC" in told


def test_commands_that_the_readme_names_are_there():
    for module in set(re.findall(r"python -m stages\.(\w+)", README)) - {"NAME"}:
        assert (ROOT / "stages" / f"{module}.py").exists(), module
    for script in set(re.findall(r"python (benchmarks/\w+\.py)", README)) | set(
        re.findall(r"(\.github/\S+\.\w+)", README)
    ):
        assert (ROOT / script.rstrip("`")).exists(), script


def test_the_figures_of_the_benchmarks_are_those_in_their_results():
    results = ROOT / "benchmarks" / "results"
    assert (results / "training.txt").read_text().strip() in {block.strip() for block in BLOCKS}
    whole = json.loads((results / "whole.json").read_text())
    for what, row in whole["time"].items():
        (line,) = re.findall(rf"^\| `{what.partition(',')[0]}`.*, s \| (.*) \|$", README, flags=re.MULTILINE)
        spread = f"{row['ratio']:.2f} ({row['lowest']:.2f} to {row['highest']:.2f})"
        assert line == f"{row['ours']:.2f} | {row['ordinary']:.2f} | {spread}"
    for stage, row in whole["peak_memory_mib"].items():
        figures = f"{row['ours']:.0f} | {row['ordinary']:.0f} | {row['ratio']:.2f}"
        assert f"| peak memory of `{stage}`, MiB | {figures} |" in README


def test_the_tables_of_memory_and_hosts_are_those_printed():
    blocks = {block.strip() for block in BLOCKS}
    assert (ROOT / "benchmarks/results/memory.txt").read_text().strip() in blocks
    (hosts,) = [block for block in blocks if "ESTIMATE" in block]
    printed = (ROOT / "benchmarks/results/hosts.txt").read_text()
    measured, _, estimated = hosts.partition("ESTIMATE")
    assert estimated == printed.strip().partition("ESTIMATE")[2]
    assert len(measured.split()) > 50
    assert set(measured.splitlines()) <= set(printed.splitlines())


def test_the_calibration_is_the_one_printed():
    (block,) = [block.strip() for block in BLOCKS if block.startswith("200 comparisons a line")]
    printed = (ROOT / "benchmarks/results/calibration.txt").read_text().splitlines()
    assert block.splitlines() == printed[:2] + [line for line in printed[2:] if re.search(r" 32 +\d", line)]


def test_every_module_is_on_the_map():
    modules = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"}
    named = set(re.findall(r"`(\w+)`", README[README.index("## The pipeline") : README.index("## The exercise")]))
    assert not modules - named


def test_the_matrix_of_cpus_is_the_one_printed():
    printed = (ROOT / "benchmarks/results/cpu_matrix.txt").read_text()
    assert printed[printed.index("all artefacts of") :].strip() in {block.strip() for block in BLOCKS}


def test_pictures_and_files_of_the_benchmarks_are_there():
    for name in set(re.findall(r"benchmarks/(?:results/)?\w+\.(?:svg|txt|c|json)", README)):
        assert (ROOT / name).exists(), name


def test_the_pytorch_example_runs(default):
    (example,) = [block for block in BLOCKS if "from stages.network import load" in block]
    printed = default.run("python", "-c", example + "print(table['probability'].iloc[0])").stdout
    assert f"{float(printed):.4e}" == "2.3238e-05"
