"""Rows a window at a time, and shared out over workers: the bits of one process that has them all in memory."""

import copy
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_train import NONE, batched_trainer, settings, silent

from stages import kernel, model, spill, stream, training
from stages.errors import UserError
from stages.rows import OnDisk, Rows, windows
from stages.workers import Group


def elsewhere(x, rows, scans=None):
    """The array as rows that are not in memory, with room for so many; the rows of every scan go into a list."""

    def scan(pick):
        numbers = []
        for first in range(0, len(x), 50):
            own = pick(first, len(x[first : first + 50]))
            assert (np.diff(own) > 0).all()
            numbers += [*(first + own)]
            if len(own):
                yield first + own, x[first : first + 50][own]
        if scans is not None:
            scans.append(numbers)

    return Rows(scan, x.shape[1], np.empty(rows * x.shape[1], np.float32))


class Worker:
    """A group of threads that exchange what workers do."""

    def __init__(self, rank, size, shared):
        self.rank, self.size, (self.barrier, self.places) = rank, size, shared

    def exchange(self, array, sent, received):
        self.places[self.rank] = np.split(array.copy(), np.cumsum(sent)[:-1])
        self.barrier.wait()
        mine = [theirs[self.rank] for theirs in self.places]
        assert [len(part) for part in mine] == received.tolist()
        self.barrier.wait()
        return np.concatenate(mine)

    gather = Group.gather

    def broadcast(self, value):
        if self.rank == 0:
            self.places[0] = value
        self.barrier.wait()
        value = copy.deepcopy(self.places[0])
        self.barrier.wait()
        return value


def with_workers(size, work):
    """What `work(group)` returns in every one of so many workers."""
    shared, results = (threading.Barrier(size, timeout=60), [None] * size), [None] * size
    lock, permutations = threading.Lock(), stream.permutations

    def one_at_a_time(*arguments):  # threads share the generator of shuffles; workers are processes and do not
        with lock:
            return permutations(*arguments)

    def run(rank):
        try:
            results[rank] = work(Worker(rank, size, shared))
        except BaseException as error:
            shared[0].abort()
            results[rank] = error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "permutations", one_at_a_time)
        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    errors = [result for result in results if isinstance(result, BaseException)]
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error
    return results


def task(n=700, d=3, h=5, k=1, networks=3, epochs=3):
    """A table that teaches a little, with initial weights and shuffles of some networks."""
    generators = [stream.seeded(r) for r in range(networks)]
    x = stream.normal(stream.seeded(99), n * d).reshape(n, d)
    noise = stream.uniform(stream.seeded(98), n) < 0.2
    y = ((x[:, 0] > 0) + 1 * (x[:, 1] > 0) * (k > 1) + noise).astype(np.int32) % max(k, 2)
    weights = model.initial_weights(generators, d, h, k)
    return (x, y), weights, np.stack([stream.shuffle_seeds(generator, epochs) for generator in generators])


def assert_same(ours, theirs):
    assert ours[2:] == theirs[2:]
    for a, b in zip(ours[:2], theirs[:2]):
        for name in b:
            np.testing.assert_array_equal(a[name].view(np.uint32), b[name].view(np.uint32))


