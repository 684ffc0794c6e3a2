import msgspec
import numba
import numpy as np
import pytest
import torch
from conftest import ROOT

from plumbline.basics.errors import UserError
from plumbline.basics.params import Train
from plumbline.bits import initial, rows, scoring, stream
from plumbline.model import network
from plumbline.training import loop, networks, progress
from plumbline.training.networks import Drawn

NETWORK = network.read(ROOT / network.PATH)
NONE = np.empty((0, 4), np.float32), np.empty(0, np.int32)


def settings(**changes):
    values = {
        "encoding": "raw",
        "hidden_size": 8,
        "learning_rate": 0.01,
        "schedule": "constant",
        "weight_decay": 0.0,
        "input_rate": 0.0,
        "ema_decay": 0.0,
        "class_weight": "none",
        "batch_size": 32,
        "epochs": 3,
        "patience": 0,
        "held_out": 0.0,
        "fold_rows": 1.0,
        "members": 1,
        "replicas": 4,
        "engine": "compiled",
        "device": "cpu",
    }
    return Train(**values | changes)


def problem(n=90, d=4, h=8, replicas=4, epochs=3, members=1):
    """Rows, and what the members of so many networks drew."""
    generators = [stream.seeded(r) for r in range(replicas * members)]
    x = stream.normal(stream.seeded(99), n * d).reshape(n, d)
    y = (x[:, 0] + x[:, 1] ** 2 > 0.5).astype(np.int32)
    weights = initial.weights(generators, d, h, 1)
    shuffles = np.stack([stream.shuffle_seeds(g, epochs) for g in generators])
    held_out = np.arange(replicas * members, dtype=np.uint64)
    seen = rows.numbers(d), [np.arange(d)]
    return (x, y), Drawn((d, h, 1), h * (d + 2) + 1, members, 0, weights, shuffles, held_out, *seen)


VIEWS = [np.array([0, 1, 2]), np.array([1, 2, 3])]


def in_views(drawn):
    """The same networks, but that each member sees three of the four columns."""
    drawn = msgspec.structs.replace(drawn, views=VIEWS)
    for weights, view in zip(drawn.weights["net.0.weight"], drawn.view_of(np.arange(len(drawn.shuffles)))):
        weights[:, 3 - 3 * view] = 0.0
    return drawn


def watched_problem(replicas=4, epochs=25, members=1, views=False, **changes):
    """A small noisy task in which networks overfit, each at its own time: what `train` takes."""
    (x, y), drawn = problem(replicas=replicas, epochs=epochs, members=members)
    drawn = in_views(drawn) if views else drawn
    y = np.where(np.random.default_rng(0).random(90) < 0.3, 1 - y, y).astype(np.int32)
    chosen = settings(replicas=replicas, epochs=epochs, members=members, learning_rate=0.05, **changes)
    return drawn, (x[:60], y[:60]), (x[60:], y[60:]), chosen


def train(drawn, data, watch, chosen, keeper=None, net=NETWORK):
    return loop.train(drawn, data, watch, chosen, net, keeper)


def assert_same(ours, theirs):
    """To the bit."""
    assert ours.history.tobytes() == theirs.history.tobytes()
    for a, b in ((ours.weights, theirs.weights), (ours.by_epoch, theirs.by_epoch)):
        assert a.keys() == b.keys()
        assert all(a[name].tobytes() == b[name].tobytes() for name in b)


def kept_epoch(trained):
    """Network 0's, whose loss was the lowest."""
    return 1 + int(trained.history[:, 0, 3].argmin())


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    numba.set_num_threads(1)  # of small work, beside other tests


def test_groups_of_networks_change_nothing(monkeypatch):
    data, drawn = problem()
    together = train(drawn, data, NONE, settings())
    monkeypatch.setattr(loop, "SHUFFLED_ROWS", 1)
    assert_same(train(drawn, data, NONE, settings()), together)


def test_members_are_trained_as_if_the_columns_that_they_do_not_see_were_not_there():
    drawn, (x, y), (other, theirs), chosen = watched_problem(members=3, views=True, patience=4, input_rate=3.0)
    whole = train(drawn, (x, y), (other, theirs), chosen)
    for line in range(12):
        view = line % 3 % 2
        weights = {name: array[line : line + 1] for name, array in drawn.weights.items()}
        weights["net.0.weight"] = weights["net.0.weight"][:, :, VIEWS[view]]
        of_three = {"sizes": (3, 8, 1), "layout": rows.numbers(3), "views": [np.arange(3)], "weights": weights}
        alone = msgspec.structs.replace(drawn, members=1, shuffles=drawn.shuffles[line : line + 1], **of_three)
        seen = ((np.ascontiguousarray(each[:, VIEWS[view]]), y) for each, y in ((x, y), (other, theirs)))
        kept = train(alone, *seen, chosen).weights
        for name, array in kept.items():
            found = whole.weights[name][line : line + 1]
            if name == "net.0.weight":
                assert (found[:, :, 3 - 3 * view] == 0.0).all()
                found = found[:, :, VIEWS[view]]
            assert found.tobytes() == array.tobytes()


