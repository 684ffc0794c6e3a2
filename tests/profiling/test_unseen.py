"""What only the test part shows: for every warning a table where it must come, and one where it must not."""

import datetime

import numpy as np
import pyarrow as pa
import pytest
from making import stored
from sklearn import datasets

from plumbline.profiling import belonging, unseen
from plumbline.tables import encoding
from plumbline.tables.store import Facts

FACTS = Facts("y", [False, True], [1, 1], None)
TRAIN, TEST = 400, 100


def draws(seed=0):
    return np.random.default_rng(seed)


def parts(columns: dict, y=None, facts=FACTS):
    """Training and test part of columns (500,), and the lines about the test part by column."""
    y = draws(9).random(TRAIN + TEST) < 0.4 if y is None else y
    whole = pa.table(columns | {"y": y, "_row": range(len(y))})
    train, test = stored(whole.slice(0, TRAIN), facts), stored(whole.slice(TRAIN), facts)
    fitted = encoding.fit(train, "robust")
    return {line.column: line for line in unseen.unseen(test, train, fitted)}, train, test, fitted


def judged(x, **more):
    return parts({"x": x, "beside": draws(5).normal(size=TRAIN + TEST)}, **more)[0]["x"]


def test_an_ordinary_table_has_no_warning(tmp_path, capsys):
    columns = {"a": draws(1).normal(size=500), "town": draws(2).choice(["Oslo", "Rome", "Bergen"], 500)}
    lines, train, test, fitted = parts(columns | {"same": [1] * 500})
    assert list(lines) == ["(rows)", "y", "a", "town", "same"]
    assert [line.warning for line in lines.values()] == [""] * 5
    unseen.write(tmp_path / "test_columns.csv", test, train, fitted)
    assert (tmp_path / "test_columns.csv").read_text().splitlines()[0] == "column,missing,new,outside,warning"
    assert capsys.readouterr() == ("", "")


# ---- columns


@pytest.mark.parametrize("beyond, warns", [(0, False), (9, False), (10, True)])
def test_numbers_beyond_the_training_range(beyond, warns):
    x = np.r_[0.0, 1.0, draws().random(498)]
    x[TRAIN : TRAIN + beyond] = 1.5
    line = judged(x)
    assert (line.outside, line.missing) == (beyond / TEST, 0)
    assert line.warning.startswith("is beyond the training rows' 0 to 1 in 10 % of the test rows") == warns


@pytest.mark.parametrize("beyond, new, warns", [(8, 4, False), (9, 5, True)])
def test_few_rows_of_a_small_test_part_are_no_reason_to_warn(beyond, new, warns):
    """Among many columns there is always one of which a few of 20 rows lie beyond the range of 20 others by chance."""
    x, town = np.tile(np.linspace(0, 1, 20), 2), np.array(["Oslo", "Rome"] * 20, object)
    x[20 : 20 + beyond], town[20 : 20 + new] = 2.0, "Bergen"
    whole = pa.table({"x": x, "town": town, "y": [True, False] * 20, "_row": range(40)})
    train, test = stored(whole.slice(0, 20), FACTS), stored(whole.slice(20), FACTS)
    found = {line.column: line for line in unseen.unseen(test, train, encoding.fit(train, "robust"))}
    assert [bool(found[name].warning) for name in ("x", "town")] == [warns, warns]
    assert (found["x"].outside, found["town"].new) == (beyond / 20, new / 20)


def test_days_after_the_training_days():
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(days=i) for i in range(500)]
    assert judged(days).outside == 1.0


@pytest.mark.parametrize("new, warns", [(0, False), (9, False), (10, True)])
def test_categories_that_training_never_saw(new, warns):
    x = draws().choice(["Oslo", "Rome"], 500).astype(object)
    x[:2], x[TRAIN : TRAIN + new], x[-3:] = "rare", "Paris", None
    x[TRAIN + 50 : TRAIN + 60] = "rare"  # pooled, and seen
    line = judged(pa.array(x))
    assert (line.new, line.missing) == (new / TEST, 3 / TEST)
    assert line.warning.startswith("has a category that training never saw in 10 % of the test rows") == warns


@pytest.mark.parametrize("before, gaps, warns", [(0, 1, False), (0, 2, True), (1, 50, False)])
def test_gaps_that_training_never_saw(before, gaps, warns):
    x = draws().random(500)
    x[:before], x[TRAIN : TRAIN + gaps] = np.nan, np.nan
    line = judged(x)
    assert line.missing == gaps / TEST
    assert line.warning.startswith("is missing in 2 % of the test rows and in no training row") == warns