@hypothesis_settings(deadline=None, max_examples=200)
@given(st.data())
def test_windows_are_the_orders_rows_in_whole_batches_and_no_more_than_there_is_room_for(data):
    n, networks, step = (data.draw(st.integers(1, most)) for most in (150, 3, 9))
    count, room = data.draw(st.integers(1, n)), data.draw(st.integers(networks * step, 250))
    x, y = np.arange(2 * n, dtype=np.float32).reshape(n, 2), np.arange(n, dtype=np.int32)
    orders = np.stack([np.random.default_rng(r).permutation(n)[:count] for r in range(networks)]).astype(np.int32)
    few, scans, seen = data.draw(st.sampled_from([1, 3, 1000])), [], []
    wanted = np.random.default_rng(9).random((networks, step)) < data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    own = data.draw(st.sampled_from([None, lambda networks, rows: np.tile(wanted, -(-rows // step))[:, :rows]]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.rows.FEW", few)
        for xs, ys, places in windows(elsewhere(x, room, scans), y, orders, step, own):
            assert places.dtype == orders.dtype
            assert len(xs) == len(ys) <= room
            np.testing.assert_array_equal(xs[:, 0], 2.0 * ys)
            mine = own(*places.shape) if own else np.full(places.shape, True)
            seen.append(np.where(mine, ys[places] if len(ys) else -1, -1))
    assert all(each.shape[1] % step == 0 for each in seen[:-1])
    mine = own(*orders.shape) if own else np.full(orders.shape, True)
    np.testing.assert_array_equal(np.concatenate(seen, axis=1), np.where(mine, orders, -1))
    assert room < n or len(seen) == 1
    if networks == 1 and few == 1 and len(seen) > 1 and own is None:
        first = orders[:, : seen[0].shape[1]].max()
        assert len(scans) == (1 if first > orders[:, seen[0].shape[1] :].min() else len(seen))
    if few == 1000:
        assert len(scans) == len(seen)


def test_rows_on_the_disk_come_back_and_leave_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "_folder", tmp_path / "new")
    file, x = OnDisk(10, 3), np.arange(30, dtype=np.float32).reshape(10, 3)
    file.write(4, x[4:])
    file.write(0, x[:4])
    file.write(0, x[:0])
    back = np.zeros((7, 3), np.float32)
    file.read(2, back)
    np.testing.assert_array_equal(back, x[2:9])
    assert list((tmp_path / "new").iterdir()) == []


def test_a_disk_that_does_not_take_the_rows_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "_folder", tmp_path)
    with pytest.raises(UserError, match=r"^4,000,000,000\.0 GB do not fit in memory, and the disk of .*; make"):
        OnDisk(10**15, 1000)


def test_in_memory_nothing_is_copied():
    (x, y), _, _ = task()
    orders = stream.permutations(np.arange(2), len(x))
    ((xs, ys, order),) = windows(x, y, orders, 32)
    assert xs is x and ys is y and order is orders


CASES = [
    {"batch_size": 32},
    {"batch_size": 32, "patience": 2, "epochs": 12, "learning_rate": 0.05},
    {"batch_size": 512, "weight_decay": 0.1},  # two shards, and a last batch of one
    {"batch_size": 5000, "schedule": "cosine"},
    {"batch_size": 64, "held_out": 0.2, "patience": 2, "epochs": 8, "learning_rate": 0.1},
    {"batch_size": 300, "members": 3, "patience": 2, "epochs": 8, "learning_rate": 0.1},
]


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("networks, few", [(1, 1), (1, 100), (3, 3)])
def test_a_training_in_windows_has_the_bits_of_one_in_memory(case, k, networks, few, monkeypatch):
    monkeypatch.setattr("stages.rows.FEW", few)
    if networks == 1 and "members" in case:
        networks = 6
    chosen = settings(**case)
    (x, y), weights, shuffles = task(k=k, networks=networks, epochs=chosen.epochs)
    data, watch, draws = (x[:590], y[:590]), (x[590:], y[590:]), np.arange(networks, dtype=np.uint64)
    if chosen.held_out:
        watch = NONE[0][:, :3], NONE[1]
    whole = training.train(data, watch, weights, shuffles, chosen, silent, None, draws)
    least = networks * min(chosen.batch_size, 590)
    for room in (least, max(least, 400)):
        fetched = []
        parts = [(elsewhere(xs, room, fetched), ys) for xs, ys in (data, watch)]
        assert_same(training.train(*parts, weights, shuffles, chosen, silent, None, draws), whole)
        assert len(fetched) > whole[2][-1]["epoch"] or few == 1


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_workers_together_have_the_bits_of_one_process(monkeypatch, case, size):
    monkeypatch.setattr(kernel, "SLICED", 0 if size % 2 else 2**16)  # added up by slices, or by everyone
    chosen = settings(**case)
    networks = 6 if "members" in case else 1 if chosen.batch_size == 5000 else 2
    (x, y), weights, shuffles = task(n=1400, networks=networks, epochs=chosen.epochs)
    data, watch, draws = (x[:1290], y[:1290]), (x[1290:], y[1290:]), np.arange(networks, dtype=np.uint64)
    whole = training.train(data, watch, weights, shuffles, chosen, silent, None, draws)

    def work(group):
        fetched = []
        own = elsewhere(data[0], 1290, fetched), data[1]
        ours = training.train(own, watch, weights, shuffles, chosen, silent, None, draws, group)
        return ours, fetched

    for ours, fetched in with_workers(size, work):
        assert_same(ours, whole)
        if chosen.batch_size == 5000:  # five shards of 258 rows
            assert max(map(len, fetched), default=0) <= -(-5 // size) * 258


@pytest.mark.parametrize("batches", [2, 11])  # few windows, and many
@pytest.mark.parametrize("size", [2, 3])
def test_a_worker_that_has_more_of_the_last_batch_than_of_others_has_room_for_it(batches, size):
    chosen = settings(batch_size=768, epochs=2)
    (x, y), weights, shuffles = task(n=768 * batches + 511, networks=1, epochs=2)  # 511 rows are one shard
    whole = training.train((x, y), NONE, weights, shuffles, chosen, silent)

    def work(group):
        return training.train((elsewhere(x, 768), y), NONE, weights, shuffles, chosen, silent, group=group)

    for ours in with_workers(size, work):
        assert_same(ours, whole)


TORCH = pytest.mark.parametrize("trainer_for", [training.trainer_for, batched_trainer])


@TORCH
@pytest.mark.parametrize("k", [1, 4])
def test_the_torch_engine_trains_in_windows_with_the_bits_it_has_in_memory(trainer_for, k, monkeypatch):
    monkeypatch.setattr(training, "trainer_for", trainer_for)
    chosen = settings(engine="torch", batch_size=64, patience=2)
    data, weights, shuffles = task(k=k, networks=2)
    whole = training.train(data, data, weights, shuffles, chosen, silent)
    fetched = []
    parts = (elsewhere(data[0], 256, fetched), data[1]), (elsewhere(data[0], 256), data[1])
    assert_same(training.train(*parts, weights, shuffles, chosen, silent), whole)
    assert len(fetched) > 3


@TORCH
@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_torch_engines_workers_train_what_one_process_trains(trainer_for, k, size, monkeypatch):
    """Sums of floats in another order: the same network but for the last bits, and the same one in every worker."""
    monkeypatch.setattr(training, "trainer_for", trainer_for)
    chosen = settings(engine="torch", batch_size=64)
    data, weights, shuffles = task(n=641, k=k, networks=2)  # a last batch of one row: not every worker has one
    whole = training.train(data, NONE, weights, shuffles, chosen, silent)

    def work(group):
        own = elsewhere(data[0], 641), data[1]
        return training.train(own, NONE, weights, shuffles, chosen, silent, None, (), group)

    results = with_workers(size, work)
    for ours in results:
        assert_same(ours, results[0])
        for name in weights:
            np.testing.assert_allclose(ours[0][name], whole[0][name], rtol=0, atol=2e-4)
        for row, other in zip(ours[2], whole[2]):
            assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)


def test_every_row_is_some_workers_and_a_shard_one_workers():
    for networks, rows, batch, size in [(1, 5000, 1024, 3), (2, 5000, 2048, 4), (3, 100, 32, 5), (1, 700, 256, 2)]:
        x = np.zeros((rows, 2), np.float32)
        weights = model.initial_weights([stream.seeded(r) for r in range(networks)], 2, 3, 1)
        shared = threading.Barrier(1), [None]
        masks = []
        for rank in range(size):
            y = np.zeros(rows, np.int32)
            masks.append(
                kernel.Trainer(x, y, weights, batch, 0.1, group=Worker(rank, size, shared))._own(networks, rows)
            )
        assert (sum(mask.astype(int) for mask in masks) == 1).all()
        for start in range(0, rows, batch):
            n = min(batch, rows - start)
            shards = kernel.shards_of(n)
            for r in range(networks):
                for s in range(shards):
                    shard = slice(start + n * s // shards, start + n * (s + 1) // shards)
                    assert sum(mask[r, shard].any() for mask in masks) == 1
