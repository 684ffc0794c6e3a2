"""What networks draw, hold out, and become when their members are merged."""

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from test_loop import in_views, problem, settings

from plumbline.basics.errors import UserError
from plumbline.basics.params import Params
from plumbline.bits import initial, stream
from plumbline.model import network
from plumbline.tables.fitted import Encoding, Number
from plumbline.tables.store import Facts
from plumbline.training import networks

TANH = """
import torch

class TwoLayerNet(torch.nn.Module):
    def __init__(self, d, h, k):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(d, h), torch.nn.Tanh(), torch.nn.Linear(h, k))

    def forward(self, x):
        return self.net(x)
"""


def drawn_for(net, seed=7, **changes):
    """What networks draw whose stream stands behind five numbers."""
    generator = stream.seeded(seed)
    stream.uniform(generator, 5)
    facts = Facts("y", [0, 1], [5, 5], stream.to_text(generator))
    chosen = Params(seed, None, None, settings(**changes), None)
    plain = [Number(f"x{i}", "number", 0, 0, 0, 0, 1, 1, False) for i in range(10)]
    return networks.draw(chosen, facts, Encoding(plain), net)


def test_another_module_draws_what_torch_draws_from_the_same_stream(tmp_path):
    """Weights, and the shuffles behind them: as the notebook would with this module, and as the shipped one does."""
    (tmp_path / "tanh.py").write_text(TANH)
    ours, shipped = drawn_for(network.read(tmp_path / "tanh.py")), drawn_for(network.read())
    assert ours.parameters == shipped.parameters == 8 * 12 + 1
    assert list(ours.weights) == list(shipped.weights)
    for name, array in shipped.weights.items():
        np.testing.assert_array_equal(ours.weights[name], array)
    np.testing.assert_array_equal(ours.shuffles, shipped.shuffles)
    np.testing.assert_array_equal(ours.held_out, shipped.held_out)

    torch.manual_seed(7)
    torch.rand(5)
    for name, theirs in (
        torch.nn.Sequential(torch.nn.Linear(10, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)).state_dict().items()
    ):
        assert torch.equal(torch.from_numpy(ours.weights[f"net.{name}"][0]), theirs)
    torch.randint(2**62, ())  # the loader's base seed, and its shuffle's
    assert ours.shuffles[0, 0] == torch.randint(2**62, ()).item() % 2**32