def test_a_watched_part_is_scored_and_changes_no_weight():
    data, drawn = problem()
    seen, unseen = train(drawn, data, data, settings()), train(drawn, data, NONE, settings())
    assert (seen.history.shape, unseen.history.shape) == ((3, 1, 5), (3, 1, 3))
    p = scoring.probabilities(data[0], {name: array[:1] for name, array in seen.weights.items()})[0, :, 0]
    assert seen.history[-1, 0, 4] == ((p >= 0.5) == data[1]).mean()
    assert all((seen.weights[name] == unseen.weights[name]).all() for name in seen.weights)


def test_a_loss_that_is_not_finite_names_epoch_network_and_learning_rate():
    data, drawn = problem()
    with pytest.raises(UserError, match=r"epoch 1 of network 0; train.learning_rate is 1e.30, lower it"):
        train(drawn, data, NONE, settings(learning_rate=1e30))
    job = loop.Job(data, NONE, settings(), NETWORK, None, None)
    with pytest.raises(UserError, match=r"epoch 7 of network 14;.*\(train.encoding\)$"):
        loop.check_finite(np.array([[0.1, 1], [0.1, 1], [np.inf, 0.5]]), 7, np.array([10, 12, 14]), job)
    other = job._replace(network=msgspec.structs.replace(NETWORK, path="stages/network.py", tree="another"))
    with pytest.raises(UserError, match=r"or mend stages/network\.py$"):
        loop.check_finite(np.array([[np.nan, 1]]), 1, np.array([0]), other)


def test_patience_with_nothing_to_watch_is_refused():
    data, drawn = problem()
    with pytest.raises(UserError, match=r"validation part has no rows, and train.patience watches them"):
        train(drawn, data, NONE, settings(patience=2))


def test_early_stopping_keeps_the_epoch_of_the_lowest_validation_loss():
    drawn, data, (x, y), chosen = watched_problem(patience=4)
    trained = train(drawn, data, (x, y), chosen)
    kept, losses = kept_epoch(trained), trained.history[:, 0, 3]
    assert len(losses) == kept + 4 < 25
    for name, array in trained.weights.items():
        np.testing.assert_array_equal(array[0], trained.by_epoch[name][kept - 1])
    p = scoring.probabilities(x, {name: array[:1] for name, array in trained.weights.items()})[0, :, 0].astype(float)
    assert min(losses) == pytest.approx(-np.log(np.where(y == 1, p, 1 - p)).mean(), rel=1e-6)


@pytest.mark.parametrize("changes", [{}, {"held_out": 0.2}, {"members": 2}])
def test_networks_stop_independently_with_the_bits_they_have_alone(monkeypatch, changes):
    drawn, data, watch, chosen = watched_problem(replicas=5, patience=3, **changes)
    together = train(drawn, data, watch, chosen)
    for r in range(5):
        alone = train(drawn.take(slice(r, r + 1)), data, watch, chosen)
        for name, array in alone.weights.items():
            np.testing.assert_array_equal(array, together.weights[name][r * drawn.members :][: drawn.members])
        assert len(alone.history) == (len(together.history) if r == 0 else 0)
    monkeypatch.setattr(loop, "SHUFFLED_ROWS", 60 * 2)
    assert_same(train(drawn, data, watch, chosen), together)


