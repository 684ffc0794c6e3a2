"""CSVs as people have them, and files that are not what their name says: one line each, with the line number."""

import datetime
import gzip

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbline.basics import inputs
from plumbline.basics.errors import UserError
from plumbline.sources import delimited, source

CELL = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


def read(path, content, texts=()):
    """What a CSV with this content holds, as a pyarrow table."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    scratch = path.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return pq.read_table(source.table(path, scratch, texts).path)


@settings(max_examples=40)
@given(
    rows=st.lists(st.tuples(CELL, st.integers(-99, 99), st.none() | st.floats(-10, 10)), min_size=1, max_size=20),
    separator=st.sampled_from(",;\t"),
    mark=st.booleans(),
    zipped=st.booleans(),
    digits=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_a_csv_of_any_usual_form_comes_back(tmp_path_factory, rows, separator, mark, zipped, digits, line_end):
    rows = [(str(whole) if digits else f"k{text}", whole, number) for text, whole, number in rows]
    frame = pd.DataFrame(rows, columns=["naïve; tab\"le, 'x'", "n 1", "z"]).astype({"z": float})
    content = frame.to_csv(index=False, sep=separator, lineterminator=line_end)
    content = content.encode("utf-8-sig" if mark else "utf-8")
    path = tmp_path_factory.mktemp("csv") / ("t.CSV.gz" if zipped else "t.csv")
    table = read(path, gzip.compress(content) if zipped else content, [frame.columns[0]])
    assert table.column_names == list(frame.columns)
    assert table.column(0).to_pylist() == [text for text, _, _ in rows]
    assert table.column(1).to_pylist() == [whole for _, whole, _ in rows]
    numbers = [np.nan if number is None else float(number) for number in table.column(2).to_pylist()]
    np.testing.assert_allclose(numbers, frame["z"], rtol=1e-15)


@pytest.mark.parametrize("separator", ",;\t")
def test_labels_that_are_whole_numbers_make_no_decimal_comma(tmp_path, separator):
    table = read(tmp_path / "t.csv", "a,b,y\n1.5,E1,0\n-2.25,E2,1\n".replace(",", separator), ["y"])
    assert table.to_pylist() == [{"a": 1.5, "b": "E1", "y": "0"}, {"a": -2.25, "b": "E2", "y": "1"}]


def test_labels_are_read_as_they_were_written(tmp_path):
    table = read(tmp_path / "t.csv", "a,y\n1,01\n2,TRUE\n,\n", ["y"])
    assert table.to_pylist() == [{"a": 1, "y": "01"}, {"a": 2, "y": "TRUE"}, {"a": None, "y": None}]


DAY, NOON = datetime.date(2021, 12, 31), datetime.time(12)


@pytest.mark.parametrize(
    "cells, values",
    [
        (["1", " 2 ", "-3", ""], [1, 2, -3, None]),
        (["1", "2.5", "1e3", "NA", "  "], [1.0, 2.5, 1000.0, None, None]),
        (["01", "2", ""], ["01", "2", None]),
        (["0012", "15"], ["0012", "15"]),
        (["007.5", "x"], ["007.5", "x"]),
        (["+1", "2"], ["+1", "2"]),
        (["1_000", "2"], ["1_000", "2"]),
        (["12345678901234567890", "1"], ["12345678901234567890", "1"]),
        (["0x1F", "2"], ["0x1F", "2"]),
        (["inf", "-1"], [np.inf, -1.0]),
        (["true", "FALSE", "null"], [True, False, None]),
        (["true", "1"], ["true", "1"]),
        (["2021-12-31", "n/a"], [DAY, None]),
        (["2021-12-31", "2021-12-31T12:00:00"], [datetime.datetime(2021, 12, 31), datetime.datetime(2021, 12, 31, 12)]),
        (["2021-02-30", "2021-12-31"], ["2021-02-30", "2021-12-31"]),
        (["31.12.2021", "2021-12-31"], ["31.12.2021", "2021-12-31"]),
        (["12:00", "12:00:00"], [NOON, NOON]),
        (["", "NULL"], [None, None]),
        (['"a ""b"""', '5" pipe', " c"], ['a "b"', '5" pipe', " c"]),
        (["#1", "# 2"], ["#1", "# 2"]),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_a_columns_type_is_what_all_of_its_cells_are(tmp_path, monkeypatch, cells, values, later):
    """Also when the cells that decide it come after the rows that are looked at first."""
    monkeypatch.setattr(delimited, "SAMPLE", 1 if later else 1000)
    for turn in (1, -1):
        content = "i,a,k\n" + "".join(f"{i},{cell},x\n" for i, cell in enumerate(cells[::turn]))
        assert read(tmp_path / "t.csv", content).column("a").to_pylist() == values[::turn]


