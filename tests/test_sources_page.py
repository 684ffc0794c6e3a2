"""docs/sources.md: its query and its checks are run as they stand."""

import re

import pandas as pd
import pytest
from conftest import ROOT

PAGE = (ROOT / "docs/sources.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    return re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.fixture
def tables(workspace):
    visits = pd.DataFrame({"visit": range(120), "customer": [i % 9 for i in range(120)]})
    visits["day"] = pd.date_range("2021-01-01", periods=120).strftime("%Y-%m-%d")
    visits["returned"] = ["yes", "no", "no"] * 40
    visits.to_csv("visits.csv", index=False)
    customers = pd.DataFrame({"customer": range(9), "age": range(20, 29), "city": ["Oslo", "Paris", "Rome"] * 3})
    customers.to_json("customers.jsonl", orient="records", lines=True)
    deps = re.search(r"line to add:\n\n(.*?)\n\n", PAGE, re.DOTALL)[1].replace("    - ", "      - ")
    workspace.path("dvc.yaml").write_text(f"stages:\n  make_data:\n    cmd: x\n    deps:\n{deps}\n")
    workspace.path("q.sql").write_text(block("sql"))
    workspace.path("stages/expect.yaml").write_text(block("yaml"))
    workspace.set(make_data__source="q.sql", make_data__target="returned")
    return workspace


def test_the_query_is_answered_and_the_checks_hold(tables):
    assert "q.sql: 120 rows, 5 features, returned {no: 80, yes: 40}" in tables.run("make_data").stdout
    assert tables.path("data/dataset.parquet").exists()


def test_what_breaks_a_check_is_said_as_the_page_has_it(tables):
    tables.path("customers.jsonl").write_text(tables.read("customers.jsonl").replace('"age":20', '"age":790'))
    said = tables.run("make_data", fails=True).stderr
    shape = re.search(r"    (error: visits.csv is not as .*)", PAGE)[1]
    for part in re.split(r"visits\.csv|'790' in line 2 \(1 row in all\)", shape):
        assert part in said
