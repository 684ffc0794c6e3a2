"""The known answer, and what a machine that fails it says and records."""

import json

import numpy as np
import pytest

from plumbline.bits import kernel, known_answer, scoring, stream


@pytest.mark.parametrize("networks", [1, 2, 32])
def test_this_machine_knows_the_answer(networks):
    assert known_answer.found(networks) == known_answer.ANSWER


@pytest.mark.parametrize("owner, name", [(stream, "normal"), (scoring, "probabilities")])
def test_another_last_bit_is_another_answer(monkeypatch, owner, name):
    function = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *arguments: np.nextafter(function(*arguments), np.float32(2)))
    assert known_answer.found(1) != known_answer.ANSWER


def test_it_asks_about_both_losses_wide_loops_and_weight_decay(monkeypatch):
    asked, made = [], kernel.Trainer.__init__

    def noted(self, *arguments, **named):
        made(self, *arguments, **named)
        asked.append((*self.sizes[1:], self.weight_decay))

    monkeypatch.setattr(kernel.Trainer, "__init__", noted)
    known_answer.found(32)
    assert [k for _, k, _ in asked] == [1, 3]
    assert all(h > 64 and h % 4 and decay > 0 for h, _, decay in asked)


def test_a_machine_that_fails_is_told_in_one_line_and_its_result_says_so(workspace, monkeypatch):
    workspace.set(train__replicas=2, train__epochs=2)
    workspace.repro()
    normal, model = json.loads(workspace.read("metrics/train.json")), workspace.path("models/model.safetensors")
    bits = model.read_bytes()
    monkeypatch.setattr(known_answer, "ANSWER", "0" * 16)
    (line,) = [line for line in workspace.run("train").stderr.splitlines() if not line.startswith("compiling")]
    assert "fails the known answer" in line
    assert "metrics/train.json" in line
    assert json.loads(workspace.read("metrics/train.json")) == normal | {"portable": False}
    assert "portable" not in normal
    assert model.read_bytes() == bits  # and it is no other training
