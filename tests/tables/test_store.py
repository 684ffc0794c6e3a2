"""Tables in and out: the same bytes with any threads, and what is no table of ours refused."""

import errno

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from making import FACTS, put, stored

from plumbline.basics import files, inputs
from plumbline.basics.errors import UserError
from plumbline.tables import duck, store
from plumbline.tables.store import Facts


@pytest.fixture(autouse=True)
def nothing_read():
    """What other tests have read is no input of this one's."""
    inputs.forget()


@pytest.fixture
def threads():
    """`set(n)`: DuckDB's threads, as before at the end."""
    before = duck.rows("SELECT current_setting('threads')")[0][0]
    yield lambda n: duck.run(f"SET threads = {n}")
    duck.run(f"SET threads = {before}")


def rows(n):
    rng = np.random.default_rng(n)
    return {
        "x": rng.normal(size=n).astype(np.float32),
        "s": rng.choice(["a", "b'\"", "é"], n),
        "gap": np.ma.array(rng.random(n), mask=rng.random(n) < 0.3),
        "when": np.datetime64("2020-02-29T12", "us") + rng.integers(0, 10**9, n),
        "y": rng.choice(["no", "yes"], n),
    }


def cut(columns, size):
    n = len(columns["x"])
    return [{name: values[i : i + size] for name, values in columns.items()} for i in range(0, n, size)]


def test_what_is_written_is_what_pyarrow_reads(tmp_path):
    columns = rows(1000)
    put(tmp_path / "t.parquet", "t", columns, FACTS)
    read = pq.read_table(tmp_path / "t.parquet").to_pandas()
    np.testing.assert_array_equal(read["x"], columns["x"])
    assert read["s"].tolist() == columns["s"].tolist()
    np.testing.assert_array_equal(read["gap"], columns["gap"].filled(np.nan))
    np.testing.assert_array_equal(read["when"].to_numpy("datetime64[us]"), columns["when"])
    table = store.open(tmp_path / "t.parquet")
    assert table.facts == FACTS and len(table) == 1000 and table.is_small
    assert [FACTS.classes[c] for c in table.classes()] == columns["y"].tolist()
    assert list(tmp_path.iterdir()) == [tmp_path / "t.parquet"]


def test_bytes_do_not_know_the_threads(tmp_path, threads):
    columns, seen = rows(300_000), set()
    for n, size in [(2, 10**9), (1, 10**9), (2, 100_001), (1, 100_001)]:
        threads(n)
        put(tmp_path / "t.parquet", "t", cut(columns, size), FACTS)
        seen.add((size, (tmp_path / "t.parquet").read_bytes()))
    assert len(seen) == 2


def test_many_rows_go_into_row_groups_that_are_read_in_order(tmp_path, monkeypatch, threads):
    n = 3 * 2**17 + 7
    columns = {"n": np.arange(n), "s": np.array([f"k{i % 9}" for i in range(n)], object)}
    monkeypatch.setattr(store, "ROWS", 2**17)
    seen = set()
    for count in (1, 2):
        threads(count)
        put(tmp_path / "t.parquet", "t", columns)
        seen.add((tmp_path / "t.parquet").read_bytes())
    assert len(seen) == 1
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 4
    table = store.open(tmp_path / "t.parquet")
    assert not table.is_small
    for size in (None, 999, 2**16, 10**6):
        pieces = list(table.pieces({"n": "n"}, size))
        assert np.array_equal(np.concatenate([piece["n"] for piece in pieces]), columns["n"])
        assert size is None or max(len(piece["n"]) for piece in pieces) <= size


@pytest.mark.parametrize("kind", ["BIGINT", "UTINYINT", "SMALLINT", "UBIGINT", "FLOAT", "DOUBLE"])
def test_pieces_are_the_whole_with_its_gaps(tmp_path, kind):
    n = 10_000  # of rows, gaps here and there, nothing but gaps, and no gaps at all
    gaps = f"CASE WHEN range % 7 = 0 OR range BETWEEN 5000 AND 8000 THEN NULL ELSE (range % 120)::{kind} END"
    store.copy(f"SELECT {gaps} AS x, (range % 100)::{kind} AS y FROM range({n})", tmp_path / "t.parquet", "t")
    table = store.open(tmp_path / "t.parquet")
    (whole,) = table.pieces({"x": "x", "y": "y"}, n)
    for size in (1, 7, 2048, n - 1) if kind == "BIGINT" else (999,):
        pieces = list(table.pieces({"x": "x", "y": "y"}, size))
        assert max(len(piece["y"]) for piece in pieces) <= size
        for name, values in whole.items():
            found = np.ma.concatenate([piece[name] for piece in pieces])
            assert found.dtype == values.dtype
            np.testing.assert_array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(values))
            np.testing.assert_array_equal(np.ma.compressed(found), np.ma.compressed(values))


