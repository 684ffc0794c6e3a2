"""A folder of Parquet files: what Spark and DuckDB write comes back, and is the same table as one file."""

import datetime
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

from stages import folder, sources, table
from stages.errors import UserError


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
    read = sources.read(str(tmp_path / "t.parquet"))
    assert read.column_names == ["x", "kind", "y", "year", "month"]
    assert len(read) == len(written)
    assert read.read().equals(written)
    assert read.read(["month", "x"]).equals(written.select(["month", "x"]))
    assert read.column("year").to_pylist() == written["year"].to_pylist()
    for columns in (None, ["month"], ["x", "year"]):
        pieces = list(read.groups(100, columns))
        assert [len(piece) for piece in pieces] == [100] * 5 + [len(written) - 500]
        assert pa.concat_tables(pieces).equals(written.select(columns or written.column_names))


def test_the_values_are_those_that_pyarrow_dataset_reads(tmp_path):
    spark(tmp_path / "t")
    expected = pyarrow.dataset.dataset(tmp_path / "t", partitioning="hive").to_table().to_pandas()
    read = folder.Folder(tmp_path / "t").read().to_pandas()
    by = ["year", "month", "x"]
    pd.testing.assert_frame_equal(
        read.sort_values(by, ignore_index=True), expected.sort_values(by, ignore_index=True), check_dtype=False
    )


@pytest.mark.parametrize(
    "names, kind, values",
    [
        (["1", "12", "-3"], pa.int64(), [-3, 1, 12]),
        (["3000000000", "1"], pa.int64(), [1, 3_000_000_000]),
        (["9" * 20, "1"], pa.string(), ["1", "9" * 20]),
        (["01", "2"], pa.string(), ["01", "2"]),
        (["1.5", "2"], pa.string(), ["1.5", "2"]),
        (["true", "false"], pa.string(), ["false", "true"]),
        (["2024-02-29", "1999-12-31"], pa.date32(), [datetime.date(1999, 12, 31), datetime.date(2024, 2, 29)]),
        (["2024-02-30", "2024-01-01"], pa.string(), ["2024-01-01", "2024-02-30"]),
        (["2024-01-01 00%3A00%3A00", "x"], pa.string(), ["2024-01-01 00:00:00", "x"]),
        (["__HIVE_DEFAULT_PARTITION__", "7"], pa.int64(), [7, None]),
        (["__HIVE_DEFAULT_PARTITION__"], pa.string(), [None]),
        (["__HIVE_DEFAULT_PARTITION__", "2024-01-01"], pa.date32(), [datetime.date(2024, 1, 1), None]),
        (["a%2Fb%3Dc %25", "Zürich", "%C3%89t%C3%A9"], pa.string(), ["Été", "Zürich", "a/b=c %"]),
    ],
)
def test_a_partition_is_whole_numbers_dates_or_text(tmp_path, names, kind, values):
    """The types and values are those that DuckDB 2.0 gives the same folders."""
    for name in names:
        put(tmp_path / f"a%20b={name}" / "part-0.parquet", {"x": [1.0]})
    read = folder.Folder(tmp_path)
    assert read.schema == pa.schema([("x", pa.float64()), ("a b", kind)])
    assert read.column("a b").to_pylist() == values


def test_a_partitions_name_may_begin_with_an_underscore_and_a_plain_folder_is_none(tmp_path):
    put(tmp_path / "2024" / "_k=1" / "a.PARQUET", {"x": [1.0]})
    put(tmp_path / "_k=2" / "a.parquet", {"x": [2.0]})
    assert folder.Folder(tmp_path).read().to_pydict() == {"x": [1.0, 2.0], "_k": [1, 2]}


def test_a_partitions_column_may_be_in_the_files_too(tmp_path):
    """As Polars writes them."""
    for k, day in ((1, "2024-01-02"), (2, "2024-02-03")):
        day = datetime.date.fromisoformat(day)
        (tmp_path / f"t/k={k}/day={day}").mkdir(parents=True)
        rows = pa.table({"k": [k] * 3, "day": [day] * 3, "x": [k / 2, 1.0, 2.0]})
        pq.write_table(rows, tmp_path / f"t/k={k}/day={day}/0.parquet")
    rows = sources.read(tmp_path / "t")
    assert rows.column_names == ["x", "k", "day"]
    assert rows.read().column("k").to_pylist() == [1, 1, 1, 2, 2, 2]
    assert [len(piece) for piece in rows.groups(2, ["day"])] == [2, 2, 2]


