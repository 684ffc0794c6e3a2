"""Files of predictions that other programs write: the page's own example, and what is said of one that is not right."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

from plumbline import __main__ as plumbline
from plumbline.basics.errors import UserError
from plumbline.scores import predictions

(EXAMPLE,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/comparisons.md").read_text(), flags=re.DOTALL)


def git(*arguments):
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *author, *arguments], check=True, capture_output=True)


def test_the_example_of_the_page_is_judged_in_a_repository_that_has_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len([line for line in EXAMPLE.splitlines() if line]) <= 10
    Path("model.py").write_text(EXAMPLE)
    exec(EXAMPLE, {})
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "forests")
    assert "max_depth=8" in EXAMPLE
    Path("model.py").write_text(EXAMPLE.replace("max_depth=8", "max_depth=1"))
    exec(EXAMPLE.replace("max_depth=8", "max_depth=1"), {})
    plumbline.command(["compare", "--predictions", "predictions.parquet", "--json"])
    report = json.loads(capsys.readouterr().out)
    (entry,) = report["entries"]
    assert (report["part"], report["rows"], report["networks"]) == ("test", 89, 8)
    assert {d["metric"]: d["verdict"] for d in entry["judged"]}["brier"] == "worse"
    assert entry["changes"]["files"] == {"model.py": []}
    with pytest.raises(UserError, match=r"^metrics/predictions.parquet of HEAD is neither in git"):
        plumbline.command(["compare"])
    with pytest.raises(UserError, match=r"^other.parquet of HEAD is neither in git, .*; commit it, or give it to DVC"):
        plumbline.command(["compare", "--predictions", "other.parquet"])


GOOD = {"_row": [3, 1, 2], "target": ["b", "a", "b"], "probability": [[0.9, 0.8], [0.1, 0.2], [0.6, 0.7]]}


def read(folder, **columns):
    path = folder / "some.parquet"
    pq.write_table(pa.table({name: values for name, values in (GOOD | columns).items() if values is not None}), path)
    return predictions.read(path, "PATH")


def test_columns_are_read_in_the_order_of_rows(tmp_path):
    classes, parts = read(tmp_path)
    scored = parts["test"]
    row = scored.row
    assert (classes, list(parts), row.tolist()) == (["a", "b"], ["test"], [1, 2, 3])
    assert scored.probability.tolist() == np.float32([[[0.1], [0.6], [0.9]], [[0.2], [0.7], [0.8]]]).tolist()
    assert (scored.target.tolist(), scored.positive, scored.group) == ([0, 1, 1], 1, None)
    _, parts = read(tmp_path, part=["test", "validation", "train"], group=[7, 7, 9], target=[True, False, True])
    assert {part: own.row.tolist() for part, own in parts.items()} == {"validation": [1], "test": [3]}
    assert parts["test"].group.tolist() == [0]


def test_folds_are_read_of_out_of_fold_rows_and_numbered_from_0(tmp_path):
    _, parts = read(tmp_path, part=["out-of-fold", "test", "out-of-fold"], fold=[[7, 0], None, [5, 0]])
    assert parts["out-of-fold"].row.tolist() == [2, 3]
    assert parts["out-of-fold"].fold.tolist() == [[0, 1], [0, 0]]
    assert parts["test"].fold is None
    _, parts = read(tmp_path, part=["out-of-fold", "test", "out-of-fold"])
    assert parts["out-of-fold"].fold is None
    _, parts = read(tmp_path, fold=[[1], None, [1, 2]])  # of test rows they say nothing
    assert parts["test"].fold is None


WRONG = {
    "PATH: there is no column target, only _row, probability; docs/comparisons.md": {"target": None},
    "PATH: there is no column _row, probability, only target;": {"_row": None, "probability": None},
    "PATH: 1 row has no target": {"target": ["a", None, "b"]},
    "PATH: target must have two classes or more, and has 1": {"target": ["a", "a", "a"]},
    "PATH: target must be text, numbers or truth values, and is BLOB": {"target": [b"a", b"b", b"a"]},
    "PATH: probability must be a list of numbers in every row": {"probability": [0.1, 0.2, 0.3]},
    "PATH: probability must be a list of numbers in every row;": {"probability": [["x"], ["y"], ["z"]]},
    "and has 1 and 2 numbers": {"probability": [[0.1], [0.2, 0.3], [0.4, 0.5]]},
    "3 for each network (3 classes), and has 2 numbers": {"target": ["a", "b", "c"]},
    "PATH: network 1 says [1.5] of row 2": {"probability": [[0.1, 0.1], [0.1, 0.1], [0.1, 1.5]]},
    "PATH: network 0 says [nan] of row 3": {"probability": [[np.nan, 0.1], [0.1, 0.1], [0.1, 0.5]]},
    "PATH: row 1 of the test part is there twice": {"_row": [1, 1, 2]},
    "PATH: _row must be a whole number in every row": {"_row": ["x", "y", "z"]},
    "PATH: _row must be a whole number in every row;": {"_row": [1, None, 2]},
    "PATH: group must be a whole number in every row": {"group": [1.5, 2.0, 3.0]},
    "PATH: fold must be a list of whole numbers;": {"fold": [[1.5], [2.5], [1.0]]},
    "PATH: fold must have a whole number for each of 2 networks": {
        "part": ["out-of-fold"] * 3,
        "fold": [[1, 2], [1], []],
    },
    "for each of 2 networks in every out-of-fold row;": {
        "part": ["out-of-fold"] * 3,
        "fold": [[1, 2], [1, None], [1, 1]],
    },
    "PATH: there is no row of part out-of-fold, validation or test": {"part": ["train", "train", "train"]},
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_is_one_line_that_names_it(tmp_path, said):
    with pytest.raises(UserError, match=re.escape(said)) as error:
        read(tmp_path, **WRONG[said])
    assert "\n" not in str(error.value)


def test_probabilities_of_several_classes_add_up_to_one(tmp_path):
    several = {"target": ["a", "b", "c"], "probability": [[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.2, 0.3, 0.6]]}
    with pytest.raises(UserError, match="of row 2; probabilities lie between 0 and 1, and those of all classes add up"):
        read(tmp_path, **several)
    (tmp_path / "some.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="PATH is not a table"):
        predictions.read(tmp_path / "some.parquet", "PATH")
