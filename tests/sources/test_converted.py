"""Excel sheets, JSON lines and SQLite tables: the same dataset as their CSV, and what is refused of them."""

import datetime
import gzip
import sqlite3

import numpy as np
import openpyxl
import pandas as pd
import pyarrow.parquet as pq
import pytest

from plumbline.basics.errors import UserError
from plumbline.sources import source

DRAWS = np.random.default_rng(0)
N = 60
TABLE = pd.DataFrame(
    {
        "age": DRAWS.integers(18, 90, N),
        "zip": [f"{v:05}" for v in DRAWS.integers(0, 99_999, N)],
        'a, "city"\nof': DRAWS.choice(["Paris", "Oslo, x", 'a"b', "two\nlines", " é"], N),
        "v": DRAWS.normal(size=N).round(3),
        "ok": DRAWS.random(N) > 0.5,
        "day": pd.date_range("2021-01-01", periods=N).strftime("%Y-%m-%d"),
        "y": DRAWS.choice(["yes", "no"], N),
    }
)
TABLE.loc[3, "v"] = np.nan
TABLE.loc[5, 'a, "city"\nof'] = None


def read(path, sheet=None):
    scratch = path.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return pq.read_table(source.table(path, scratch, ["y"], sheet=sheet).path)


def write(path, table):
    """The table as a file of a kind."""
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    elif path.suffix == ".xlsx":
        table.assign(day=pd.to_datetime(table["day"]).dt.date).to_excel(path, index=False)
    elif path.suffix == ".sqlite":
        with sqlite3.connect(path) as database:
            table.astype({"ok": str}).to_sql("visits", database, index=False)
        database.close()
    else:
        text = table.to_json(orient="records", lines=True, double_precision=15)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.mark.parametrize("name", ["t.xlsx", "t.jsonl", "t.ndjson.gz", "t.sqlite"])
def test_a_table_is_the_same_wherever_it_stood(tmp_path, capsys, name):
    write(tmp_path / "t.csv", TABLE)
    write(tmp_path / name, TABLE)
    csv = read(tmp_path / "t.csv")
    assert read(tmp_path / name).equals(csv)
    assert csv.column("zip").to_pylist() == TABLE["zip"].tolist()
    assert not capsys.readouterr().out


def book(path, sheets, hidden=()):
    made = openpyxl.Workbook()
    made.remove(made.active)
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        sheet.sheet_state = "hidden" if name in hidden else "visible"
        for row in rows:
            sheet.append(row)
    made.save(path)


def test_a_sheet_has_a_frame_and_cells_of_every_kind(tmp_path, capsys):
    clock = datetime.datetime(2021, 1, 1, 12, 30, 5)
    rows = [[None, "Report 2024"], [], [None, "a", "when", "long", "flag"], [None, "kg", "h", "s", None]]
    rows += [[None, i, clock, datetime.timedelta(hours=30), True] for i in (1, 2.5, 3)]
    rows += [[None, "Total", None, None, None]]
    book(tmp_path / "t.xlsx", {"notes": [], "data": rows, "old": [["x"]]}, hidden=["old"])
    with pytest.raises(UserError, match=r"t\.xlsx row 8: 'Total' is a word for totals.*remove that row"):
        read(tmp_path / "t.xlsx")
    book(tmp_path / "t.xlsx", {"notes": [], "data": [*rows[:-1], [None, 6.5]], "old": [["x"]]}, hidden=["old"])
    table = read(tmp_path / "t.xlsx").to_pylist()
    assert table[1] == {"a": 2.5, "when": clock, "long": 108000.0, "flag": True}
    said = capsys.readouterr().out
    assert "t.xlsx: rows 1 to 2 above the header: left out ('Report 2024" in said
    assert "t.xlsx: row 4 has units, and is left out" in said


