import numpy as np
import pandas as pd
import pytest
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
        "replicas": 4,
        "engine": "compiled",
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
    project.run("dvc", "repro", "-q")
    for name, columns in {"metrics/history.csv": "train", "metrics/plots/test_epochs.csv": "test"}.items():
        ours, theirs = (pd.read_csv(side.path(name)) for side in (project, default))
        for metric, decimals in (("loss", 4), ("accuracy", 3)):
            column = f"{columns}_{metric}"
            same = [f"{a:.{decimals}f}" == f"{b:.{decimals}f}" for a, b in zip(ours[column], theirs[column])]
            assert all(same[i] for i in (0, 4, 9, 14, 19)), column


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
