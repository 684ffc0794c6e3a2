"""The known answer, and what a machine that fails it says and records."""

import json

import numpy as np
import pytest

from stages import kernel, known_answer, stream


@pytest.mark.parametrize("networks", [1, 2, 32])
def test_this_machine_knows_the_answer(networks):
    assert known_answer.found(networks) == known_answer.ANSWER


@pytest.mark.parametrize("owner, name", [(stream, "normal"), (kernel, "mean_losses"), (kernel, "probabilities")])
def test_another_last_bit_is_another_answer(monkeypatch, owner, name):
    function = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *arguments: np.nextafter(function(*arguments), np.float32(2)))
    assert known_answer.found(1) != known_answer.ANSWER


def test_it_asks_about_both_losses_wide_loops_and_weight_decay(monkeypatch):
    asked, made = [], kernel.Trainer.__init__

    def noted(self, *arguments):
        made(self, *arguments)
        asked.append((*self.sizes[1:], self.weight_decay))

    monkeypatch.setattr(kernel.Trainer, "__init__", noted)
    known_answer.found(32)
    assert [k for _, k, _ in asked] == [1, 3]
    assert all(h > 64 and h % 4 and decay > 0 for h, _, decay in asked)


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