def test_what_a_module_draws_leaves_torchs_own_generator_alone(tmp_path):
    (tmp_path / "tanh.py").write_text(TANH)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    networks._drawn_by_torch(network.read(tmp_path / "tanh.py"), (3, 2, 1), stream.seeded(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_networks_are_taken_whole():
    _, drawn = problem(replicas=5, members=2)
    some = drawn.take(slice(2, 4))
    assert (len(drawn), len(some), some.first) == (5, 2, 2)
    assert (len(some.take(slice(1, 2))), some.take(slice(1, 2)).first) == (1, 3)
    np.testing.assert_array_equal(some.shuffles, drawn.shuffles[4:8])
    np.testing.assert_array_equal(some.weights["net.0.bias"], drawn.weights["net.0.bias"][4:8])
    assert len(drawn.take(slice(5, 5))) == 0


def test_parts_are_joined_and_network_0_tells_the_story():
    _, drawn = problem(replicas=3)
    parts = [drawn.take(slice(0, 1)), drawn.take(slice(1, 3))]
    history = np.ones((3, 1, 5))
    trained = [networks.Trained(part.weights, {}, history[: 0 if i else 3], True) for i, part in enumerate(parts)]
    whole = networks.Trained.joined(trained)
    for name, array in drawn.weights.items():
        np.testing.assert_array_equal(whole.weights[name], array)
    assert whole.history is trained[0].history


@given(
    classes=st.lists(st.integers(0, 4), min_size=2, max_size=80),
    share=st.floats(0.01, 0.5),
    seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4),
)
def test_every_row_trains_or_is_held_out_and_every_class_trains(classes, share, seeds):
    classes, seeds = np.array(classes, np.int32), np.array(seeds, np.uint64)
    try:
        networks.held_out_counts(classes, 5, share)
    except UserError as error:
        assert "is no row to watch; raise it" in str(error)
        sizes = np.bincount(classes)
        assert ((share * sizes < 0.5) | (sizes <= 1)).all()
        return
    trained, watched = networks.hold_out(seeds, classes, share)
    assert networks.rows_trained(classes, 5, share) == trained.shape[1]
    for r, seed in enumerate(seeds):
        assert sorted([*trained[r], *watched[r]]) == list(range(len(classes)))
        for c in np.unique(classes):
            rows, kept = (classes == c).sum(), (classes[watched[r]] == c).sum()
            assert kept == rows - 1 or abs(kept - share * rows) <= 0.5
            assert (classes[trained[r]] == c).any()
        alone = networks.hold_out(seeds[r : r + 1], classes, share)
        np.testing.assert_array_equal(alone[0][0], trained[r])
        np.testing.assert_array_equal(alone[1][0], watched[r])
        order = stream.permutation(stream.seeded(int(seed)), len(classes)).tolist()
        assert sorted(trained[r], key=order.index) == trained[r].tolist()


@given(classes=st.lists(st.integers(0, 4), min_size=2, max_size=80), share=st.sampled_from([0.0, 0.3]))
def test_balanced_weights_are_scikit_learns_of_the_rows_that_a_network_trains_on(classes, share):
    classes = np.array(classes, np.int32)
    try:
        rows = networks.hold_out(np.arange(1, dtype=np.uint64), classes, share)[0][0] if share else slice(None)
    except UserError:  # too few to hold any out
        return
    weights, there = networks.balanced(classes, 5, share), np.unique(classes[rows])
    theirs = compute_class_weight("balanced", classes=there, y=classes[rows])
    assert weights.dtype == np.float32 and weights[there].tobytes() == theirs.astype(np.float32).tobytes()
    assert weights[classes[rows]].mean(dtype=float) == pytest.approx(1)


def test_networks_draw_different_rows_about_evenly():
    _, watched = networks.hold_out(np.arange(400, dtype=np.uint64), np.arange(40) % 2, 0.25)
    times = np.bincount(watched.ravel(), minlength=40)
    assert watched.shape == (400, 10)
    assert abs(times - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_merged_network_is_the_mean_logit_of_its_members(k, count):
    weights = initial.weights([stream.seeded(i) for i in range(2 * count)], 4, 7, k)
    merged = networks.merged(weights, np.full((2, count), 1 / count, np.float32))
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    net = network.read()
    for r in range(2):
        module = network.scorer(net, (4, count * 7, k), merged, r)
        assert sum(p.numel() for p in module.parameters()) == count * 7 * (4 + 1 + k) + k
        apart = network.scorer(net, (4, 7, k), networks.by_network(weights, count), r)
        torch.testing.assert_close(module(x), apart(x), atol=1e-6, rtol=1e-5)
    if count == 1:
        for name in weights:
            assert merged[name].tobytes() == weights[name].tobytes()


def test_members_of_a_view_that_loses_less_count_more_if_enough_rows_tell():
    _, drawn = problem(replicas=2, members=4)
    two = in_views(drawn)
    losses = np.array([0.2, 0.5, 0.2, 0.3, 0.4, 0.2, 0.4, 0.2])
    trained = networks.Trained(drawn.weights, {}, np.empty(0), True, losses, 10**7)
    shares = networks.shares_of(trained, two)
    np.testing.assert_allclose(shares, [[0.4, 0.1, 0.4, 0.1], [0.1, 0.4, 0.1, 0.4]], atol=1e-3)
    few = networks.shares_of(msgspec.structs.replace(trained, watched=250), two)  # half of what they tell
    np.testing.assert_allclose(few[0, 0] / few[0, 1], (0.35 / 0.25) ** 2, rtol=1e-6)
    none, equal = msgspec.structs.replace(trained, watched=0), np.full((2, 4), 0.25, np.float32)
    for part, of in (trained, drawn), (none, two):
        np.testing.assert_array_equal(networks.shares_of(part, of), equal)

    x, net = torch.randn(50, 4, generator=torch.Generator().manual_seed(1)), network.read()
    merged = networks.whole(trained, two, net).weights
    for r in range(2):
        apart = [network.scorer(net, (4, 8, 1), drawn.weights, 4 * r + m)(x) for m in range(4)]
        mean = sum(logits * float(share) for logits, share in zip(apart, shares[r]))
        torch.testing.assert_close(network.scorer(net, (4, 32, 1), merged, r)(x), mean, atol=1e-6, rtol=1e-5)


def test_the_history_of_members_is_their_mean_and_the_kept_line_each_ones_best():
    history = np.array(
        [[[1, 0.5, 0.1, 0.9, 0.2], [1, 0.7, 0.3, 0.4, 0.4]], [[2, 0.3, 0.5, 0.7, 0.6], [1, 0.7, 0.3, 0.4, 0.4]]]
    )
    trained = networks.Trained({}, {}, history, True)
    first, second = networks.history(trained)
    assert first == pytest.approx(dict(zip(networks.COLUMNS, [1, 0.6, 0.2, 0.65, 0.3])))
    assert second["epoch"] == 2 and second["train_loss"] == pytest.approx(0.5)
    assert networks.kept(trained, 3) == pytest.approx(dict(zip(networks.COLUMNS, [2, 0.5, 0.4, 0.55, 0.5])))
    assert networks.kept(trained, 0) == second
    assert isinstance(first["epoch"], int)


def test_members_of_another_module_stay_apart():
    _, drawn = problem(replicas=3, members=2)
    other = network.Network("other.py", b"", "another")
    trained = networks.Trained(drawn.weights, drawn.take(slice(0, 1)).weights, np.zeros((1, 2, 3)), True)
    apart, merged = (networks.whole(trained, drawn, net) for net in (other, network.read()))
    assert (apart.members, apart.hidden_size, merged.members, merged.hidden_size) == (2, 8, 1, 16)
    assert apart.weights["net.0.weight"].shape == (3, 2, 8, 4)
    assert apart.by_epoch["net.0.weight"].shape == (1, 2, 8, 4)
    assert merged.weights["net.0.weight"].shape == (3, 16, 4)
    one = msgspec.structs.replace(drawn, members=1)
    assert networks.whole(trained, one, other).weights["net.0.weight"].shape == (6, 8, 4)
