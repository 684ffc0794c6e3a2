"""A training that is killed goes on with the same bits; a snapshot of anything else, or a damaged one, is not used."""

import contextlib
import pickle
import sys
import time
from pathlib import Path

import msgspec
import numba
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_loop import NONE, assert_same, problem, settings, train, watched_problem

from plumbline.basics.errors import UserError
from plumbline.model import sealed
from plumbline.training import loop, snapshot
from plumbline.training.snapshot import Keeper, Run

PATH = Path("models/resume.safetensors")


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    numba.set_num_threads(1)  # of small work, beside other tests
    monkeypatch.setattr(snapshot, "CODE", tmp_path)  # so that whoever edits the code now spoils no test
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
    "members that stop apart": ({"patience": 3, "members": 3}, [1, 10_000]),
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
        assert len(again.networks) - 1 - (epochs - stop) in ((0, 1) if changes else (0,))
        if not changes:
            assert sum(again.networks) == whole_of
        keeper.drop()
        assert not PATH.exists()


def test_the_autograd_engine_goes_on_too(monkeypatch, every_epoch):
    arguments = watched_problem(epochs=6, patience=4, engine="torch")
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
    keeper = Keeper(rest[2])
    find = Keeper.find
    monkeypatch.setattr(Keeper, "find", lambda self, mine, _: find(self, mine, 4))
    path = Path(f"models/resume-{first}.safetensors")
    Advance(monkeypatch, 2)
    with pytest.raises(Killed):
        train(share, *rest, keeper)
    assert path.exists()
    Advance(monkeypatch)
    assert_same(train(share, *rest, Keeper(rest[2])), whole)
    assert f"going on after epoch 2 of network {first}, from {path}" in capsys.readouterr().err

    other = Keeper(rest[2])
    assert other.find(drawn.take(slice(2 - first, 4 - first)), 4) is None
    assert other.find(drawn, 4) is None  # a plain process starts afresh
    assert capsys.readouterr().err == ""
    other.drop()
    assert not path.exists()


def test_a_snapshot_of_another_training_is_not_used(tmp_path, monkeypatch, every_epoch):
    drawn, *rest = watched_problem()
    table, code = tmp_path / "table", tmp_path / "bits" / "code.py"
    code.parent.mkdir()
    table.write_bytes(b"a table")
    code.write_bytes(b"code")
    Advance(monkeypatch, 2)
    with pytest.raises(Killed):
        train(drawn, *rest, Keeper(rest[2], 42, b"bytes", table))

    def found(*given):
        return Keeper(*given).find(drawn, len(drawn))

    assert found(rest[2], 42, b"bytes", table).epoch == 2
    assert found(settings(learning_rate=0.02), 42, b"bytes", table) is None
    assert found(rest[2], 43, b"bytes", table) is None
    assert found(rest[2], 42, b"others", table) is None
    for changed in (table, code):
        before = changed.read_bytes()
        changed.write_bytes(b"another")
        assert found(rest[2], 42, b"bytes", table) is None
        changed.write_bytes(before)
    assert found(rest[2], 42, b"bytes", table).epoch == 2


def test_the_key_holds_the_files_bytes_and_not_their_names_or_times(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"a table")
    other.write_bytes(b"a table")
    key = Keeper(settings(), one).key
    assert Keeper(settings(), other).key == key
    assert Keeper(settings(), one, one).key != key


def test_the_code_that_trains_is_part_of_the_key(monkeypatch):
    monkeypatch.setattr(snapshot, "CODE", ROOT / "plumbline")
    names = {str(path.relative_to(snapshot.CODE)) for path in snapshot.code()}
    assert {"training/autograd.py", "bits/kernel.py", "tables/encoding.py", "basics/params.py"} <= names
    used = {module.__file__ for name, module in sys.modules.items() if name.startswith("plumbline.training.")}
    assert {str(Path(file).relative_to(snapshot.CODE)) for file in used} <= names