def test_which_sheet_or_table_is_meant(tmp_path):
    book(tmp_path / "t.xlsx", {"2023": [["a", "y"], [1, 2]], "2024": [["a", "y"], [3, 4]]})
    assert read(tmp_path / "t.xlsx", "2024").to_pylist() == [{"a": 3, "y": "4"}]
    with sqlite3.connect(tmp_path / "t.db") as database:
        database.executescript(
            "CREATE TABLE a (x); INSERT INTO a VALUES (1); CREATE VIEW b AS SELECT x + 1 AS x FROM a"
        )
    database.close()
    assert read(tmp_path / "t.db", "b").to_pylist() == [{"x": 2}]
    for name, what in {
        "t.xlsx": "the sheets '2023', '2024'; say which",
        "t.db": "the tables 'a', 'b'; say which",
    }.items():
        with pytest.raises(UserError, match=what):
            read(tmp_path / name)
    for name, near in {
        "t.xlsx": "no sheet '202'.*did you mean '202[34]'",
        "t.db": "no table '202'.*there are 'a', 'b'",
    }.items():
        with pytest.raises(UserError, match=near):
            read(tmp_path / name, "202")
    (tmp_path / "t.csv").write_text("a,y\n1,2\n")
    with pytest.raises(UserError, match=r"t\.csv has no sheet '2024', or any; set make_data\.sheet to null"):
        read(tmp_path / "t.csv", "2024")


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("t.xlsx", b"PK\x03\x04 no", ["t.xlsx cannot be read as its name says"]),
        ("t.xlsx", b"a,b\n1,2\n", ["t.xlsx cannot be read as its name says"]),
        ("t.jsonl", b'{"a": 1}\n{"a": \n', ["t.jsonl line 2: not one JSON object"]),
        ("t.jsonl", b'[{"a": 1}]\n', ["t.jsonl line 1", "it is no object"]),
        ("t.jsonl", b'{"a": 1}\n\n{"a": [1]}\n', ["t.jsonl row 2: ['1'] is no single number or text"]),
        ("t.jsonl", b'{"a": {"b": 1}}\n', ["t.jsonl row 1: {'b': '1'} is no single"]),
        ("t.jsonl", b'{"a": 1, "a": 2}\n', ["t.jsonl line 1", "a name stands there twice"]),
        ("t.jsonl", b'{"a": "\xff"}\n', ["t.jsonl line 1: not one JSON object"]),
        ("t.jsonl", b'{"a": "\\ud800"}\n', ["t.jsonl row 1", "surrogates not allowed"]),
        ("t.jsonl", b'{"a": "x\\u0000y", "b": 1}\n', ["t.jsonl row 1", "x\\x00y"]),
        ("t.jsonl", b'{"a": 1}\n{"A": 2}\n', ["'a' and 'A'", "more than case"]),
        ("t.jsonl", b"[" * 100_000, ["t.jsonl line 1: not one JSON object"]),
        ("t.jsonl", b"\n\n", ["t.jsonl has no line with an object"]),
        ("t.jsonl.gz", b"no", ["t.jsonl.gz cannot be read as its name says"]),
        ("t.sqlite", b"SQLite format 3\0 no", ["t.sqlite cannot be read as its name says"]),
        ("t.db", b"a,b\n" * 100, ["t.db cannot be read as its name says"]),
    ],
)
def test_what_is_no_such_file_is_refused_in_a_line(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_bytes_and_unwritten_changes_of_a_database_are_refused(tmp_path):
    database = sqlite3.connect(tmp_path / "t.db")
    database.executescript("CREATE TABLE a (x, y); INSERT INTO a VALUES (1, 2); INSERT INTO a VALUES (1, x'00ff')")
    with pytest.raises(UserError, match=r"t\.db row 2: b'.*' is no single"):
        read(tmp_path / "t.db")
    database.executescript("PRAGMA journal_mode = wal; INSERT INTO a VALUES (3, 4)")
    with pytest.raises(UserError, match=r"t\.db-wal has changes that .*t\.db has not yet"):
        read(tmp_path / "t.db")
    database.close()


def test_names_that_only_later_lines_have_are_columns_too(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"a": 1.50, "b": null}\n\n{"b": true, "c": 12345678901234567890}\n')
    assert read(tmp_path / "t.jsonl").to_pylist() == [
        {"a": 1.5, "b": None, "c": None},
        {"a": None, "b": True, "c": "12345678901234567890"},
    ]
