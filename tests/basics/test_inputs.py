"""What a stage has read must be what stands there when its outputs take their names."""

import os
import sys

import pytest
from conftest import assert_one_line

from plumbline.basics import files, formats, inputs, params
from plumbline.basics.errors import UserError


@pytest.fixture(autouse=True)
def nothing_watched():
    inputs.forget()
    yield
    inputs.forget()


def write_with(edit):
    """Write an output, and edit what was read before the output takes its name."""
    with files.together():
        formats.write_json({}, "out.json")
        edit()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("a\n1\n")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "1.parquet").write_text("1")
    return tmp_path


EDITS = {
    "another content of the same size": lambda folder: (folder / "a.csv").write_text("a\n2\n"),
    "another size": lambda folder: (folder / "a.csv").write_text("a\n10\n"),
    "removed": lambda folder: (folder / "a.csv").unlink(),
    "another content with the old size and time": lambda folder: (
        state := (folder / "a.csv").stat(),
        (folder / "a.csv").write_text("a\n2\n"),
        os.utime("a.csv", ns=(state.st_atime_ns, state.st_mtime_ns)),
    ),
    "another file in its place": lambda folder: (
        (folder / "b").write_text("a\n3\n"),
        (folder / "b").rename(folder / "a.csv"),
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_file_is_named_and_nothing_is_written(folder, edit):
    inputs.watch("a.csv")
    with pytest.raises(UserError, match=r"^a\.csv changed while this ran, .* nothing was written: run it again$"):
        write_with(lambda: EDITS[edit](folder))  # at once, in the same tick of the clock
    assert sorted(path.name for path in folder.iterdir()) in (["a.csv", "parts"], ["parts"])


def test_touch_is_no_edit(folder):
    inputs.watch("a.csv")
    write_with(lambda: (os.utime("a.csv", (1, 1)), (folder / "a.csv").write_text("a\n1\n")))
    assert (folder / "out.json").exists()


def test_a_large_file_of_another_time_counts_as_edited(folder, monkeypatch):
    monkeypatch.setattr(inputs, "LARGE", 2)
    inputs.watch("a.csv")
    inputs.check()
    with pytest.raises(UserError, match=r"^a\.csv changed"):
        write_with(lambda: os.utime("a.csv", (1, 1)))


@pytest.mark.parametrize(
    "edit",
    [
        lambda folder: (folder / "parts" / "2.parquet").write_text("2"),
        lambda folder: (folder / "parts" / "1.parquet").unlink(),
        lambda folder: (folder / "parts" / "1.parquet").write_text("3"),
    ],
)
def test_a_folder_is_all_its_files(folder, edit):
    inputs.watch("parts")
    inputs.check()
    with pytest.raises(UserError, match=r"^parts.* changed while this ran"):
        write_with(lambda: edit(folder))


def test_parameters_count_by_value_and_those_of_other_stages_do_not(workspace):
    params.read("seed", "split")
    text = workspace.read("params.yaml")
    workspace.path("params.yaml").write_text("# a comment\n" + text.replace("0.8 ", "0.80"))
    workspace.set(train__hidden_size=64)
    inputs.check()
    workspace.set(split__train=0.7)
    with pytest.raises(UserError, match=r"^params\.yaml: split\.train changed while this ran"):
        inputs.check()


def test_code_that_was_imported_counts(tmp_path, monkeypatch):
    (tmp_path / "plumbline").mkdir()
    module = tmp_path / "plumbline" / "module.py"
    module.write_text("x = 1\n")
    monkeypatch.setattr(inputs, "CODE", tmp_path)
    inputs.forget()
    monkeypatch.setattr(inputs, "_code_in_use", lambda: {module})
    inputs.check()
    module.write_text("x = 2\n")
    with pytest.raises(UserError, match=r"^plumbline/module\.py changed while this ran"):
        inputs.check()


GENERATOR = """
import numpy as np
from helping.numbers import FLIP
def make(params, generator):
    x = np.arange(100.0)
    return {"x": x, "y": ((x > 48) ^ FLIP).astype(int)}
"""


def test_a_generator_and_what_it_imports_count(workspace, monkeypatch):
    from plumbline.sources import source

    monkeypatch.syspath_prepend(workspace.folder)
    workspace.path("helping").mkdir()
    workspace.path("helping/numbers.py").write_text("FLIP = False\n")
    workspace.path("own.py").write_text(GENERATOR)
    workspace.set(make_data__source="own.py")
    copying = source.copying
    for name in ("own.py", "helping/numbers.py"):
        sys.modules.pop("helping.numbers", None)
        text = workspace.read(name)

        def edited_meanwhile(*arguments, name=name):
            workspace.path(name).write_text(workspace.read(name) + "\n")
            return copying(*arguments)

        monkeypatch.setattr(source, "copying", edited_meanwhile)
        assert_one_line(workspace.run("make_data", fails=True), f"error: {name} changed while this ran")
        assert not workspace.path("data/dataset.parquet").exists()
        workspace.path(name).write_text(text)
    monkeypatch.setattr(source, "copying", copying)
    sys.modules.pop("helping.numbers", None)
    workspace.run("make_data")


def test_what_a_generator_says_now_is_what_runs(workspace):
    """Python takes the bytecode of a file that was edited within a second to the same size."""
    workspace.set(make_data__source="own.py", make_data__target="y")
    for flip in ("0", "1"):
        workspace.path("own.py").write_text(GENERATOR.replace("from helping.numbers import FLIP", f"FLIP = {flip}"))
        os.utime(workspace.path("own.py"), (1e9, 1e9))
        workspace.run("make_data")
    assert "y {0: 51, 1: 49}" in workspace.run("make_data").stdout


def longer(path):
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize(
    "edit, name",
    [
        (lambda workspace: workspace.set(split__train=0.7), "params.yaml: split.train"),
        (lambda workspace: longer(workspace.path("data/dataset.parquet")), "data/dataset.parquet"),
    ],
)
def test_an_input_edited_while_a_stage_runs_fails_the_stage(workspace, monkeypatch, edit, name):
    """dvc#11058: DVC would record the edited input as if it had made the outputs."""
    from plumbline.bits import stream

    workspace.run("make_data")
    permutation = stream.permutation

    def edited_meanwhile(*arguments):
        edit(workspace)
        return permutation(*arguments)

    monkeypatch.setattr(stream, "permutation", edited_meanwhile)
    assert_one_line(workspace.run("split", fails=True), f"{name} changed while this ran")
    assert [path.name for path in workspace.path("data").iterdir()] == ["dataset.parquet"]