def test_what_was_edited_meanwhile_ends_the_training_at_the_next_snapshot(monkeypatch, every_epoch):
    def changed():
        raise UserError("params.yaml changed while this ran")

    arguments = watched_problem()
    monkeypatch.setattr(snapshot.inputs, "check", changed)
    with pytest.raises(UserError, match="changed while this ran"):
        train(*arguments, Keeper(arguments[3]))
    assert not PATH.exists()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The bytes of a snapshot, and what it is of."""
    (_, drawn), chosen = problem(n=20, h=3, replicas=2), settings(replicas=2)
    with contextlib.chdir(tmp_path_factory.mktemp("kept")), pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot.inputs, "check", lambda: None)
        keeper, run = Keeper(chosen), Run.start(drawn, 3)
        assert keeper.find(drawn, 2) is None
        run.state, run.running, run.epoch = [np.arange(6, dtype=np.float32).reshape(2, 3)], np.arange(2), 1
        keeper.keep(run)
        return PATH.read_bytes(), drawn, chosen


def found_in(content, drawn, chosen):
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_bytes(content)
    return Keeper(chosen).find(drawn, 2)


@pytest.mark.parametrize("content", [b"", b"junk", pickle.dumps({"epoch": 3}), b"\xff" * 64])
def test_what_is_no_snapshot_is_said_and_not_used(capsys, kept, content):
    assert found_in(content, *kept[1:]) is None
    assert "resume.safetensors is not a snapshot" in capsys.readouterr().err


@hypothesis_settings(deadline=None, max_examples=100)
@given(st.data())
def test_a_cut_or_altered_snapshot_is_not_used(kept, data):
    content, *given_ = kept
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        altered = content[:place]
    else:
        altered = content[:place] + bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :]
    found = found_in(altered, *given_)
    if found is not None:  # the altered byte said the same, as another space between two words does
        assert repr(found) == repr(found_in(content, *given_))


def test_a_training_that_ends_drops_its_own_snapshot_and_no_others(monkeypatch, every_epoch):
    data, drawn = problem()
    killed(monkeypatch, 2, drawn, data, NONE, settings())
    other = Keeper(settings(learning_rate=0.02))
    assert other.find(drawn, 4) is None
    other.drop()
    again = Keeper(settings())
    assert again.find(drawn, 4).epoch == 2
    again.drop()
    assert not PATH.exists()


def test_a_folder_under_the_snapshots_name_is_refused_at_the_start():
    PATH.mkdir(parents=True)
    with pytest.raises(UserError, match="is a folder"):
        Keeper(settings()).find(problem()[1], 4)


def small(state):
    _, drawn = problem(n=20, h=1, replicas=1)
    run = Run.start(drawn, 3)
    run.state = [state]
    return run, drawn


def test_a_snapshot_is_due_by_time_and_by_cost(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    keeper = Keeper(settings())
    run, drawn = small(np.zeros(2))
    keeper.find(drawn, 1)

    def slow_write(path, arrays, text):
        now[0] += 0.3

    def due(*times):
        return [now.__setitem__(0, each) or keeper.due(run) for each in times]

    monkeypatch.setattr(sealed, "write", slow_write)
    assert due(104.9, 105.0) == [False, True]
    keeper.keep(run)  # it took 0.3 s, and two such writes are 2 % of 30 s
    assert due(129.0, 131.0) == [False, True]


def test_the_first_snapshot_waits_for_what_hashing_and_writing_will_cost(tmp_path, monkeypatch):
    now, table = [100.0], tmp_path / "table"
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with table.open("wb") as file:
        file.truncate(int(snapshot.RATE / 2))  # half a second
    keeper = Keeper(settings(), table)
    run, _ = small(np.empty(int(snapshot.RATE / 2), np.uint8))
    assert [now.__setitem__(0, each) or keeper.due(run) for each in (149.0, 150.1)] == [False, True]


def test_a_disk_that_does_not_take_a_snapshot_ends_no_training(monkeypatch, every_epoch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", "resume.safetensors")

    monkeypatch.setattr(sealed, "write", full)
    arguments = watched_problem()
    train(*arguments, Keeper(arguments[3]))
    assert capsys.readouterr().err.count("cannot be written (No space left on device); training goes on without") == 1


def test_a_run_comes_back_as_it_was(kept):
    _, drawn, _ = kept
    run = Run.start(drawn, 3)
    run.by_epoch.append({name: array[:1] for name, array in drawn.weights.items()})
    run.history.append(np.ones((1, 1, 3)))
    run.state, run.running = [np.arange(3), np.ones((2, 2))], np.arange(2)
    run.join()
    again = Run.of(run.arrays(), 0)
    assert msgspec.json.encode(again, enc_hook=np.ndarray.tolist) == msgspec.json.encode(
        run, enc_hook=np.ndarray.tolist
    )
