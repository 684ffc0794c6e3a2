"""What is concluded from two revisions: on rows made for it, without git or DVC."""

import math

import numpy as np
import pytest

from plumbline.basics.errors import UserError
from plumbline.comparing import judging
from plumbline.comparing.revisions import Revision, Scored


def revision(name, target, probability, rows=None, classes=(0, 1), stale=False):
    """A revision with a test part alone; probability: (R, n) of the second class."""
    row = np.arange(len(target)) if rows is None else np.array(rows)
    part = Scored(row, np.array(target), np.array(probability, np.float32)[..., None])
    return Revision(name, None, list(classes), {"test": part}, {}, {}, stale)


def two(n=300, networks=4, better=0.0, target=None):
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, n) if target is None else target
    sides = [rng.normal((2 * target - 1) * skill, 1.0, (networks, len(target))) for skill in (1.0, 1.0 + better)]
    return [revision(name, target, 1 / (1 + np.exp(-z))) for name, z in zip(("base", "other"), sides)]


def test_all_metrics_together_have_one_correction():
    found = {d.metric: d for d in judging.judge(*two()).differences}
    assert list(found) == ["accuracy", "log_loss", "roc_auc", "brier"]  # macro_roc_auc is of more than two classes
    alone = [d.estimate.student(1 - 0.05 / 4) for d in found.values()]
    for d, (low, high, p) in zip(found.values(), alone):
        assert d.high - d.low < high - low  # correlated metrics need less than Bonferroni
        assert p <= d.p <= min(4 * p, 1)


def test_a_test_part_of_one_class_has_the_other_metrics():
    compared = judging.judge(*two(target=np.zeros(30, np.int64)))
    assert [d.metric for d in compared.differences] == ["accuracy", "log_loss", "brier"]
    assert all(math.isfinite(value) for d in compared.differences for value in (d.base, d.other, d.low, d.high, d.p))


def test_more_networks_on_one_side_are_left_aside():
    base, other = two()
    fewer = other.parts["test"]._replace(probability=other.parts["test"].probability[:2])
    compared = judging.judge(base, other._replace(parts={"test": fewer}))
    assert compared.networks == 2
    assert compared.notes == ["4 and 2 networks: the first 2 of each are compared"]


def test_what_cannot_be_compared():
    base, other = two()
    with pytest.raises(UserError, match="figures over different classes cannot be compared"):
        judging.judge(base, other._replace(classes=["a", "b"]))
    watched = other._replace(parts=other.parts | {"validation": other.parts["test"]})
    with pytest.raises(UserError, match="no verdict: only one of base and other has a validation part"):
        judging.judge(base, watched)


def test_a_metric_that_the_part_to_choose_by_has_not_is_refused():
    base, other = two(target=np.zeros(30, np.int64))
    with pytest.raises(UserError, match="roc_auc is not defined on the test part of base; choose another --metric"):
        judging.rank(base, [other], "roc_auc")
    assert judging.rank(base, [other], "brier").pairs == 1


def test_experiments_on_other_rows_are_left_out_of_a_ranking():
    base, other = two()
    part = other.parts["test"]
    away = other._replace(name="away", parts={"test": part._replace(row=part.row + 7)})
    strange = other._replace(name="strange", classes=["a", "b"])
    ranking = judging.rank(base, [away, other, strange], "accuracy")
    assert [entry.name for entry in ranking.entries] == ["other"]
    assert ranking.left_out.keys() == {"away", "strange"}
    assert "different test rows (14 are in one alone" in ranking.left_out["away"]
