"""Rows window by window: the order's rows, in whole batches, and the bits of a training that has them in memory."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plumbline.bits import kernel, stream
from plumbline.tables import shuffled
from plumbline.tables.shuffled import windows


@pytest.fixture
def little(monkeypatch, tmp_path):
    """No table fits in memory; `set(bytes)` is how large a window is."""
    monkeypatch.setattr(shuffled.memory, "limit", lambda: 1)
    monkeypatch.setattr(shuffled, "OF_MEMORY", 1e-9)

    def set_window(size, piece=100):
        monkeypatch.setattr(shuffled, "WINDOW", size)
        monkeypatch.setattr(shuffled, "PIECE", piece)

    return set_window


def rows(n, d):
    """Rows that say which they are."""
    return np.arange(n * d, dtype=np.float32).reshape(n, d), np.arange(n, dtype=np.int32)


def test_in_memory_nothing_is_copied(tmp_path):
    (x, y), orders = rows(700, 3), stream.permutations(np.arange(2), 700)
    ((xs, ys, order),) = windows(x, y, orders, 32, tmp_path / "none")
    assert xs is x and ys is y and order is orders


def test_half_of_the_memory_is_what_a_table_may_take(monkeypatch, tmp_path):
    (x, y), orders = rows(1000, 10), stream.permutations(np.arange(1), 1000)
    monkeypatch.setattr(shuffled, "WINDOW", 4000)
    for limit, count in [(2 * x.nbytes, 1), (2 * x.nbytes - 1, 11)]:  # 100 rows a window, of which 96 are whole batches
        monkeypatch.setattr(shuffled.memory, "limit", lambda limit=limit: limit)
        assert len(list(windows(x, y, orders, 32, tmp_path))) == count


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_windows_are_the_orders_rows_in_whole_batches(little, tmp_path, data):
    n, networks, batch_size, d = (data.draw(st.integers(1, most)) for most in (150, 3, 9, 4))
    size, piece = data.draw(st.integers(1, 3000)), data.draw(st.integers(1, 700))
    rng = np.random.default_rng(data.draw(st.integers(0, 10)))
    count = data.draw(st.integers(1, n))  # held-out rows are in no order
    orders = np.stack([rng.permutation(n)[:count] for _ in range(networks)]).astype(data.draw(st.sampled_from("iq")))
    if data.draw(st.booleans()):
        orders.sort(axis=1)
    little(size, piece)
    (x, y), done = rows(n, d), 0
    for xs, ys, places in windows(x, y, orders, batch_size, tmp_path):
        length = places.shape[1]
        assert places.dtype == orders.dtype and ys.dtype == np.int32 and xs.flags.c_contiguous
        assert length % batch_size == 0 or done + length == count
        assert xs.nbytes <= size or length <= batch_size
        here = orders[:, done : done + length]
        np.testing.assert_array_equal(xs[places], x[here])
        np.testing.assert_array_equal(ys[places], y[here])
        done += length
    assert done == count
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("networks, batch_size, k", [(1, 32, 1), (3, 64, 1), (2, 512, 4), (1, 5000, 1)])
def test_an_epoch_in_windows_has_the_bits_of_one_in_memory(little, tmp_path, networks, batch_size, k):
    x = stream.normal(stream.seeded(99), 2100).reshape(700, 3)
    y = ((x[:, 0] > 0) + 1 * (x[:, 1] > 0) * (k > 1)).astype(np.int32)
    little(10_000)
    trained = []
    for in_windows in (False, True):
        trainer, sums = kernel.Trainer(weights(networks, 3, 5, k), batch_size, 0.01), np.zeros((networks, 2))
        for epoch in range(3):
            orders = stream.permutations(np.arange(networks) + 10 * epoch, 700)
            for window in windows(x, y, orders, batch_size, tmp_path) if in_windows else [(x, y, orders)]:
                trainer.train(*window, sums)
        trained.append((trainer.weights(), sums))
    for name, whole in trained[0][0].items():
        np.testing.assert_array_equal(whole.view(np.uint32), trained[1][0][name].view(np.uint32))
    np.testing.assert_array_equal(trained[0][1], trained[1][1])


def weights(networks, d, h, k):
    rng = np.random.default_rng(0)
    shapes = {"net.0.weight": (h, d), "net.0.bias": (h,), "net.2.weight": (k, h), "net.2.bias": (k,)}
    return {name: rng.normal(size=(networks, *shape)).astype(np.float32) for name, shape in shapes.items()}


def test_a_disk_that_does_not_take_the_rows_is_one_line(little, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    little(1000)
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left on device"):
        list(windows(*rows(100, 3), stream.permutations(np.arange(1), 100), 32, tmp_path))
    assert not list(tmp_path.iterdir())