def test_of_large_networks_the_weights_of_some_epochs_are_kept_and_all_figures(monkeypatch):
    drawn, data, watch, chosen = watched_problem(members=2)
    every = train(drawn, data, watch, chosen)
    d, h, k = drawn.sizes
    monkeypatch.setattr(networks, "KEPT", 100 * 2 * h * (d + 1 + k) // 8 + 1)
    some = train(drawn, data, watch, chosen)
    assert drawn.every == 8 and some.history.tobytes() == every.history.tobytes()
    for name, array in every.by_epoch.items():
        at = [2 * (epoch - 1) + member for epoch in (1, 9, 17, 25) for member in range(2)]
        np.testing.assert_array_equal(some.by_epoch[name], array[at])


def test_patience_that_never_runs_out_keeps_the_best_of_all_epochs():
    patient, through = train(*watched_problem(patience=100)), train(*watched_problem())
    assert patient.history.tobytes() == through.history.tobytes()
    last, best = len(through.history), kept_epoch(patient)
    assert best < last
    for name, array in through.weights.items():
        np.testing.assert_array_equal(array[0], through.by_epoch[name][last - 1])
        np.testing.assert_array_equal(patient.weights[name][0], through.by_epoch[name][best - 1])


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_a_network_is_one_given_its_rows_as_training_and_validation_part(engine):
    """Cut beforehand into two tables, the same network comes out of held_out."""
    drawn, (x, y), _, chosen = watched_problem(replicas=3, patience=3, held_out=0.2, engine=engine)
    ours = train(drawn, (x, y), NONE, chosen)
    trained, watched = networks.hold_out(drawn.held_out, y, 0.2)
    plain = msgspec.structs.replace(chosen, held_out=0.0)
    for r in range(3):
        one = msgspec.structs.replace(drawn.take(slice(r, r + 1)), first=0)
        theirs = train(one, (x[trained[r]], y[trained[r]]), (x[watched[r]], y[watched[r]]), plain)
        for name, array in theirs.weights.items():
            tolerance = 0 if engine == "compiled" else 1e-4
            np.testing.assert_allclose(ours.weights[name][r], array[0], rtol=0, atol=tolerance)
        if r == 0:
            np.testing.assert_allclose(ours.history, theirs.history, rtol=0, atol=tolerance)


def test_what_a_network_holds_out_moves_no_weight():
    drawn, (x, y), _, chosen = watched_problem(replicas=1, held_out=0.2)
    before = train(drawn, (x, y), NONE, chosen)
    x = x.copy()
    x[networks.hold_out(drawn.held_out, y, 0.2)[1][0]] = 9.0
    after = train(drawn, (x, y), NONE, chosen)
    assert all((before.weights[name] == after.weights[name]).all() for name in before.weights)
    assert before.history[-1, 0, 3] != after.history[-1, 0, 3]


def test_a_validation_part_is_then_left_for_the_judge():
    drawn, data, _, chosen = watched_problem(replicas=2, patience=3, held_out=0.2)
    assert_same(train(drawn, data, NONE, chosen), train(drawn, data, (data[0], 1 - data[1]), chosen))


@pytest.mark.parametrize("patience", [0, 3])
def test_history_and_epochs_are_those_of_the_members_alone(patience):
    """Each trained alone; where one has stopped, it stands as it was kept."""
    drawn, data, watch, chosen = watched_problem(replicas=2, members=3, patience=patience)
    ours = train(drawn, data, watch, chosen)
    plain, alone = msgspec.structs.replace(chosen, members=1), []
    for i in range(6):
        one = {name: array[i : i + 1] for name, array in drawn.weights.items()}
        one = msgspec.structs.replace(drawn, members=1, weights=one, shuffles=drawn.shuffles[i : i + 1])
        alone.append(train(one, data, watch, plain))
        for name, array in alone[i].weights.items():
            np.testing.assert_array_equal(ours.weights[name][i], array[0])
    lengths = [len(run.history) for run in alone[:3]]
    assert (len(set(lengths)) > 1) == bool(patience)
    assert len(ours.history) == max(lengths)
    for e, members in enumerate(ours.history):
        at = [e if e < len(run.history) else kept_epoch(run) - 1 for run in alone[:3]]
        np.testing.assert_array_equal(members, [run.history[i, 0] for i, run in zip(at, alone)])
        for name, array in ours.by_epoch.items():
            np.testing.assert_array_equal(
                array[3 * e : 3 * e + 3], [run.by_epoch[name][i] for i, run in zip(at, alone)]
            )


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_balanced_is_none_where_classes_are_equally_frequent_and_else_another(engine):
    drawn, (x, y), watch, _ = watched_problem(replicas=2, epochs=3)
    y = np.arange(60, dtype=np.int32) % 2
    for held_out in (0.0, 0.2):
        plain = settings(replicas=2, held_out=held_out, engine=engine)
        balanced = msgspec.structs.replace(plain, class_weight="balanced")
        assert_same(train(drawn, (x, y), watch, balanced), train(drawn, (x, y), watch, plain))
    rare = np.where(x[:, 0] > 1, 1, 0).astype(np.int32)
    none, balanced = (train(drawn, (x, rare), watch, each).weights["net.0.bias"] for each in (plain, balanced))
    assert (none != balanced).any()


def test_cosine_is_torchs_schedule_stepped_every_epoch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=13)
    for epoch in range(1, 14):
        chosen = settings(schedule="cosine", learning_rate=0.3, epochs=13)
        assert 0.3 * loop.share_of_rate(chosen, epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        schedule.step()


def test_the_epochs_that_are_said_are_the_notebooks_and_about_twenty_of_a_long_run():
    row = {"epoch": 5, "train_loss": 0.20432, "train_accuracy": 0.91875, "validation_loss": 0.31}
    assert (
        progress.said(row, 20, "held-out") == "epoch  5: train loss 0.2043, train accuracy 0.919, held-out loss 0.3100"
    )
    for epochs in (20, 400, 1000):
        said = [e for e in range(1, epochs + 1) if progress.said(row | {"epoch": e}, epochs, "validation")]
        assert said[0] == 1 and said[-1] == epochs and len(said) <= 21
