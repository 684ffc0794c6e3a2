"""dvc.yaml against what the code imports, reads and writes: DVC itself follows no import and believes every list."""

import ast

import pytest
import yaml
from conftest import ROOT

STAGES = ("make_data", "split", "train", "evaluate")
VERBS = {*STAGES, "report", "compare", "verify", "predict"}
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
MODULES = {path.stem: ast.parse(path.read_text()) for path in (ROOT / "stages").glob("*.py")}


def imports(name):
    """The modules of the project that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.ImportFrom) and node.module == "stages":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stages."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("stages.")}
    return found


def closure(name):
    seen, todo = set(), {name}
    while todo:
        seen |= todo
        todo = set().union(*(imports(module) for module in todo)) - seen
    return seen


def names(entries):
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_what_the_stage_imports_and_reads(stage):
    code = {f"stages/{module}.py" for module in closure(stage)}
    if (
        stage == "make_data"
    ):  # its default source is imported by path, and templated so that a user's own takes its place
        code |= {f"stages/{module}.py" for module in closure("synthetic")} - {"stages/synthetic.py"}
        code |= {"${make_data.source}"}
    files = {name for name in names(PIPELINE[stage]["deps"]) if not name.endswith(".py") and "$" not in name}
    assert names(PIPELINE[stage]["deps"]) == code | files
    read = {text for text in literals(stage) if text.startswith(("data/", "models/")) and text not in outs(stage)}
    assert files == read


def outs(stage):
    return set().union(*(names(PIPELINE[stage].get(kind, [])) for kind in ("outs", "metrics", "plots")))


def literals(stage):
    """Paths in the stage's text, with what an f-string may stand for filled in."""
    found = set()
    for node in ast.walk(MODULES[stage]):
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            parts = ("validation", "test") if stage == "evaluate" else ("train", "validation", "test")
            found |= {text.format(*[part] * text.count("{}")) for part in parts}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return {
        text
        for text in found
        if text.startswith(("data/", "models/", "metrics/")) and text[-1] != "/" and " " not in text
    }


@pytest.mark.parametrize("stage", STAGES)
def test_outs_are_what_the_stage_writes(stage, default):
    assert {name for name in outs(stage) if default.path(name).exists()} == outs(stage)
    written = {name for name in literals(stage) if name.endswith((".parquet", ".safetensors", ".json", ".csv"))}
    plots = {name for name in outs(stage) if name.startswith("metrics/plots/")}  # named by folder in the code
    assert written - names(PIPELINE[stage]["deps"]) == outs(stage) - plots


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_what_the_stage_reads(stage):
    used = set()
    for node in ast.walk(MODULES[stage]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "settings":
            used.add(node.attr)
    used &= set(PARAMS)  # functions of a stage take their section under the same name
    assert names(PIPELINE[stage]["params"]) == used


@pytest.mark.parametrize("stage", STAGES)
def test_metrics_and_plots_are_in_git_and_data_is_not(stage):
    for kind in ("metrics", "plots"):
        for entry in PIPELINE[stage].get(kind, []):
            assert next(iter(entry.values()))["cache"] is False
    assert all(isinstance(out, str) for out in PIPELINE[stage]["outs"])


def test_a_verb_is_imported_by_nobody():
    for name in MODULES:
        assert not imports(name) & VERBS, name


@pytest.mark.parametrize("name", sorted(MODULES))
def test_torch_and_dvc_are_imported_where_they_are_needed_alone(name):
    top = {
        alias.name.split(".")[0] if isinstance(node, ast.Import) else (node.module or "").split(".")[0]
        for node in ast.walk(MODULES[name])
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert ("torch" in top) == (name in ("network", "batched", "torchrun", "workers"))
    assert ("dvc" in top) == (name == "revisions")


def test_the_stages_in_their_order_are_the_commands():
    assert list(PIPELINE) == list(STAGES)
    assert all(PIPELINE[stage]["cmd"] == f"python -m stages.{stage}" for stage in STAGES)
