"""The autograd engine: held to the compiled kernel and to a plain loop in PyTorch, for any module of a student's."""

import multiprocessing
import socket

import msgspec
import numpy as np
import pytest
import torch
from conftest import ROOT
from test_loop import here, settings, train, watched_problem  # noqa: F401 (here is a fixture)
from torch import nn

from plumbline.basics.errors import UserError
from plumbline.bits import initial, kernel, stream
from plumbline.bits import rows as encoded
from plumbline.model import network
from plumbline.training import autograd, loop, networks

HERE = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=HERE)]
SHIPPED = network.read(ROOT / network.PATH)
SOURCE = (ROOT / network.PATH).read_text()
EDITS = {  # what a student may write
    "Tanh": ("nn.ReLU()", "nn.Tanh()"),
    "a third layer": ("nn.ReLU(),", "nn.ReLU(), nn.Linear(hidden_size, hidden_size), nn.ReLU(),"),
    # Without the bias before it, whose gradient is nothing but rounding, and Adam's steps by it are as long as others.
    "batch norm": (
        "hidden_size),\n            nn.ReLU(),",
        "hidden_size, False), nn.BatchNorm1d(hidden_size), nn.ReLU(),",
    ),
    "a branch on numbers": ("return self.net(x)", "return self.net(x) if x.mean() > 0 else self.net(2 * x)"),
    "the pitfall": ("return self.net(x)", "return torch.sigmoid(self.net(x))"),
    "a buffer that is assigned": (
        "return self.net(x)",
        "self.mean = torch.lerp(self.mean, x.mean(0), 0.1 * self.training)\n"
        "        return self.net((x - self.mean) * self.mean.exp())",
    ),
}


def edited(tmp_path, name):
    """The network with a student's edit."""
    before, after = EDITS[name]
    source = SOURCE.replace(before, after)
    assert source != SOURCE
    if "self.mean" in source:
        source = source.replace(
            "super().__init__()", 'super().__init__()\n        self.register_buffer("mean", torch.zeros(features))'
        )
    path = tmp_path / "edited.py"
    path.write_text(source)
    return network.read(path)


def rows(n, d, k, seed=0):
    x = stream.normal(stream.seeded(seed + 1000), n * d).reshape(n, d)
    return x, (stream.uniform(stream.seeded(seed + 2000), n) * max(k, 2)).astype(np.int32)


def orders_for(n, count, epoch):
    return stream.permutations(np.arange(count, dtype=np.uint64) + 100 * epoch, n)


