"""A training that is killed goes on with the same bits; a snapshot of anything else, or a damaged one, is not used."""

import contextlib
import pickle
import time
from pathlib import Path

import msgspec
import numba
import numpy as np
import pytest
from conftest import ROOT
from test_loop import NONE, assert_same, problem, settings, train, watched_problem

from plumbline.basics import inputs
from plumbline.basics.errors import UserError
from plumbline.training import loop, snapshot
from plumbline.training.snapshot import Keeper, Run

PATH = Path("models/resume-0-3.snapshot")


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    numba.set_num_threads(1)  # of small work, beside other tests
    inputs.forget()
    monkeypatch.setattr(snapshot.inputs, "check", lambda: None)  # which looks at every module: too slow for every epoch


@pytest.fixture
def every_epoch(monkeypatch):
    monkeypatch.setattr(snapshot, "EVERY", 0.0)
    monkeypatch.setattr(snapshot, "SHARE", 1e9)


class Advance:
    """What the loop tells of its progress; after so many epochs of a group it is killed."""

    def __init__(self, monkeypatch, epochs=None):
        self.networks, self.left = [], epochs

        @contextlib.contextmanager
        def shown(*_):
            yield self.told

        monkeypatch.setattr(loop.progress, "shown", shown)

    def told(self, networks, row):
        self.networks.append(networks)
        if self.left is not None and len(self.networks) > 1:  # the first is of what lies behind
            self.left -= 1
            if self.left < 0:
                raise Killed


def killed(monkeypatch, stop, *arguments):
    """The training, killed after so many epochs of a group; its last snapshot is there."""
    Advance(monkeypatch, stop)
    with pytest.raises(Killed):
        train(*arguments, Keeper(arguments[3]))
    assert PATH.exists()


CASES = {
    "plain": ({}, [1, 60 * 2, 10_000]),
    "early stopping": ({"patience": 3}, [1, 10_000]),
    "rows of their own": ({"patience": 3, "held_out": 0.2}, [1, 10_000]),
    "members that stop apart": ({"patience": 3, "members": 3}, [1]),
    "members that see apart": (
        {"patience": 3, "members": 3, "views": True, "input_rate": 3.0, "ema_decay": 0.7},
        [10_000],
    ),
}


@pytest.mark.parametrize("changes, at_once", [(c, a) for c, all_ in CASES.values() for a in all_], ids=str)
def test_stopped_after_any_epoch_it_ends_with_the_same_bits(monkeypatch, every_epoch, changes, at_once, capsys):
    """Networks one by one, two by two, all at once."""
    monkeypatch.setattr(loop, "SHUFFLED_ROWS", at_once)
    arguments = watched_problem(epochs=25 if changes else 3, **changes)
    whole_of, seen = arguments[0].shuffles.size, Advance(monkeypatch)
    whole = train(*arguments)
    epochs = len(seen.networks) - 1
    assert epochs > 2
    for stop in range(1, epochs, 1 if epochs < 20 else 3):
        killed(monkeypatch, stop, *arguments)
        capsys.readouterr()
        keeper, again = Keeper(arguments[3]), Advance(monkeypatch)
        assert_same(train(*arguments, keeper), whole)
        assert "going on after epoch" in capsys.readouterr().err
        # Nothing is done twice, but for the epoch in which the last of a group stops: there is no snapshot of it.
        assert len(again.networks) - 1 - (epochs - stop) in (0, 1)
        if not changes:
            assert sum(again.networks) == whole_of
        keeper.drop()
        assert not PATH.exists()


def test_the_autograd_engine_goes_on_too(monkeypatch, every_epoch):
    arguments = watched_problem(epochs=6, patience=4, engine="torch", input_rate=3.0, ema_decay=0.7)
    whole = train(*arguments)
    killed(monkeypatch, 3, *arguments)
    again = Advance(monkeypatch)
    assert_same(train(*arguments, Keeper(arguments[3])), whole)
    assert len(again.networks) - 1 == 6 - 3


@pytest.mark.parametrize("first", [0, 2])
def test_a_worker_keeps_its_own_networks(monkeypatch, every_epoch, first, capsys):
    """Two workers, two networks each: worker 1's share is no other number of workers' business."""
    drawn, *rest = watched_problem(patience=3)
    share = drawn.take(slice(first, first + 2))
    whole = train(share, *rest)
    assert len(whole.history) == 0 if first else len(whole.history)
    path = Path(f"models/resume-{first}-{first + 1}.snapshot")
    Advance(monkeypatch, 2)
    with pytest.raises(Killed):
        train(share, *rest, Keeper(rest[2]))
    assert path.exists()
    Advance(monkeypatch)
    assert_same(train(share, *rest, Keeper(rest[2])), whole)
    assert f"going on after epoch 2, from {path}" in capsys.readouterr().err

    other = Keeper(rest[2])
    assert other.find(drawn.take(slice(2 - first, 4 - first))) == []
    assert other.find(drawn) == []  # a plain process starts afresh
    assert capsys.readouterr().err == ""
    other.drop()
    assert not path.exists()


