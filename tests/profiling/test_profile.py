"""What is seen in columns of every kind, counted as pandas counts it, and how it is shown."""

import datetime
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import FACTS, stored

from plumbline.profiling.profile import WHOLE, Column, profile, screen
from plumbline.tables import duck, encoding, store

MANY = {
    "size": [1.5, None, math.nan, -0.0, 0.0],
    "town": ["Oslo", "Oslo", "Rome", " ", None],
    "there": [True, None, True, False, True],
    "day": [datetime.date(2021, 3, day) for day in (5, 4, 3, 2, 2)],
    "y": ["no", "yes", "no", "no", "no"],
}


def seen(table: dict, **facts):
    table = stored(pa.table(table))
    return {column.column: column for column in profile(table, "y", **facts)}


def test_a_warning_about_the_rows_is_no_line_of_the_screen():
    found = [*seen(MANY).values(), Column(WHOLE, "rows", 0, 3, "", warning="3 of 5 rows repeat another row")]
    assert len(screen(found).splitlines()) == 1 + len(MANY)
    assert WHOLE not in screen(found) and "more columns" not in screen(found, lines=len(MANY))


def test_what_was_seen_of_every_kind_of_column():
    found = seen(MANY)
    assert {name: column[1:5] for name, column in found.items()} == {
        "size": ("number", 2, 2, "0 to 1.5, median 0"),
        "town": ("category", 2, 2, "Oslo (67 %), Rome (33 %)"),
        "there": ("boolean", 1, 2, "true (75 %), false (25 %)"),
        "day": ("date", 0, 4, "2021-03-02 to 2021-03-05"),
        "y": ("target", 0, 2, "no (80 %), yes (20 %)"),
    }


@settings(max_examples=30)
@given(st.lists(st.none() | st.floats(-1e9, 1e9, allow_subnormal=False) | st.integers(-9, 9), min_size=1, max_size=40))
def test_numbers_are_counted_as_pandas_counts_them(values):
    column = pd.Series(values, dtype=np.float64)
    found = seen({"x": pa.array(column, from_pandas=True)})["x"]
    assert (found.missing, found.distinct) == (column.isna().sum(), column.nunique())
    if column.notna().any():
        low, high, median = (float(number) for number in found.values.replace(", median", " to").split(" to "))
        assert [low, high, median] == pytest.approx([column.min(), column.max(), column.median()], rel=1e-5, abs=1e-9)


def test_whole_numbers_are_exact_whatever_their_size():
    found = seen({"id": [2**60, 2**60 + 1, None]})["id"]
    assert (found.distinct, found.values.split(",")[0]) == (2, f"{2**60} to {2**60 + 1}")


def test_a_median_beside_an_infinite_number_is_a_number():
    assert seen({"x": [1.0, 2.0, 2.5, math.inf, math.inf]})["x"].values == "1 to inf, median 2.5"


def test_pieces_make_no_difference(monkeypatch):
    whole = seen(MANY)
    monkeypatch.setattr(store, "VALUES", 1)
    monkeypatch.setattr(store, "VECTOR", 2)
    assert seen(MANY) == whole


def test_the_number_of_threads_makes_no_difference():
    generator = np.random.default_rng(0)
    table = {f"x{i}": generator.normal(size=300_000).round(i + 1) for i in range(3)}
    table |= {"text": generator.integers(0, 40_000, 300_000).astype(str), "y": generator.integers(0, 2, 300_000)}
    table, threads = stored(pa.table(table)), duck.rows("SELECT current_setting('threads')")[0][0]
    found = []
    try:
        for number in (1, 2, 4):
            duck.run(f"SET threads = {number}")
            found.append(profile(store.Table(table.path, FACTS), "y"))
    finally:
        duck.run(f"SET threads = {threads}")
    assert found[0] == found[1] == found[2]


def test_what_becomes_of_each_column():
    columns = {
        "size": [1.0, 2.0, None] * 4,
        "town": [*["Oslo"] * 5, *["Rome"] * 5, "Bergen", "Paris"],
        "same": [3] * 12,
        "when": [datetime.datetime(2021, 3, 1 + day) for day in range(12)],
        "y": ["no", "yes"] * 6,
    }
    table = stored(pa.table(columns))
    fitted = encoding.fit(table, "robust")
    found = {column.column: (column.becomes, column.inputs) for column in profile(table, "y", fitted)}
    assert found == {
        "size": ("one input, gaps marked", 2),
        "town": ("2 categories, 2 more pooled (2 rows)", 3),
        "same": ("left out: it is 3 in every training row", 0),
        "when": ("seconds since 1970", 1),
        "y": ("2 classes", 0),
    }
    assert sum(inputs for _, inputs in found.values()) == fitted.width


def test_a_measure_as_target_is_told_by_its_range():
    assert seen({"x": [1.0] * 30, "y": list(range(30))})["y"].values == "0 to 29, median 14.5"


def test_a_screen_holds_the_most_telling_columns():
    columns = {f"x{i}": [float(i), 1.0, 2.0] for i in range(40)} | {"same": [1.0] * 3, "y": ["no", "yes", "no"]}
    table = stored(pa.table(columns))
    lines = screen(profile(table, "y", encoding.fit(table, "robust")), 10).splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["column", "y", "same", "x0"]
    assert (len(lines), lines[-1]) == (12, "... and 32 more columns in metrics/columns.csv")
    assert all(len(line) <= 160 for line in lines)
