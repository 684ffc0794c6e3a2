"""Parquet files: what Arrow says of a column that Parquet has no word for, and files that are none."""

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plumbline.basics.errors import UserError
from plumbline.sources import parquet, source
from plumbline.tables import duck


def test_categories_are_text_and_durations_seconds_whatever_their_width(tmp_path):
    units = {f"duration in {unit}": pa.array([3, None, 2500], pa.duration(unit)) for unit in ("s", "ms", "us", "ns")}
    columns = {
        "number": pa.array([1, None, 3]),
        "category of numbers": pa.array([10, None, 20]).dictionary_encode(),
        "category of text": pa.array(["a", None, "b"]).dictionary_encode(),
        "é": pa.array([1.5, None, 1.5]).dictionary_encode(),
        "list": pa.array([[1], None, [2, 3]]),
        "group": pa.array(
            [{"a": 1, "duration": 2}, None, None], pa.struct({"a": pa.int8(), "duration": pa.duration("s")})
        ),
        **units,
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    table = source.table(tmp_path / "t.parquet", tmp_path)
    assert table.columns["category of numbers"] == "VARCHAR"
    found = dict(zip(table.columns, zip(*duck.rows(f"SELECT * FROM {table.relation}"))))
    assert found["category of numbers"] == ("10", None, "20")
    assert found["é"] == ("1.5", None, "1.5")
    for unit, per_second in {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}.items():
        assert found[f"duration in {unit}"] == (3 / per_second, None, 2500 / per_second)


def test_what_pandas_writes_is_read_where_it_lies(tmp_path):
    day = datetime.datetime(2021, 12, 31, 12)
    frame = pd.DataFrame({"a b": [1.5, None], "é": ["x", None], "select": [True, False], "at": [day, day]})
    frame.to_parquet(tmp_path / "t.parquet")
    table = source.table(tmp_path / "t.parquet", tmp_path)
    assert table.path == tmp_path / "t.parquet"
    assert duck.rows(f"SELECT * FROM {table.relation}")[0] == (1.5, "x", True, day)


def test_kinds_that_parquet_has_of_the_same(tmp_path):
    half = pa.array(np.array([0, 1, 2], np.float16))
    views = pa.array(["a", None, "b"], pa.string_view())
    pq.write_table(pa.table({"half": half, "view": views, "nothing": pa.nulls(3)}), tmp_path / "t.parquet")
    table = source.table(tmp_path / "t.parquet", tmp_path)
    assert table.columns == {"half": "FLOAT", "view": "VARCHAR", "nothing": "VARCHAR"}
    assert duck.rows(f"SELECT * FROM {table.relation}") == [(0.0, "a", None), (1.0, None, None), (2.0, "b", None)]


def test_names_that_duckdb_would_not_take(tmp_path):
    pq.write_table(pa.table([[2], [3]], names=['a "b"', "k"]), tmp_path / "k=7 [x].parquet")
    table = source.table(tmp_path / "k=7 [x].parquet", tmp_path)
    assert table.path == tmp_path / "k=7 [x].parquet"
    assert duck.rows(f'SELECT "a ""b""", k FROM {table.relation}') == [(2, 3)]


def test_parquet_truncated_with_twins_and_nothing_at_all(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), path)
    with pytest.raises(UserError, match="columns 'a' and 'a'"):
        source.table(path, tmp_path)
    pq.write_table(pa.table([[1], [2]], names=["a", ""]), path)
    with pytest.raises(UserError, match="a column without a name"):
        source.table(path, tmp_path)
    pq.write_table(pa.table([[1], [2]], names=["a", "A"]), path)
    with pytest.raises(UserError, match="columns 'a' and 'A'; names must differ by more than case"):
        source.table(path, tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot be read as its name says"):
        source.table(path, tmp_path)
    with pytest.raises(UserError, match=r"none\.parquet is not there; a table is a file .* or a folder of \.parquet"):
        source.table(tmp_path / "none.parquet", tmp_path)


def test_a_small_file_that_stands_for_more_than_any_memory_is_refused_before_its_rows_are_read(tmp_path):
    path, texts = tmp_path / "t.parquet", [letter * parquet.TEXT for letter in ("a", "bc")]
    for many in (1, 2):  # as long as it may be, and longer
        column = pa.DictionaryArray.from_arrays(pa.array([0, many - 1] * 2_000, pa.int32()), pa.array(texts))
        pq.write_table(pa.table({"t": column, "x": [0, 1] * 2_000}), path, compression="zstd", store_schema=False)
        if many == 1:
            source.table(path, tmp_path)
    assert path.stat().st_size < 2**20
    with pytest.raises(UserError, match=r"t.parquet: column 't' holds a text of 2,097,152 bytes, and a cell has 1,048"):
        source.table(path, tmp_path)
    source.table(path, tmp_path, keep=lambda names: ["x"])
