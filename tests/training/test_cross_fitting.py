"""Fold networks: what a fold's network knows is the other folds' rows, and nothing moves its bits."""

import copy

import numpy as np
import pyarrow as pa
import pytest
from conftest import ROOT
from making import stored
from test_loop import settings

from plumbline.basics import inputs
from plumbline.basics.errors import UserError
from plumbline.basics.params import Split
from plumbline.bits import stream
from plumbline.model import folds as file
from plumbline.model import network
from plumbline.tables import encoding, folds, targets
from plumbline.tables.store import Facts
from plumbline.training import cross_fitting, loop, networks, snapshot
from plumbline.training.snapshot import Keeper
from plumbline.training.workers import ALONE

NETWORK = network.read(ROOT / network.PATH)
N, SEED = 90, 42


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs.forget()
    monkeypatch.setattr(snapshot.inputs, "check", lambda: None)


def columns(n=N):
    rng = np.random.default_rng(0)
    x = rng.standard_t(2, size=n)
    kind = rng.choice(["a", "b", "c", "d"], n, p=[0.5, 0.3, 0.15, 0.05])
    y = ((x > 0.3) ^ (kind == "b")).astype(int)
    city = rng.choice([*"abcdefghijklmnop"], n)
    z = np.where(rng.random(n) < 0.1, np.nan, x**2)
    return {"x": x, "kind": kind, "city": city, "z": z, "t": np.arange(n), "y": y}


def part(table, **changes):
    split = {"train": 1.0, "validation": 0.0, "folds": 3, "stratify": True, "group": None, "time": None}
    facts = Facts("y", [0, 1], [1, 1], None, folds=Split(**split | changes))
    return stored(pa.table({name: pa.array(values, from_pandas=True) for name, values in table.items()}), facts)


def chosen(**changes):
    return settings(**{"encoding": "robust", "replicas": 2, "epochs": 4} | changes)


def cross_fit(table, train, group=ALONE, keeper=None):
    return cross_fitting.cross_fit(table, SEED, train, NETWORK, keeper or Keeper(train, SEED), group)


def assert_same(ours, theirs):
    np.testing.assert_array_equal(ours.fold_of, theirs.fold_of)
    for one, other in zip(ours.models, theirs.models, strict=True):
        for ours_, theirs_ in zip(one, other, strict=True):
            assert ours_.card == theirs_.card
            for name in ours_.weights | theirs_.weights:
                np.testing.assert_array_equal(ours_.weights[name], theirs_.weights[name])


WATCHED = {"patience": 2, "held_out": 0.2, "members": 2}
STATISTICS = WATCHED | {"encoding": "mixed"}


@pytest.mark.parametrize("changes", [{}, WATCHED | {"class_weight": "balanced"}, STATISTICS])
@pytest.mark.parametrize("by", [{}, {"stratify": False, "time": "t"}])
def test_no_value_or_label_of_a_scored_row_moves_its_network(changes, by, monkeypatch):
    monkeypatch.setattr(targets, "MANY_CATEGORIES", 5)
    table, train = columns(), chosen(**changes)
    whole = cross_fit(part(table, **by), train)
    scored = whole.fold_of[0] == 1
    other = {name: values.copy() for name, values in table.items()}
    other["x"][scored] *= 1000.0
    other["z"][scored] = np.nan
    other["kind"][scored] = "never seen"
    if not by:  # labels within a class's own rows would draw other folds; these leave the classes' rows as they are
        keep = folds.of_replica(part(table, **by), SEED, 0)
        np.testing.assert_array_equal(keep, whole.fold_of[0])
    else:
        other["y"][scored] = 1 - other["y"][scored]
    again = cross_fit(part(other, **by), train)
    for name, array in whole.models[0][1].weights.items():
        np.testing.assert_array_equal(array, again.models[0][1].weights[name])
    assert whole.models[0][1].card == again.models[0][1].card
    counts = [getattr(column, "counts", None) for column in whole.models[0][1].card.encoding.columns]
    assert any(counts) == (changes == STATISTICS)
    assert whole.models[0][0].card != again.models[0][0].card or by


@pytest.mark.parametrize("changes", [WATCHED, STATISTICS])
def test_a_fold_network_is_one_trained_on_a_table_of_the_other_folds_alone(changes, monkeypatch):
    monkeypatch.setattr(targets, "MANY_CATEGORIES", 5)
    table, train = columns(), chosen(**changes)
    whole = cross_fit(part(table), train)
    taught = whole.fold_of[1] != 2
    alone = part({name: values[taught] for name, values in table.items()})
    fitted = encoding.fit(alone, train.encoding)
    x, y = encoding.encode(fitted, alone, trained=True), alone.classes()
    generators = [
        stream.seeded(stream.seed_of(f"{SEED}/1/folds/2")),
        stream.seeded(stream.seed_of(f"{SEED}/1/folds/2/1")),
    ]
    drawn = networks.draw_from(generators, alone.facts, fitted, train, NETWORK)
    expected = networks.whole(loop.train(drawn, (x, y), (x[:0], y[:0]), train, NETWORK, None), drawn, NETWORK)
    assert whole.models[1][2].card.encoding == fitted
    for name, array in expected.weights.items():
        np.testing.assert_array_equal(whole.models[1][2].weights[name], array)


