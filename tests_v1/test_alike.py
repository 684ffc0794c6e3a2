"""Hosts that would not compute the same are named, with what differs and what to do."""

import msgspec
import pytest
from conftest import ROOT

from stages import alike, params
from stages.errors import UserError

SAME = {"Python": "3.12.1", "stages/kernel.py": "aa", "params.yaml train.epochs": "20", "data/train.parquet": "bb"}


@pytest.mark.parametrize(
    "name, value, what_to_do",
    [
        ("Python", "3.11.0", "install requirements.txt"),
        ("stages/kernel.py", "cc", "check out the same commit"),
        ("params.yaml train.epochs", "21", "check out the same commit"),
        ("data/train.parquet", "no such file or directory", "dvc pull"),
        (alike.KNOWN_ANSWER, "dd", "leave it out"),
    ],
)
def test_the_first_worker_that_differs_is_named(name, value, what_to_do):
    everyone = [("a", SAME), ("a", SAME), ("b", SAME | {name: value}), ("c", SAME | {name: value})]
    said = alike.difference(everyone)
    assert said.startswith(f"host b (worker 2) differs from host a (worker 0): {name} is {value} there and ")
    assert what_to_do in said and "\n" not in said


def test_who_is_alike_is_not_complained_of():
    less = {name: value for name, value in SAME.items() if not name.startswith("data")}  # another worker of a host
    assert alike.difference([("a", SAME), ("a", less), ("b", SAME)]) is None


def test_many_differences_stay_one_line():
    other = dict.fromkeys(SAME, "other")
    assert "and 1 more" in alike.difference([("a", SAME), ("b", other)])


def test_every_setting_that_the_stage_reads_is_compared():
    settings = params.read()
    flat = alike.flat({"seed": settings.seed, "train": settings.train})
    names = {f"params.yaml train.{field}" for field in settings.train.__struct_fields__}
    assert flat.keys() == names | {"params.yaml seed"}
    changed = msgspec.structs.replace(settings.train, learning_rate=0.02)
    other = alike.flat({"seed": settings.seed, "train": changed})
    assert {name for name in flat if flat[name] != other[name]} == {"params.yaml train.learning_rate"}


def test_a_table_is_told_by_its_bytes(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"rows")
    other.write_bytes(b"rows")
    assert alike.digest(one) == alike.digest(other) == "bc51e9e65d79"
    other.write_bytes(b"rowz")
    assert alike.digest(one) != alike.digest(other)
    assert alike.digest(tmp_path / "none") == "no such file or directory"


class Group:
    """One of two workers, the other of which says what it is told to."""

    host, first_of_host = "a", True

    def __init__(self, change):
        self.change = change

    def values(self, value):
        _, facts = value
        return [value, ("b", self.change(facts))]


def test_a_check_compares_versions_code_tables_and_answer(tmp_path):
    table = tmp_path / "table"
    table.write_bytes(b"rows")
    names = []

    def note(facts):
        names.extend(facts)
        return facts

    alike.check(Group(note), {"seed": 1}, (str(table),), lambda: "answer")
    assert {f"stages/{path.name}" for path in (ROOT / "stages").glob("*.py")} <= set(names)  # imported yet or not
    assert {"Python", "numpy", "params.yaml seed", str(table), alike.KNOWN_ANSWER} <= set(names)
    with pytest.raises(UserError, match="known answer of its arithmetic is other there and answer here"):
        other = Group(lambda facts: facts | {alike.KNOWN_ANSWER: "other"})
        alike.check(other, {"seed": 1}, (str(table),), lambda: "answer")
