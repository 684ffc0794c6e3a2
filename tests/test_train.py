"""The stage train, as a user runs it: engines, edits of the network, members, and a kill at any moment."""

import contextlib
import json
import os
import random
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ENVIRONMENT, ROOT, assert_one_line, dvc

from plumbline.bits import scoring
from plumbline.model import model, module, network

PRINTED = (0, 4, 9, 14, 19)  # the epochs that the notebook printed, counted from 0
EDITS = {
    "Tanh": ("nn.ReLU()", "nn.Tanh()"),
    "a third layer": ("nn.ReLU(),", "nn.ReLU(), nn.Linear(hidden_size, hidden_size), nn.ReLU(),"),
    "dropout": ("nn.ReLU(),", "nn.ReLU(), nn.Dropout(0.2),"),
    "batch norm": ("nn.ReLU(),", "nn.BatchNorm1d(hidden_size), nn.ReLU(),"),
    "the pitfall": ("return self.net(x)", "return torch.sigmoid(self.net(x))"),
}


def edit(workspace, before, after):
    source = workspace.read(network.PATH)
    assert before in source
    workspace.path(network.PATH).write_text(source.replace(before, after))


def figures(workspace, name):
    return json.loads(workspace.read(f"metrics/{name}.json"))


def assert_the_printed_figures(ours, theirs):
    """Those of the epochs that the notebook printed."""
    for name, part in {"metrics/history.csv": "train", "metrics/plots/test_epochs.csv": "test"}.items():
        mine, other = (pd.read_csv(side.path(name)) for side in (ours, theirs))
        for metric, decimals in (("loss", 4), ("accuracy", 3)):
            column = f"{part}_{metric}"
            same = [f"{a:.{decimals}f}" == f"{b:.{decimals}f}" for a, b in zip(mine[column], other[column])]
            assert all(same[i] for i in PRINTED), column


def test_the_torch_engine_prints_the_same_figures(workspace, default):
    workspace.set(train__engine="torch", train__replicas=2)
    done = workspace.repro()
    assert done[2].stderr == ""
    assert_the_printed_figures(workspace, default)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_prints_the_same_figures(workspace, default):
    workspace.set(train__device="cuda", train__replicas=2)
    workspace.repro()
    assert_the_printed_figures(workspace, default)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_said_before_the_work(workspace):
    workspace.set(train__device="cuda")
    assert_one_line(workspace.run("train", fails=True), "train.device is cuda", torch.__version__, "set it to cpu")


@pytest.mark.parametrize("name", EDITS)
def test_what_is_written_is_what_is_trained_and_scored(workspace, name):
    """Every way to score the model file says the same: evaluate's file, predict, and the module taken home."""
    workspace.set(train__replicas=3, train__epochs=6, train__members=2 if name == "Tanh" else 1)
    edit(workspace, *EDITS[name])
    done = workspace.repro()
    assert done[2].stdout.startswith("stages/network.py is not the network as shipped: PyTorch trains and scores it")
    test = pd.read_parquet("data/test.parquet")
    features = test[[f"x{i}" for i in range(10)]].to_numpy(np.float32)
    predictions = pd.read_parquet("metrics/predictions.parquet")
    given = np.stack(predictions[predictions["part"] == "test"]["probability"].to_numpy())
    for replica in (0, 2):
        home = module.load("models/model.safetensors", replica)
        with torch.no_grad():
            ours = torch.sigmoid(home(torch.from_numpy(features.copy())))[:, 0]
        np.testing.assert_allclose(given[:, replica], ours, rtol=1e-4, atol=1e-6)
    test[[f"x{i}" for i in range(10)]].to_csv("new.csv", index=False)
    workspace.run("commands.predict", "new.csv", "--output", "scored.csv")
    np.testing.assert_allclose(pd.read_csv("scored.csv")["probability_1"], given[:, 0], rtol=1e-4, atol=1e-6)
    accuracy, loss = figures(workspace, "evaluate")["accuracy"], figures(workspace, "train")["loss"]
    if name == "the pitfall":  # it never says no: all of its logits are above 0
        assert accuracy == pytest.approx(test["y"].mean()) and loss > 0.5
    else:
        assert accuracy > 0.8 and loss < 0.45


