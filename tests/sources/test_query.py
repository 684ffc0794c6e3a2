"""A .sql file: what it may read, and in which order its rows come."""

import pyarrow.parquet as pq
import pytest

from plumbline.basics.errors import UserError
from plumbline.sources import source

VISITS = "visit,customer,fee,y\n" + "".join(f"{i},{i % 7},{i / 4},{'yes' if i % 3 else 'no'}\n" for i in range(40))
CUSTOMERS = "\n".join(f'{{"customer": {i}, "code": "0{i}"}}' for i in range(7))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "visits.csv").write_text(VISITS)
    (tmp_path / "customers.jsonl").write_text(CUSTOMERS)
    (tmp_path / "other.csv").write_text(VISITS)
    (tmp_path / "third.csv").write_text(VISITS)
    (tmp_path / "more").mkdir()
    (tmp_path / "more/visits.csv").write_text(VISITS)
    deps = "      - ${make_data.source}\n      - visits.csv\n      - customers.jsonl\n      - more\n"
    (tmp_path / "dvc.yaml").write_text("stages:\n  make_data:\n    cmd: x\n    deps:\n" + deps)
    return tmp_path


def found(folder, sql, declared=True):
    (folder / "q.sql").write_text(sql)
    scratch = folder / "scratch" / str(len(list(folder.glob("scratch/*"))))
    scratch.mkdir(parents=True)
    rows = source._read(folder / "q.sql", scratch, list, set(), declared=declared)
    return pq.read_table(rows.paths[0])


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM 'visits.csv'",
        'select * from "visits.csv" -- all;\n; -- end',
        "/* all */ SELECT * FROM 'visits.csv';",
        "FROM './more/visits.csv'",
        "WITH visits AS (SELECT * FROM 'visits.csv') SELECT visits.* FROM visits",
        "SELECT v.* FROM 'visits.csv' AS v JOIN 'customers.jsonl' c ON v.customer = c.customer ORDER BY visit",
        "SELECT v.* FROM 'visits.csv' v, 'customers.jsonl' c WHERE v.customer = c.customer ORDER BY v.visit",
    ],
)
def test_the_same_rows_as_those_of_the_file(folder, sql):
    plain = pq.read_table(source.table(folder / "visits.csv", folder).path)
    assert found(folder, sql).equals(plain.cast(found(folder, sql).schema))
    assert found(folder, "SELECT code FROM 'customers.jsonl' ORDER BY 1")["code"].to_pylist()[0] == "00"


def test_a_join_gives_the_same_order_each_time(folder):
    sql = "SELECT a.visit, b.visit AS other FROM 'visits.csv' a JOIN 'more/visits.csv' b USING (customer)"
    assert found(folder, sql).equals(found(folder, sql))


@pytest.mark.parametrize(
    "sql, words",
    [
        (
            "SELECT * FROM 'other.csv'",
            ["reads other.csv, which the deps of the stage make_data do not name", "`- other.csv`"],
        ),
        ("SELECT * FROM read_csv('other.csv')", ["add to them in dvc.yaml: `- other.csv`"]),
        ("SELECT * FROM read_csv(['visits.csv', 'other.csv'])", ["`- other.csv`"]),
        ("FROM 'other.csv' JOIN 'third.csv' USING (visit)", ["`- other.csv` and `- third.csv`"]),
        ("SELECT * FROM 'more/../other.csv'", ["do not name"]),
        ("SELECT * FROM read_text('/etc/hostname')", ["/etc/hostname, which the deps"]),
        ("SELECT * FROM '*.csv'", ["do not name"]),
        ("SELECT * FROM 'https://example.org/a.csv'", ["which is not there; a query is about local files"]),
        ("SELECT * FROM 'none.csv'", ["none.csv, which is not there"]),
        ("SELECT * FROM visits.csv", ["names visits.csv without quotes; write 'visits.csv'"]),
        ("SELECT *, random() AS r FROM 'visits.csv'", ["has 'random', which is another each time"]),
        ("SELECT *, current_date AS r FROM 'visits.csv'", ["has 'current_date'"]),
        ("SELECT * FROM 'visits.csv' USING SAMPLE 3", ["a sample without REPEATABLE"]),
        ("SELECT * FROM 'visits.csv'; SELECT 1", ["one SELECT and nothing else", "2 statements"]),
        ("CREATE TABLE a AS SELECT 1", ["one SELECT and nothing else"]),
        ("COPY (SELECT 1) TO 'x.csv'", ["one SELECT and nothing else"]),
        ("SELEC", ["one SELECT", "syntax error"]),
        ("SELECT nothing FROM 'visits.csv'", ["cannot be answered", "nothing", "mend the query"]),
        ("SELECT a.*, b.* FROM 'visits.csv' a JOIN 'visits.csv' b USING (visit)", ["columns 'visit' and 'visit'"]),
        ("SELECT * FROM sqlite_scan('x.db', 't')", ["cannot be answered"]),
    ],
)
def test_what_it_may_not_read_or_say(folder, sql, words):
    with pytest.raises(UserError) as error:
        found(folder, sql)
    assert "\n" not in str(error.value)
    for word in ["q.sql", *words]:
        assert word in str(error.value)
    assert not (folder / "x.csv").exists()


def test_in_predict_any_local_file_may_be_read(folder):
    assert found(folder, "SELECT * FROM 'other.csv'", declared=False).num_rows == 40
    assert found(folder, "SELECT * FROM read_csv('other.csv')", declared=False).num_rows == 40
