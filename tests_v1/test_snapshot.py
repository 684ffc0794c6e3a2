"""A training that is killed goes on with the same bits; a snapshot of anything else, or a damaged one, is not used."""

import contextlib
import os
import pickle
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ENVIRONMENT
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_rows import with_workers
from test_train import NONE, problem, settings, silent, watched_problem

from stages import alike, sealed, snapshot, training
from stages.errors import UserError


class Killed(BaseException):
    pass


class Seen:
    """What `advance` was told."""

    def __init__(self):
        self.networks, self.lines = [], []

    def advance(self, networks, line):
        self.networks.append(networks)
        self.lines.append(line)


def killed_after(epochs):
    """An `advance` that stands for a kill: it lets so many epochs of a group pass."""
    left = [epochs]

    def advance(networks, line):
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    return advance


def keeper_for(path, data, weights, shuffles, parameters, draws=()):
    return snapshot.Keeper(path, parameters, *data, *weights.values(), shuffles, *draws)


@pytest.fixture
def every_epoch(monkeypatch):
    monkeypatch.setattr(snapshot, "EVERY", 0.0)
    monkeypatch.setattr(snapshot, "SHARE", 1e9)


def assert_same(ours, theirs):
    assert ours[2] == theirs[2]
    for a, b in zip(ours[:2], theirs[:2]):
        for name in b:
            np.testing.assert_array_equal(a[name].view(np.uint32), b[name].view(np.uint32))


@pytest.mark.parametrize("together", [1, 180, 10_000])
def test_stopped_after_any_epoch_it_ends_with_the_same_bits(tmp_path, monkeypatch, every_epoch, together, capsys):
    monkeypatch.setattr(training, "SHUFFLED_ROWS", together)  # networks of 90 rows: one by one, two by two, all at once
    data, weights, shuffles = problem()
    whole = training.train(data, data, weights, shuffles, settings(), silent)
    groups = {1: 4, 180: 2, 10_000: 1}[together]
    for stop in range(1, 3 * groups):
        path = tmp_path / f"{stop}.safetensors"
        with pytest.raises(Killed):
            keeper = keeper_for(path, data, weights, shuffles, settings())
            training.train(data, data, weights, shuffles, settings(), killed_after(stop), keeper)
        keeper, seen = keeper_for(path, data, weights, shuffles, settings()), Seen()
        again = training.train(data, data, weights, shuffles, settings(), seen.advance, keeper)
        assert_same(again, whole)
        assert sum(seen.networks) == shuffles.size
        assert "going on after epoch" in capsys.readouterr().err
        assert len(seen.lines) - 1 == 3 * groups - stop  # nothing was done twice
        keeper.drop()
        assert not path.exists()


@pytest.mark.parametrize("together", [1, 10_000])
def test_early_stopping_goes_on_with_the_same_bits(tmp_path, monkeypatch, every_epoch, together):
    """Networks that have stopped, those that still run, and the best epoch of each are all in the snapshot."""
    monkeypatch.setattr(training, "SHUFFLED_ROWS", together)
    data, weights, shuffles = problem(epochs=40)
    watch = data[0][:20], 1 - data[1][:20]  # labels turned round: the loss rises soon, at another epoch for each
    patient = settings(patience=2, epochs=40, learning_rate=0.05)
    counted = Seen()
    whole = training.train(data, watch, weights, shuffles, patient, counted.advance)
    epochs = len(counted.networks)
    assert sum(counted.networks) < shuffles.size
    for stop in range(1, epochs):
        path = tmp_path / f"{stop}.safetensors"
        with pytest.raises(Killed):
            keeper = keeper_for(path, data, weights, shuffles, patient)
            training.train(data, watch, weights, shuffles, patient, killed_after(stop), keeper)
        keeper = keeper_for(path, data, weights, shuffles, patient)
        again = training.train(data, watch, weights, shuffles, patient, silent, keeper)
        assert_same(again, whole)
        assert again[3] == whole[3]