def test_what_goes_wrong_between_pieces_is_named_as_in_a_whole(tmp_path):
    store.copy("SELECT range AS x FROM range(200_000)", tmp_path / "t.parquet", "t")
    table = store.open(tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"t\.parquet is not a table .*no such row"):
        list(table.pieces({"x": "CASE WHEN x > 150_000 THEN error('no such row') ELSE x END"}, 1000))


@pytest.mark.parametrize(
    "said, error",
    [
        ("Out of Memory Error: failed to allocate 16.0 MiB", MemoryError),
        ("IO Error: Could not write: No space left on device", OSError),
        ("Conversion Error: no number", duck.Error),
    ],
)
def test_what_arrow_calls_an_oserror_has_its_own_name_again(monkeypatch, said, error):
    class Failing:
        def __getattr__(self, name):
            return lambda *given: self

        def __iter__(self):
            raise OSError(said)

    monkeypatch.setattr(duck, "connect", Failing)
    with pytest.raises(error) as raised:
        next(duck.streamed("", 10))
    assert raised.type is not OSError or raised.value.errno == errno.ENOSPC


def test_a_wide_table_comes_in_shorter_pieces():
    table = stored(pa.table({f"x{i}": np.arange(5000.0) for i in range(3)}))
    assert len(next(table.pieces({"x0": "x0"}))["x0"]) == 5000
    wide = {f"c{i}": "x1" for i in range(2048)}
    assert [len(piece["c7"]) for piece in table.pieces(wide)] == [2048, 2048, 904]


def test_row_groups_of_long_texts_are_shorter(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "VALUES", 2**18)
    store.copy("SELECT repeat('é', 200) AS s, 1 AS x FROM range(20000)", tmp_path / "a.parquet", "a")
    file = pq.ParquetFile(tmp_path / "a.parquet")
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert sizes == [4096] * 4 + [3616]  # 2^18 // (2 columns + 50 words of 8 bytes), in whole vectors
    assert file.read(["s"]).column("s").to_pylist() == ["é" * 200] * 20_000


def test_a_table_without_rows_is_one_piece(tmp_path):
    table = stored(pa.table({"x": pa.array([], pa.float32()), "y": pa.array([], pa.string())}))
    (piece,) = table.pieces({"x": "x"})
    assert len(table) == 0 and piece["x"].shape == (0,) and table.classes().shape == (0,)
    put(tmp_path / "t.parquet", "t", {name: values[:0] for name, values in rows(3).items()})
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 0


@pytest.mark.parametrize("classes", [["b", "a", "it's"], [3, 1, 2**60], [0.5, -1.0], [False, True], ["10", "9"]])
def test_classes_are_numbered_as_the_facts_have_them(classes):
    numbers = np.random.default_rng(0).integers(0, len(classes), 500)
    table = stored(pa.table({"y": [classes[i] for i in numbers]}), Facts("y", classes, [1] * len(classes), None))
    assert table.classes().dtype == np.int32
    np.testing.assert_array_equal(table.classes(), numbers)


def test_names_are_taken_as_they_are(tmp_path):
    names = ['a "b"', "it's", "SELECT", "é", "a.b", " x "]
    table = stored(pa.table({name: [float(i)] for i, name in enumerate(names)}))
    assert list(table.columns) == names == table.features
    assert [table.column(name).tolist() for name in names] == [[float(i)] for i in range(len(names))]
    for x, folder in enumerate(("a[b]*'c?=1", "ab'c1=1")):
        (tmp_path / folder).mkdir()
        store.copy(f"SELECT {x} AS x", tmp_path / folder / "t.parquet", "t")
    table = store.open(tmp_path / "a[b]*'c?=1" / "t.parquet")
    assert table.column("x").tolist() == [0] and list(table.columns) == ["x"]