@pytest.mark.parametrize("value, other, what", [(7, 8, "7"), ("a", "b", "'a'"), (None, 1.5, "empty"), (1.5, None, 1.5)])
def test_a_constant_that_is_none_in_the_test_part(value, other, what):
    line = judged(pa.array([value] * (TRAIN + 90) + [other] * 10))
    assert line.warning.startswith(f"is {what} in every training row, and not so in 10 test rows: it is left out")
    assert judged(pa.array([value] * 500, pa.float64() if value is None else None)).warning == ""


# ---- the target


@pytest.mark.parametrize("rows", [0, 9, 10])
def test_a_class_of_few_test_rows(rows):
    y = np.r_[np.arange(TRAIN) < 100, np.arange(TEST) < rows]
    lines, *_ = parts({"x": draws().random(500)}, y)
    expected = "" if rows == 10 else f"has fewer than 10 test rows of a class (True: {rows})"
    assert lines["y"].warning[: len(expected) or None] == expected
    printed = unseen.warned(list(lines.values()), "y")
    assert [line[:24] for line in printed] == ["warning: the target 'y' "] * (rows < 10)


def test_a_part_without_rows_has_nothing_to_warn_of():
    _, train, _, fitted = parts({"x": draws().random(500)})
    empty = stored(pa.table({"x": draws().random(1), "y": [True]}).slice(0, 0), FACTS)
    assert {line.warning for line in unseen.unseen(empty, train, fitted)} == {""}


# ---- rows that also train


def test_copies_of_training_rows():
    columns = {
        "a": draws(1).normal(size=500),
        "b": draws(2).integers(0, 9, 500),
        "town": draws(3).choice(["A", "B"], 500),
    }
    y = draws(9).random(500) < 0.4
    for column in (*columns.values(), y):
        column[TRAIN : TRAIN + 30] = column[:30]
    lines, train, *_ = parts(columns, y)
    assert lines["(rows)"].warning.startswith("30 of 100 test rows (30 %) stand in the training part as well")
    assert unseen.warned(list(lines.values()), "y")[0].startswith("warning: 30 of 100 test rows")
    assert belonging.within(train) == 0
    assert belonging.within(stored(pa.table({name: [*v, *v[:50]] for name, v in (columns | {"y": y}).items()})))


def test_rows_that_agree_by_chance_are_no_copies():
    columns = {name: draws(i).integers(0, 4, 500) for i, name in enumerate("abcd")}
    lines, train, test, _ = parts(columns)
    assert belonging.across(test, train) == belonging.within(train) == 0
    assert lines["(rows)"].warning == ""


def test_the_same_features_with_another_target_are_no_copies():
    columns = {"a": draws(1).normal(size=500), "b": draws(2).normal(size=500)}
    y = draws(9).random(500) < 0.4
    for column in columns.values():
        column[TRAIN:] = column[:TEST]
    y[TRAIN:] = ~y[:TEST]
    assert parts(columns, y)[0]["(rows)"].warning == ""


def test_large_parts_are_sampled(monkeypatch):
    monkeypatch.setattr(belonging, "SAMPLED", 50)
    test_copies_of_training_rows()
    test_rows_that_agree_by_chance_are_no_copies()


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_tables_that_are_studied_everywhere_have_no_copies(name):
    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    assert not belonging.within(stored(pa.table({c: frame[c].to_numpy() for c in frame})))


def test_rows_beyond_the_training_range_by_chance_are_as_many_as_simulated():
    """The bound is the chance itself: the outermost of equally likely orders of all rows."""
    test_rows, train_rows, drawn = 6, 10, np.random.default_rng(0).random((40_000, 16))
    test, train = drawn[:, :test_rows], drawn[:, test_rows:]
    low, high = train.min(axis=1, keepdims=True), train.max(axis=1, keepdims=True)
    outside = ((test < low) | (test > high)).sum(axis=1)
    for least in (1, 2, 3):
        assert np.mean(outside >= least) <= unseen.chance(least, test_rows, train_rows) + 0.01
    assert np.mean(outside >= 4) == pytest.approx(unseen.chance(4, test_rows, train_rows), abs=0.01)
