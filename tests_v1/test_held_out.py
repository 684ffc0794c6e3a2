import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_train import NONE, settings, silent, watched_problem

from stages import held_out, kernel, stream, training
from stages.errors import UserError


@hypothesis_settings(deadline=None)
@given(
    classes=st.lists(st.integers(0, 4), min_size=2, max_size=80),
    share=st.floats(0.01, 0.5),
    seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4),
)
def test_every_row_trains_or_is_held_out_and_every_class_trains(classes, share, seeds):
    classes, seeds = np.array(classes, np.int32), np.array(seeds, np.uint64)
    try:
        held_out.counts(classes, share)
    except UserError as error:
        assert "is no row to watch; raise it" in str(error)
        sizes = np.bincount(classes)
        assert ((share * sizes < 0.5) | (sizes <= 1)).all()
        return
    trained, watched = held_out.draw(seeds, classes, share)
    for r, seed in enumerate(seeds):
        assert sorted([*trained[r], *watched[r]]) == list(range(len(classes)))
        for c in np.unique(classes):
            rows, kept = (classes == c).sum(), (classes[watched[r]] == c).sum()
            assert kept == rows - 1 or abs(kept - share * rows) <= 0.5
            assert (classes[trained[r]] == c).any()
        alone = held_out.draw(seeds[r : r + 1], classes, share)
        np.testing.assert_array_equal(alone[0][0], trained[r])
        np.testing.assert_array_equal(alone[1][0], watched[r])
        order = stream.permutation(stream.seeded(int(seed)), len(classes)).tolist()
        assert sorted(trained[r], key=order.index) == trained[r].tolist()


def test_networks_draw_different_rows_about_evenly():
    _, watched = held_out.draw(np.arange(400, dtype=np.uint64), np.arange(40) % 2, 0.25)
    times = np.bincount(watched.ravel(), minlength=40)
    assert watched.shape == (400, 10)
    assert abs(times - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


def own_rows(replicas=4, **changes):
    """`watched_problem` without a validation part; the seeds of what is held out, and what that is."""
    data, _, weights, shuffles, chosen = watched_problem(replicas=replicas, held_out=0.2, **changes)
    draws = np.arange(replicas, dtype=np.uint64)
    return (data, NONE, weights, shuffles, chosen), draws, held_out.draw(draws, data[1], 0.2)


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_a_network_is_one_given_its_rows_as_training_and_validation_part(engine):
    """Cut beforehand into two tables, the same network comes out."""
    arguments, draws, (trained, watched) = own_rows(replicas=3, patience=3, engine=engine)
    (x, y), _, weights, shuffles, chosen = arguments
    ours = training.train(*arguments, silent, None, draws)
    for r in range(3):
        one = {name: array[r : r + 1] for name, array in weights.items()}
        parts = (x[trained[r]], y[trained[r]]), (x[watched[r]], y[watched[r]])
        theirs = training.train(*parts, one, shuffles[r : r + 1], chosen_without(chosen), silent)
        for name in weights:
            np.testing.assert_array_equal(ours[0][name][r], theirs[0][name][0])
        if r == 0:
            assert ours[2:] == theirs[2:]


def chosen_without(chosen):
    return settings(**{name: getattr(chosen, name) for name in chosen.__struct_fields__} | {"held_out": 0.0})


def test_what_a_network_holds_out_moves_no_weight():
    arguments, draws, (_, watched) = own_rows(replicas=1)
    (x, y), *rest = arguments
    before = training.train((x, y), *rest, silent, None, draws)
    x = x.copy()
    x[watched[0]] = 9.0
    after = training.train((x, y), *rest, silent, None, draws)
    for name in before[0]:
        np.testing.assert_array_equal(before[0][name], after[0][name])
    assert before[2][-1]["validation_loss"] != after[2][-1]["validation_loss"]


def test_a_validation_part_is_then_left_for_the_judge():
    (data, _, *rest), draws, _ = own_rows(replicas=2, patience=3)
    without = training.train(data, NONE, *rest, silent, None, draws)
    beside = training.train(data, (data[0], 1 - data[1]), *rest, silent, None, draws)
    assert without[2:] == beside[2:]
    for name in without[0]:
        np.testing.assert_array_equal(without[0][name], beside[0][name])


def test_networks_are_what_they_are_alone(monkeypatch):
    arguments, draws, _ = own_rows(replicas=5, patience=3)
    together = training.train(*arguments, silent, None, draws)
    monkeypatch.setattr(training, "SHUFFLED_ROWS", 60 * 2)
    apart = training.train(*arguments, silent, None, draws)
    assert together[2:] == apart[2:]
    for name in together[0]:
        np.testing.assert_array_equal(together[0][name], apart[0][name])


def test_losses_of_own_rows_are_those_of_the_rows_alone():
    (data, _, weights, *_), _, (_, watched) = own_rows()
    losses = kernel.mean_losses(*data, watched, weights)
    for r, rows in enumerate(watched):
        one = {name: array[r : r + 1] for name, array in weights.items()}
        alone = kernel.mean_losses(data[0][rows], data[1][rows], np.arange(len(rows))[None], one)
        np.testing.assert_array_equal(losses[r], alone[0])


def test_through_the_stages_without_a_validation_part(project):
    project.set(train__held_out=0.1, train__patience=2, train__epochs=30, train__learning_rate=0.1, train__replicas=3)
    project.run("dvc", "repro", "-q")
    figures = json.loads(project.read("metrics/train.json"))
    assert (figures["rows"], figures["batches"]) == (720, 23)
    assert figures["validation_loss"] > 0
    assert "Kept: epoch" in project.stage("report").stdout
    bits = project.path("models/model.safetensors").read_bytes()
    project.stage("train", NUMBA_NUM_THREADS="1")
    assert project.path("models/model.safetensors").read_bytes() == bits