def test_a_snapshot_of_another_training_is_not_used(tmp_path, monkeypatch, every_epoch):
    drawn, *rest = watched_problem()
    table = tmp_path / "table"
    table.write_bytes(b"a table")
    inputs.watch(table)
    Advance(monkeypatch, 2)
    with pytest.raises(Killed):
        train(drawn, *rest, Keeper(rest[2], 42))

    def found(*given):
        inputs.watch(table)
        return [run.epoch for run in Keeper(*given).find(drawn)]

    assert found(rest[2], 42) == [2]
    assert found(settings(learning_rate=0.02), 42) == []
    assert found(rest[2], 43) == []
    table.write_bytes(b"another")
    assert found(rest[2], 42) == []
    table.write_bytes(b"a table")
    assert found(rest[2], 42) == [2]
    monkeypatch.setitem(inputs._code, ROOT / "plumbline/bits/kernel.py", inputs._seen(table))
    assert found(rest[2], 42) == []


def test_what_was_edited_meanwhile_ends_the_training_at_the_next_snapshot(monkeypatch, every_epoch):
    def changed():
        raise UserError("params.yaml changed while this ran")

    arguments = watched_problem()
    monkeypatch.setattr(snapshot.inputs, "check", changed)
    with pytest.raises(UserError, match="changed while this ran"):
        train(*arguments, Keeper(arguments[3]))
    assert not PATH.exists()


@pytest.fixture
def kept():
    """A snapshot, and what it is of."""
    (_, drawn), keeper = problem(n=20, h=3), Keeper(settings())
    run = Run.start(drawn)
    run.state, run.epoch = [np.arange(6, dtype=np.float32).reshape(2, 3)], 1
    assert keeper.find(drawn) == []
    keeper.keep([run])
    return PATH.read_bytes(), drawn, run


def found_in(content, drawn):
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_bytes(content)
    return Keeper(settings()).find(drawn)


def test_a_run_comes_back_as_it_was(kept):
    _, drawn, run = kept
    run.by_epoch.append({name: array[:1] for name, array in drawn.weights.items()})
    run.history.append(np.ones((1, 3)))
    keeper = Keeper(settings())
    keeper.find(drawn)
    keeper.keep([run, run])
    for again in keeper.find(drawn):
        assert msgspec.json.encode(again, enc_hook=np.ndarray.tolist) == msgspec.json.encode(
            run, enc_hook=np.ndarray.tolist
        )
        assert all(a.dtype == b.dtype for a, b in zip(again.state, run.state))


@pytest.mark.parametrize("content", [b"", b"junk", pickle.dumps({"epoch": 3}), b"\xff" * 99])
def test_what_is_no_snapshot_is_not_used(kept, content):
    assert found_in(content, kept[1]) == []


def test_a_cut_or_altered_snapshot_is_not_used(kept):
    content, drawn, _ = kept
    assert len(found_in(content, drawn)) == 1
    for place in range(0, len(content), 7):
        altered = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        assert found_in(altered, drawn) == found_in(content[:place], drawn) == []


def test_a_training_that_ends_drops_its_own_snapshot_and_no_others(monkeypatch, every_epoch):
    data, drawn = problem()
    killed(monkeypatch, 2, drawn, data, NONE, settings())
    Keeper(settings(learning_rate=0.02)).drop()
    again = Keeper(settings())
    assert [run.epoch for run in again.find(drawn)] == [2]
    again.drop()
    assert not PATH.exists()


def test_a_snapshot_is_due_by_time_and_by_cost(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    keeper, drawn = Keeper(settings()), problem()[1]
    keeper.find(drawn)

    def slow_check():
        now[0] += 0.3

    def due(*times):
        return [now.__setitem__(0, each) or keeper.due() for each in times]

    assert due(104.9, 105.0) == [False, True]
    write = snapshot.files.replacing
    monkeypatch.setattr(snapshot.files, "replacing", lambda path: slow_check() or write(path))
    keeper.keep([Run.start(drawn)])  # it took 0.3 s, which are 2 % of 15 s
    assert due(120.2, 120.4) == [False, True]


def test_a_disk_that_does_not_take_a_snapshot_ends_no_training(monkeypatch, every_epoch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", "resume")

    monkeypatch.setattr(snapshot.files, "replacing", full)
    arguments = watched_problem()
    train(*arguments, Keeper(arguments[3]))
    assert capsys.readouterr().err.count("cannot be written (No space left on device); training goes on without") == 1
