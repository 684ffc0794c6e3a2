"""Sources as people have them, and files that are not what their name says: one line each, with the line number."""

import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import sources
from stages.errors import UserError

CELL = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(st.tuples(CELL, st.integers(-99, 99), st.none() | st.floats(-10, 10)), min_size=1, max_size=20),
    separator=st.sampled_from(",;\t"),
    mark=st.booleans(),
    zipped=st.booleans(),
    digits=st.booleans(),
)
def test_a_csv_of_any_usual_form_comes_back(tmp_path_factory, rows, separator, mark, zipped, digits):
    rows = [(str(whole) if digits else f"k{text}", whole, number) for text, whole, number in rows]
    frame = pd.DataFrame(rows, columns=["naïve; tab\"le, 'x'", "n 1", "z"]).astype({"z": float})
    path = tmp_path_factory.mktemp("csv") / ("t.CSV.gz" if zipped else "t.csv")
    content = frame.to_csv(index=False, sep=separator).encode("utf-8-sig" if mark else "utf-8")
    path.write_bytes(gzip.compress(content) if zipped else content)
    read = sources.read(path, texts=[frame.columns[0]])
    assert read.column_names == list(frame.columns)
    assert read.column(0).to_pylist() == [text for text, _, _ in rows]
    assert read.column(1).to_pylist() == [whole for _, whole, _ in rows]
    np.testing.assert_allclose(read.column(2).cast(pa.float64()).to_numpy(zero_copy_only=False), frame["z"], rtol=1e-15)


def test_decimal_commas_between_semicolons(tmp_path):
    read = sources.read(written(tmp_path, "t.csv", "a;b;c\n1,5;x;2\n-2,25;y,5;3\n"))
    assert read.to_pylist() == [{"a": 1.5, "b": "x", "c": 2}, {"a": -2.25, "b": "y,5", "c": 3}]


@pytest.mark.parametrize("separator", ",;\t")
def test_labels_that_are_whole_numbers_make_no_decimal_comma(tmp_path, separator):
    content = "a,b,y\n1.5,E1,0\n-2.25,E2,1\n".replace(",", separator)
    read = sources.read(written(tmp_path, "t.csv", content), texts=["y"])
    assert read.to_pylist() == [{"a": 1.5, "b": "E1", "y": "0"}, {"a": -2.25, "b": "E2", "y": "1"}]


def test_a_csv_that_does_not_fit_is_refused_by_what_it_holds(tmp_path, monkeypatch):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,y\n" + b"1,2\n" * 10**7))
    assert path.stat().st_size < 10**5
    monkeypatch.setattr(sources.resources, "available_memory", lambda *_: 5 * 10**8)
    with pytest.raises(UserError, match=r"reading .*t\.csv\.gz whole needs about 0\.5 GB of memory"):
        sources.read(path)


def test_labels_are_read_as_they_were_written(tmp_path):
    path = written(tmp_path, "t.csv", "a,y\n01,01\n02,TRUE\n,\n")
    assert sources.read(path, texts=["y"]).to_pylist() == [
        {"a": 1, "y": "01"},
        {"a": 2, "y": "TRUE"},
        {"a": None, "y": None},
    ]


GOOD = "a,b,y\n1,2,0\n3,4,1\n5,6,1\n"


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("t.csv", "", ["t.csv is empty"]),
        ("t.csv", "\n \n\n", ["t.csv is blank"]),
        ("t.csv", "a,b\n1,2\n3\n4,5\n", ["t.csv line 3: 1 cells", "commas", "header has 2"]),
        ("t.csv", 'a;b\n\n1;"x\ny"\n3;4;5\n', ["t.csv line 5: 3 cells", "semicolons", "header has 2"]),
        ("t.csv", 'a,b\n1,x\n2,"y\n3,z\n', ["t.csv line 3: a quote is opened and never closed"]),
        ("t.csv", 'a,b\n1,"x\n2,y', ["t.csv line 2: a quote"]),
        ("t.csv", "a,b\n1,caf\xe9\n".encode("latin-1"), ["t.csv line 2: byte 0xe9 is not UTF-8"]),
        ("t.csv", GOOD.encode("utf-16"), ["t.csv line 1: byte 0xff is not UTF-8"]),
        ("t.csv", GOOD.encode("utf-16-le"), ["t.csv line 1: a zero byte"]),
        ("t.csv", np.random.default_rng(0).bytes(400), ["t.csv line 1", "UTF-8"]),
        ("t.csv", "a,b,a\n1,2,3\n", ["2 columns named 'a'", "rename"]),
        ("t.csv.gz", GOOD, ["t.csv.gz cannot be read as its name says"]),
        ("t.csv.gz", gzip.compress(GOOD.encode(), mtime=0)[:-9], ["t.csv.gz cannot be read as its name says"]),
        ("t.parquet", GOOD, ["t.parquet cannot be read as its name says"]),
        ("t.txt", GOOD, ["t.txt is of no kind", ".parquet, .csv, .csv.gz"]),
    ],
)
def test_what_is_no_table_is_refused_with_the_line(tmp_path, name, content, words):
    with pytest.raises(UserError) as error:
        sources.read(written(tmp_path, name, content))
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_parquet_truncated_with_twins_and_nothing_at_all(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), path)
    with pytest.raises(UserError, match="2 columns named 'a'"):
        sources.read(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot be read as its name says"):
        sources.read(path)
    with pytest.raises(UserError, match=r"none\.csv is not there; a table is a file .* or a folder of \.parquet files"):
        sources.read(tmp_path / "none.csv")


def test_quotes_inside_cells_are_no_opened_quotes(tmp_path):
    read = sources.read(written(tmp_path, "t.csv", 'a,b\n5" pipe,1\n"say ""x""",2\n'))
    assert read.column("a").to_pylist() == ['5" pipe', 'say "x"']