def test_a_zone_is_an_instant(tmp_path):
    table = read(tmp_path / "t.csv", "a,b\n2021-12-31T12:00:00Z,1\n2021-12-31 14:00+02:00,2\n")
    noon = datetime.datetime(2021, 12, 31, 12, tzinfo=datetime.UTC)
    assert table.column("a").to_pylist() == [noon, noon]


@pytest.mark.parametrize(
    "content, rows",
    [
        ("a,b\n1,2\n\n3,4\n\n", [(1, 2), (3, 4)]),
        ("a,b\r\n1,2\r\n3,4\r\n", [(1, 2), (3, 4)]),
        ('a,"b"\n1,"x\r\ny"\n2,z\n', [(1, "x\r\ny"), (2, "z")]),
        ("a\n1\n\n2\n\n", [(1,), (2,)]),
        ("a,b\n1,2", [(1, 2)]),
        ("a,b\n", []),
        ('"a\nb",c\n1,2\n', [(1, 2)]),
    ],
)
def test_lines_end_in_any_way_and_blank_ones_are_none(tmp_path, content, rows):
    table = read(tmp_path / "t.csv", content)
    assert [tuple(row.values()) for row in table.to_pylist()] == rows


def test_names_are_kept_as_they_stand_and_a_missing_one_is_its_place(tmp_path):
    table = read(tmp_path / "t[1]*.csv", ", b,select,a'\"x,range\n1,2,3,4,5\n")
    assert table.column_names == ["column0", "b", "select", "a'\"x", "range"]
    assert list(table.to_pylist()[0].values()) == [1, 2, 3, 4, 5]