def test_what_is_no_table_of_a_stage_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"t\.parquet is not there; `dvc repro` makes it, `dvc checkout`"):
        store.open(tmp_path / "t.parquet")
    for write in (
        lambda path: path.write_text("text"),
        lambda path: pd.DataFrame({"x": [1.0]}).to_parquet(path),
        lambda path: pq.write_table(pa.table({"x": [1]}).replace_schema_metadata({"plumbline": "{}"}), path),
        lambda path: (path.unlink(), path.mkdir()),
    ):
        write(tmp_path / "t.parquet")
        with pytest.raises(UserError, match=r"t\.parquet is not a table that a stage wrote \(.*\); run `dvc repro`"):
            store.open(tmp_path / "t.parquet")


def test_one_parts_file_under_anothers_name_is_refused(tmp_path):
    store.copy("SELECT 1 AS x", tmp_path / "test.parquet", "test")
    (tmp_path / "test.parquet").rename(tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"train\.parquet holds the test rows, and must hold the train rows"):
        store.open(tmp_path / "train.parquet")
    assert len(store.open(tmp_path / "train.parquet", "test")) == 1


def test_a_file_damaged_inside_is_one_line(tmp_path):
    path = tmp_path / "t.parquet"
    put(path, "t", {"x": np.random.default_rng(0).normal(size=5000), "z": np.arange(5000)})
    content, place = bytearray(path.read_bytes()), pq.read_metadata(path).row_group(0).column(0).data_page_offset
    content[place : place + 30] = bytes(30)
    path.write_bytes(content)
    table = store.open(path)
    for read in (lambda: table.column("x"), lambda: list(table.pieces({"x": "x"})), lambda: copied(table)):
        with pytest.raises(UserError, match=r"t\.parquet is not a table that a stage wrote"):
            read()
    assert list(tmp_path.iterdir()) == [path]


def copied(table):
    store.take(table, np.arange(7), table.path.with_name("new.parquet"), "new", FACTS)


def test_a_table_is_there_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), store.copying("SELECT 1 AS x", tmp_path / "t.parquet", "t"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with files.together():
        store.copy("SELECT 1 AS x", tmp_path / "t.parquet", "t")
        assert not (tmp_path / "t.parquet").exists()
    assert (tmp_path / "t.parquet").exists()
    put(tmp_path / "t.parquet", "t", {"z": np.arange(3)})  # nothing was left of the first one's rows
    assert list(store.open(tmp_path / "t.parquet").columns) == ["z"]


@pytest.mark.parametrize("mask", [False, True])
def test_rows_are_taken_with_their_numbers(tmp_path, mask):
    source = {"x": np.arange(1000.0), "s": [f"row {i}" for i in range(1000)], "y": ["no", "yes"] * 500}
    chosen = np.random.default_rng(0).permutation(1000).astype(np.int32)[:300]
    order = np.sort(chosen) if mask else chosen
    rows = np.isin(np.arange(1000), chosen) if mask else chosen
    store.take(stored(pa.table(source)), rows, tmp_path / "part.parquet", "part", FACTS)
    read = pd.read_parquet(tmp_path / "part.parquet")
    pd.testing.assert_frame_equal(
        read.drop(columns="_row"), pd.DataFrame(source).iloc[order].reset_index(drop=True), check_dtype=False
    )
    assert read["_row"].tolist() == order.tolist() and read["_row"].dtype == np.int64
    assert store.open(tmp_path / "part.parquet").features == ["x", "s"]


def test_a_mask_keeps_the_order_of_many_row_groups(tmp_path, monkeypatch, threads):
    n = 500_000
    monkeypatch.setattr(store, "ROWS", 2**16)
    rng, seen = np.random.default_rng(0), set()
    table = stored(pa.table({"x": np.arange(n), "k": rng.choice(["a", "b"], n)}))
    mask = rng.random(n) < 0.37
    for count in (1, 2):
        threads(count)
        store.take(table, mask, tmp_path / "part.parquet", "part", FACTS)
        seen.add((tmp_path / "part.parquet").read_bytes())
    read = pq.read_table(tmp_path / "part.parquet")
    assert len(seen) == 1
    np.testing.assert_array_equal(read.column("x").to_numpy(), np.flatnonzero(mask))
    np.testing.assert_array_equal(read.column("_row").to_numpy(), np.flatnonzero(mask))