@pytest.mark.parametrize("together", [1, 10_000])
def test_networks_with_rows_of_their_own_go_on_with_the_same_bits(tmp_path, monkeypatch, every_epoch, together):
    monkeypatch.setattr(training, "SHUFFLED_ROWS", together)
    data, weights, shuffles = problem(epochs=12)
    own = settings(patience=2, epochs=12, learning_rate=0.1, held_out=0.2)
    draws, counted = np.arange(4, dtype=np.uint64), Seen()
    whole = training.train(data, NONE, weights, shuffles, own, counted.advance, None, draws)
    path = tmp_path / "resume.safetensors"
    for stop in range(1, len(counted.networks)):
        with pytest.raises(Killed):
            keeper = keeper_for(path, data, weights, shuffles, own, [draws])
            training.train(data, NONE, weights, shuffles, own, killed_after(stop), keeper, draws)
        assert keeper_for(path, data, weights, shuffles, own, [draws + 1]).find() == snapshot.Progress()
        keeper = keeper_for(path, data, weights, shuffles, own, [draws])
        again = training.train(data, NONE, weights, shuffles, own, silent, keeper, draws)
        assert_same(again, whole)
        assert again[3] == whole[3]
        keeper.drop()


@pytest.mark.parametrize("together", [1, 10_000])
def test_members_that_stop_apart_go_on_with_the_same_bits(tmp_path, monkeypatch, every_epoch, together):
    monkeypatch.setattr(training, "SHUFFLED_ROWS", together)
    data, watch, weights, shuffles, chosen = watched_problem(replicas=6, patience=3, members=3)
    counted = Seen()
    whole = training.train(data, watch, weights, shuffles, chosen, counted.advance)
    path = tmp_path / "resume.safetensors"
    assert len(set(counted.networks)) > 2  # they stop at different epochs
    for stop in range(1, len(counted.networks)):
        with pytest.raises(Killed):
            keeper = keeper_for(path, data, weights, shuffles, chosen)
            training.train(data, watch, weights, shuffles, chosen, killed_after(stop), keeper)
        keeper = keeper_for(path, data, weights, shuffles, chosen)
        again = training.train(data, watch, weights, shuffles, chosen, silent, keeper)
        assert_same(again, whole)
        assert again[3] == whole[3]
        keeper.drop()


@pytest.mark.parametrize("before, after", [(3, 2), (2, None), (None, 4)])
def test_any_number_of_workers_goes_on_with_the_same_bits(tmp_path, every_epoch, before, after, capsys):
    """With early stopping; before and after the kill so many workers, or a plain process."""
    data, watch, weights, shuffles, chosen = watched_problem(replicas=3, patience=3, batch_size=16)
    counted, path = Seen(), tmp_path / "resume.safetensors"
    whole = training.train(data, watch, weights, shuffles, chosen, counted.advance)

    def trained(workers, advance):
        def work(group):
            leads = group is None or group.rank == 0
            keeper = keeper_for(path, data, weights, shuffles, chosen) if leads else None
            return training.train(data, watch, weights, shuffles, chosen, advance(), keeper, (), group)

        return with_workers(workers, work) if workers else [work(None)]

    for stop in range(1, len(counted.networks), 2):
        with pytest.raises(Killed):
            trained(before, lambda stop=stop: killed_after(stop))
        assert path.exists()
        for ours in trained(after, lambda: silent):
            assert_same(ours, whole)
            assert ours[3] == whole[3]
        assert capsys.readouterr().err.count("going on after epoch") == 1
        path.unlink()


def test_a_snapshot_of_another_training_is_not_used(tmp_path, every_epoch, monkeypatch):
    data, weights, shuffles = problem()
    path = tmp_path / "resume.safetensors"
    with pytest.raises(Killed):
        training.train(
            data,
            NONE,
            weights,
            shuffles,
            settings(),
            killed_after(2),
            keeper_for(path, data, weights, shuffles, settings()),
        )
    others = {
        "parameters": (data, weights, shuffles, settings(learning_rate=0.02)),
        "a feature": ((data[0] + np.float32(1e-6), data[1]), weights, shuffles, settings()),
        "a label": ((data[0], 1 - data[1]), weights, shuffles, settings()),
        "weights": (data, {name: array * np.float32(2) for name, array in weights.items()}, shuffles, settings()),
        "order": (data, weights, shuffles + np.uint64(1), settings()),
    }
    assert keeper_for(path, data, weights, shuffles, settings()).find().epoch == 2
    for name, given_ in others.items():
        assert keeper_for(path, *given_).find() == snapshot.Progress(), name
    monkeypatch.setattr(snapshot.alike, "code", lambda _: {"stages/kernel.py": "another"})
    assert keeper_for(path, data, weights, shuffles, settings()).find() == snapshot.Progress()