GOOD = "a,b,y\n1,2,0\n3,4,1\n5,6,1\n"
LONG = "a,b\n" + "1,2\n" * 300_000


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("t.csv", "", ["t.csv is empty"]),
        ("t.csv", "\n \n\n", ["t.csv is blank"]),
        ("t.csv", "a,b\n1,2\n3\n4,5\n", ["t.csv line 3: 1 cells", "commas", "header has 2"]),
        ("t.csv", 'a;b\n\n1;"x\ny"\n3;4;5\n', ["t.csv line 5: 3 cells", "semicolons", "header has 2"]),
        ("t.csv", "a,b\n1,2,\n3,4\n5,6,\n7,8,\n", ["t.csv line 3: 2 cells", "header has 2 and each line an end"]),
        ("t.csv", "a,b\n1,2\n   \n", ["t.csv line 3: 1 cells"]),
        ("t.csv", LONG + "3\n" + LONG, ["t.csv line 300002: 1 cells"]),
        ("t.csv", 'a,b\n1,x\n2,"y\n3,z\n', ["t.csv line 3: a quote is opened and never closed"]),
        ("t.csv", 'a,b\n1,"x\n2,y', ["t.csv line 2: a quote"]),
        ("t.csv", LONG + '"x\n' + LONG, ["t.csv line 300002: a quote is opened"]),
        ("t.csv", 'a,"b\n1,2\n', ["t.csv line 1: a quote is opened"]),
        ("t.csv", 'a,b\n1,"x"y\n', ["t.csv line 2: a quote is closed and its cell goes on"]),
        ("t.csv", "a,b\n1,2\r\n3,4\n", ["t.csv has lines that end in '\\n' and '\\r\\n'; save it anew"]),
        ("t.csv", "a,b\r\n1,2\r\n" + LONG, ["t.csv has lines that end in"]),
        ("t.csv", "a,b\n1,caf\xe9\n".encode("latin-1"), ["t.csv line 2: byte 0xe9 is not UTF-8"]),
        ("t.csv", "a,caf\xe9\n1,2\n".encode("latin-1"), ["t.csv line 1: byte 0xe9 is not UTF-8"]),
        ("t.csv", "é".encode() * 2**19 + b",b\n1,\xc3", ["t.csv line 2: byte 0xc3 is not UTF-8"]),
        ("t.csv", GOOD.encode("utf-16"), ["t.csv line 1: a zero byte"]),
        ("t.csv", GOOD.encode("utf-16-le"), ["t.csv line 1: a zero byte"]),
        ("t.csv", LONG + "1,\0\n", ["t.csv line 300002: a zero byte"]),
        ("t.csv", LONG.replace("2", "x") + "1,x\0\n", ["t.csv line 300002: a zero byte"]),
        ("t.csv", "a\0,b\n1,2\n", ["t.csv line 1: a zero byte"]),
        ("t.csv", "a,b\n1,2\n1,\0\n", ["t.csv line 3: a zero byte"]),
        ("t.csv", "a,b\n1,2\n,\0\n", ["t.csv line 3: a zero byte"]),
        ("t.csv", LONG.encode() + b"1,2\xff\n", ["t.csv line 300002: byte 0xff is not UTF-8"]),
        ("t.csv", LONG.replace("2", "x").encode() + b"1,\xe9\n", ["t.csv line 300002: byte 0xe9 is not UTF-8"]),
        ("t.csv", ("# a title\n" + LONG).encode() + b"1,\xe9\n", ["t.csv line 300003: byte 0xe9 is not UTF-8"]),
        ("t.csv", np.random.default_rng(0).bytes(400), ["t.csv line ", "UTF-8"]),
        ("t.csv", "a,b,a\n1,2,3\n", ["columns 'a' and 'a'", "rename"]),
        ("t.csv", "a,b,A\n1,2,3\n", ["'a' and 'A'", "more than case"]),
        ("t.csv", 'a,b\n1,"' + "x" * 3_000_000 + '"\n', ["t.csv cannot be read as its name says: ", "line size"]),
        ("t.csv", "a,b\n1," + "2" * 2**25, ["t.csv line 2 has more than 16,777,216 bytes"]),
        ("t.csv", "a,b\n1," + "2" * (2**24 + 9) + "\n3,4\n", ["t.csv", "line"]),
        ("t.csv", LONG + "1," + "x" * 2**26 + "\n", ["t.csv line 300002 has more than 16,777,216 bytes"]),
        ("t.csv.gz", gzip.compress(b"a," * 2**25, 1), ["t.csv.gz line 1 has more than 16,777,216 bytes"]),
        ("t.csv.gz", gzip.compress(b"\0" * 2**25, 1), ["t.csv.gz line 1: a zero byte"]),
        ("t.csv.gz", GOOD, ["t.csv.gz cannot be read as its name says"]),
        ("t.csv.gz", gzip.compress(GOOD.encode(), mtime=0)[:-9], ["t.csv.gz cannot be read as its name says"]),
        ("t.parquet", GOOD, ["t.parquet cannot be read as its name says"]),
        ("t.txt", GOOD, ["t.txt is of no kind", ".parquet, .csv, .csv.gz"]),
        ("none.csv", None, ["none.csv is not there", "or a folder of .parquet files"]),
    ],
)
def test_what_is_no_table_is_refused_with_the_line(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError) as error:
        source.table(path, tmp_path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    for word in words:
        assert word in str(error.value)


def test_a_file_that_is_edited_while_it_is_read_is_told(tmp_path):
    inputs.forget()
    read(tmp_path / "t.csv", GOOD)
    inputs.check()
    (tmp_path / "t.csv").write_text(GOOD + "7,8,1\n")
    with pytest.raises(UserError, match=r"t\.csv changed while this ran"):
        inputs.check()
    inputs.forget()
