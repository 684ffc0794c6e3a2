"""A folder of Parquet files: what Spark and DuckDB write comes back, and is the same table as one file."""

import datetime
import os
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from conftest import assert_one_line
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline.basics.errors import UserError
from plumbline.sources import labels, source
from plumbline.tables import duck, store


def read(path, scratch=None):
    """A folder's table, and its columns' types as DuckDB names them."""
    scratch = scratch or Path(path).absolute().parent / "scratch"
    scratch.mkdir(exist_ok=True)
    table = source.table(path, scratch)
    return duck.connect().sql(f"FROM {table.relation}").to_arrow_table(), table.columns


def put(path, rows, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = rows if isinstance(rows, pa.Table) else pa.table(rows)
    pq.write_table(rows, path, **options)


def spark(place, rows=600, files=3):
    """A folder as Spark 3 leaves it behind `df.write.partitionBy("year", "month").parquet(...)`; gives its rows."""
    rng = np.random.default_rng(0)
    tables = []
    for year, month in [(2023, 12), (2024, 1), (2024, 2)]:
        inside = place / f"year={year}" / f"month={month}"
        for i in range(files):
            n = 0 if (year, i) == (2023, 1) else rows // (3 * files)
            x = rng.normal(size=n)
            part = pa.table({"x": x, "kind": rng.choice(["a", "b"], n).astype(str), "y": (x > 0).astype("i4")})
            name = f"part-{i:05}-0f3e8e2c-5a1b-4b52-9d3a-6a1c7a1c0a11.c000.snappy.parquet"
            put(inside / name, part, compression="snappy")
            (inside / f".{name}.crc").write_bytes(b"crc\0")
            tables.append(part.append_column("year", pa.array([year] * n, pa.int64())))
            tables[-1] = tables[-1].append_column("month", pa.array([month] * n, pa.int64()))
    (place / "_SUCCESS").touch()
    (place / "._SUCCESS.crc").write_bytes(b"crc")
    put(place / "_temporary" / "0" / "part-9.parquet", {"x": ["left behind"]})
    put(place / "_metadata", {"x": [1.0]})
    return pa.concat_tables(tables)


def test_what_spark_writes_comes_back(tmp_path):
    written = spark(tmp_path / "t.parquet")
    table, _ = read(tmp_path / "t.parquet")
    assert table.column_names == ["x", "kind", "y", "year", "month"]
    assert table.cast(written.schema).equals(written)


def test_the_values_are_those_that_pyarrow_dataset_reads(tmp_path):
    spark(tmp_path / "t")
    expected = pyarrow.dataset.dataset(tmp_path / "t", partitioning="hive").to_table().to_pandas()
    table = read(tmp_path / "t")[0].to_pandas()
    by = ["year", "month", "x"]
    pd.testing.assert_frame_equal(
        table.sort_values(by, ignore_index=True), expected.sort_values(by, ignore_index=True), check_dtype=False
    )


@pytest.mark.parametrize(
    "names, kind, values",
    [
        (["1", "12", "-3"], "BIGINT", [-3, 1, 12]),
        (["3000000000", "1"], "BIGINT", [1, 3_000_000_000]),
        (["9" * 20, "1"], "VARCHAR", ["1", "9" * 20]),
        (["01", "2"], "VARCHAR", ["01", "2"]),
        (["1.5", "2"], "VARCHAR", ["1.5", "2"]),
        (["true", "false"], "VARCHAR", ["false", "true"]),
        (["2024-02-29", "1999-12-31"], "DATE", [datetime.date(1999, 12, 31), datetime.date(2024, 2, 29)]),
        (["2024-02-30", "2024-01-01"], "VARCHAR", ["2024-01-01", "2024-02-30"]),
        (["2024-01-01 00%3A00%3A00", "x"], "VARCHAR", ["2024-01-01 00:00:00", "x"]),
        (["__HIVE_DEFAULT_PARTITION__", "7"], "BIGINT", [7, None]),
        (["__HIVE_DEFAULT_PARTITION__"], "VARCHAR", [None]),
        (["__HIVE_DEFAULT_PARTITION__", "2024-01-01"], "DATE", [datetime.date(2024, 1, 1), None]),
        (["", "x"], "VARCHAR", [None, "x"]),
        (["a%2Fb%3Dc %25", "Zürich", "%C3%89t%C3%A9", "1*[x]"], "VARCHAR", ["Été", "1*[x]", "Zürich", "a/b=c %"]),
    ],
)
def test_a_partition_is_whole_numbers_dates_or_text(tmp_path, names, kind, values):
    for name in names:
        put(tmp_path / "t" / f"a%20b={name}" / "part-0.parquet", {"x": [1.0]})
    table, types = read(tmp_path / "t")
    assert types == {"x": "DOUBLE", "a b": kind}
    assert sorted(table.column("a b").to_pylist(), key=str) == sorted(values, key=str)


def test_a_partitions_name_may_begin_with_an_underscore_and_a_plain_folder_is_none(tmp_path):
    put(tmp_path / "k=0" / "t" / "2024" / "_k=1" / "a.PARQUET", {"x": [1.0]})
    put(tmp_path / "k=0" / "t" / "_k=2" / "a.parquet", {"x": [2.0]})
    assert read(tmp_path / "k=0" / "t")[0].to_pydict() == {"x": [1.0, 2.0], "_k": [1, 2]}


def test_a_partitions_column_may_be_in_the_files_too(tmp_path):
    """As Polars writes them."""
    for k, day in ((1, "2024-01-02"), (2, "2024-02-03")):
        day = datetime.date.fromisoformat(day)
        rows = pa.table({"k": [k] * 3, "day": [day] * 3, "x": [k / 2, 1.0, 2.0]})
        put(tmp_path / f"j=7/t/k={k}/day={day}/0.parquet", rows)
    table, _ = read(tmp_path / "j=7/t")
    assert table.column_names == ["x", "k", "day"]
    assert table.column("k").to_pylist() == [1, 1, 1, 2, 2, 2]


def test_only_folders_below_the_source_are_partitions(tmp_path):
    put(tmp_path / "k=7/x=8/t/k=1/0.parquet", {"x": [1.0]})
    assert read(tmp_path / "k=7/x=8/t")[0].to_pydict() == {"x": [1.0], "k": [1]}


def test_files_come_in_the_byte_order_of_their_paths(tmp_path, monkeypatch):
    names = ["B.parquet", "a/z.parquet", "a-b.parquet", "part-10.parquet", "part-9.parquet", "é.parquet"]
    names += ["\U0001f600.parquet", "it's [1]*.parquet"]
    for name in random.Random(1).sample(names, len(names)):
        put(tmp_path / "t" / name, {"name": [name]})
    expected = sorted(names, key=str.encode)
    assert expected.index("part-10.parquet") < expected.index("part-9.parquet")
    walk = os.walk
    for turn in (1, -1):  # whatever order the file system has them in
        monkeypatch.setattr(os, "walk", lambda *a, turn=turn, **k: ((p, d, sorted(f)[::turn]) for p, d, f in walk(*a)))
        assert read(tmp_path / "t", tmp_path)[0].column("name").to_pylist() == expected


INT32, INT64, FLOAT, TEXT = pa.int32(), pa.int64(), pa.float64(), pa.string()


@pytest.mark.parametrize(
    "first, second, kind",
    [
        (pa.array([1], INT32), pa.array([2**40], INT64), INT64),
        (pa.array([1.5], FLOAT), pa.array([2], INT64), FLOAT),
        (pa.array([None]), pa.array(["b"]), TEXT),
        (pa.array([None]), pa.array([2.5]), FLOAT),
        (pa.array(["a"]).dictionary_encode(), pa.array(["b"]), TEXT),
        (pa.array(["a"]), pa.array(["b"], pa.large_string()), TEXT),
        (pa.array([1], pa.timestamp("ms")), pa.array([1], pa.timestamp("us")), pa.timestamp("us")),
    ],
)
@pytest.mark.parametrize("turn", [1, -1])
def test_a_column_takes_the_type_that_holds_all_of_it(tmp_path, first, second, kind, turn):
    for i, column in enumerate([first, second][::turn]):
        names = ["a", "b"][:: 1 if i else -1]  # the order of columns need not be the same
        put(tmp_path / f"t/{i}.parquet", pa.table({"a": column, "b": [i]}).select(names))
    table, _ = read(tmp_path / "t")
    assert list(zip(table.schema.names, table.schema.types)) == [("b", INT64), ("a", kind)]
    assert table.column("a").to_pylist() == [value for c in (first, second)[::turn] for value in c.to_pylist()]


def test_categories_of_different_files_are_one_column(tmp_path):
    for i, numbers in enumerate(([1, 2], [3, 1])):
        put(tmp_path / f"t/{i}.parquet", {"k": pa.array(numbers).dictionary_encode()})
    assert read(tmp_path / "t")[0].column("k").to_pylist() == ["1", "2", "3", "1"]
    put(tmp_path / "t/2.parquet", {"k": [7]})  # no category to the one that wrote this file
    assert read(tmp_path / "t")[0].column("k").to_pylist() == [1, 2, 3, 1, 7]


X, Y = {"x": [1.0]}, {"x": ["a"]}


@pytest.mark.parametrize(
    "files, words",
    [
        ({}, ["t has no .parquet file in it"]),
        ({"_SUCCESS": b"", ".hidden.parquet": X}, ["t has no .parquet file in it"]),
        ({"a.parquet": X, "b.csv": b"x\n1\n"}, ["t/b.csv is no .parquet file", "move it away"]),
        ({"a.parquet": X, "b.parquet": b"x\n1\n"}, ["t/b.parquet cannot be read as its name says"]),
        ({"a.parquet": X, "b.parquet": b""}, ["t/b.parquet cannot be read as its name says"]),
        (
            {"a.parquet": X, "b.parquet": {"x": [1.0], "z": [1]}},
            ["t/b.parquet has a column 'z' and t/a.parquet has none"],
        ),
        (
            {"a.parquet": {"x": [1.0], "z": [1]}, "b.parquet": X},
            ["t/a.parquet has a column 'z' and t/b.parquet has none"],
        ),
        ({"a.parquet": X, "b.parquet": Y}, ["column 'x' is double in t/a.parquet and text in t/b.parquet", "alike"]),
        ({"k=1/a.parquet": X, "k=2/b.parquet": Y}, ["'x' is double in t/k=1/a.parquet and text in t/k=2/b.parquet"]),
        ({"a.parquet": X, "b.parquet": {"x": [True]}}, ["'x' is double in t/a.parquet and boolean in t/b.parquet"]),
        ({"x=7/a.parquet": X}, ["t/x=7/a.parquet holds '1.0' in its column 'x' and lies in x=7", "without"]),
        ({"=1/a.parquet": X}, ["t has a column without a name"]),
        ({"k=1/k=2/a.parquet": X}, ["t/k=1/k=2/a.parquet is in two folders of the same partition"]),
        ({"k=1/a.parquet": X, "z.parquet": X}, ["t/z.parquet is in the partitions none, and t/k=1/a.parquet in k"]),
        ({"k=1/l=1/a.parquet": X, "l=1/k=1/a.parquet": X}, ["in the partitions l, k", "in k, l"]),
        ({"a.parquet": X, "_delta_log/0.json": b"{}"}, ["t is a Delta table", "t/_delta_log"]),
        ({"a.parquet": X, ".hoodie/x": b"{}"}, ["t is a Hudi table", "t/.hoodie"]),
        ({"a.parquet": pa.table([[1], [2]], names=["x", "x"])}, ["t/a.parquet has columns 'x' and 'x'"]),
        ({"a.parquet": {"file_index": [1]}}, ["'file_index', which is reserved"]),
        ({"X=1/a.parquet": X}, ["t has columns 'x' and 'X'", "more than case"]),
        (
            {"a.parquet": {"x": [0.5]}, "b.parquet": {"x": [2**53 + 1]}},
            ["t/b.parquet: column 'x' is of whole numbers here and cannot be double", "9007199254740993"],
        ),
    ],
)
def test_what_is_no_table_is_refused_by_the_files_name(tmp_path, monkeypatch, files, words):
    monkeypatch.chdir(tmp_path)
    Path("t").mkdir()
    for name, content in files.items():
        Path("t", name).parent.mkdir(parents=True, exist_ok=True)
        Path("t", name).write_bytes(content) if isinstance(content, bytes) else put(Path("t", name), content)
    with pytest.raises(UserError) as error:
        read("t")
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_a_folder_behind_a_link_is_refused_and_a_linked_file_is_a_file(tmp_path):
    put(tmp_path / "far" / "a.parquet", X)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.parquet").symlink_to(tmp_path / "far" / "a.parquet")
    assert len(read(tmp_path / "t")[0]) == 1
    (tmp_path / "t" / "more").symlink_to(tmp_path / "far")
    with pytest.raises(UserError, match=r"t/more is a link to a folder"):
        read(tmp_path / "t")


def test_a_file_damaged_inside_is_named_and_a_stage_says_it_in_one_line(workspace):
    spark(workspace.path("t"))
    path = sorted(workspace.path("t/year=2024/month=1").glob("part-*"))[1]
    content = bytearray(path.read_bytes())
    content[4:60] = bytes(56)
    path.write_bytes(content)
    workspace.set(make_data__source="t")
    done = workspace.run("make_data", fails=True)
    assert_one_line(done, f"{path.relative_to(workspace.folder)} cannot be read as its")
    assert not list(workspace.path("data").glob("*"))


@settings(max_examples=10)
@given(lengths=st.lists(st.integers(0, 5000), min_size=2, max_size=8), group=st.integers(1, 3000), gap=st.booleans())
def test_the_same_rows_make_the_same_dataset_however_files_are_cut(tmp_path_factory, lengths, group, gap):
    """To the byte, and with row groups of the same length."""
    place, n = tmp_path_factory.mktemp("parts"), sum(lengths) + 4
    rng = np.random.default_rng(n)
    labels = pa.array([0, 0, 1, 1, *rng.integers(0, 2, n - 4)], mask=np.arange(n) % 7 == (6 if gap else 9))
    whole = pa.table({"x": rng.normal(size=n), "k": pa.array(rng.choice(["a", "b"], n)), "y": labels})
    put(place / "one.parquet", whole)
    start = 0
    for i, length in enumerate([*lengths, 4]):
        put(place / f"many/{i}.parquet", whole.slice(start, length), row_group_size=group)
        start += length
    assert dataset(place, place / "one.parquet") == dataset(place, place / "many")


def dataset(place, path):
    """The bytes that make_data makes of a source."""

    class Make:
        source, sheet, target, drop, decimal, dates = str(path), None, "y", [], None, None

    output = place / "dataset.parquet"
    with source.opened(Make, None, output) as rows:
        labelled = labels.of(rows, Make.source, "y")
        facts = store.Facts("y", list(labelled.counts), list(labelled.counts.values()), None)
        with source.copying(rows, labelled, output, facts) as table:
            assert duck.rows(f"SELECT count(*) FROM {table.relation}")[0][0] == sum(labelled.counts.values())
    return output.read_bytes()


@pytest.mark.parametrize("rows", [2**20, 2048])
def test_the_same_rows_make_the_same_dataset_as_one_file(workspace, monkeypatch, rows):
    """Also with missing targets, a dropped partition, a CSV, and more rows than a row group has (2048 here)."""
    monkeypatch.setattr("plumbline.tables.store.ROWS", rows)
    whole = spark(workspace.path("many"), rows=9_000)
    put(workspace.path("one.parquet"), whole)
    for i, start in enumerate(range(0, len(whole), 97)):
        put(workspace.path(f"small/{i:04}.parquet"), whole.slice(start, 97))
    frame = whole.to_pandas().astype({"y": "int32"})
    frame.to_csv(workspace.path("one.csv.gz"), index=False)
    workspace.set(make_data__target="kind", make_data__drop=["month", "y"])
    made = set()
    for name in ("one.parquet", "many", "small", "one.csv.gz"):
        workspace.set(make_data__source=name)
        said = workspace.run("make_data").stdout
        made.add(workspace.path("data/dataset.parquet").read_bytes())
        assert said.startswith(f"{name}: {len(whole)} rows, 2 features, kind {{a: ")
    assert len(made) == 1
    groups = pq.ParquetFile(workspace.path("data/dataset.parquet")).metadata.num_row_groups
    assert groups == -(-len(whole) // rows)


def test_dvc_runs_again_when_a_file_of_the_folder_changes_and_not_else(project):
    spark(project.path("t.parquet"))
    project.set(make_data__source="t.parquet", train__encoding="robust", train__replicas=1, train__epochs=1)
    assert "Running stage 'make_data'" in project.run("dvc", "repro", "make_data").stdout
    assert "Running stage" not in project.run("dvc", "repro", "make_data").stdout
    path = project.path("t.parquet/year=2024/month=3/part-00000-0.snappy.parquet")
    put(path, {"x": [0.1, -0.1], "kind": ["a", "b"], "y": pa.array([1, 0], pa.int32())})
    said = project.run("dvc", "repro", "make_data").stdout
    assert "Running stage 'make_data'" in said
    assert "t.parquet: 530 rows, 4 features, y {0: " in said
