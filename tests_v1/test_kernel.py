"""The kernel against autograd and torch.optim.Adam, and its bits against themselves under every way to run it."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ENVIRONMENT, ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import kernel, model, network, stream


def problem(n, d, h, k, networks=1, seed=0):
    """Rows, classes and initial weights of some networks."""
    generators = [stream.seeded(seed + r) for r in range(networks)]
    x = stream.normal(stream.seeded(seed + 1000), max(n * d, 16))[: n * d].reshape(n, d)
    y = (stream.uniform(stream.seeded(seed + 2000), n) * max(k, 2)).astype(np.int32)
    return x, y, model.initial_weights(generators, d, h, k)


def orders_for(n, networks, epoch):
    return np.stack([stream.permutation(stream.seeded(100 * epoch + r), n) for r in range(networks)])


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 700),
    d=st.integers(1, 9),
    h=st.integers(1, 40),
    k=st.sampled_from([1, 3, 5]),
    seed=st.integers(0, 1000),
)
def test_gradient_is_autograds(n, d, h, k, seed):
    x, y, weights = problem(n, d, h, k, seed=seed)
    packed = kernel.pack(weights)[0]
    shards = kernel.shards_of(n)
    gradients, sums = np.empty((shards, packed.size), np.float32), np.zeros((shards, 2))
    for s in range(shards):
        rows = np.arange(n * s // shards, n * (s + 1) // shards)
        kernel._shard(x, y, rows, n, packed, h, k, gradients[s], sums[s])
    ours = kernel.unpack(gradients.sum(axis=0, dtype=np.float64)[None], d, h, k)

    module = network.module_of(weights, 0).double()
    logits = module(torch.from_numpy(x).double())
    if k == 1:
        loss = torch.nn.BCEWithLogitsLoss()(logits[:, 0], torch.from_numpy(y).double())
        right = ((logits[:, 0] >= 0) == torch.from_numpy(y == 1)).sum().item()
    else:
        loss = torch.nn.CrossEntropyLoss()(logits, torch.from_numpy(y).long())
        right = (logits.argmax(dim=1) == torch.from_numpy(y)).sum().item()
    loss.backward()
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(ours[name][0], parameter.grad.numpy(), rtol=2e-5, atol=2e-6)
    assert sums[:, kernel.LOSS].sum() / n == pytest.approx(loss.item(), rel=1e-5)
    assert abs(sums[:, kernel.CORRECT].sum() - right) <= 1  # a logit of almost 0 may round to either side


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("n, batch", [(100, 32), (700, 600)])
def test_training_is_that_of_autograd_and_torch_adam(k, n, batch):
    x, y, weights = problem(n, 6, 16, k, networks=2)
    ours = kernel.Trainer(x, y, weights, batch, 0.01)
    theirs = network.Trainer(x, y, weights, batch, 0.01)
    for epoch in range(12):
        orders = orders_for(n, 2, epoch)
        np.testing.assert_allclose(ours.epoch(orders), theirs.epoch(orders), rtol=1e-4)
    for name, array in theirs.weights.items():
        np.testing.assert_allclose(ours.weights[name], array, rtol=0, atol=3e-4)


def trained(x, y, weights, batch, replicas, epochs=3):
    """Weights after some epochs of the networks that `replicas` lists, trained side by side."""
    trainer = kernel.Trainer(x, y, {name: array[replicas] for name, array in weights.items()}, batch, 0.01)
    for epoch in range(epochs):
        figures = trainer.epoch(orders_for(len(x), 8, epoch)[replicas])
    return trainer.packed, figures


@pytest.mark.parametrize("n, batch", [(70, 32), (1100, 1024), (1100, 5000)])
@pytest.mark.parametrize("k", [1, 3])
def test_a_network_alone_has_the_bits_it_has_among_others(n, batch, k):
    x, y, weights = problem(n, 7, 13, k, networks=8)
    together, figures = trained(x, y, weights, batch, list(range(8)))
    for r in range(8):
        alone, figures_alone = trained(x, y, weights, batch, [r])
        np.testing.assert_array_equal(alone[0].view(np.uint32), together[r].view(np.uint32))
        np.testing.assert_array_equal(figures_alone[0], figures[r])


def known_answers() -> dict[str, str]:
    """Hashes of trained weights and of probabilities: the same on every machine, or its numbers are others."""
    hashes = {}
    for n, d, h, k, batch in [(70, 7, 13, 1, 32), (1100, 7, 13, 3, 1024), (600, 50, 64, 1, 600)]:
        x, y, weights = problem(n, d, h, k, networks=8)
        for replicas in ([0], list(range(8))):
            packed, _ = trained(x, y, weights, batch, replicas)
            p = kernel.probabilities(x, kernel.unpack(packed, d, h, k))
            digest = hashlib.sha256(packed.tobytes() + p.tobytes()).hexdigest()[:16]
            hashes[f"{n} {d} {h} {k} {batch} {len(replicas)}"] = digest
    return hashes


@pytest.mark.parametrize("threads", ["1", "2"])
def test_known_answers_with_one_thread_and_two(threads):
    script = "import json, test_kernel; print(json.dumps(test_kernel.known_answers()))"
    environment = ENVIRONMENT | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "NUMBA_NUM_THREADS": threads}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads((ROOT / "tests" / "known_answers.json").read_text())


def test_pack_and_unpack_are_each_others_inverse():
    _, _, weights = problem(4, 3, 5, 2, networks=3)
    back = kernel.unpack(kernel.pack(weights), 3, 5, 2)
    assert list(back) == list(weights)
    for name in weights:
        np.testing.assert_array_equal(back[name], weights[name])


@settings(deadline=None, max_examples=30)
@given(n=st.integers(0, 300), h=st.integers(1, 50), k=st.sampled_from([1, 3]), networks=st.integers(1, 3))
def test_probabilities_are_the_modules(n, h, k, networks):
    x, _, weights = problem(n, 5, h, k, networks)
    ours = kernel.probabilities(x, weights)
    for r in range(networks):
        logits = network.module_of(weights, r)(torch.from_numpy(x))
        theirs = torch.sigmoid(logits) if k == 1 else torch.softmax(logits, dim=1)
        np.testing.assert_allclose(ours[r], theirs.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_nan_reaches_the_loss():
    x, y, weights = problem(40, 5, 8, 1)
    for name in weights:
        poisoned = {key: array.copy() for key, array in weights.items()}
        poisoned[name].flat[0] = np.nan
        assert np.isnan(kernel.Trainer(x, y, poisoned, 32, 0.01).epoch(orders_for(40, 1, 0))[0, 0]), name


@pytest.mark.parametrize("k", [1, 4])
def test_weight_decay_is_torchs_adamw_and_the_rate_may_change(k):
    x, y, weights = problem(100, 6, 16, k, networks=2)
    ours = kernel.Trainer(x, y, weights, 32, 0.01, weight_decay=0.5)
    theirs = network.Trainer(x, y, weights, 32, 0.01, weight_decay=0.5)
    for epoch in range(12):
        ours.learning_rate = theirs.learning_rate = 0.01 / (1 + epoch)
        orders = orders_for(100, 2, epoch)
        np.testing.assert_allclose(ours.epoch(orders), theirs.epoch(orders), rtol=1e-4)
    for name, array in theirs.weights.items():
        np.testing.assert_allclose(ours.weights[name], array, rtol=0, atol=3e-4)
    undecayed = kernel.Trainer(x, y, weights, 32, 0.01)
    undecayed.epoch(orders_for(100, 2, 0))
    assert np.abs(undecayed.weights["net.0.weight"] - array_of(weights, 0.5, x, y)).max() > 1e-3


def array_of(weights, weight_decay, x, y):
    trainer = kernel.Trainer(x, y, weights, 32, 0.01, weight_decay)
    trainer.epoch(orders_for(100, 2, 0))
    return trainer.weights["net.0.weight"]


@pytest.mark.parametrize("trainer", [kernel.Trainer, network.Trainer])
def test_selected_networks_go_on_as_if_nothing_had_happened(trainer):
    x, y, weights = problem(70, 5, 8, 1, networks=4)
    whole, some = trainer(x, y, weights, 32, 0.01), trainer(x, y, weights, 32, 0.01)
    for epoch in range(3):
        if epoch == 1:
            some.select(np.array([True, False, True, True]))
            some.select(np.array([0, 2]))
        orders = orders_for(70, 4, epoch)
        whole.epoch(orders)
        some.epoch(orders if epoch == 0 else orders[[0, 3]])
    for name in weights:
        np.testing.assert_array_equal(whole.weights[name][[0, 3]], some.weights[name])


@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 300), k=st.sampled_from([1, 3]), networks=st.integers(1, 3), seed=st.integers(0, 99))
def test_mean_losses_are_torchs(n, k, networks, seed):
    x, y, weights = problem(n, 5, 11, k, networks, seed)
    for r, (loss, accuracy) in enumerate(kernel.mean_losses(x, y, np.arange(n)[None], weights)):
        logits = network.module_of(weights, r)(torch.from_numpy(x)).detach()
        target = torch.from_numpy(y)
        binary = torch.nn.BCEWithLogitsLoss()
        expected = (
            binary(logits[:, 0], target.float()) if k == 1 else torch.nn.CrossEntropyLoss()(logits, target.long())
        )
        answers = (logits[:, 0] >= 0).int() if k == 1 else logits.argmax(dim=1)
        assert loss == pytest.approx(expected.item(), rel=1e-5)
        assert abs(accuracy * n - (answers == target).sum().item()) <= 1 + 1e-6
