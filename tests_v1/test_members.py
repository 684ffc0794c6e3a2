import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import assert_one_line
from test_train import settings, silent, watched_problem

from stages import kernel, members, model, network, stream, training


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_merged_network_is_the_mean_logit_of_its_members(k, count):
    weights = model.initial_weights([stream.seeded(i) for i in range(2 * count)], 4, 7, k)
    merged = members.merged(weights, count)
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    for r in range(2):
        module = network.module_of(merged, r)
        assert sum(p.numel() for p in module.parameters()) == count * 7 * (4 + 1 + k) + k
        apart = [network.module_of(weights, r * count + m)(x) for m in range(count)]
        torch.testing.assert_close(module(x), torch.stack(apart).mean(0), atol=1e-6, rtol=1e-5)
    if count == 1:
        for name in weights:
            assert merged[name].tobytes() == weights[name].tobytes()


@pytest.mark.parametrize("engine", ["compiled", "torch"])
@pytest.mark.parametrize("patience", [0, 3])
def test_history_and_epochs_are_those_of_the_members_alone(engine, patience):
    """Each trained alone; where one has stopped, it stands as it was kept."""
    data, watch, weights, shuffles, chosen = watched_problem(replicas=6, engine=engine, patience=patience, members=3)
    ours = training.train(data, watch, weights, shuffles, chosen, silent)
    alone = []
    for i in range(6):
        one = {name: array[i : i + 1] for name, array in weights.items()}
        plain = settings(**{name: getattr(chosen, name) for name in chosen.__struct_fields__} | {"members": 1})
        alone.append(training.train(data, watch, one, shuffles[i : i + 1], plain, silent))
        for name in one:
            np.testing.assert_array_equal(ours[0][name][i], alone[i][0][name][0])
    history, last = members.course(ours[2], 3, patience)
    lengths = [len(run[2]) for run in alone[:3]]
    assert (len(set(lengths)) > 1) == bool(patience)
    assert len(history) == max(lengths)
    for i, row in enumerate(history):
        at = [i if i < len(run[2]) else run[3] - 1 for run in alone[:3]]
        assert row["epoch"] == i + 1
        for name in ("train_loss", "validation_accuracy"):
            assert row[name] == pytest.approx(np.mean([run[2][e][name] for e, run in zip(at, alone)]), rel=1e-14)
        for name in weights:
            expected = [run[1][name][e] for e, run in zip(at, alone)]
            np.testing.assert_array_equal(ours[1][name][3 * i : 3 * i + 3], expected)
    kept = [run[2][run[3] - 1] for run in alone[:3]]
    assert last["validation_loss"] == pytest.approx(np.mean([row["validation_loss"] for row in kept]), rel=1e-14)
    assert last["epoch"] == ours[3] == max(run[3] for run in alone[:3])


def test_groups_of_networks_change_nothing(monkeypatch):
    arguments = watched_problem(replicas=6, patience=3, members=2)
    together = training.train(*arguments, silent)
    monkeypatch.setattr(training, "SHUFFLED_ROWS", 1)
    apart = training.train(*arguments, silent)
    assert together[2:] == apart[2:]
    for ours, theirs in zip(together[:2], apart[:2]):
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_through_the_stages(project):
    """Two replicas of three members: replica 0's are those of one replica, and each first one is the plain network."""
    changes = {"held_out": 0.1, "patience": 2, "epochs": 30, "learning_rate": 0.1, "replicas": 2, "hidden_size": 8}
    project.set(**{f"train__{name}": value for name, value in changes.items()})
    project.run("dvc", "repro", "-q")
    plain = model.load(project.path("models/model.safetensors")).weights
    project.set(train__members=3)
    project.run("dvc", "repro", "-q")
    merged, epochs = (model.load(project.path(f"models/{name}.safetensors")) for name in ("model", "epochs"))
    assert merged.sizes == epochs.sizes == (10, 24, 1)
    np.testing.assert_array_equal(merged.weights["net.0.weight"][:, :8], plain["net.0.weight"])
    np.testing.assert_array_equal(merged.weights["net.2.weight"][:, :, :8], plain["net.2.weight"] / np.float32(3))
    figures, history = json.loads(project.read("metrics/train.json")), pd.read_csv(project.path("metrics/history.csv"))
    assert figures["parameters"] == 24 * (10 + 1 + 1) + 1
    assert figures["validation_loss"] <= history["validation_loss"].min()
    assert history["epoch"].tolist() == list(range(1, len(history) + 1)) and figures["epoch"] < len(history)
    tested = pd.read_csv(project.path("metrics/plots/test_epochs.csv"))
    assert len(tested) == len(history)
    said = project.stage("report").stdout
    assert f"Kept: epoch {figures['epoch']} of {len(history)}, each member at its lowest validation loss" in said

    one, two = {}, {}
    for replicas, written in ((2, two), (1, one)):
        project.set(train__replicas=replicas)
        out = project.stage("train", NUMBA_NUM_THREADS=str(replicas)).stdout
        for name in ("models/epochs.safetensors", "metrics/history.csv", "metrics/train.json"):
            written[name] = project.path(name).read_bytes()
    assert "289 parameters, 1 networks of 3 members" in out
    assert one == two
    alone = model.load(project.path("models/model.safetensors")).weights
    for name in alone:
        np.testing.assert_array_equal(alone[name][0], merged.weights[name][0])
    part = pd.read_parquet(project.path("data/test.parquet")).filter(regex="^x").to_numpy(np.float32).copy()
    p = kernel.probabilities(part, alone)[0, :, 0]
    with torch.no_grad():
        module = network.load(project.path("models/model.safetensors"))
        np.testing.assert_allclose(torch.sigmoid(module(torch.from_numpy(part)))[:, 0], p, atol=1e-6)


def test_no_members_are_refused(project):
    project.set(train__members=0)
    assert_one_line(project.stage("make_data", fails=True), "train.members must be an integer >= 1, not 0")