def test_files_come_in_the_byte_order_of_their_paths(tmp_path, monkeypatch):
    names = [
        "B.parquet",
        "a/z.parquet",
        "a-b.parquet",
        "part-10.parquet",
        "part-9.parquet",
        "é.parquet",
        "\U0001f600.parquet",
    ]
    shuffled = random.Random(1).sample(names, len(names))
    for name in shuffled:
        put(tmp_path / name, {"name": [name]})
    expected = sorted(names, key=str.encode)
    assert expected.index("part-10.parquet") < expected.index("part-9.parquet")
    walk = folder.os.walk
    for turn in (1, -1):  # whatever order the file system has them in
        monkeypatch.setattr(
            folder.os, "walk", lambda *a, turn=turn, **k: ((p, d, sorted(f)[::turn]) for p, d, f in walk(*a, **k))
        )
        assert folder.Folder(tmp_path).column("name").to_pylist() == expected


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=8), size=st.integers(1, 12), group=st.integers(1, 4))
def test_pieces_are_cut_by_rows_wherever_files_end(tmp_path_factory, lengths, size, group):
    place, n = tmp_path_factory.mktemp("parts"), sum(lengths)
    starts = np.cumsum([0, *lengths])
    for i, (start, length) in enumerate(zip(starts, lengths)):
        put(place / f"p={i}" / "a.parquet", {"x": np.arange(start, start + length)}, row_group_size=group)
    for columns in (None, ["p"], ["x"]):
        pieces = list(folder.Folder(place).groups(size, columns))
        assert [len(piece) for piece in pieces] == ([size] * (n // size) + [n % size] * bool(n % size) or [0])
        assert all(column.num_chunks <= 1 for piece in pieces for column in piece.columns)
        whole = pa.concat_tables(pieces)
        if columns != ["p"]:
            assert whole["x"].to_pylist() == list(range(n))
        if columns != ["x"]:
            assert whole["p"].to_pylist() == np.repeat(np.arange(len(lengths)), lengths).tolist()


INT32, INT64, FLOAT, TEXT = pa.int32(), pa.int64(), pa.float64(), pa.string()


@pytest.mark.parametrize(
    "first, second, kind",
    [
        (pa.array([1], INT32), pa.array([2**40], INT64), INT64),
        (pa.array([1.5], FLOAT), pa.array([2], INT64), FLOAT),
        (pa.array([None]), pa.array(["b"]), TEXT),
        (pa.array(["a"]).dictionary_encode(), pa.array(["b"]), TEXT),
        (pa.array(["a"]), pa.array(["b"], pa.large_string()), pa.large_string()),
        (pa.array([1], pa.timestamp("ms")), pa.array([1], pa.timestamp("us")), pa.timestamp("us")),
    ],
)
@pytest.mark.parametrize("turn", [1, -1])
def test_a_column_takes_the_type_that_holds_all_of_it(tmp_path, first, second, kind, turn):
    for i, column in enumerate([first, second][::turn]):
        names = ["a", "b"][:: 1 if i else -1]  # the order of columns need not be the same
        put(tmp_path / f"{i}.parquet", pa.table({"a": column, "b": [i]}).select(names))
    read = folder.Folder(tmp_path)
    assert read.schema == pa.schema([("b", INT64), ("a", kind)])
    expected = pa.concat_arrays([pa.array(c.to_pylist(), kind) for c in (first, second)[::turn]])
    assert read.column("a").combine_chunks() == (
        expected if kind != pa.timestamp("us") else read.read()["a"].combine_chunks()
    )
    assert read.column("a").null_count == first.null_count


def test_categories_of_different_files_are_one_column(tmp_path):
    for i, texts in enumerate((["a", "b"], ["c", "a"])):
        put(tmp_path / f"{i}.parquet", {"k": pa.array(texts).dictionary_encode()})
    column = folder.Folder(tmp_path).column("k")
    assert column.num_chunks == 1
    assert column.to_pylist() == ["a", "b", "c", "a"]


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
        ({"a.parquet": X, "b.parquet": Y}, ["column 'x' is double in t/a.parquet and string in t/b.parquet", "alike"]),
        ({"k=1/a.parquet": X, "k=2/b.parquet": Y}, ["'x' is double in t/k=1/a.parquet and string in t/k=2/b.parquet"]),
        (
            {"x=7/a.parquet": X},
            ["t/x=7/a.parquet holds '1.0' in its column 'x' and lies in x=7", "without"],
        ),
        ({"=1/a.parquet": X}, ["t/=1/a.parquet is in a partition without a name", "NAME=VALUE"]),
        ({"k=1/k=2/a.parquet": X}, ["t/k=1/k=2/a.parquet is in two folders of the same partition"]),
        ({"k=1/a.parquet": X, "z.parquet": X}, ["t/z.parquet is in the partitions none, and t/k=1/a.parquet in k"]),
        ({"k=1/l=1/a.parquet": X, "l=1/k=1/a.parquet": X}, ["in the partitions l, k", "in k, l"]),
        ({"a.parquet": X, "_delta_log/0.json": b"{}"}, ["t is a Delta table", "t/_delta_log"]),
        ({"a.parquet": pa.table([[1], [2]], names=["x", "x"])}, ["t/a.parquet has 2 columns named 'x'"]),
        (
            {"a.parquet": {"x": [0.5]}, "b.parquet": {"x": [2**53 + 1]}},
            ["t/b.parquet: column 'x' is int64 here and cannot be double", "9007199254740993"],
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
        sources.read("t").read()
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_a_folder_behind_a_link_is_refused_and_a_linked_file_is_a_file(tmp_path):
    put(tmp_path / "far" / "a.parquet", X)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.parquet").symlink_to(tmp_path / "far" / "a.parquet")
    assert len(folder.Folder(tmp_path / "t")) == 1
    (tmp_path / "t" / "more").symlink_to(tmp_path / "far")
    with pytest.raises(UserError, match=r"t/more is a link to a folder"):
        folder.Folder(tmp_path / "t")


def test_a_file_damaged_inside_is_named_and_a_stage_says_it_in_one_line(project):
    spark(project.path("t"))
    path = sorted(project.path("t/year=2024/month=1").glob("part-*"))[1]
    content = bytearray(path.read_bytes())
    content[4:60] = bytes(56)
    path.write_bytes(content)
    project.set(make_data__source="t")
    assert_one_line(project.stage("make_data", fails=True), f"{path.relative_to(project.folder)} cannot be read as its")
    assert not list(project.path("data").glob("*"))


@pytest.mark.parametrize("rows", [2**20, 100])
def test_the_same_rows_make_the_same_dataset_as_one_file(project, rows):
    """Also with missing targets, a dropped partition and more rows than a row group has (100 here)."""
    text = project.read("stages/table.py")
    project.path("stages/table.py").write_text(text.replace("\nROWS = 2**20 ", f"\nROWS = {rows} "))
    whole = spark(project.path("many"))
    put(project.path("one.parquet"), whole)
    for i, start in enumerate(range(0, len(whole), 7)):
        put(project.path(f"small/{i:04}.parquet"), whole.slice(start, 7))
    project.set(make_data__target="kind", make_data__drop=["month"])
    made = {}
    for source in ("one.parquet", "many", "small"):
        project.set(make_data__source=source)
        said = project.stage("make_data").stdout
        made[project.path("data/dataset.parquet").read_bytes()] = said
        assert said.startswith(f"{source}: {len(whole)} rows, 3 features, kind {{a: ")
    assert len(made) == 1


def test_dvc_runs_again_when_a_file_of_the_folder_changes_and_not_else(project):
    spark(project.path("t.parquet"))
    project.set(make_data__source="t.parquet", train__encoding="robust", train__replicas=1, train__epochs=1)
    assert "Running stage 'make_data'" in project.run("dvc", "repro").stdout
    assert "Running stage" not in project.run("dvc", "repro").stdout
    path = project.path("t.parquet/year=2024/month=3/part-00000-0.snappy.parquet")
    put(path, {"x": [0.1, -0.1], "kind": ["a", "b"], "y": pa.array([1, 0], pa.int32())})
    said = project.run("dvc", "repro").stdout
    assert "Running stage 'make_data'" in said
    assert "t.parquet: 530 rows, 4 features, y {0: " in said


def test_predict_reads_a_folder_and_does_not_write_into_it(project):
    whole = spark(project.path("t"))
    put(project.path("one.parquet"), whole)
    project.set(make_data__source="t", train__encoding="robust", train__replicas=1, train__epochs=1)
    for stage in ("make_data", "split", "train"):
        project.stage(stage)
    for source, output in (("t", "a.csv"), ("one.parquet", "b.csv")):
        assert f"{len(whole)} rows" in project.stage("predict", source, "--output", output).stdout
    assert project.read("a.csv") == project.read("b.csv")
    for output in ("t/scored.parquet", "t/year=2024/scored.csv"):
        done = project.stage("predict", "t", "--output", output, fails=True)
        assert_one_line(done, f"--output {output} is in t", "choose another place")
    assert len(table.Stored(project.path("one.parquet"), "", "")) == len(folder.Folder(project.path("t")))
