"""The house: layers that only point down, one place for each third party, and a dvc.yaml that names what stages run."""

import ast
import graphlib
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

FLOORS = [["basics"], ["bits"], ["tables"], ["scores", "model", "sources", "profiling", "pages"]]
FLOORS += [["training", "comparing", "explaining", "exporting"], ["commands", "stages"]]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Where a third party may be imported; what stands nowhere here is allowed nowhere.
PLACES = {
    "duckdb": ["plumbline/tables/duck.py"],
    "numba": ["plumbline/bits/compiling.py"],
    "llvmlite": ["plumbline/bits/compiling.py"],
    "torch": ["plumbline/model/", "plumbline/training/", "plumbline/exporting/", "stages/network.py"],
    "onnx": ["plumbline/exporting/"],
    "scipy": ["plumbline/scores/"],
    "sklearn": ["plumbline/explaining/", "plumbline/commands/classifier.py"],
    "threadpoolctl": ["plumbline/explaining/"],
    "dvc": ["plumbline/comparing/", "plumbline/commands/"],
    "matplotlib": ["plumbline/pages/"],
    "jinja2": ["plumbline/pages/"],
    "ruamel": ["plumbline/basics/"],
    "tqdm": ["plumbline/training/", "stages/train.py"],
    "pyarrow": ["plumbline/sources/"],
    "python_calamine": ["plumbline/sources/"],
    "safetensors": ["plumbline/model/sealed.py", "plumbline/comparing/"],
    "msgspec": [""],
    "numpy": [""],
}
SOURCES = sorted([*ROOT.glob("plumbline/**/*.py"), *ROOT.glob("stages/*.py")])
NAMES = {str(path.relative_to(ROOT)): path for path in SOURCES}
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def imports(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it, by their whole names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def own(path: Path) -> set[str]:
    """Those that are files of this project, by their paths."""
    return {name for module in imports(path) if (name := f"{module.replace('.', '/')}.py") in NAMES}


def room(name: str) -> str:
    parts = Path(name).parts
    return parts[0] if parts[0] == "stages" else parts[1] if len(parts) == 3 else "commands"


def everything_below(name: str) -> set[str]:
    """A file and all that it imports, also indirectly."""
    found, waiting = set(), {name}
    while waiting:
        found |= waiting
        waiting = set().union(*(own(NAMES[each]) for each in waiting)) - found
    return found


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_down(name):
    for other in own(NAMES[name]):
        if room(other) != room(name):
            assert FLOOR[room(other)] < FLOOR[room(name)], f"{name} imports {other}"


def test_there_is_no_circle():
    graph = {name: own(path) for name, path in NAMES.items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", NAMES)
def test_third_parties_have_one_place_each(name):
    for module in {module.split(".")[0] for module in imports(NAMES[name])} - set(sys.stdlib_module_names):
        if module not in ("plumbline", "stages"):
            assert module in PLACES, f"{name} imports {module}"
            assert any(name.startswith(place) for place in PLACES[module]), f"{name} imports {module}"


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_names_the_folders_that_a_stage_runs(stage):
    deps = {dep for dep in STAGES[stage]["deps"] if dep.startswith(("plumbline/", "stages/"))}
    needed = everything_below(f"stages/{stage}.py") - {"plumbline/__init__.py", "stages/__init__.py"}
    folders = {str(Path(name).parent) if name.startswith("plumbline/") else name for name in needed}
    if stage in ("train", "evaluate"):
        folders.add("stages/network.py")  # loaded by its path
    assert deps == folders
    assert set(STAGES[stage]["cmd"].split()) == {"python", "-m", f"stages.{stage}"}


@pytest.mark.parametrize("stage", STAGES)
def test_params_of_dvc_yaml_are_those_that_the_stage_reads(stage):
    tree = ast.parse(NAMES[f"stages/{stage}.py"].read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "params.read"]
    read = {argument.value for call in calls for argument in call.args}
    assert read == set(STAGES[stage]["params"])


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("__init__.py")])
def test_what_makes_a_folder_a_package_holds_no_code(name):
    """No stage names these files: what they said would be in no hash. `load` is for users, and no stage calls it."""
    docstring, *rest = ast.parse(NAMES[name].read_text()).body
    assert isinstance(docstring.value.value, str)
    if name == "plumbline/__init__.py":
        error, load = rest
        assert (ast.unparse(error), load.name) == ("from plumbline.basics.errors import UserError as UserError", "load")
    else:
        assert not rest


def test_files_are_as_long_as_can_be_read():
    lines = {name: len(path.read_text().splitlines()) for name, path in NAMES.items()}
    assert {name: count for name, count in lines.items() if count > 350} == {}
    assert {stage: lines[f"stages/{stage}.py"] for stage in STAGES if lines[f"stages/{stage}.py"] > 80} == {}


def test_the_order_of_equal_values_does_not_depend_on_the_cpu():
    lines = [line for path in SOURCES for line in path.read_text().splitlines() if "argsort(" in line]
    assert lines and all('kind="stable"' in line for line in lines), lines


def test_the_default_job_imports_only_what_it_needs(default):
    """Numba for training alone, SciPy for intervals alone; no pandas, no pyarrow, no torch anywhere."""
    heavy = {"numba", "pandas", "pyarrow", "torch", "scipy", "dvc", "sklearn", "matplotlib"}
    needed = {"make_data": set(), "split": set(), "train": {"numba"}, "evaluate": {"scipy"}}
    for stage, allowed in needed.items():
        script = f"import sys, runpy; runpy.run_module('stages.{stage}', run_name='__main__'); print(*sys.modules)"
        modules = set(default.run("python", "-c", script).stdout.splitlines()[-1].split())
        assert modules & heavy == allowed, stage
    default.restore()
