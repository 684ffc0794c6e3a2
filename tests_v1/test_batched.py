"""Networks trained at once against the plain autograd loop and torch.optim.AdamW; on a GPU too where there is one."""

import numpy as np
import pytest
import torch
from test_kernel import orders_for, problem

from stages import batched, network
from stages.errors import UserError

HERE = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=HERE)]


def both(n, k, batch, device, networks=3, decay=0.0):
    x, y, weights = problem(n, 6, 16, k, networks=networks)
    ours = batched.Trainer(x, y, weights, batch, 0.01, decay, device)
    return ours, network.Trainer(x, y, weights, batch, 0.01, decay)


def assert_same_epochs(ours, theirs, orders):
    for order in orders:
        np.testing.assert_allclose(ours.epoch(order), theirs.epoch(order), rtol=1e-4)
    for name, array in theirs.weights.items():
        np.testing.assert_allclose(ours.weights[name], array, rtol=0, atol=3e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("n, batch", [(96, 32), (100, 32), (70, 600)])
def test_training_is_that_of_autograd_and_torch_adamw(n, batch, k, decay, device):
    ours, theirs = both(n, k, batch, device, decay=decay)
    assert_same_epochs(ours, theirs, [orders_for(n, 3, epoch) for epoch in range(8)])


@pytest.mark.parametrize("device", DEVICES)
def test_a_learning_rate_that_changes_between_epochs_counts(device):
    ours, theirs = both(100, 1, 32, device, decay=0.1)
    for epoch, rate in enumerate([0.01, 0.05, 0.0, 0.002]):
        ours.learning_rate = theirs.learning_rate = rate
        before = ours.weights
        assert_same_epochs(ours, theirs, [orders_for(100, 3, epoch)])
        moved = any((ours.weights[name] != before[name]).any() for name in before)
        assert moved == (rate > 0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("chosen", [np.array([True, False, True, True, False]), np.array([4, 1]), np.array([2])])
def test_networks_that_go_on_do_so_as_if_the_others_had_never_been(chosen, device):
    ours, theirs = both(100, 3, 32, device, networks=5)
    assert_same_epochs(ours, theirs, [orders_for(100, 5, epoch) for epoch in range(3)])
    ours.select(chosen)
    theirs.select(chosen)
    assert_same_epochs(ours, theirs, [orders_for(100, 5, epoch)[chosen] for epoch in range(3, 6)])


@pytest.mark.parametrize("device", DEVICES)
def test_weights_that_were_read_stay_as_they_were(device):
    ours, _ = both(100, 1, 32, device)
    before = ours.weights
    kept = {name: array.copy() for name, array in before.items()}
    ours.epoch(orders_for(100, 3, 0))
    for name in kept:
        np.testing.assert_array_equal(before[name], kept[name])
        assert (ours.weights[name] != kept[name]).any()


def test_a_nan_reaches_the_loss():
    x, y, weights = problem(40, 5, 8, 1)
    weights["net.2.bias"][0] = np.nan
    assert np.isnan(batched.Trainer(x, y, weights, 32, 0.01, device="cpu").epoch(orders_for(40, 1, 0))[0, 0])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("version, said", [(None, "build for the CPU alone"), ("13.0", "sees no CUDA device")])
def test_a_device_that_is_not_there_is_one_line(monkeypatch, version, said):
    monkeypatch.setattr(torch.version, "cuda", version)
    with pytest.raises(UserError, match=f"train.device is cuda.*{said}.*set it to cpu") as error:
        batched.check_device("cuda")
    assert "\n" not in str(error.value)
    batched.check_device("cpu")


def test_too_little_memory_on_the_device_is_one_line(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...")

    ours, _ = both(100, 1, 32, "cpu")
    monkeypatch.setattr(ours, "_step", full)
    with pytest.raises(MemoryError, match=r"^the device says: CUDA out of memory\. Tried to allocate 20\.00 GiB$"):
        ours.epoch(orders_for(100, 3, 0))


@HERE
def test_a_step_is_captured_once_and_anew_when_networks_go():
    ours, _ = both(100, 1, 32, "cuda")
    for epoch in range(3):
        ours.epoch(orders_for(100, 3, epoch))
    assert sorted(ours.captured) == [4, 32]
    ours.select(np.array([0, 2]))
    assert not ours.captured
