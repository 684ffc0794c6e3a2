"""The kernel against autograd and torch.optim.Adam, and its bits against themselves under every way to run it."""

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import ENVIRONMENT, ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import SplineTransformer

from plumbline.bits import compiling, initial, kernel, layers, scoring, stream
from plumbline.bits import rows as encoded


def problem(n, d, h, k, networks=1, seed=0):
    """Rows, classes and initial weights of some networks."""
    generators = [stream.seeded(seed + r) for r in range(networks)]
    x = stream.normal(stream.seeded(seed + 1000), max(n * d, 16))[: n * d].reshape(n, d)
    y = (stream.uniform(stream.seeded(seed + 2000), n) * max(k, 2)).astype(np.int32)
    return x, y, initial.weights(generators, d, h, k)


def module_of(weights, r):
    """The same network in PyTorch, as the notebook has it."""
    _, h, d = weights["net.0.weight"].shape
    net = torch.nn.Sequential(
        torch.nn.Linear(d, h), torch.nn.ReLU(), torch.nn.Linear(h, weights["net.2.bias"].shape[1])
    )
    net.load_state_dict(
        {name.removeprefix("net."): torch.from_numpy(array[r].copy()) for name, array in weights.items()}
    )
    return net


class Autograd:
    """The notebook's loop, for each network by itself: what the kernel is held to."""

    def __init__(self, weights, batch_size, learning_rate, weight_decay=0.0, class_weights=None):
        self.modules = [module_of(weights, r) for r in range(len(weights["net.0.bias"]))]
        options = {"lr": learning_rate, "weight_decay": weight_decay}
        self.optimizers = [torch.optim.AdamW(module.parameters(), **options) for module in self.modules]
        self.batch_size, self.learning_rate, self.class_weights = batch_size, learning_rate, class_weights

    def train(self, x, y, orders, sums):
        x, y = torch.from_numpy(x), torch.from_numpy(y)
        for module, optimizer, order, total in zip(self.modules, self.optimizers, orders, sums):
            optimizer.param_groups[0]["lr"] = self.learning_rate
            for rows in torch.from_numpy(order).split(self.batch_size):
                loss, right = loss_and_right(module(x[rows]), y[rows])
                optimizer.zero_grad()
                (
                    loss if self.class_weights is None else weighted(module(x[rows]), y[rows], self.class_weights)
                ).backward()
                optimizer.step()
                total += [loss.item() * len(rows), right]

    @property
    def weights(self):
        states = [module.state_dict() for module in self.modules]
        return {f"net.{name}": np.stack([state[name].numpy() for state in states]) for name in states[0]}


def loss_and_right(logits, y):
    if logits.shape[1] == 1:
        loss = torch.nn.BCEWithLogitsLoss()(logits[:, 0], y.to(logits.dtype))
        return loss, ((logits[:, 0] >= 0) == (y == 1)).sum().item()
    return torch.nn.CrossEntropyLoss()(logits, y.long()), (logits.argmax(dim=1) == y).sum().item()


def weighted(logits, y, class_weights):
    """The mean of weight times loss, by torch's own weights."""
    weights = torch.from_numpy(class_weights).to(logits.dtype)
    if logits.shape[1] == 1:
        return torch.nn.BCEWithLogitsLoss(weights[y.long()])(logits[:, 0], y.to(logits.dtype))
    return torch.nn.CrossEntropyLoss(weights, reduction="sum")(logits, y.long()) / len(y)


def epoch(trainer, x, y, orders):
    """Mean losses and accuracies of an epoch (R, 2)."""
    sums = np.zeros((len(orders), 2))
    trainer.train(x, y, orders, sums)
    return sums / orders.shape[1]


def orders_for(n, networks, epoch):
    return np.stack([stream.permutation(stream.seeded(100 * epoch + r), n) for r in range(networks)])


