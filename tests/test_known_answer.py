"""The known answer, and what a machine that fails it says and records."""

import json

import pytest

from stages import known_answer


@pytest.mark.parametrize("networks", [1, 2, 32])
def test_this_machine_knows_the_answer(networks):
    assert known_answer.found(networks) == known_answer.ANSWER


def test_a_machine_that_fails_is_told_in_one_line_and_its_result_says_so(default, project):
    project.run("cp", "-r", str(default.path("data")), "data")
    code = project.read("stages/known_answer.py")
    project.path("stages/known_answer.py").write_text(code.replace(known_answer.ANSWER, "0" * 16))
    done = project.stage("train")
    (line,) = done.stderr.splitlines()
    assert "fails the known answer" in line
    assert "metrics/train.json" in line
    recorded, normal = (json.loads(side.read("metrics/train.json")) for side in (project, default))
    assert recorded == normal | {"portable": False}
    assert "portable" not in normal
    for name in ("models/model.safetensors", "metrics/history.csv"):  # and it is no other training
        assert project.path(name).read_bytes() == default.path(name).read_bytes()
