"""The parts in memory, in a file beside the outputs, and read anew by a worker: the same rows, and the same bits."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import assert_one_line
from test_rows import assert_same, with_workers
from test_train import settings, silent

from stages import encoding, model, parts, resources, spill, stream, table, training
from stages.errors import UserError
from stages.rows import Rows
from stages.table import counted


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A training part of four row groups and a validation part, with numbers, gaps and text; and its facts."""
    folder, rng, n = tmp_path_factory.mktemp("parts"), np.random.default_rng(0), 900
    frame = pd.DataFrame(
        {"a": rng.normal(size=n), "kind": rng.choice(["x", "y", "z"], n), "b": rng.exponential(size=n)}
    )
    frame.loc[::9, "b"] = None
    frame["y"] = np.where(frame["a"] + rng.normal(size=n) > 0, "yes", "no")
    facts = table.Facts("y", ["no", "yes"], frame["y"].value_counts().sort_index().tolist(), None)
    whole = pa.Table.from_pandas(frame, preserve_index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "ROWS", 200)
        for name, rows in {"train": slice(0, 760), "validation": slice(760, 900)}.items():
            part = whole.slice(rows.start, rows.stop - rows.start)
            part = part.append_column(table.ROW, pa.array(range(rows.start, rows.stop), pa.int64()))
            with table.writing(folder / f"{name}.parquet", facts) as writer:
                for start in range(0, len(part), 200):
                    writer.write(part.slice(start, 200))
                writer.finish()
    return folder


def read(folder):
    return [table.stored(folder / f"{name}.parquet")[0] for name in ("train", "validation")]


@pytest.fixture
def little_memory(monkeypatch, tmp_path):
    """`set(rows)`: room for so many rows in a window beside an order of one network, and not for the parts."""

    def set_rows(rows):
        monkeypatch.setattr(resources, "MARGIN", 1e6)
        monkeypatch.setattr(spill, "RESERVE", 1e9)
        monkeypatch.setattr(spill, "_folder", tmp_path)
        there = 1e6 + 4 * 760 + rows * (4 * WIDTH + parts.WINDOW)
        monkeypatch.setattr(resources, "available_memory", lambda: int(there))

    return set_rows


WIDTH = 6  # a, three kinds, b, and whether b is missing


def training_of(folder, chosen, group=None):
    """What a training on the stored parts ends with, and the parts it had."""
    (part, watched), (_, facts) = read(folder), table.stored(folder / "train.parquet")
    fitted = encoding.fit(part, facts, "robust")
    data, watch = parts.encoded(part, watched, facts, fitted, chosen, group)
    generators = [stream.seeded(r) for r in range(chosen.replicas)]
    weights = model.initial_weights(generators, WIDTH, chosen.hidden_size, 1)
    shuffles = np.stack([stream.shuffle_seeds(generator, chosen.epochs) for generator in generators])
    draws = np.arange(chosen.replicas, dtype=np.uint64)
    return training.train(data, watch, weights, shuffles, chosen, silent, None, draws, group), data, watch


CASES = [{"replicas": 1}, {"replicas": 2, "held_out": 0.2, "patience": 1}, {"replicas": 1, "batch_size": 512}]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("size", [None, 1, 2, 3])
def test_wherever_the_rows_are_the_bits_are_the_same(stored, little_memory, case, size):
    chosen = settings(**case)
    whole, (x, y), _ = training_of(stored, chosen)
    assert isinstance(x, np.ndarray)
    if size is None:
        little_memory(600)
        ours, data, watch = training_of(stored, chosen)
        assert isinstance(data[0], Rows) and isinstance(watch[0], Rows) and data[1].dtype == np.uint8
        assert_same(ours, whole)
        return
    wanted = np.isin(np.arange(760), [0, 401, 402, 759])
    for rows in (None, 600):
        if rows:
            little_memory(rows)
        for ours, data, _ in with_workers(size, lambda group: training_of(stored, chosen, group)):
            assert_same(ours, whole)
            np.testing.assert_array_equal(data[1], y)
            got = list(data[0].scan(lambda first, count: np.flatnonzero(wanted[first : first + count])))
            assert np.concatenate([numbers for numbers, _ in got]).tolist() == [0, 401, 402, 759]
            np.testing.assert_array_equal(np.concatenate([each for _, each in got]), x[wanted])


def test_a_worker_holds_no_more_than_its_share(stored):
    chosen = settings(replicas=1, batch_size=512)  # two shards

    def rows_of(group):
        _, (x, _), _ = training_of(stored, chosen, group)
        fetched, scan = [], x.scan

        def counting(pick):
            for numbers, rows in scan(pick):
                fetched.append(len(rows))
                yield numbers, rows

        x.scan = counting
        orders = stream.permutations(np.arange(1), 760)
        trainer = training.trainer_for(chosen, (x, np.zeros(760, np.int32)), WEIGHTS, group)
        trainer.epoch(orders)
        return fetched

    one, other = map(sum, with_workers(2, rows_of))
    assert one + other == 760
    assert abs(one - other) <= 248  # the last batch is one shard, and one worker's


WEIGHTS = model.initial_weights([stream.seeded(0)], WIDTH, 8, 1)


def test_windows_that_cannot_hold_a_batch_are_refused_with_the_least_that_works(monkeypatch):
    monkeypatch.setattr(resources, "own_memory", lambda *_: int(150e6))
    monkeypatch.setenv("PLUMBLINE_MEMORY", "308MB")
    parts.check_memory(10**6, (10, 32, 1), settings(replicas=1, batch_size=4096))
    least = r"^train needs at least 4\d\d MB of memory, for the order of 1,000,000 rows and a window of 1,000,000 \("
    with pytest.raises(UserError, match=least):
        parts.check_memory(10**6, (10, 32, 1), settings(replicas=1, batch_size=10**6))
    with pytest.raises(UserError, match="PLUMBLINE_MEMORY is 308MB"):
        parts.check_memory(10**8, (10, 32, 1), settings(replicas=1))
    with pytest.raises(UserError, match=r"a window of 32 .*, 4\.3 GB of weights \(train\.hidden_size, train\.replicas"):
        parts.check_memory(1000, (10, 5 * 10**6, 1), settings(replicas=1, epochs=4))


def test_the_stage_within_a_limit_and_below_what_it_needs(project):
    """The orders of 400 networks are small; a batch of them all is 160,000 rows."""
    project.set(make_data__samples=500, train__replicas=400, train__epochs=2, train__batch_size=400)
    project.stage("make_data")
    project.stage("split")
    project.stage("train")
    bits = [project.path(name).read_bytes() for name in ("models/model.safetensors", "metrics/history.csv")]
    project.stage("train", PLUMBLINE_MEMORY="400MB")
    assert bits == [project.path(name).read_bytes() for name in ("models/model.safetensors", "metrics/history.csv")]
    said = project.stage("train", fails=True, PLUMBLINE_MEMORY="150MB")
    assert_one_line(
        said, "train needs at least ", " MB of memory", "a window of 400 (train.batch_size), for 400 networks", "150MB"
    )


@pytest.mark.parametrize("classes", [[], [0], [3, 1, 1, 0, 3]])
def test_counting_in_pieces_is_bincount(classes, monkeypatch):
    monkeypatch.setattr(table, "ROWS", 2)
    classes = np.array(classes, np.int32)
    for least in (0, 2, 6):
        np.testing.assert_array_equal(counted(classes, least), np.bincount(classes, minlength=least))