@settings(max_examples=60)
@given(
    n=st.integers(1, 700),
    d=st.integers(1, 9),
    h=st.integers(1, 40),
    k=st.sampled_from([1, 3, 5]),
    seed=st.integers(0, 1000),
    balanced=st.booleans(),
)
def test_gradient_is_autograds(n, d, h, k, seed, balanced):
    x, y, weights = problem(n, d, h, k, seed=seed)
    packed, class_weights = layers.pack(weights)[0], np.ones(max(k, 2), np.float32)
    if balanced:
        class_weights = np.random.default_rng(seed).uniform(0.1, 9, max(k, 2)).astype(np.float32)
    shards = kernel.shards_of(n)
    gradients, sums = np.empty((shards, packed.size), np.float32), np.zeros((shards, 2))
    for s in range(shards):
        rows = np.arange(n * s // shards, n * (s + 1) // shards)
        kernel._shard(
            x, y, rows, n, class_weights, encoded.plan(encoded.numbers(d)), packed, h, k, gradients[s], sums[s]
        )
    ours = layers.unpack(gradients.sum(axis=0, dtype=np.float64)[None], d, h, k)

    module = module_of(weights, 0).double()
    logits = module(torch.from_numpy(x).double())
    loss, right = loss_and_right(logits, torch.from_numpy(y))
    weighted(logits, torch.from_numpy(y), class_weights).backward()
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(ours[f"net.{name}"][0], parameter.grad.numpy(), rtol=2e-5, atol=2e-6)
    assert sums[:, layers.LOSS].sum() / n == pytest.approx(loss.item(), rel=1e-5)
    assert abs(sums[:, layers.CORRECT].sum() - right) <= 1  # a logit of almost 0 may round to either side


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("n, batch", [(100, 32), (700, 600)])
def test_training_is_that_of_autograd_and_torch_adam(k, n, batch):
    x, y, weights = problem(n, 6, 16, k, networks=2)
    ours = kernel.Trainer(weights, batch, 0.01)
    theirs = Autograd(weights, batch, 0.01)
    for number in range(12):
        orders = orders_for(n, 2, number)
        np.testing.assert_allclose(epoch(ours, x, y, orders), epoch(theirs, x, y, orders), rtol=1e-4)
    for name, array in theirs.weights.items():
        np.testing.assert_allclose(ours.weights()[name], array, rtol=0, atol=3e-4)


@pytest.mark.parametrize("k", [1, 4])
def test_a_rows_loss_counts_its_classs_weight(k):
    x, y, weights = problem(700, 6, 16, k, networks=2)
    class_weights = np.array([0.5, 3.0, 1.0, 0.25][: max(k, 2)], np.float32)
    ours, theirs = (each(weights, 600, 0.01, 0.0, class_weights) for each in (kernel.Trainer, Autograd))
    plain = kernel.Trainer(weights, 600, 0.01)
    for number in range(12):
        orders = orders_for(700, 2, number)
        np.testing.assert_allclose(epoch(ours, x, y, orders), epoch(theirs, x, y, orders), rtol=1e-4)
        epoch(plain, x, y, orders)
    for name, array in theirs.weights.items():
        np.testing.assert_allclose(ours.weights()[name], array, rtol=0, atol=3e-4)
    assert np.abs(ours.weights()["net.0.weight"] - plain.weights()["net.0.weight"]).max() > 0.01


# ---- encoded rows

STORED = [(encoded.NUMBER, 1)] * 3 + [(encoded.POSITION, 5), (encoded.SPLINE, 6)]
LAYOUT = encoded.layout_of([*STORED, (encoded.CODE, 3), (encoded.CODE, 7)])
SEEN = {"all": None, "some": [0, 3, 6], "numbers": [0, 1, 2], "splines": [4], "sparse": [4, 5, 6], "each": [1, 3, 4, 5]}


def encoded_rows(n, seed=0):
    """Rows of the layout; positions and codes also outside their inputs."""
    draws = np.random.default_rng(seed)
    places = np.where(draws.random((n, 2)) < 0.3, draws.integers(-1, 7, (n, 2)), draws.uniform(-1.5, 7, (n, 2)))
    codes = draws.integers(-1, 5, n), draws.integers(-1, 9, n)
    return np.c_[draws.normal(size=(n, 3)), places, *codes].astype(np.float32)


def one_hot(x):
    """The inputs as their definition says."""
    lines = []
    for row in x:
        line = [*row[:3], *(min(max(row[3] - np.float32(b), 0), 1) for b in range(5))]
        line += [max(1 - abs(row[4] - np.float32(i)), 0) for i in range(6)]
        lines.append(line + [row[5] == c for c in range(3)] + [row[6] == c for c in range(7)])
    return np.array(lines, np.float32)


def test_rows_expand_to_the_inputs_of_their_definition():
    x = encoded_rows(300)
    np.testing.assert_array_equal(encoded.expand(x, LAYOUT), one_hot(x))
    assert encoded.terms(LAYOUT) == 12
    with pytest.raises(ValueError, match="in the order NUMBER, POSITION, SPLINE, CODE"):
        encoded.plan(LAYOUT, [5, 4])


def test_splines_are_those_of_scikit_learn():
    knots, x = np.arange(6.0)[:, None], np.random.default_rng(0).uniform(0, 5, (200, 1)).astype(np.float32)
    theirs = SplineTransformer(degree=1, knots=knots, extrapolation="constant").fit_transform(x)
    ours = encoded.expand(x, encoded.layout_of([(encoded.SPLINE, 6)]))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@settings(max_examples=25)
@given(
    n=st.integers(1, 600),
    h=st.integers(1, 40),
    k=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
    seen=st.sampled_from(list(SEEN)),
)
def test_splines_and_codes_have_the_bits_of_all_inputs_in_training_gradient_and_scoring(n, h, k, seed, seen):
    """Also where a network sees some columns alone: it is the whole network with weights of 0 at the others' inputs."""
    x, columns = encoded_rows(n, seed), SEEN[seen]
    inputs = encoded.inputs_of(LAYOUT, slice(None) if columns is None else columns)
    _, y, weights = problem(n, len(inputs), h, k, networks=2, seed=seed)
    rows, orders = one_hot(x)[:, inputs].copy(), orders_for(n, 2, seed)
    compact = kernel.Trainer(weights, 550, 0.01, 0.1, None, LAYOUT, columns)
    plain = kernel.Trainer(weights, 550, 0.01, 0.1)
    for _ in range(2):
        np.testing.assert_array_equal(epoch(compact, x, y, orders), epoch(plain, rows, y, orders))
    np.testing.assert_array_equal(compact.packed.view(np.uint32), plain.packed.view(np.uint32))

    whole = plain.weights()
    whole["net.0.weight"] = np.zeros((2, h, LAYOUT[:, 2].sum()), np.float32)
    whole["net.0.weight"][:, :, inputs] = plain.weights()["net.0.weight"]
    expected, by_numpy, sums = scoring.probabilities(rows, plain.weights()), np.empty((2, n, k), np.float32), []
    scoring._probabilities(x, LAYOUT, whole, by_numpy)
    for probability in (scoring.probabilities(x, whole, LAYOUT), by_numpy):
        np.testing.assert_array_equal(probability.view(np.uint32), expected.view(np.uint32))
    for trainer, given_rows in ((compact, x), (plain, rows), (kernel.Trainer(whole, 550, 0.01, layout=LAYOUT), x)):
        sums.append(np.zeros((2, 2)))
        trainer.loss_sums(given_rows, y, orders, sums[-1])
    np.testing.assert_array_equal(sums, [sums[0]] * 3)


@pytest.mark.parametrize("seen", SEEN)
def test_a_network_of_some_columns_is_autograds_with_a_mask(seen):
    n, columns = 300, SEEN[seen]
    inputs = encoded.inputs_of(LAYOUT, slice(None) if columns is None else columns)
    x, (_, y, weights) = encoded_rows(n), problem(n, 24, 16, 3, networks=2)
    masked = np.zeros((n, 24), np.float32)
    masked[:, inputs] = one_hot(x)[:, inputs]
    ours = kernel.Trainer(
        weights | {"net.0.weight": weights["net.0.weight"][:, :, inputs]}, 32, 0.01, 0.0, None, LAYOUT, columns
    )
    theirs = Autograd(weights, 32, 0.01)
    for number in range(6):
        orders = orders_for(n, 2, number)
        np.testing.assert_allclose(epoch(ours, x, y, orders), epoch(theirs, masked, y, orders), rtol=1e-4)
    theirs = theirs.weights | {"net.0.weight": theirs.weights["net.0.weight"][:, :, inputs]}
    for name, array in theirs.items():
        np.testing.assert_allclose(ours.weights()[name], array, rtol=0, atol=3e-4)


def trained(x, y, weights, batch, replicas, epochs=3):
    """Weights after some epochs of the networks that `replicas` lists, trained side by side."""
    trainer = kernel.Trainer({name: array[replicas] for name, array in weights.items()}, batch, 0.01)
    for number in range(epochs):
        figures = epoch(trainer, x, y, orders_for(len(x), 8, number)[replicas])
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
            p = scoring.probabilities(x, layers.unpack(packed, d, h, k))
            digest = hashlib.sha256(packed.tobytes() + p.tobytes()).hexdigest()[:16]
            hashes[f"{n} {d} {h} {k} {batch} {len(replicas)}"] = digest
    return hashes


def test_known_answers_with_one_thread_and_two():
    known = json.loads((ROOT / "tests/bits/known_answers.json").read_text())
    with ThreadPoolExecutor(1, initializer=compiling.alone) as pool:  # a thread that uses no other
        assert pool.submit(known_answers).result() == known
    script = "import json, test_kernel; print(json.dumps(test_kernel.known_answers()))"
    environment = ENVIRONMENT | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'bits'}:{ROOT / 'tests'}",
        "NUMBA_NUM_THREADS": "2",
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == known