def test_the_key_holds_the_files_bytes_and_not_their_names_or_times(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"a table")
    other.write_bytes(b"a table")
    key = snapshot.Keeper(tmp_path / "a", settings(), one).key
    assert snapshot.Keeper(tmp_path / "a", settings(), other).key == key
    other.write_bytes(b"another")
    assert snapshot.Keeper(tmp_path / "a", settings(), other).key != key
    assert snapshot.Keeper(tmp_path / "a", settings(), one, one).key != key


def test_a_file_that_was_replaced_after_the_start_has_no_key_of_any_training(tmp_path):
    table, new = tmp_path / "table", tmp_path / "new"
    table.write_bytes(b"a table")
    keeper = snapshot.Keeper(tmp_path / "a", settings(), table)
    new.write_bytes(b"another")
    new.replace(table)
    assert keeper.key != snapshot.Keeper(tmp_path / "a", settings(), table).key


def test_the_key_holds_the_code_in_use(tmp_path, monkeypatch):
    before = alike.code(alike.in_use())
    for name in ("snapshot.py", "kernel.py", "training.py"):
        (tmp_path / name).write_text("")
    used = {
        f"stages.{name}": type("Module", (), {"__file__": str(tmp_path / f"{name}.py")})
        for name in ("kernel", "training")
    }
    monkeypatch.setattr(alike, "__file__", str(tmp_path / "snapshot.py"))
    for name, module in used.items():
        monkeypatch.setitem(sys.modules, name, module)
    hashes = [before, alike.code(alike.in_use())]
    for name in ("kernel.py", "training.py"):
        (tmp_path / name).write_text("# changed")
        hashes.append(alike.code(alike.in_use()))
    assert len({str(code) for code in hashes}) == 4


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The bytes of a snapshot and what makes its keeper."""
    path = tmp_path_factory.mktemp("kept") / "resume.safetensors"
    data, weights, shuffles = problem(n=20, h=3, replicas=2)
    keeper = keeper_for(path, data, weights, shuffles, settings())
    state = [np.arange(6, dtype=np.float32).reshape(2, 3)]
    keeper.keep(snapshot.Progress(first=0, epoch=1, state=state, history=[{"epoch": 1, "train_loss": 0.1}]))
    return path.read_bytes(), (data, weights, shuffles, settings())


@pytest.mark.parametrize("content", [b"", b"junk", pickle.dumps({"epoch": 3}), b"\xff" * 64])
def test_what_is_no_snapshot_is_said_and_not_used(tmp_path, capsys, kept, content):
    path = tmp_path / "resume.safetensors"
    path.write_bytes(content)
    assert keeper_for(path, *kept[1]).find() == snapshot.Progress()
    assert "resume.safetensors is not a snapshot" in capsys.readouterr().err


@hypothesis_settings(deadline=None, max_examples=100)
@given(st.data())
def test_a_cut_or_altered_snapshot_is_not_used(tmp_path_factory, kept, data):
    content, given_ = kept
    path = tmp_path_factory.getbasetemp() / "altered.safetensors"
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        altered = content[:place]
    else:
        altered = content[:place] + bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :]
    path.write_bytes(altered)
    found = keeper_for(path, *given_).find()
    if found != snapshot.Progress():  # the altered byte said the same, as another space between two words does
        path.write_bytes(content)
        assert repr(found) == repr(keeper_for(path, *given_).find())


SENSELESS = [
    {"best": None},
    *({"first": value} for value in (-1, 1, 4, 99)),
    *({"epoch": value} for value in (-1, 0, 4, 99)),
    *({name: []} for name in ("state", "history", "trained", "epochs")),
    *({"kept": value} for value in (-1, 0, 99)),
    {"history": [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}]},
    {"patience": 3},
    {"loss": np.zeros(3)},
    {"epochs_of": np.array([1, 99])},
    {"epochs_of": np.array([1.0, 2.0])},
    *({"running": np.array(value)} for value in ([], [0.0], [1, 0], [0, 0], [7], [-1])),
    *({"array": place} for place in range(4)),
    {"weights": {}},
]


@pytest.mark.parametrize("change", SENSELESS, ids=str)
def test_senseless_numbers_under_the_right_key_are_not_gone_on_from(tmp_path, monkeypatch, every_epoch, change, capsys):
    monkeypatch.setattr(training, "SHUFFLED_ROWS", 180)
    data, weights, shuffles = problem()
    patient = settings(patience=2)
    path, arguments = tmp_path / "resume.safetensors", (data, data, weights, shuffles, patient)
    whole = training.train(*arguments, silent)
    with pytest.raises(Killed):
        training.train(*arguments, killed_after(5), keeper_for(path, data, weights, shuffles, patient))
    keeper = keeper_for(path, data, weights, shuffles, patient)
    run = keeper.find(lambda run: run.fits(weights, patient, 2))
    assert (run.first, run.epoch, run.kept, len(run.trained)) == (2, 2, 3, 1)
    (name, value), best = *change.items(), run.best
    owner, name = {
        "patience": (best, "patience"),
        "loss": (best, "loss"),
        "epochs_of": (best, "epoch"),
        "running": (best, "running"),
        "weights": (best, "weights"),
        "array": (run, "state"),
    }.get(name, (run, name))
    if "array" in change:
        value = [array[:, :1].copy() if i == change["array"] else array for i, array in enumerate(run.state)]
    setattr(owner, name, value)
    keeper.keep(run)
    capsys.readouterr()
    again = training.train(*arguments, silent, keeper_for(path, data, weights, shuffles, patient))
    said = f"{path} is not a snapshot (its numbers make no sense); training starts afresh\n"
    assert capsys.readouterr().err == said
    assert_same(again, whole)


def test_a_training_that_ends_drops_its_own_snapshot_and_no_others(tmp_path, every_epoch):
    data, weights, shuffles = problem()
    path = tmp_path / "resume.safetensors"
    with pytest.raises(Killed):
        keeper = keeper_for(path, data, weights, shuffles, settings())
        training.train(data, NONE, weights, shuffles, settings(), killed_after(2), keeper)
    other = keeper_for(path, data, weights, shuffles, settings(learning_rate=0.02))
    assert other.find() == snapshot.Progress()
    other.drop()
    again = keeper_for(path, data, weights, shuffles, settings())
    assert again.find().epoch == 2
    again.drop()
    assert not path.exists()


def test_a_folder_under_the_snapshots_name_is_refused_at_the_start(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        snapshot.Keeper(tmp_path, settings()).find()


def test_a_snapshot_is_due_by_time_and_by_cost(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    keeper = snapshot.Keeper(tmp_path / "a", settings())
    small = snapshot.Progress(state=[np.zeros(2)])

    def slow_write(path, arrays, text):
        now[0] += 0.3

    def due(*times):
        return [now.__setitem__(0, each) or keeper.due(small) for each in times]

    monkeypatch.setattr(sealed, "write", slow_write)
    assert due(104.9, 105.0) == [False, True]
    keeper.keep(small)  # it took 0.3 s, and two such writes are 2 % of 30 s
    assert due(129.0, 131.0) == [False, True]


def test_the_first_snapshot_waits_for_what_hashing_and_writing_will_cost(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    half_a_second = np.empty(int(snapshot.RATE / 2), np.uint8)
    large = snapshot.Progress(state=[half_a_second])
    keeper = snapshot.Keeper(tmp_path / "a", settings(), half_a_second)
    assert [now.__setitem__(0, each) or keeper.due(large) for each in (149.0, 150.0)] == [False, True]


OUTS = ("models/model.safetensors", "models/epochs.safetensors", "metrics/history.csv", "metrics/train.json")


@pytest.fixture(scope="module")
def long_training(tmp_path_factory):
    """A copy whose training takes a second or two and keeps snapshots all along, and its bits when left alone."""
    from conftest import Project

    project = Project(tmp_path_factory.mktemp("long") / "project")
    code = project.read("stages/snapshot.py")
    assert "EVERY = 5.0" in code and "SHARE = 0.02" in code
    project.path("stages/snapshot.py").write_text(
        code.replace("EVERY = 5.0", "EVERY = 0.05").replace("SHARE = 0.02", "SHARE = 0.5")
    )
    project.set(train__epochs=700, train__replicas=2)
    project.run("dvc", "repro", "-q")
    project.commit("left alone")
    whole = {name: project.path(name).read_bytes() for name in (*OUTS, "dvc.lock")}
    return project, whole


def killed(project, command, start, seconds):
    """Start a command in a process group of its own and kill it all, so long after a line with `start`."""
    process = subprocess.Popen(
        command,
        cwd=project.folder,
        env=ENVIRONMENT | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for line in process.stdout:
        if start in line.decode():
            break
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_training_killed_at_sixteen_random_moments(long_training):
    project, whole = long_training
    moments, went_on = random.Random(4), 0
    for _ in range(16):
        for name in OUTS:
            project.path(name).unlink(missing_ok=True)  # as DVC does before it runs a stage
        killed(project, ["python", "-m", "stages.train"], "800 rows", moments.uniform(0.0, 1.2))
        for name in OUTS:
            assert not project.path(name).exists() or project.path(name).read_bytes() == whole[name], name
        went_on += project.path(snapshot.PATH).exists()
    assert went_on > 0
    left = project.path(snapshot.PATH).exists()
    done = project.stage("train")
    assert {name: project.path(name).read_bytes() for name in OUTS} == {name: whole[name] for name in OUTS}
    assert ("going on after epoch" in done.stderr) == left
    assert not project.path(snapshot.PATH).exists()


def test_repro_killed_at_four_random_moments(long_training):
    project, whole = long_training
    project.run("git", "restore", ".")
    for name in ("data/dataset.parquet", "models/model.safetensors"):
        project.path(name).unlink(missing_ok=True)
    project.run("rm", "-rf", ".dvc/cache", ".dvc/tmp")
    moments = random.Random(6)
    for _ in range(4):
        killed(project, ["dvc", "repro", "--force"], "make_data", moments.uniform(0.0, 4.0))
        # DVC itself may have been killed while it wrote these, as the README says.
        project.path(".dvc/tmp/rwlock").unlink(missing_ok=True)
        project.run("git", "restore", "dvc.lock")
    project.run("dvc", "repro")
    for name, content in whole.items():
        assert project.path(name).read_bytes() == content, name
    assert project.run("git", "status", "--porcelain").stdout == ""
    for name in ("models/model.safetensors", "data/train.parquet"):  # and what is cached comes back
        project.path(name).unlink()
    project.run("dvc", "checkout", "-q")
    assert project.path("models/model.safetensors").read_bytes() == whole["models/model.safetensors"]
    assert "up to date" in project.run("dvc", "status").stdout


def test_a_disk_that_does_not_take_a_snapshot_ends_no_training(tmp_path, monkeypatch, capsys):
    keeper = snapshot.Keeper(tmp_path / "resume.safetensors", settings())

    def full(*_):
        raise OSError(28, "No space left on device", "resume.safetensors")

    monkeypatch.setattr(snapshot.sealed, "write", full)
    monkeypatch.setattr(snapshot, "EVERY", 0)
    monkeypatch.setattr(snapshot, "SHARE", 1e9)
    assert keeper.due(snapshot.Progress())
    keeper.keep(snapshot.Progress())
    assert "cannot be written (No space left on device); training goes on without" in capsys.readouterr().err
    assert not keeper.due(snapshot.Progress())
