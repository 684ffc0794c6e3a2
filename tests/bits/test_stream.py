import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from plumbline.bits import draws, stream

SEEDS = st.integers(0, 2**32 - 1)


def pair(seed):
    return stream.seeded(seed), torch.Generator().manual_seed(seed)


@given(SEEDS, st.integers(0, 2000))
def test_uniform_is_torch_rand(seed, count):
    ours, theirs = pair(seed)
    np.testing.assert_array_equal(stream.uniform(ours, count), torch.rand(count, generator=theirs).numpy())


@given(SEEDS, st.integers(16, 3000))
def test_normal_is_torch_randn_to_1e_6_and_leaves_the_stream_where_torch_does(seed, count):
    ours, theirs = pair(seed)
    np.testing.assert_allclose(
        stream.normal(ours, count), torch.randn(count, generator=theirs).numpy(), rtol=0, atol=1e-6
    )
    np.testing.assert_array_equal(stream.uniform(ours, 5), torch.rand(5, generator=theirs).numpy())


@given(SEEDS, st.integers(1, 3000))
def test_permutation_is_torch_randperm(seed, count):
    ours, theirs = pair(seed)
    np.testing.assert_array_equal(stream.permutation(ours, count), torch.randperm(count, generator=theirs).numpy())


def test_a_long_permutation_takes_64_bits_a_swap_as_torch_does(monkeypatch):
    monkeypatch.setattr(stream, "MANY", 1)
    order = stream.permutation(stream.seeded(1), 1000)
    high, low = stream.words(stream.seeded(1), 2 * 999).reshape(-1, 2).T
    expected = list(range(1000))
    for i, word in enumerate((int(a) << 32) | int(b) for a, b in zip(high, low)):
        j = i + word % (1000 - i)
        expected[i], expected[j] = expected[j], expected[i]
    assert order.tolist() == expected


def test_shuffles_are_those_of_the_notebooks_two_loaders():
    rows, epochs = 77, 5
    ours = stream.seeded(9)
    torch.manual_seed(9)  # like the notebook's, these loaders draw from the global generator
    data = TensorDataset(torch.arange(rows))
    shuffled = DataLoader(data, batch_size=10, shuffle=True)
    unshuffled = DataLoader(data, batch_size=10)
    for seed in stream.shuffle_seeds(ours, epochs):
        torch_order = torch.cat([batch for (batch,) in shuffled]).tolist()
        assert stream.permutation(stream.seeded(seed), rows).tolist() == torch_order
        for _ in unshuffled:
            pass


@given(SEEDS, st.integers(0, 1500))
def test_text_brings_the_stream_back(seed, drawn):
    generator = stream.seeded(seed)
    stream.words(generator, drawn)
    again = stream.from_text(stream.to_text(generator))
    np.testing.assert_array_equal(stream.words(generator, 700), stream.words(again, 700))


def test_replicas_have_seeds_of_their_own():
    seeds = {stream.seed_of(seed, r) for seed in range(20) for r in range(1, 50)}
    assert len(seeds) == 20 * 49
    seeds |= {stream.seed_of(seed, r, m) for seed in range(20) for r in range(20) for m in range(1, 20)}
    assert len(seeds) == 20 * (49 + 20 * 19)
    assert all(0 <= seed < 2**32 for seed in seeds)
    # SHA-256 of "42/1" ends in these eight digits: printf 42/1 | sha256sum
    assert f"{stream.seed_of(42, 1):08x}" == DIGEST_42_1[-8:]


@pytest.mark.parametrize("count", [16, 4096, 2 * stream.PIECE + 21])
def test_normals_are_the_same_compiled_or_not(monkeypatch, count):
    by_numpy = stream.normal(stream.seeded(5), count)
    monkeypatch.setattr(stream, "WORTH_COMPILING", 0)
    np.testing.assert_array_equal(stream.normal(stream.seeded(5), count).view(np.uint32), by_numpy.view(np.uint32))


@pytest.mark.parametrize("count", [1, 2, 1000, stream.PIECE + 7])
def test_shuffles_are_the_same_compiled_or_not(monkeypatch, count):
    monkeypatch.setattr(stream, "_form", lambda *_: draws.swap_down)
    compiled = stream.permutation(stream.seeded(5), count)
    monkeypatch.setattr(stream, "_form", lambda plain, _: plain)
    np.testing.assert_array_equal(stream.permutation(stream.seeded(5), count), compiled)


def test_a_small_table_is_drawn_and_shuffled_without_a_compiler():
    script = "import sys; from plumbline.bits import stream as s; g = s.seeded(1); s.normal(g, 10_000); "
    script += "s.permutation(g, 1000); print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_few_normals_are_refused():
    with pytest.raises(ValueError, match="16"):
        stream.normal(stream.seeded(0), 15)


DIGEST_42_1 = "2e4deec325f6c9d6c32858449a75b630e8ff7492dadf80818bbac2162b83e54e"