def test_pack_and_unpack_are_each_others_inverse():
    _, _, weights = problem(4, 3, 5, 2, networks=3)
    back = layers.unpack(layers.pack(weights), 3, 5, 2)
    assert list(back) == list(weights)
    for name in weights:
        np.testing.assert_array_equal(back[name], weights[name])


@settings(max_examples=30)
@given(n=st.integers(0, 300), h=st.integers(1, 50), k=st.sampled_from([1, 3]), networks=st.integers(1, 3))
def test_probabilities_are_the_modules(n, h, k, networks):
    x, _, weights = problem(n, 5, h, k, networks)
    ours = scoring.probabilities(x, weights)
    for r in range(networks):
        logits = module_of(weights, r)(torch.from_numpy(x))
        theirs = torch.sigmoid(logits) if k == 1 else torch.softmax(logits, dim=1)
        np.testing.assert_allclose(ours[r], theirs.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_nan_reaches_the_loss():
    x, y, weights = problem(40, 5, 8, 1)
    for name in weights:
        poisoned = {key: array.copy() for key, array in weights.items()}
        poisoned[name].flat[0] = np.nan
        assert np.isnan(epoch(kernel.Trainer(poisoned, 32, 0.01), x, y, orders_for(40, 1, 0))[0, 0]), name


@pytest.mark.parametrize("k", [1, 4])
def test_an_inputs_scale_is_what_torch_learns_before_the_first_layer(k):
    x, y, weights = problem(96, 7, 16, k)
    ours, (net,) = kernel.Trainer(weights, 32, 0.01, 0.5, input_rate=3.0), Autograd(weights, 32, 0.01).modules
    scales = torch.ones(7, requires_grad=True)
    learned = [{"params": net.parameters()}, {"params": [scales], "lr": 0.03, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(learned, lr=0.01, weight_decay=0.5)
    for number in range(6):
        orders = orders_for(96, 1, number)
        epoch(ours, x, y, orders)
        for rows in torch.from_numpy(orders[0]).split(32):
            loss, _ = loss_and_right(net(torch.from_numpy(x)[rows] * scales), torch.from_numpy(y)[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert (scales - 1).abs().max() > 0.1
    first = (net[0].weight * scales).detach().numpy()
    np.testing.assert_allclose(ours.weights()["net.0.weight"][0], first, rtol=0, atol=3e-4)
    np.testing.assert_allclose(ours.weights()["net.2.weight"][0], net[2].weight.detach().numpy(), rtol=0, atol=3e-4)


@pytest.mark.parametrize("k", [1, 4])
def test_weight_decay_is_torchs_adamw_and_the_rate_may_change(k):
    x, y, weights = problem(100, 6, 16, k, networks=2)
    ours = kernel.Trainer(weights, 32, 0.01, weight_decay=0.5)
    theirs = Autograd(weights, 32, 0.01, weight_decay=0.5)
    for number in range(12):
        ours.learning_rate = theirs.learning_rate = 0.01 / (1 + number)
        orders = orders_for(100, 2, number)
        np.testing.assert_allclose(epoch(ours, x, y, orders), epoch(theirs, x, y, orders), rtol=1e-4)
    for name, array in theirs.weights.items():
        np.testing.assert_allclose(ours.weights()[name], array, rtol=0, atol=3e-4)
    plain, decayed = (kernel.Trainer(weights, 32, 0.01, decay) for decay in (0.0, 0.5))
    for trainer in (plain, decayed):
        epoch(trainer, x, y, orders_for(100, 2, 0))
    assert np.abs(plain.weights()["net.0.weight"] - decayed.weights()["net.0.weight"]).max() > 1e-3


def test_selected_networks_go_on_as_if_nothing_had_happened():
    x, y, weights = problem(70, 5, 8, 1, networks=4)
    whole, some = kernel.Trainer(weights, 32, 0.01), kernel.Trainer(weights, 32, 0.01)
    for number in range(3):
        if number == 1:
            some.select(np.array([True, False, True, True]))
            some.select(np.array([0, 2]))
        orders = orders_for(70, 4, number)
        epoch(whole, x, y, orders)
        epoch(some, x, y, orders if number == 0 else orders[[0, 3]])
    for name in weights:
        np.testing.assert_array_equal(whole.weights()[name][[0, 3]], some.weights()[name])


@settings(max_examples=30)
@given(n=st.integers(1, 300), k=st.sampled_from([1, 3]), networks=st.integers(1, 3), seed=st.integers(0, 99))
def test_losses_are_torchs(n, k, networks, seed):
    x, y, weights = problem(n, 5, 11, k, networks, seed)
    sums = np.zeros((networks, 2))
    kernel.Trainer(weights, 32, 0.01).loss_sums(x, y, np.arange(n)[None], sums)
    for r, (loss, right) in enumerate(sums):
        expected, answers = loss_and_right(module_of(weights, r)(torch.from_numpy(x)).detach(), torch.from_numpy(y))
        assert loss / n == pytest.approx(expected.item(), rel=1e-5)
        assert abs(right - answers) <= 1


@settings(max_examples=30)
@given(n=st.integers(0, 300), d=st.integers(1, 9), h=st.integers(1, 50), k=st.sampled_from([1, 3]), r=st.integers(1, 3))
def test_scoring_has_the_same_bits_compiled_or_not(n, d, h, k, r):
    x, _, weights = problem(n, d, h, k, r)
    by_numpy = np.empty((r, n, k), np.float32)
    scoring._probabilities(x, encoded.numbers(d), weights, by_numpy)
    np.testing.assert_array_equal(by_numpy.view(np.uint32), scoring.probabilities(x, weights).view(np.uint32))


def test_an_epoch_in_windows_has_the_bits_of_an_epoch_at_once():
    x, y, weights = problem(700, 5, 8, 1, networks=2)
    whole, windowed = kernel.Trainer(weights, 32, 0.01), kernel.Trainer(weights, 32, 0.01)
    orders, sums = orders_for(700, 2, 0), (np.zeros((2, 2)), np.zeros((2, 2)))
    whole.train(x, y, orders, sums[0])
    for start in range(0, 700, 96):
        windowed.train(x, y, orders[:, start : start + 96], sums[1])
    np.testing.assert_array_equal(whole.packed, windowed.packed)
    np.testing.assert_array_equal(*sums)
