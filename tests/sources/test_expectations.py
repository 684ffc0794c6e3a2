"""stages/expect.yaml: what is written of a table holds of it, and what breaks it is refused with its rows."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plumbline.basics.errors import UserError
from plumbline.sources import expectations, source

LINES = [f"{20 + i},{('Oslo', 'Paris', '')[i % 3]},{i / 8},2021-01-{1 + i:02},{i % 2 > 0},{i % 2}" for i in range(24)]
TABLE = "age,city,v,day,ok,y\n" + "\n".join(LINES) + "\n"


def rows(folder, name, text):
    (folder / name).write_text(text)
    scratch = folder / "scratch" / str(len(list(folder.glob("scratch/*"))))
    scratch.mkdir(parents=True)
    return source._read(folder / name, scratch, list, {"y"})


def check(folder, text, expected, name="t.csv"):
    (folder / "expect.yaml").write_text(expected)
    expectations.check(str(folder / "expect.yaml"), rows(folder, name, text), name, "y")


def test_what_is_written_of_a_table_holds_of_it_in_csv_and_in_parquet(tmp_path):
    written = expectations.written(rows(tmp_path, "t.csv", TABLE), "y")
    assert "  age:\n    kind: number\n    range: [20, 43]\n    gaps: 0.0\n" in written
    assert "categories: [Oslo, Paris]\n    gaps: 0.34\n" in written
    assert "range: ['2021-01-01', '2021-01-24']" in written
    check(tmp_path, TABLE, written)
    frame = pd.read_csv(tmp_path / "t.csv", parse_dates=["day"])
    frame["day"] = frame["day"].dt.date
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    parquet = source._read(tmp_path / "t.parquet", tmp_path, list, set())
    expectations.check(str(tmp_path / "expect.yaml"), parquet, "t.parquet", "y")


def test_what_is_written_of_nanoseconds_holds_of_them(tmp_path):
    kinds = {"t": pa.timestamp("ns"), "z": pa.timestamp("ns", tz="Asia/Tokyo"), "u": pa.time64("ns")}
    table = pa.table({name: pa.array([1, 2, 3, 4], kind) for name, kind in kinds.items()} | {"y": [0, 1, 0, 1]})
    pq.write_table(table, tmp_path / "t.parquet")
    parquet = source._read(tmp_path / "t.parquet", tmp_path, list, {"y"})
    (tmp_path / "expect.yaml").write_text(expectations.written(parquet, "y"))
    expectations.check(str(tmp_path / "expect.yaml"), parquet, "t.parquet", "y")


def test_gaps_of_just_the_written_share_are_allowed(tmp_path):
    text = "age,y\n" + ",0\n" * 29 + "1,1\n" * 71
    check(tmp_path, text, expectations.written(rows(tmp_path, "t.csv", text), "y"))


@pytest.mark.parametrize(
    "expected, words",
    [
        (
            "{age: {range: [21, 40]}}",
            ["column 'age' is not within 21 to 40: '20' in line 2, '41' in line 23", "(4 rows"],
        ),
        ("{age: {range: [null, 42]}}", ["is not within at most 42: '43' in line 25 (1 row in all)"]),
        ("{v: {range: [0.125, null]}}", ["is not within at least 0.125: '0.0' in line 2"]),
        ("{day: {range: [2021-01-02, '2021-02-01']}}", ["'2021-01-01' in line 2 (1 row in all)"]),
        ("{city: {categories: [Oslo]}}", ["none of its 1 categories: 'Paris' in line 3, 'Paris' in line 6"]),
        ("{city: {categories: []}}", ["'Oslo' in line 2"]),
        ("{age: {categories: [20, 21.0]}}", ["none of its 2 categories: '22' in line 4"]),
        ("{y: {categories: [0]}}", ["column 'y'", "'1' in line 3"]),
        ("{city: {gaps: 0.1}}", ["has gaps in 33.3 % of the rows, and at most 10 % are expected: line 4, line 7"]),
        ("{city: {kind: number}}", ["of kind 'category' and not 'number': 'Oslo' in line 2"]),
        ("{age: {kind: category}}", ["of kind 'number' and not 'category'"]),
        ("{ages: {kind: number}}", ["it has no column 'ages'; did you mean 'age'"]),
        ("{age: {range: [a, 4]}}", ["expect.yaml: range of column 'age' has 'a', which is no number"]),
        ("{age: {range: [1, 2, 3]}}", ["expect.yaml is no list", "length 2"]),
        ("{age: {rage: [1, 2]}}", ["expect.yaml is no list", "rage"]),
        ("{age: {kind: integer}}", ["expect.yaml is no list", "integer"]),
        ("{age: {gaps: 5}}", ["expect.yaml is no list", "<= 1"]),
        ("[age]", ["expect.yaml is no list"]),
        ("{}\nrows: [30, null]", ["it has 24 rows, and at least 30 are expected"]),
        ("{}\nrows: [1, 20]", ["it has 24 rows, and 1 to 20 are expected"]),
        (
            "{age: {range: [0, 1]}, city: {gaps: 0}, v: {range: [9, 9]}}",
            ["'age'", "'city'", "'v'", "(24 rows in all); "],
        ),
    ],
)
def test_what_breaks_a_rule_is_refused_with_its_rows(tmp_path, expected, words):
    with pytest.raises(UserError) as error:
        check(tmp_path, TABLE, f"columns: {expected}\n")
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_rows_are_called_by_where_they_stand(tmp_path):
    framed = "Report\n\n" + TABLE.replace("21,Paris", '21,"Par\nis"')
    with pytest.raises(UserError, match=r"'43' in line 28 \(1 row"):
        check(tmp_path, framed, "columns: {age: {range: [0, 42]}}")
    lines = '\n{"age": 1, "y": 0}\n' * 3
    with pytest.raises(UserError, match=r"'1' in row 1, '1' in row 2, '1' in row 3 \(3 rows"):
        check(tmp_path, lines, "columns: {age: {range: [2, 3]}}", "t.jsonl")


def test_an_empty_file_allows_everything(tmp_path):
    for text in ("", "columns: {}\n", "# nothing\n", "columns: {age: }\n"):
        check(tmp_path, TABLE, text)