def test_another_network_trains_as_the_notebook_would(workspace):
    """The notebook's own loop with nn.Tanh, from its one generator: the same figures in every epoch."""
    edit(workspace, *EDITS["Tanh"])
    workspace.set(train__replicas=2, train__epochs=5)
    for stage in ("make_data", "split", "train"):
        workspace.run(stage)
    torch.manual_seed(42)
    x, noise = torch.randn(1000, 10), torch.randn(1000)
    y = (1.4 * x[:, 0] - x[:, 1] + 0.8 * x[:, 2] * x[:, 3] - 0.5 * x[:, 4] ** 2 + 0.25 * noise > 0).float().unsqueeze(1)
    train, test = torch.randperm(1000).split([800, 200])
    loaders = [
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x[rows], y[rows]), batch_size=size, shuffle=shuffle)
        for rows, size, shuffle in ((train, 32, True), (test, 64, False))
    ]
    net = torch.nn.Sequential(torch.nn.Linear(10, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    optimizer, loss_fn = torch.optim.Adam(net.parameters(), lr=1e-2), torch.nn.BCEWithLogitsLoss()
    losses = []
    for _ in range(5):
        total = 0.0
        for rows, labels in loaders[0]:
            loss = loss_fn(net(rows), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        list(loaders[1])  # its pass draws a number too
        losses.append(total / 800)
    np.testing.assert_allclose(pd.read_csv("metrics/history.csv")["train_loss"], losses, rtol=1e-4)


def test_the_compiled_engine_refuses_another_network(workspace):
    workspace.run("make_data")
    workspace.run("split")
    edit(workspace, *EDITS["Tanh"])
    workspace.set(train__engine="compiled")
    refused = "train.engine is compiled, and stages/network.py is not the network as shipped"
    assert_one_line(workspace.run("train", fails=True), refused, "set it to auto")


def test_a_model_of_another_network_is_refused_by_evaluate(workspace):
    workspace.set(train__replicas=2, train__epochs=2)
    workspace.repro()
    edit(workspace, *EDITS["Tanh"])
    assert_one_line(workspace.run("evaluate", fails=True), "models/model.safetensors was trained with another network")


def test_what_is_broken_in_the_network_is_one_line(workspace):
    workspace.run("make_data")
    workspace.run("split")
    edit(workspace, "return self.net(x)", "return self.net(x))")
    assert_one_line(workspace.run("train", fails=True), "stages/network.py line 28: unmatched ')'; mend it")


def test_a_loss_that_is_not_finite_is_one_line(workspace):
    workspace.set(train__learning_rate=1e30)
    workspace.run("make_data")
    workspace.run("split")
    done = workspace.run("train", fails=True)
    assert_one_line(done, "epoch 1 of network 0", "train.learning_rate is 1e+30", "lower it")


def test_a_replica_is_what_it_is_alone_through_the_whole_stage(workspace, default):
    workspace.set(train__replicas=3)
    workspace.repro()
    few, many = (model.load(side.path("models/model.safetensors")).weights for side in (workspace, default))
    for name in few:
        np.testing.assert_array_equal(few[name], many[name][:3])
    few, many = (epochs_of(side) for side in (workspace, default))
    assert few.keys() == many.keys()
    for name in few:
        np.testing.assert_array_equal(few[name], many[name])
    for same in ("metrics/history.csv", "metrics/train.json"):
        assert workspace.path(same).read_bytes() == default.path(same).read_bytes(), same


def epochs_of(files):
    """Network 0's weights of each epoch; the file also says of which model file they are."""
    return model.load(files.path("models/epochs.safetensors"), beside=files.path("models/model.safetensors")).weights


def test_the_test_part_is_not_among_trains_dependencies(default):
    import yaml

    lock = yaml.safe_load(default.read("dvc.lock"))
    paths = {dep["path"] for dep in lock["stages"]["train"]["deps"]}
    assert "data/train.parquet" in paths and "stages/network.py" in paths
    assert not {path for path in paths if "test" in path or "dataset" in path}


def test_the_shipped_network_is_trained_without_torch(workspace):
    workspace.run("make_data")
    workspace.run("split")
    code = "import sys; from stages import train; train.main(); assert 'torch' not in sys.modules"
    done = subprocess.run(["python", "-c", code], env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_the_kept_epoch_is_in_the_metrics_and_the_model(workspace):
    workspace.set(split__train=0.6, split__validation=0.2, train__patience=2, train__epochs=40, train__replicas=2)
    workspace.set(train__learning_rate=0.1)
    workspace.repro()
    history, kept = pd.read_csv("metrics/history.csv"), figures(workspace, "train")
    best = history.loc[history["validation_loss"].idxmin()]
    assert kept["epoch"] == best["epoch"] == len(history) - 2
    assert kept["validation_loss"] == best["validation_loss"]
    assert kept["loss"] == best["train_loss"]
    tested = pd.read_csv("metrics/plots/test_epochs.csv")
    assert len(tested) == len(history)
    assert tested["test_loss"][kept["epoch"] - 1] == figures(workspace, "evaluate")["log_loss"]
    assert f"epoch {kept['epoch']}" in workspace.run("commands.report").stdout


def test_held_out_rows_and_no_validation_part(workspace):
    workspace.set(train__held_out=0.1, train__patience=2, train__epochs=30, train__learning_rate=0.1, train__replicas=3)
    done = workspace.repro()
    assert "each network holds out 80 of the 800 rows, to watch them" in done[2].stdout
    told = figures(workspace, "train")
    assert (told["rows"], told["batches"]) == (720, 23)
    assert told["validation_loss"] > 0
    assert "Kept: epoch" in workspace.run("commands.report").stdout


def test_members(workspace):
    """Two replicas of three members: replica 0's are those of one replica, and each first one is the plain network."""
    changes = {"held_out": 0.1, "patience": 2, "epochs": 30, "learning_rate": 0.1, "replicas": 2, "hidden_size": 8}
    workspace.set(**{f"train__{name}": value for name, value in changes.items()})
    workspace.repro()
    plain = model.load("models/model.safetensors").weights
    workspace.set(train__members=3)
    workspace.repro()
    merged, epochs = model.load("models/model.safetensors"), epochs_of(workspace)
    assert merged.card.sizes == (10, 24, 1)
    np.testing.assert_array_equal(merged.weights["net.0.weight"][:, :8], plain["net.0.weight"])
    np.testing.assert_array_equal(merged.weights["net.2.weight"][:, :, :8], plain["net.2.weight"] * np.float32(1 / 3))
    told, history = figures(workspace, "train"), pd.read_csv("metrics/history.csv")
    assert told["parameters"] == 24 * (10 + 1 + 1) + 1
    assert told["validation_loss"] <= history["validation_loss"].min()
    assert history["epoch"].tolist() == list(range(1, len(history) + 1)) and told["epoch"] < len(history)
    assert len(pd.read_csv("metrics/plots/test_epochs.csv")) == len(history)
    said = workspace.run("commands.report").stdout
    assert f"Kept: epoch {told['epoch']} of {len(history)}, each member at its lowest held-out loss" in said

    names = ("metrics/history.csv", "metrics/train.json")
    two = {name: workspace.path(name).read_bytes() for name in names}
    workspace.set(train__replicas=1)
    assert "289 parameters, 1 network of 3 members" in workspace.run("train").stdout
    assert two == {name: workspace.path(name).read_bytes() for name in names}
    for name, each in epochs_of(workspace).items():
        np.testing.assert_array_equal(each, epochs[name])
    alone = model.load("models/model.safetensors").weights
    for name in alone:
        np.testing.assert_array_equal(alone[name][0], merged.weights[name][0])
    part = pd.read_parquet("data/test.parquet").filter(regex="^x").to_numpy(np.float32).copy()
    p = scoring.probabilities(part, alone)[0, :, 0]
    with torch.no_grad():
        home = module.load("models/model.safetensors")
        np.testing.assert_allclose(torch.sigmoid(home(torch.from_numpy(part)))[:, 0], p, atol=1e-6)


def test_no_members_are_refused(workspace):
    workspace.set(train__members=0)
    assert_one_line(workspace.run("train", fails=True), "train.members must be an integer >= 1, not 0")


# ---- killed


OUTS = ("models/model.safetensors", "models/epochs.safetensors", "metrics/history.csv", "metrics/train.json")
RESUME = "models/resume-0-1.snapshot"


@pytest.fixture(scope="module")
def long_training(default, tmp_path_factory):
    """A copy whose training takes a second or two and keeps snapshots all along, and its bits when left alone."""
    project = default.copy(tmp_path_factory.mktemp("long") / "project")
    code = project.read("plumbline/training/snapshot.py")
    assert "EVERY = 5.0" in code and "SHARE = 0.02" in code
    code = code.replace("EVERY = 5.0", "EVERY = 0.05").replace("SHARE = 0.02", "SHARE = 0.5")
    project.path("plumbline/training/snapshot.py").write_text(code)
    project.set(train__epochs=700, train__replicas=2)
    dvc(project.folder, "repro", "-q")
    project.commit("left alone")
    return project, {name: project.path(name).read_bytes() for name in (*OUTS, "dvc.lock")}


def killed(project, command, start, seconds):
    """Start a command in a process group of its own and kill it all, so long after a line with `start`."""
    process = subprocess.Popen(
        command,
        cwd=project.folder,
        env=ENVIRONMENT | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for line in process.stdout:
        if start in line.decode():
            break
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_killed_at_random_moments(long_training):
    """First the stage, then DVC and all its processes; what runs after them ends as if left alone."""
    project, whole = long_training
    moments, went_on = random.Random(4), 0
    for number in range(4):
        for name in OUTS:
            project.path(name).unlink(missing_ok=True)  # as DVC does before it runs a stage
        start = "epoch  35" if number % 2 else "800 rows"
        killed(project, ["python", "-m", "stages.train"], start, moments.uniform(0.0, 1.5))
        for name in OUTS:
            assert not project.path(name).exists() or project.path(name).read_bytes() == whole[name], name
        went_on += project.path(RESUME).exists()
    assert went_on > 0
    project.path("data/dataset.parquet").unlink()
    project.run("rm", "-rf", ".dvc/cache", ".dvc/tmp")
    for start, seconds in (("make_data", 1.5), ("epoch  35", 0.5)):
        killed(project, ["dvc", "repro", "--force"], start, moments.uniform(0.0, seconds))
        # DVC itself may have been killed while it wrote these, as docs/ says.
        project.path(".dvc/tmp/rwlock").unlink(missing_ok=True)
        project.run("git", "restore", "dvc.lock")
    left = project.path(RESUME).exists()
    done = project.run("dvc", "repro")
    assert ("going on after epoch" in done.stderr) == left
    assert not project.path(RESUME).exists()
    for name, content in whole.items():
        assert project.path(name).read_bytes() == content, name
    assert project.run("git", "status", "--porcelain").stdout == ""
    for name in ("models/model.safetensors", "data/train.parquet"):  # and what is cached comes back
        project.path(name).unlink()
    dvc(project.folder, "checkout", "-q")
    assert project.path("models/model.safetensors").read_bytes() == whole["models/model.safetensors"]
    assert "up to date" in project.run("dvc", "status").stdout
