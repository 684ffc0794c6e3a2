import copy
from pathlib import Path

import pytest
from conftest import ROOT, assert_one_line
from ruamel.yaml import YAML

from plumbline.basics import params
from plumbline.basics.errors import UserError

GOOD = YAML(typ="safe").load((ROOT / "params.yaml").read_text())


def changed(name, value):
    values = copy.deepcopy(GOOD)
    *section, name = name.split(".")
    (values[section[0]] if section else values)[name] = value
    return values


def test_the_projects_own_file_is_good(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert params.read().train.hidden_size == 32


@pytest.mark.parametrize(
    "name, value, parts",
    [
        ("train.hidden_size", 0, ["train.hidden_size", "integer >= 1", "0"]),
        ("train.hidden_size", 2.5, ["train.hidden_size", "integer", "2.5"]),
        ("train.hidden_size", "32", ["train.hidden_size", "integer", "'32'"]),
        ("train.hidden_size", True, ["train.hidden_size", "integer", "True"]),
        ("train.hidden_size", None, ["train.hidden_size", "integer", "None"]),
        ("train.hidden_size", [32], ["train.hidden_size", "integer", "[32]"]),
        ("train.learning_rate", 0.0, ["train.learning_rate", "number > 0", "0"]),
        ("train.learning_rate", float("nan"), ["train.learning_rate", "nan"]),
        ("train.learning_rate", float("inf"), ["train.learning_rate", "<= 1e+30", "inf"]),
        ("train.learning_rate", "fast", ["train.learning_rate", "number", "'fast'"]),
        ("train.hiden_size", 64, ["train.hiden_size", "64", "did you mean 'train.hidden_size'?"]),
        ("train.engine", "tensorflow", ["train.engine", "auto or compiled or torch", "'tensorflow'"]),
        ("train.device", "gpu", ["train.device", "cpu or cuda", "'gpu'"]),
        ("train.5", 64, ["train.5 (given 64) is not a parameter"]),
        ("trian", {}, ["trian", "did you mean 'train'?"]),
        ("train", 3, ["train must hold", "3"]),
        ("seed", -1, ["seed", ">= 0", "-1"]),
        ("seed", 2**32, ["seed", "4294967295", "4294967296"]),
        ("split.train", 1.5, ["split.train", "<= 1", "1.5"]),
        ("split.validation", 0.2, ["split.train + split.validation", "below 1", "0.8 + 0.2"]),
        ("make_data.features", 4, ["make_data.features", ">= 5", "4"]),
        ("make_data.classes", 101, ["make_data.classes", "<= 100", "101"]),
        ("make_data.source", "", ["make_data.source", "not empty"]),
        ("make_data.drop", "b", ["make_data.drop", "a list", "'b'"]),
        ("make_data.drop", [1], ["make_data.drop", "text", "[1]"]),
        ("make_data.drop", ["y"], ["make_data.drop", "'y'", "keep it"]),
        ("split.stratify", 1, ["split.stratify", "true or false", "1"]),
        ("split.stratify", "yes", ["split.stratify", "true or false", "'yes'"]),
        ("split.group", 3, ["split.group", "text or null", "3"]),
        ("split.time", "y", ["split", "the target 'y'", "another column"]),
        ("train.encoding", "robus", ["train.encoding", "raw or robust", "'robus'"]),
        ("train.schedule", "step", ["train.schedule", "constant or cosine", "'step'"]),
        ("train.patience", -1, ["train.patience", ">= 0", "-1"]),
        ("train.patience", 5, ["train.patience is 5", "nothing to watch", "split.validation"]),
        ("train.held_out", 0.6, ["train.held_out", "<= 0.5", "0.6"]),
        ("train.fold_rows", 0.5, ["train.fold_rows is 0.5", "no folds", "set split.folds"]),
        ("train.weight_decay", -0.1, ["train.weight_decay", ">= 0", "-0.1"]),
        ("train.class_weight", "even", ["train.class_weight", "none or balanced", "'even'"]),
        ("train.weight_decay", 100, ["train.learning_rate times train.weight_decay", "below 1", "1.0"]),
        ("evaluate.batch_size", -64, ["evaluate.batch_size", ">= 1", "-64"]),
    ],
)
def test_a_wrong_parameter_is_named_with_rule_and_value(name, value, parts):
    with pytest.raises(UserError) as error:
        params.check(changed(name, value))
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize("section, name", [(s, n) for s, v in GOOD.items() if isinstance(v, dict) for n in v])
def test_every_parameter_is_required(section, name):
    values = copy.deepcopy(GOOD)
    del values[section][name]
    with pytest.raises(UserError, match=rf"{section}\.{name} is missing.*`{name}: \.\.\.`"):
        params.check(values)


@pytest.mark.parametrize(
    "text, value", [("1e-2", 0.01), ("1E-2", 0.01), ("1e-2 # slow", 0.01), (".01", 0.01), ("1", 1.0)]
)
def test_numbers_are_what_yaml_1_2_and_dvc_say(tmp_path, monkeypatch, text, value):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(
        (ROOT / "params.yaml").read_text().replace("learning_rate: 0.01", f"learning_rate: {text}")
    )
    assert params.read().train.learning_rate == value


def test_a_whole_float_is_an_integer():
    assert params.check(changed("make_data.samples", 1e6)).make_data.samples == 1_000_000


@pytest.mark.parametrize("text", ["train: [", "a: 1\na: 2\n", "\t- x", "", "- 1", "\0"])
def test_a_file_that_is_not_yaml_is_one_line(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        params.read()
    assert "\n" not in str(error.value)
    assert "params.yaml" in str(error.value)


def test_a_stage_says_it_in_one_line_and_keeps_what_was_there(workspace):
    workspace.path("data").mkdir()
    workspace.path("data/dataset.parquet").write_text("old")
    workspace.set(train__hidden_size=-1)
    assert_one_line(workspace.run("make_data", fails=True), "train.hidden_size", "integer >= 1", "-1")
    assert workspace.read("data/dataset.parquet") == "old"


def test_a_gpu_is_not_for_the_compiled_engine():
    values = changed("train.device", "cuda")
    assert params.check(values).train.device == "cuda"  # auto takes autograd then
    values["train"]["engine"] = "compiled"
    with pytest.raises(UserError, match=r"train\.device is cuda and train\.engine is compiled.*train\.engine to torch"):
        params.check(values)


def test_outside_the_project_it_says_where_to_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"run from the folder that holds dvc\.yaml"):
        params.read()


@pytest.mark.parametrize("one, other", [("stratify", "group"), ("stratify", "time"), ("group", "time")])
def test_rows_can_be_kept_together_in_one_way_only(one, other):
    values = changed(f"split.{one}", True if one == "stratify" else "a")
    values["split"][other] = "b"
    with pytest.raises(UserError, match=rf"split\.{one} .*split\.{other} .*cannot both"):
        params.check(values)


def test_the_file_is_written_in_block_style_so_that_experiments_can_change_it():
    lines = [line.split("#")[0] for line in (ROOT / "params.yaml").read_text().splitlines()]
    assert not [line for line in lines if "{" in line or ("[" in line and "[]" not in line)]
