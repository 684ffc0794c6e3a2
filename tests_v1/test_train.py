import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import assert_one_line

from stages import kernel, model, stream, training
from stages.errors import UserError
from stages.params import Train


def settings(**changes):
    values = {
        "encoding": "raw",
        "hidden_size": 8,
        "learning_rate": 0.01,
        "schedule": "constant",
        "weight_decay": 0.0,
        "batch_size": 32,
        "epochs": 3,
        "patience": 0,
        "held_out": 0.0,
        "members": 1,
        "replicas": 4,
        "engine": "compiled",
        "device": "cpu",
    }
    return Train(**values | changes)


def problem(n=90, d=4, h=8, replicas=4, epochs=3):
    generators = [stream.seeded(r) for r in range(replicas)]
    x = stream.normal(stream.seeded(99), n * d).reshape(n, d)
    y = (x[:, 0] + x[:, 1] ** 2 > 0.5).astype(np.int32)
    weights = model.initial_weights(generators, d, h, 1)
    return (x, y), weights, np.stack([stream.shuffle_seeds(g, epochs) for g in generators])


def silent(networks, line):
    pass


NONE = np.empty((0, 4), np.float32), np.empty(0, np.int32)


def test_groups_of_networks_change_nothing(monkeypatch):
    data, weights, shuffles = problem()
    together = training.train(data, NONE, weights, shuffles, settings(), silent)
    monkeypatch.setattr(training, "SHUFFLED_ROWS", 1)
    apart = training.train(data, NONE, weights, shuffles, settings(), silent)
    assert together[2] == apart[2]
    for ours, theirs in zip(together[:2], apart[:2]):
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_watched_part_is_scored_and_changes_no_weight():
    data, weights, shuffles = problem()
    seen = training.train(data, data, weights, shuffles, settings(), silent)
    unseen = training.train(data, NONE, weights, shuffles, settings(), silent)
    assert list(seen[2][0]) == ["epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]
    p = kernel.probabilities(data[0], {name: array[:1] for name, array in seen[0].items()})[0, :, 0]
    assert seen[2][-1]["validation_accuracy"] == ((p >= 0.5) == data[1]).mean()
    for name in seen[0]:
        np.testing.assert_array_equal(seen[0][name], unseen[0][name])


def test_a_loss_that_is_not_finite_names_epoch_network_and_learning_rate(project):
    project.set(train__learning_rate=1e30)
    project.stage("make_data")
    project.stage("split")
    assert_one_line(
        project.stage("train", fails=True), "epoch 1 of network 0", "train.learning_rate is 1e+30", "lower it"
    )
    with pytest.raises(UserError, match="epoch 7 of network 14;"):
        training.check_finite(np.array([[0.1, 1], [0.1, 1], [np.inf, 0.5]]), 7, np.array([10, 12, 14]), 0.5)


def test_the_torch_engine_prints_the_same_figures(project, default):
    project.set(train__engine="torch", train__replicas=2)
    for name in ("make_data", "split"):
        project.stage(name)
    assert project.stage("train").stderr == ""
    assert_the_printed_figures(project, default)


def assert_the_printed_figures(project, default):
    """Those of the epochs that the notebook printed, after `dvc repro`."""
    project.run("dvc", "repro", "-q")
    for name, columns in {"metrics/history.csv": "train", "metrics/plots/test_epochs.csv": "test"}.items():
        ours, theirs = (pd.read_csv(side.path(name)) for side in (project, default))
        for metric, decimals in (("loss", 4), ("accuracy", 3)):
            column = f"{columns}_{metric}"
            same = [f"{a:.{decimals}f}" == f"{b:.{decimals}f}" for a, b in zip(ours[column], theirs[column])]
            assert all(same[i] for i in (0, 4, 9, 14, 19)), column


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_said_before_the_work(project):
    project.set(train__engine="torch", train__device="cuda")
    assert_one_line(project.stage("train", fails=True), "train.device is cuda", torch.__version__, "set it to cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_prints_the_same_figures(project, default):
    project.set(train__engine="torch", train__device="cuda", train__replicas=2)
    assert_the_printed_figures(project, default)


def test_a_replica_is_what_it_is_alone_through_the_whole_stage(project, default):
    project.set(train__replicas=3)
    project.run("dvc", "repro", "-q", NUMBA_NUM_THREADS="1")
    few, many = (model.load(side.path("models/model.safetensors")).weights for side in (project, default))
    for name in few:
        np.testing.assert_array_equal(few[name], many[name][:3])
    for same in ("models/epochs.safetensors", "metrics/history.csv", "metrics/train.json"):
        assert project.path(same).read_bytes() == default.path(same).read_bytes(), same


def test_the_test_part_is_not_among_trains_dependencies(default):
    import yaml

    lock = yaml.safe_load(default.read("dvc.lock"))
    paths = {dep["path"] for dep in lock["stages"]["train"]["deps"]}
    assert "data/train.parquet" in paths
    assert not {path for path in paths if "test" in path or "dataset" in path}


def test_compiling_is_said_once_and_shared(project, tmp_path):
    cache = str(tmp_path / "cache")
    project.stage("make_data")
    project.stage("split")
    first = project.stage("train", XDG_CACHE_HOME=cache).stderr
    assert first.count("compiling") == 1
    again = project.stage("train", XDG_CACHE_HOME=cache)
    assert again.stderr == ""
    elsewhere = tmp_path / "elsewhere"
    project.run("git", "worktree", "add", "-q", str(elsewhere))
    project.run("cp", "-r", "data", str(elsewhere / "data"))
    project.folder = elsewhere
    assert project.stage("train", XDG_CACHE_HOME=cache).stderr == ""


def test_a_cache_that_cannot_be_written_is_done_without(project, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    project.stage("make_data", XDG_CACHE_HOME=str(file))
    assert project.path("data/dataset.parquet").exists()


def watched_problem(replicas=4, epochs=25, engine="compiled", **changes):
    """A small noisy task in which networks overfit, each at its own time."""
    data, weights, shuffles = problem(replicas=replicas, epochs=epochs)
    (x, y), rng = data, np.random.default_rng(0)
    y = np.where(rng.random(90) < 0.3, 1 - y, y).astype(np.int32)
    chosen = settings(epochs=epochs, engine=engine, learning_rate=0.05, **changes)
    return ((x[:60], y[:60]), (x[60:], y[60:]), weights, shuffles, chosen)


def test_early_stopping_keeps_the_epoch_of_the_lowest_validation_loss():
    arguments = watched_problem(patience=4)
    weights, epochs, history, kept = training.train(*arguments, silent)
    losses = [row["validation_loss"] for row in history]
    assert kept == 1 + int(np.argmin(losses))
    assert len(history) == kept + 4 < 25
    for name in weights:
        np.testing.assert_array_equal(weights[name][0], epochs[name][kept - 1])
    x, y = arguments[1]
    p = kernel.probabilities(x, {name: array[:1] for name, array in weights.items()})[0, :, 0].astype(float)
    assert min(losses) == pytest.approx(-np.log(np.where(y == 1, p, 1 - p)).mean(), rel=1e-6)


def test_networks_stop_independently_with_the_bits_they_have_alone(monkeypatch):
    data, watch, weights, shuffles, chosen = watched_problem(replicas=5, patience=3)
    together = training.train(data, watch, weights, shuffles, chosen, silent)[0]
    for r in range(5):
        one = {name: array[r : r + 1] for name, array in weights.items()}
        alone = training.train(data, watch, one, shuffles[r : r + 1], chosen, silent)[0]
        for name in alone:
            np.testing.assert_array_equal(alone[name][0], together[name][r])
    monkeypatch.setattr(training, "SHUFFLED_ROWS", 60 * 2)
    apart = training.train(data, watch, weights, shuffles, chosen, silent)[0]
    for name in apart:
        np.testing.assert_array_equal(apart[name], together[name])


def test_patience_that_never_runs_out_keeps_the_best_of_all_epochs():
    patient = training.train(*watched_problem(patience=100), silent)
    through = training.train(*watched_problem(), silent)
    assert patient[2] == through[2]
    assert through[3] == 25
    assert patient[3] == 1 + int(np.argmin([row["validation_loss"] for row in through[2]]))


def batched_trainer(settings, data, weights, group=None):
    """What train.device: cuda trains with, here on the CPU."""
    from stages import batched

    given = *data, weights, settings.batch_size, settings.learning_rate, settings.weight_decay
    return batched.Trainer(*given, "cpu", group)


@pytest.mark.parametrize("trainer_for", [training.trainer_for, batched_trainer])
@pytest.mark.parametrize("changes", [{"patience": 3}, {"schedule": "cosine", "weight_decay": 0.1}])
def test_all_engines_have_the_same_settings(changes, trainer_for, monkeypatch):
    ours = training.train(*watched_problem(replicas=2, epochs=8, **changes), silent)
    monkeypatch.setattr(training, "trainer_for", trainer_for)
    theirs = training.train(*watched_problem(replicas=2, epochs=8, engine="torch", **changes), silent)
    assert ours[3] == theirs[3]
    for name in ours[0]:
        np.testing.assert_allclose(ours[0][name], theirs[0][name], atol=1e-3)


def test_cosine_is_torchs_schedule_stepped_every_epoch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=13)
    for epoch in range(1, 14):
        chosen = settings(schedule="cosine", learning_rate=0.3, epochs=13)
        assert 0.3 * training.share_of_rate(chosen, epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        schedule.step()


def test_the_kept_epoch_is_in_the_metrics_and_the_model(project):
    project.set(split__train=0.6, split__validation=0.2, train__patience=2, train__epochs=40, train__replicas=2)
    project.set(train__learning_rate=0.1)
    project.run("dvc", "repro", "-q")
    history = pd.read_csv(project.path("metrics/history.csv"))
    figures = json.loads(project.read("metrics/train.json"))
    best = history.loc[history["validation_loss"].idxmin()]
    assert figures["epoch"] == best["epoch"] == len(history) - 2
    assert figures["validation_loss"] == best["validation_loss"]
    assert figures["loss"] == best["train_loss"]
    tested = pd.read_csv(project.path("metrics/plots/test_epochs.csv"))
    assert len(tested) == len(history)
    assert tested["test_loss"][figures["epoch"] - 1] == json.loads(project.read("metrics/evaluate.json"))["log_loss"]
    assert f"epoch {figures['epoch']}" in project.stage("report").stdout
