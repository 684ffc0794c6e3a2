"""For every warning a table where it must come, and one like it where it must not."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from making import stored
from sklearn import datasets
from sklearn.metrics import roc_auc_score

from plumbline.profiling import alone
from plumbline.profiling import warnings as odd
from plumbline.profiling.profile import line, profile
from plumbline.tables import encoding
from plumbline.tables.store import Facts

ROWS = 600
LEAK, TWIN, IDENTIFIER = "alone tells the target", "is nearly the target itself", "looks like an identifier"
RISES, BY_NAME, DATES = "rises from row to row", "an identifier by its name", "is text that reads as dates"
MEASURE, FEW = "looks like a measure", "too few to learn much from"


def draws(seed=0):
    return np.random.default_rng(seed)


def two_classes(rows=ROWS, share=0.4, seed=9):
    return draws(seed).random(rows) < share


def judged(columns: dict, y=None, numbers=None):
    """The warnings of a table, by column; y are the labels."""
    y = two_classes(len(next(iter(columns.values())))) if y is None else np.asarray(y)
    classes, counts = np.unique(y, return_counts=True)
    table = stored(pa.table(columns | {"y": y}), Facts("y", classes.tolist(), counts.tolist(), None))
    fitted = encoding.fit(table, "robust")
    return {c.column: c.warning for c in odd.judge(table, profile(table, "y", fitted), fitted)}, table, fitted


def warning(column, y=None, name="x"):
    beside = {"beside": draws(5).normal(size=len(column))}
    return judged({name: column} | beside, y)[0][name]


def test_an_ordinary_table_has_none():
    columns = {"a": draws(1).normal(size=ROWS), "town": draws(2).choice(["Oslo", "Rome", "Bergen"], ROWS)}
    columns |= {"age": draws(3).integers(18, 90, ROWS), "there": draws(4).random(ROWS) < 0.5}
    found, table, fitted = judged(columns)
    assert set(found.values()) == {""}
    assert odd.lines(odd.judge(table, profile(table, "y", fitted), fitted)) == []


# ---- a column that alone tells the target


@pytest.mark.parametrize("strength, expected", [(3.0, LEAK), (1.0, ""), (-3.0, LEAK)])
def test_a_number_that_tells_the_target(strength, expected):
    y = two_classes()
    assert expected in warning(draws().normal(size=ROWS) + strength * y, y)
    assert bool(expected) == bool(warning(draws().normal(size=ROWS) + strength * y, y))


def test_a_number_that_tells_the_target_by_no_threshold():
    y = two_classes()
    assert TWIN in warning(np.where(y, draws().normal(size=ROWS), draws(1).choice([-9.0, 9.0], ROWS)), y)


def test_texts_that_tell_the_target_and_texts_of_many_values_that_do_not():
    y = two_classes()
    right = draws().random(ROWS) < 0.97
    assert LEAK in warning(np.where(right, y, ~y).astype(str), y)
    assert TWIN in warning(np.where(y, "paid", draws().choice(["open", "late"], ROWS)), y)
    assert warning(draws(1).choice([f"town {i}" for i in range(90)], ROWS), y) == ""
    assert warning(draws(1).integers(0, 90, ROWS), y) == ""


def test_a_gap_is_a_value():
    y, x = two_classes(), draws().normal(size=ROWS)
    assert TWIN in warning(np.where(y, x, np.nan), y)
    assert TWIN in warning(pa.array(np.where(y, "12", None)), y)
    assert warning(np.where(draws(1).random(ROWS) < 0.4, x, np.nan), y) == ""


def test_of_several_classes_it_must_tell_all():
    y = draws(3).integers(0, 4, ROWS)
    assert TWIN in warning(y * 10 + draws().random(ROWS), y)
    assert warning((y == 2) + 0.1 * draws().normal(size=ROWS), y) == ""


def test_fewer_than_ten_rows_of_a_class_say_nothing():
    x = draws().normal(size=200)
    for rows, expected in (9, ""), (10, LEAK):
        y = np.arange(200) < rows
        x[y] = np.linspace(5, 6, rows)
        assert (LEAK in warning(x, y) or TWIN in warning(x, y)) == bool(expected)


def test_the_area_is_scikit_learns():
    y = two_classes()
    x = np.where(draws(2).random(ROWS) < 0.1, np.nan, (draws().normal(size=ROWS) + 0.7 * y).round(1))
    _, table, _ = judged({"x": x}, y)
    areas = [roc_auc_score(y, np.nan_to_num(x, nan=gap)) for gap in (-99, 99)]
    assert alone.alone(table, ["x"], table.classes())["x"].area == pytest.approx(max(areas))


def test_a_large_table_is_judged_by_some_of_its_rows(monkeypatch):
    monkeypatch.setattr(alone, "ROWS", 100)
    monkeypatch.setattr(alone, "VALUES", 100)
    y = two_classes()
    found, _, _ = judged({"x": draws().normal(size=ROWS) + 9 * y, "text": y.astype(str), "z": draws().random(ROWS)}, y)
    assert [TWIN in found[name] for name in ("x", "text", "z")] == [True, True, False]


@pytest.mark.parametrize("name, warned", [("wine", 0), ("digits", 0), ("iris", 2), ("breast_cancer", 5)])
def test_tables_that_are_studied_everywhere(name, warned):
    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    found, _, _ = judged({column: bunch.data[column].to_numpy() for column in bunch.data}, bunch.target.to_numpy())
    said = [text for text in found.values() if text]
    assert len(said) == warned
    assert all(text.startswith(LEAK) and "if it is not known when you predict, drop it" in text for text in said)


# ---- an identifier


def test_texts_that_are_nearly_all_rare():
    customers = draws().choice([f"customer {i}" for i in range(250)], ROWS)
    assert IDENTIFIER in warning(customers)
    assert warning(draws().choice([f"town {i}" for i in range(250)], ROWS, p=np.r_[0.5, [0.5 / 249] * 249])) == ""
    assert warning([f"free text number {i}" for i in range(ROWS)]) == ""  # left out, so no input


def test_many_values_that_tell_of_the_target_are_not_to_be_dropped():
    town, y = draws().integers(0, 150, 2000), draws(1).random(2000)
    said = warning([f"town {i}" for i in town], y < np.where(town % 2, 0.75, 0.25))
    assert "150 different values and tells of the target (ROC AUC 0.7" in said and "drop" not in said
    assert IDENTIFIER in warning([f"town {i}" for i in town], y < 0.5)


def test_whole_numbers_that_rise_with_the_rows():
    steps = np.cumsum(draws().integers(1, 1000, 30))
    assert RISES in warning(steps.tolist())
    assert RISES in warning(steps[::-1].tolist())
    assert warning(draws().permutation(steps).tolist()) == ""
    assert warning([*steps[:-1], steps[-2]]) == ""


def test_rows_are_taken_in_the_order_in_which_they_came():
    steps, order = np.cumsum(draws().integers(1, 1000, 30)), draws().permutation(30)
    assert RISES in judged({"x": steps[order], "_row": order, "beside": draws().random(30)})[0]["x"]


def test_numbers_by_the_name_of_an_identifier():
    numbers = draws().integers(0, 200, ROWS)
    for name in ("customer_id", "ID", "customerId", "Store ID"):
        assert BY_NAME in warning(numbers, name=name), name
    for name in ("paid", "humid", "fluid", "width", "idle"):
        assert warning(numbers, name=name) == "", name
    assert warning(draws().integers(0, 9, ROWS), name="store_id") == ""


# ---- dates as text

DAYS = pd.date_range("2021-03-01", periods=60)


@pytest.mark.parametrize(
    "form", ["%d.%m.%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%y", "%d %b %Y", "%B %d, %Y", "%d-%b-%Y", "%d.%m.%Y %H:%M"]
)
def test_dates_as_text(form):
    assert DATES in warning(draws().choice(DAYS.strftime(form).to_numpy(dtype=str), ROWS))
    assert DATES in warning(pd.date_range("1990-03-01", periods=ROWS).strftime(form).to_numpy(dtype=str))  # left out


@pytest.mark.parametrize(
    "text", ["1.2.3", "12.34.5678", "123-45-6789", "555-1234", "10.0.0.1", "5 cats 2020", "2021", "May be 12", "45 %"]
)
def test_what_is_no_date(text):
    assert DATES not in warning([text, text + " "] * (ROWS // 2))


def test_a_few_dates_among_texts():
    texts = [*DAYS[:30].strftime("%d.%m.%Y"), *["unknown", "later", "soon", "never", "once", "twice"] * 5]
    assert warning(texts * 2) == ""


def test_dates_as_numbers():
    days = draws().choice(DAYS.strftime("%Y%m%d").to_numpy(dtype=int), ROWS)
    assert "is numbers that read as dates, such as 20210301;" in warning(days)
    assert warning(days + 50) == warning(draws().integers(1950, 2020, ROWS)) == ""


@pytest.mark.parametrize("form", ["{} kg", "{}.5kg", " {},5 Mio.", "${}M"])
def test_measures_as_text(form):
    texts = [form.format(i) for i in range(100, 160)]
    assert "is text that reads as numbers with '" in warning(draws().choice(texts, ROWS))


@pytest.mark.parametrize("form", ["{}th", "{}", "A{}", "0{} kg", "{} kg or more", "{}-{} kg"])
def test_what_is_no_measure(form):
    assert warning(draws().choice([form.format(i, i) for i in range(100, 160)], ROWS)) == ""


def test_numbers_with_several_units():
    assert warning(draws().choice([f"{i}{'AB'[i % 2]}" for i in range(60)], ROWS)) == ""


# ---- the target


def test_a_target_that_is_a_measure():
    assert MEASURE in judged({"x": draws().random(ROWS)}, draws(1).integers(17, 60, ROWS))[0]["y"]
    assert MEASURE in judged({"x": draws().random(ROWS)}, draws(1).integers(0, 30, ROWS) / 4)[0]["y"]
    assert MEASURE in judged({"x": draws().random(ROWS)}, (draws(1).integers(0, 30, ROWS) / 4).astype(str))[0]["y"]


@pytest.mark.parametrize(
    "classes", [np.arange(40), np.arange(1, 41), np.arange(3, 10), [0.5, 1.5], list("abcdefghijklmnopqrstuvwxyz")]
)
def test_a_target_that_is_none(classes):
    assert judged({"x": draws().random(ROWS)}, draws(1).choice(classes, ROWS))[0]["y"] == ""


@pytest.mark.parametrize(
    "rows, rare, expected", [(2000, 15, FEW), (2000, 21, ""), (20_000, 150, ""), (20_000, 90, FEW)]
)
def test_a_class_of_few_rows(rows, rare, expected):
    warning = judged({"x": draws().random(rows)}, np.arange(rows) < rare)[0]["y"]
    assert (f"has {rare} rows of class True" in warning and FEW in warning) == bool(expected)


def test_many_classes_of_the_same_size_are_not_rare():
    assert judged({"x": draws().random(1000)}, [f"class {i}" for i in range(100)] * 10)[0]["y"] == ""


# ---- as they are printed


def test_no_more_lines_than_can_be_read():
    y = two_classes()
    columns = {f"x{i}": draws(i).normal(size=ROWS) + 3 * y for i in range(14)} | {"z": draws().random(ROWS)}
    _, table, fitted = judged(columns, y)
    lines = odd.lines(odd.judge(table, profile(table, "y", fitted), fitted))
    assert lines[0].startswith("warning: column 'x0' alone tells the target (ROC AUC 0.9")
    assert (len(lines), lines[-1]) == (11, "warning: and 4 more, in metrics/columns.csv")


def test_the_target_is_called_so():
    assert line("y", "looks odd", True) == "warning: the target 'y' looks odd"


def test_copies_have_a_record_of_their_own():
    x, z, y = draws().normal(size=ROWS), draws(1).normal(size=ROWS), two_classes()
    x[:50], z[:50], y[:50] = x[50:100], z[50:100], y[50:100]
    found, table, fitted = judged({"x": x, "z": z}, y)
    expected = "50 of 600 rows (8 %) repeat another row; remove the copies from the table, or keep them in one part"
    assert found["(rows)"].startswith(expected)
    assert odd.lines(odd.judge(table, profile(table, "y", fitted), fitted))[0].startswith(f"warning: {expected}")


# ---- categories


@pytest.mark.parametrize(
    "other, said", [("oslo", "'oslo' (300 rows) and 'Oslo'"), ("Oslo ", "'Oslo '"), ("O\u0301slo", ""), ("Bergen", "")]
)
def test_categories_that_are_nearly_equal(other, said):
    column = np.where(np.arange(ROWS) % 2, other, draws(2).choice(["Oslo", "Rome"], ROWS))
    found = warning(column)
    assert (said in found and "differ only in case, spaces or how accents" in found) if said else not found