def plain(net, sizes, weights, r, x, y, orders, batch, decay=0.0):
    """The notebook's loop with PyTorch's own parts: one network's module, and mean loss and accuracy of each epoch."""
    module = network.filled(network.blank(net, sizes), weights, r).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01, weight_decay=decay)
    binary, x, y = sizes[2] == 1, torch.tensor(x), torch.tensor(y)
    loss_fn, target = (nn.BCEWithLogitsLoss(), y.float()[:, None]) if binary else (nn.CrossEntropyLoss(), y.long())
    figures = []
    for order in orders:
        total = correct = 0.0
        for batch_rows in torch.tensor(order[r]).split(batch):
            logits = module(x[batch_rows])
            loss = loss_fn(logits, target[batch_rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            predicted = logits[:, 0] >= 0 if binary else logits.argmax(1)
            total += loss.item() * len(batch_rows)
            correct += (predicted == y[batch_rows]).sum().item()
        figures.append((total / len(order[r]), correct / len(order[r])))
    return module, figures


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "name, k, n, decay",
    [
        ("Tanh", 1, 100, 0.0),
        ("a third layer", 4, 96, 0.3),
        ("batch norm", 1, 100, 0.0),
        ("a branch on numbers", 1, 70, 0.1),
        ("the pitfall", 1, 100, 0.0),
        ("a buffer that is assigned", 3, 100, 0.0),
        (None, 1, 100, 0.3),
        (None, 4, 70, 0.0),
    ],
)
def test_every_network_is_trained_as_a_plain_loop_trains_it(tmp_path, name, k, n, decay, device):
    """R at once, buffers included."""
    net, sizes = edited(tmp_path, name) if name else SHIPPED, (6, 16, k)
    (x, y), orders = rows(n, 6, k), [orders_for(n, 3, epoch) for epoch in range(5)]
    weights = networks.joined([networks._drawn_by_torch(net, sizes, stream.seeded(r)) for r in range(3)])
    trainer = autograd.Trainer(net, sizes, weights, 32, 0.01, decay, device)
    found = []
    for order in orders:
        sums = np.zeros((3, 2))
        trainer.train(x, y, order, sums)
        trainer.loss_sums(x, y, np.arange(n)[None], np.zeros((3, 2)))  # as the loop does, and it leaves no trace
        found.append(sums / n)
    for r in range(3):
        module, figures = plain(net, sizes, weights, r, x, y, orders, 32, decay)
        np.testing.assert_allclose([each[r] for each in found], figures, rtol=2e-4)
        for name, tensor in network.state(module).items():
            np.testing.assert_allclose(trainer.weights()[name][r], tensor.detach(), rtol=0, atol=3e-4)
        module.eval()
        watched = np.zeros((3, 2))
        trainer.loss_sums(x, y, np.arange(n)[None], watched)
        with torch.no_grad():
            logits = module(torch.tensor(x))
        right = (logits[:, 0] >= 0 if k == 1 else logits.argmax(1)).numpy() == y
        assert watched[r, 1] == right.sum()


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("n, batch", [(96, 32), (100, 32), (70, 600)])
@pytest.mark.parametrize("class_weights", [None, [0.5, 3.0, 1.0, 0.25]])
@pytest.mark.parametrize("device", DEVICES)
def test_both_engines_train_the_same(n, batch, k, decay, class_weights, device):
    if class_weights:
        class_weights = np.array(class_weights[: max(k, 2)], np.float32)
    x, y = rows(n, 6, k)
    x[:, 3:5], x[:, 5] = 2 * np.abs(x[:, 3:5]), np.floor(2 * x[:, 5])  # places and codes, also outside their inputs
    kinds = [(encoded.NUMBER, 1)] * 3 + [(encoded.POSITION, 3), (encoded.SPLINE, 3), (encoded.CODE, 4)]
    layout = encoded.layout_of(kinds)
    weights = initial.weights([stream.seeded(r) for r in range(3)], 13, 16, k)
    given, rate = (weights, batch, 0.01, decay), 3.0 if decay else 0.0
    scales, averages = np.ones((3, 13), np.float32) if decay else None, decay > 0
    ours = autograd.Trainer(SHIPPED, (13, 16, k), *given, device, None, class_weights, layout, scales, rate, averages)
    theirs = kernel.Trainer(*given, class_weights, layout, None, rate, averages)
    for epoch, rate in enumerate([0.01, 0.01, 0.05, 0.0, 0.002]):
        ours.learning_rate = theirs.learning_rate = rate
        sums = np.zeros((2, 3, 2))
        for trainer, own in zip((ours, theirs), sums):
            trainer.train(x, y, orders_for(n, 3, epoch), own)
            if averages:
                trainer.average(0.6)
        np.testing.assert_allclose(sums[0], sums[1], rtol=1e-4)
    for name, array in theirs.weights().items():
        np.testing.assert_allclose(ours.weights()[name], array, rtol=0, atol=3e-4)
    sums = np.zeros((2, 3, 2))
    for trainer, own in zip((ours, theirs), sums):
        trainer.loss_sums(x, y, np.arange(n)[None], own)
    np.testing.assert_allclose(*sums[:, :, 0], rtol=1e-4)


SETTINGS = [{"patience": 3}, {"schedule": "cosine", "weight_decay": 0.1}]
SETTINGS += [
    {"members": 2, "views": True},
    {"members": 3, "views": True, "input_rate": 3.0, "ema_decay": 0.7, "patience": 2},
]


@pytest.mark.parametrize("changes", SETTINGS)
def test_both_engines_have_the_same_settings(changes):
    drawn, data, watch, chosen = watched_problem(replicas=2, epochs=8, **changes)
    ours = train(drawn, data, watch, msgspec.structs.replace(chosen, engine="torch"))
    theirs = train(drawn, data, watch, chosen)
    assert len(ours.history) == len(theirs.history)
    for name in theirs.weights:
        np.testing.assert_allclose(ours.weights[name], theirs.weights[name], atol=1e-3)


@pytest.mark.parametrize("chosen", [np.array([True, False, True, True, False]), np.array([4, 1]), np.array([2])])
@pytest.mark.parametrize("device", DEVICES)
def test_networks_that_go_on_do_so_as_if_the_others_had_never_been(tmp_path, chosen, device):
    net, (x, y) = edited(tmp_path, "batch norm"), rows(100, 6, 3)
    weights = networks.joined([networks._drawn_by_torch(net, (6, 8, 3), stream.seeded(r)) for r in range(5)])
    all_, alone = (
        autograd.Trainer(net, (6, 8, 3), each, 32, 0.01, 0.1, device)
        for each in (weights, {name: array[chosen] for name, array in weights.items()})
    )
    for epoch in range(4):
        if epoch == 2:
            all_.select(chosen)
        order = orders_for(100, 5, epoch)
        all_.train(x, y, order if epoch < 2 else order[chosen], np.zeros((5 if epoch < 2 else len(order[chosen]), 2)))
        alone.train(x, y, order[chosen], np.zeros((len(order[chosen]), 2)))
    for name, array in alone.weights().items():
        np.testing.assert_allclose(all_.weights()[name], array, rtol=0, atol=3e-4)


def test_weights_that_were_read_stay_as_they_were():
    x, y = rows(100, 6, 1)
    trainer = autograd.Trainer(
        SHIPPED, (6, 8, 1), initial.weights([stream.seeded(r) for r in range(3)], 6, 8, 1), 32, 0.01
    )
    before = trainer.weights()
    kept = {name: array.copy() for name, array in before.items()}
    trainer.train(x, y, orders_for(100, 3, 0), np.zeros((3, 2)))
    for name in kept:
        np.testing.assert_array_equal(before[name], kept[name])
        assert (trainer.weights()[name] != kept[name]).any()


def test_dropout_draws_other_units_in_every_network_and_the_same_ones_again(tmp_path):
    path = tmp_path / "dropout.py"
    path.write_text(SOURCE.replace("nn.ReLU(),", "nn.ReLU(), nn.Dropout(0.5),"))
    net = network.read(path)
    weights = initial.weights([stream.seeded(0)], 6, 16, 1)
    weights = {name.replace("net.2", "net.3"): np.concatenate([array] * 3) for name, array in weights.items()}
    (x, y), order = rows(100, 6, 1), np.repeat(orders_for(100, 1, 0), 3, axis=0)
    runs = []
    for _ in range(2):
        trainer = autograd.Trainer(net, (6, 16, 1), weights, 32, 0.01)
        trainer.seed(5)
        trainer.train(x, y, order, np.zeros((3, 2)))
        runs.append(trainer.weights()["net.0.weight"])
    np.testing.assert_array_equal(*runs)
    assert (runs[0][0] != runs[0][1]).any() and (runs[0][1] != runs[0][2]).any()
    losses = np.zeros((3, 2))
    trainer.loss_sums(x, y, np.arange(100)[None], losses)  # in eval() nothing is dropped
    again = np.zeros((3, 2))
    trainer.loss_sums(x, y, np.arange(100)[None], again)
    np.testing.assert_array_equal(losses, again)


def test_a_nan_reaches_the_loss():
    x, y = rows(40, 5, 1)
    weights, sums = initial.weights([stream.seeded(0)], 5, 8, 1), np.zeros((1, 2))
    weights["net.2.bias"][0] = np.nan
    autograd.Trainer(SHIPPED, (5, 8, 1), weights, 32, 0.01).train(x, y, orders_for(40, 1, 0), sums)
    assert np.isnan(sums[0, 0])


def test_what_goes_wrong_elsewhere_is_not_the_users_to_mend(monkeypatch):
    """A worker that lost the others is started again; a user's error would end them all."""

    def lost(*_):
        raise RuntimeError("Connection closed by peer")

    trainer = autograd.Trainer(SHIPPED, (5, 8, 1), initial.weights([stream.seeded(0)], 5, 8, 1), 32, 0.01)
    monkeypatch.setattr(autograd, "run_epoch", lost)
    with pytest.raises(RuntimeError, match="closed by peer"):
        trainer.train(*rows(36, 5, 1), orders_for(36, 1, 0), np.zeros((1, 2)))


def test_what_goes_wrong_in_the_users_code_while_training_is_one_line(tmp_path):
    path = tmp_path / "fails.py"
    path.write_text(SOURCE.replace("return self.net(x)", "assert len(x) != 4, 'four rows'\n        return self.net(x)"))
    trainer = autograd.Trainer(network.read(path), (5, 8, 1), initial.weights([stream.seeded(0)], 5, 8, 1), 32, 0.01)
    with pytest.raises(UserError, match=r"fails.py line 28: AssertionError: four rows; mend it"):
        trainer.train(*rows(36, 5, 1), orders_for(36, 1, 0), np.zeros((1, 2)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n", [20, 32, 40, 64, 100])
def test_whole_batches_and_parts_of_one_train_alike(n, device):
    """On a GPU whole ones are replayed, and parts are not; rates and tables change between epochs."""
    weights = initial.weights([stream.seeded(r) for r in range(2)], 6, 16, 1)
    trainers = [
        kernel.Trainer(weights, 32, 0.01, 0.1),
        autograd.Trainer(SHIPPED, (6, 16, 1), weights, 32, 0.01, 0.1, device),
    ]
    tables = [rows(n, 6, 1, seed) for seed in range(3)]
    for epoch, table in enumerate([0, 0, 1, 1, 2, 0]):
        found = []
        for trainer in trainers:
            trainer.learning_rate = 0.01 / (1 + epoch)
            trainer.train(*tables[table], orders_for(n, 2, epoch), sums := np.zeros((2, 2)))
            found.append(sums / n)
        np.testing.assert_allclose(*found, rtol=1e-4)
    for name, array in trainers[0].weights().items():
        np.testing.assert_allclose(trainers[1].weights()[name], array, rtol=0, atol=1e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_one_line():
    with pytest.raises(UserError, match=r"train.device is cuda.*sees no CUDA device.*set it to cpu") as error:
        loop.with_engine(settings(engine="torch", device="cuda"), SHIPPED)
    assert "\n" not in str(error.value)
    autograd.check_device("cpu")


def test_too_little_memory_on_the_device_is_one_line(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...")

    trainer = autograd.Trainer(SHIPPED, (5, 8, 1), initial.weights([stream.seeded(0)], 5, 8, 1), 32, 0.01)
    monkeypatch.setattr(autograd, "run_epoch", full)
    with pytest.raises(MemoryError, match=r"^PyTorch says: CUDA out of memory\. Tried to allocate 20\.00 GiB"):
        trainer.train(*rows(36, 5, 1), orders_for(36, 1, 0), np.zeros((1, 2)))


# ---- one network, several workers


class Workers:
    """What plumbline.training.workers.Group is to the loop, over gloo and without a launcher."""

    def __init__(self, rank, size, port):
        self.rank, self.size, self._port, self.leads = rank, size, port, True  # each, to compare them

    def process_group(self):
        store = torch.distributed.TCPStore("127.0.0.1", self._port, self.size, self.rank == 0)
        torch.distributed.init_process_group("gloo", store=store, rank=self.rank, world_size=self.size)

    def gather(self, trained):
        torch.distributed.destroy_process_group()
        return trained


def one_network(rank, size, port, path):
    drawn, data, watch, chosen = watched_problem(replicas=1, epochs=6, patience=3, engine="torch")
    group = Workers(rank, size, port) if size > 1 else loop.ALONE
    chosen = msgspec.structs.replace(chosen, batch_size=31)  # a batch of 29 at the end: shares of 15 and 14
    return loop.train(drawn, data, watch, chosen, network.read(path), None, group)


def second(port, path, results):
    results.put(one_network(1, 2, port, path))


def test_one_network_is_trained_by_two_workers_as_by_one():
    """DistributedDataParallel: each takes its share of every batch."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn, path = multiprocessing.get_context("spawn"), ROOT / network.PATH
    results = spawn.SimpleQueue()
    other = spawn.Process(target=second, args=(port, path, results))
    other.start()
    alone, first, theirs = one_network(0, 1, port, path), one_network(0, 2, port, path), results.get()
    other.join()
    assert other.exitcode == 0
    np.testing.assert_allclose(first.history, alone.history, rtol=1e-4)
    for name, array in alone.weights.items():
        np.testing.assert_allclose(first.weights[name], array, rtol=0, atol=1e-4)
        np.testing.assert_array_equal(first.weights[name], theirs.weights[name])