@pytest.mark.parametrize("by", [{}, {"stratify": False, "group": "kind"}, {"stratify": False, "time": "t"}])
def test_a_share_of_the_rows_is_part_of_a_larger_one_and_scores_the_same_rows(by):
    table = part(columns(), **by)
    fold_of, classes = folds.of_replica(table, SEED, 1), table.classes()
    taught, before = folds.trained_on(fold_of, 1, "time" in by), np.zeros(N, bool)
    for share in (0.25, 0.5, 1.0):
        some = folds.some_of(taught, table, share, SEED, 1)
        assert not (some & ~taught).any()
        assert not (before & ~some).any()
        wanted, largest = (
            np.ceil(share * np.bincount(classes[taught])),
            np.unique(columns()["kind"], return_counts=True),
        )
        if not by:
            np.testing.assert_array_equal(np.bincount(classes[some]), wanted)
        elif "time" in by:
            assert some.sum() == np.ceil(share * taught.sum())
        else:
            kinds = columns()["kind"]
            assert set(kinds[some]).isdisjoint(kinds[taught & ~some])
            assert 0 <= some.sum() - share * taught.sum() < largest[1].max()
        before = some
    np.testing.assert_array_equal(before, taught)


def test_fewer_rows_teach_another_network_what_no_scored_row_moves():
    table = part(columns())
    few, all_ = cross_fit(table, chosen(fold_rows=0.5)), cross_fit(table, chosen())
    np.testing.assert_array_equal(few.fold_of, all_.fold_of)
    assert few.models[0][0].card.train_counts == [-(-count // 2) for count in all_.models[0][0].card.train_counts]
    other = {name: values.copy() for name, values in columns().items()}
    other["x"][few.fold_of[0] == 1] *= 1000.0
    again = cross_fit(part(other), chosen(fold_rows=0.5))
    assert few.models[0][1].card == again.models[0][1].card
    for name, array in few.models[0][1].weights.items():
        np.testing.assert_array_equal(array, again.models[0][1].weights[name])
    rare = columns() | {"y": (np.arange(N) < 4).astype(int)}
    with pytest.raises(UserError, match=r"^train.fold_rows 0.02 leaves no row of class 1 of 'y' to train on; raise it"):
        folds.some_of(np.ones(N, bool), part(rare, stratify=False), 0.02, SEED, 0)


def test_without_folds_there_is_none_and_no_parameter_of_the_training_moves_them():
    table = part(columns())
    none = stored(pa.table(columns()), Facts("y", [0, 1], [1, 1], None))
    assert cross_fitting.cross_fit(none, SEED, chosen(), NETWORK, None, ALONE) is file.NONE
    one, more = cross_fit(table, chosen()), cross_fit(table, chosen(replicas=3, epochs=2, hidden_size=4))
    np.testing.assert_array_equal(one.fold_of, more.fold_of[:2])


@pytest.mark.parametrize("threads", [1, 3])
def test_workers_threads_and_kills_change_no_bit(threads, monkeypatch):
    table, train = part(columns()), chosen(epochs=6, **WATCHED)
    monkeypatch.setattr(cross_fitting, "threads_for", lambda *_: 2)
    whole = cross_fit(table, train)
    monkeypatch.setattr(cross_fitting, "threads_for", lambda *_: threads)
    assert_same(cross_fit(table, train), whole)

    class Worker:
        """One of two, whose exchange is with what the other has found."""

        size, found = 2, {}

        def __init__(self, rank):
            self.rank = rank

        def exchange(self, mine):
            self.found[self.rank] = mine
            return [*self.found.values()]

    with pytest.raises(KeyError):  # the first has not heard of the second
        cross_fit(table, train, Worker(0))
    monkeypatch.setattr(cross_fitting, "threads_for", lambda *_: 4 - threads)  # of a host with other cores
    assert_same(cross_fit(table, train, Worker(1)), whole)
    monkeypatch.setattr(cross_fitting, "threads_for", lambda *_: threads)

    monkeypatch.setattr(snapshot, "EVERY", 0.0)
    monkeypatch.setattr(snapshot, "SHARE", 1e9)
    trained, epochs = [], loop.one_epoch
    monkeypatch.setattr(loop, "one_epoch", lambda *given: trained.append(1) or epochs(*given))
    cross_fit(table, train)
    in_all = len(trained)
    Keeper(train, SEED).drop()

    def killed(*given):
        trained.append(1)
        if len(trained) == in_all + 15:
            raise UserError("the loss is nan")
        return epochs(*given)

    monkeypatch.setattr(loop, "one_epoch", killed)
    with pytest.raises(UserError, match="the loss is nan"):
        cross_fit(table, train)
    done = len(trained) - in_all
    assert 15 <= done < 15 + 2 * threads  # the others stop as well
    trained.clear()
    monkeypatch.setattr(loop, "one_epoch", lambda *given: trained.append(1) or epochs(*given))
    keeper = Keeper(train, SEED)
    assert_same(cross_fit(table, train, keeper=keeper), whole)
    assert in_all - done < len(trained) <= in_all - done + 2 * threads  # all that lay behind, but what was not kept yet
    keeper.drop()
    assert not list(snapshot.FOLDER.glob("resume*"))


def test_the_file_holds_what_was_trained_and_refuses_what_is_no_such_file(tmp_path):
    whole = cross_fit(part(columns()), chosen())
    file.save(whole, tmp_path / "folds.safetensors")
    assert_same(file.load(tmp_path / "folds.safetensors", ROOT / network.PATH), whole)
    file.save(file.NONE, tmp_path / "none.safetensors")
    assert file.load(tmp_path / "none.safetensors").replicas == 0
    wrong = copy.copy(whole)._replace(fold_of=whole.fold_of + 1)
    file.save(wrong, tmp_path / "wrong.safetensors")
    for name, words in [("wrong", "names a fold"), ("missing", "is not there")]:
        with pytest.raises(Exception, match=words):
            file.load(tmp_path / f"{name}.safetensors", ROOT / network.PATH)
