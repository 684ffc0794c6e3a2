import datetime
import decimal
import math

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import columns, encoding, resources, sources, spill, table
from stages.encoding import Category, Encoding, Number, fit, unseen
from stages.errors import UserError
from stages.table import Facts

FACTS = Facts("y", ["no", "yes"], [1, 1], None)
ANY_NUMBER = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**300), 10**300)


def fitted(column, setting="robust", name="x é", facts=FACTS):
    table = pa.table({name: column})
    return encoding.fit(table, facts, setting), table


def encoded(column, setting="robust"):
    code, table = fitted(column, setting)
    return encoding.encode(code, table)


@settings(deadline=None)
@given(st.lists(ANY_NUMBER, min_size=2, max_size=60))
def test_whatever_numbers_come_finite_ones_leave(values):
    values = [math.inf if value is not None and abs(value) > 1.7e308 else value for value in values]
    column = pa.array([None if value is None else float(value) for value in values], pa.float64())
    try:
        x = encoded(column)
    except UserError as error:
        assert "no column is left" in str(error)
        return
    assert np.isfinite(x).all()
    assert (np.abs(x[:, 0]) <= 8).all()  # sqrt(60): no one of n values is further off than sqrt(n) deviations
    missing = np.array([value is None or math.isnan(value) for value in values])
    assert x.shape[1] == 1 + missing.any()
    if missing.any():
        assert (x[:, 1] == missing).all()
        assert (x[missing, 0] == 0).all()


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=80, unique=True), st.integers(-60, 900))
def test_robust_is_its_formula_and_does_not_know_the_scale(values, power):
    values = np.round(np.array(values), 6)
    if len(set(values)) < 3:
        return
    quarter, median, three_quarters = np.quantile(values, [0.25, 0.5, 0.75])
    spread = (three_quarters - quarter) or (values.max() - values.min()) / 2
    z = (values - median) / (spread / encoding.IQR_OF_NORMAL)
    expected = z / np.sqrt(1 + (z / encoding.CLIP) ** 2)
    expected = (expected - expected.mean()) / expected.std()
    np.testing.assert_allclose(encoded(pa.array(values))[:, 0], expected, rtol=1e-4, atol=1e-4)
    if np.abs(values).max() * 2.0**power < 1e300 and np.abs(values[values != 0]).min() * 2.0**power > 1e-290:
        np.testing.assert_array_equal(encoded(pa.array(values * 2.0**power)), encoded(pa.array(values)))


def test_the_order_of_rows_and_a_heavy_tail_change_little():
    rng = np.random.default_rng(0)
    values = rng.normal(size=500)
    plain = encoded(pa.array(values))[:, 0]
    np.testing.assert_array_equal(np.sort(encoded(pa.array(values[::-1].copy()))[:, 0]), np.sort(plain))
    tailed = np.r_[values, [1e300, -1e300, math.inf]]
    beside = encoded(pa.array(tailed))[:500, 0]
    assert np.corrcoef(beside, plain)[0, 1] > 0.999
    assert 0.85 < beside.std() / plain.std() < 1.0  # three rows at the clip's bound widen the deviation a little


@pytest.mark.parametrize("setting", ["raw", "robust"])
def test_a_zero_has_no_sign_for_sorting_would_leave_it_to_the_cpu(setting):
    values = np.random.default_rng(1).choice([-0.0, 0.0, 1.0], 400)
    code, table = fitted(pa.array(values), setting)
    number = code.columns[0]
    for figure in (number.low, number.centre, *encoding.encode(code, table)[values == 0.0, 0]):
        assert figure != 0.0 or math.copysign(1.0, figure) == 1.0


def test_raw_is_the_numbers_as_they_are():
    values = np.array([1.5, -2.25, 3e38, 1e-30])
    np.testing.assert_array_equal(encoded(pa.array(values), "raw")[:, 0], values.astype(np.float32))
    np.testing.assert_array_equal(encoded(pa.array([True, False, True]), "raw")[:, 0], [1, 0, 1])


@pytest.mark.parametrize("value, word", [(None, "missing"), (math.nan, "missing"), (math.inf, "inf"), (1e39, "1e+39")])
def test_raw_refuses_what_it_cannot_take_and_names_the_other_setting(value, word):
    with pytest.raises(UserError, match=r"'x é'.*row 1.*robust") as error:
        fitted(pa.array([1.0, value, 3.0]), "raw")
    assert word in str(error.value)
    code, _ = fitted(pa.array([1.0, 2.0, 3.0]), "raw")
    with pytest.raises(UserError, match=r"'x é'.*row 1.*robust"):
        encoding.encode(code, pa.table({"x é": pa.array([1.0, value, 3.0])}))


@settings(deadline=None)
@given(
    st.lists(st.none() | st.sampled_from("abcdef"), min_size=1, max_size=80),
    st.lists(st.none() | st.sampled_from("abcxyz"), max_size=20),
)
def test_categories_are_scikit_learns_one_hot_with_rare_and_unseen_ones_together(training, new):
    from sklearn.preprocessing import OneHotEncoder

    try:
        code, _ = fitted(pa.array(training, pa.string()))
    except UserError as error:
        assert len(set(training)) == 1, error
        return
    present = [text for text in training if text is not None]
    ours = encoding.encode(code, pa.table({"x é": pa.array(new, pa.string())}))
    frequent = sorted({text for text in present if present.count(text) >= encoding.FEWEST_ROWS})
    assert code.columns[0].values == frequent
    for row, text in zip(ours, new):
        if text is None:
            assert row.sum() == (None in training)
            assert row[-1] == (None in training)
        elif text not in frequent:
            assert row.sum() == (len(frequent) < len(set(present)))
    if frequent:
        theirs = OneHotEncoder(categories=[frequent], handle_unknown="ignore", sparse_output=False)
        theirs.fit([[text] for text in frequent])
        for row, text in zip(ours, new):
            if text is not None:
                np.testing.assert_array_equal(row[: len(frequent)], theirs.transform([[text]])[0])


DAY = datetime.date(2020, 2, 29)
EAST = datetime.timezone(datetime.timedelta(hours=2))
NOON = datetime.datetime(2020, 2, 29, 12, 0, 1, 500_000)


@pytest.mark.parametrize(
    "value, kind, number",
    [
        (7, pa.int8(), 7),
        (2**40, pa.uint64(), 2**40),
        (True, pa.bool_(), 1),
        (decimal.Decimal("-12.50"), pa.decimal128(9, 2), -12.5),
        (1.5, pa.float16(), 1.5),
        (DAY, pa.date32(), 1582934400),
        (DAY, pa.date64(), 1582934400),
        (NOON, pa.timestamp("ms"), 1582977601.5),
        (NOON, pa.timestamp("ns"), 1582977601.5),
        (NOON.replace(tzinfo=EAST), pa.timestamp("us", "+02:00"), 1582970401.5),
        (datetime.time(1, 2, 3), pa.time32("s"), 3723),
        (datetime.time(1, 2, 3, 500_000), pa.time64("us"), 3723.5),
        (datetime.timedelta(days=2, milliseconds=5), pa.duration("ms"), 172800.005),
    ],
)
def test_every_kind_of_column_becomes_a_number(value, kind, number):
    column = pa.chunked_array([pa.array([value, None], kind)])
    floats = columns.floats_of(column)
    assert floats[0] == pytest.approx(number, rel=1e-15)
    assert np.isnan(floats[1])
    code, table = fitted(column)
    assert encoding.encode(code, table).tolist() == [[0, 0], [0, 1]]


def test_a_dictionary_is_categories_also_when_its_values_are_numbers():
    for values in (["b", "a", None, "b"] * 3, [5, 3, None, 5] * 3):
        x = encoded(pa.array(values).dictionary_encode())
        assert x.shape[1] == 3
        assert x.sum(axis=1).tolist() == [1] * 12


@pytest.mark.parametrize(
    "values, why",
    [
        ([None] * 30, "empty"),
        ([math.nan] * 30, "empty"),
        (["", " ", "NA"] * 10, "empty"),
        ([3.5] * 30, "3.5 in every"),
        (["a"] * 30, "'a' in every"),
        (list(range(100, 200)), "identifier"),
        ([2**60 + 7 * i for i in range(30)], "identifier"),
        ([f"K{i}" for i in range(30)], "identifier"),
        (
            [f"{i}.12.2021" for i in range(30)],
            "such as '0.12.2021'; if that is a measure write",
        ),
        ([f"€{i},378.31" for i in range(30)], "such as '€0,378.31'; if that is a measure write it as a number"),
        ([f"some words about {i} of them" for i in range(30)], "free text"),
    ],
)
def test_what_teaches_nothing_is_left_out_with_the_reason(values, why):
    table = pa.table({"x": pa.array(values), "other": pa.array(np.arange(len(values)) % 7)})
    code = encoding.fit(table, FACTS, "robust")
    assert [column.name for column in code.columns] == ["other"]
    assert code.left_out[0].name == "x"
    assert why in code.left_out[0].why


def test_what_a_split_goes_by_is_no_feature():
    table = pa.table({"who": [1, 1, 2], "x": [1.0, 2.0, 3.0], "y": ["no", "yes", "no"]})
    code = encoding.fit(table, msgspec.structs.replace(FACTS, split_by=["who"]), "robust")
    assert [column.name for column in code.columns] == ["x"]
    assert "split" in code.left_out[0].why


def test_measures_that_are_whole_numbers_are_no_identifiers():
    rng = np.random.default_rng(1)
    for values in (rng.permutation(10**6)[:200], np.r_[np.arange(100), 5], np.arange(10)):
        code, _ = fitted(pa.array(values))
        assert not code.left_out


def test_when_no_column_is_left_it_says_why_of_each():
    with pytest.raises(UserError, match=r"no column is left.*x é: it is 1 in every training row"):
        fitted(pa.array([1, 1, 1]))


def test_what_is_fitted_survives_the_model_file():
    table = pa.table({"x": [1 / 3, 1e300, None], 'é ,"': ["a", "b", "a"], "when": pa.array([DAY, None, DAY])})
    code = encoding.fit(table, FACTS, "robust")
    again = msgspec.json.decode(msgspec.json.encode(code), type=Encoding)
    assert again == code
    np.testing.assert_array_equal(encoding.encode(again, table), encoding.encode(code, table))


def test_new_rows_are_counted_where_training_saw_nothing_like_them():
    training = pa.table({"n": [1.0, 2.0, 5.0], "c": ["a", "b", "a"]})
    columns = [Number("n", "number", 1.0, 5.0, 2.0, 1.0, 0.0, 1.0, False), Category("c", ["a", "b"], False, False)]
    code = Encoding(columns)
    assert encoding.unseen(code, training) == []
    new = pa.table({"extra": [0] * 4, "c": ["a", "z", None, "z"], "n": [0.5, 5.0, 6.0, None]})
    assert encoding.unseen(code, new) == [
        "n: 2 outside the training rows' 1 to 5",
        "n: 1 missing, and none was in training",
        "c: 2 never seen in training ('z')",
        "c: 1 missing, and none was in training",
    ]


def test_a_new_table_without_a_column_or_with_another_kind_is_refused():
    code, _ = fitted(pa.array([1.0, 2.0, 4.0]))
    with pytest.raises(UserError, match="'x é' is missing"):
        encoding.encode(code, pa.table({"x": [1.0]}))
    with pytest.raises(UserError, match=r"'x é' holds string \('many' in row 1\).*a number there"):
        encoding.encode(code, pa.table({"x é": ["1", "many"]}))
    with pytest.raises(UserError, match=r"holds date32.*a number there"):
        encoding.encode(code, pa.table({"x é": [DAY]}))
    empty = pa.table({"x é": pa.nulls(2)})
    assert encoding.encode(code, empty).tolist() == [[0], [0]]


@pytest.mark.parametrize(
    "column, words",
    [
        (pa.array([[1], [2]]), ["'x'", "list<", "make_data.drop"]),
        (pa.array([{"a": 1}, {"a": 2}]), ["'x'", "struct<", "flatten"]),
        (pa.array([b"\xff", b"a"]), ["'x'", "binary"]),
        (pa.array([2**53 + 1, 2**53 + 1, 5]), ["'x' is 9007199254740993 in row 0", "2^53", "identifier"]),
        (pa.array([*map(str, range(50)), "?", "n.a."]), ["'x'", "2 cells of", "'?' in row 50", "'n.a.' in row 51"]),
        (pa.array([*map(str, range(50))] + ["?"] * 30), ["30 cells of text", "'?' in row 54, ..."]),
    ],
)
def test_a_column_that_no_encoding_takes_is_refused(column, words):
    with pytest.raises(UserError) as error:
        columns.check(pa.table({"x": column, "y": column}), "y")
    for word in words:
        assert word in str(error.value)


def test_codes_and_tickets_are_text_and_not_refused():
    codes = ["1", "2", "3", "K"] * 20
    tickets = [*map(str, range(60)), *(f"PC {i}" for i in range(20))]
    columns.check(pa.table({"x": codes, "t": tickets, "big": [2**60 + i for i in range(80)]}), "y")


def test_rows_encode_alike_whatever_stands_beside_them():
    frame = pd.DataFrame({"a": [1.0, None, 3.0, 9.0], "b": list("xyxy"), "c": [True, False, None, True]})
    table = pa.Table.from_pandas(frame)
    code = encoding.fit(table, FACTS, "robust")
    whole = encoding.encode(code, table)
    for i in range(4):
        np.testing.assert_array_equal(encoding.encode(code, table.slice(i, 1))[0], whole[i])


# ---- piece by piece


@pytest.fixture
def little_memory(monkeypatch, tmp_path):
    """Columns come in pieces of 1,024 or 2,048 rows, and few different texts fit at a time."""

    def begin():
        monkeypatch.setattr(resources, "available_memory", lambda root="/": 200_000)
        monkeypatch.setattr(spill, "SMALL", 0)
        monkeypatch.setattr(spill, "_folder", tmp_path)
        monkeypatch.setattr(columns, "MANY", 16)

    return begin


def big(n=9000):
    rng = np.random.default_rng(5)
    odd = rng.normal(size=n) ** 5
    odd[rng.integers(0, n, 50)] = np.nan
    odd[[3, 7000]] = np.inf, -np.inf
    few = pa.array(rng.choice(["a", "b", "c ", "rare", "NA"], n, p=[0.5, 0.3, 0.1, 0.0003, 0.0997]))
    many = pa.array([f"k{number % 150}" for number in rng.integers(0, 900, n)])
    late = np.where(np.arange(n) < n - 1, 7, 8)
    return pa.table(
        {
            "normal": rng.normal(size=n),
            "odd": odd,
            "equal": np.where(np.arange(n) % 10 == 0, rng.normal(size=n), 2.5),
            "negative zero": np.where(rng.random(n) < 0.5, -0.0, rng.integers(-3, 3, n)),
            "empty": pa.nulls(n, pa.float32()),
            "constant": pa.array([3.5] * n),
            "late": late,
            "number": rng.permutation(n) + 10**15,
            "nearly": np.r_[np.arange(n - 1), 0],
            "gaps": pa.array(rng.permutation(n), mask=rng.random(n) < 0.9),
            "when": pa.array(rng.integers(0, 10**9, n), pa.timestamp("s")),
            "few": few,
            "categorical": few.dictionary_encode(),
            "many": many,
            "name": [f"person {i} of {n}" for i in range(n)],
            "all": ["one"] * n,
            "nothing": pa.array(["", " ", None] * (n // 3)),
            "y": rng.integers(0, 2, n),
        }
    )


def test_a_column_in_pieces_is_fitted_as_one_in_memory(tmp_path, little_memory):
    whole, facts = big(), Facts("y", [0, 1], [1, 1], None)
    table.write(whole, tmp_path / "t.parquet")
    expected = fit(whole, facts, "robust")
    lines = unseen(expected, shifted := altered(whole))
    little_memory()
    stored = sources.read(tmp_path / "t.parquet")
    assert max(len(piece) for piece in stored.groups()) == 1024
    assert fit(stored, facts, "robust") == expected
    assert {left.name: left.why for left in expected.left_out} == {
        "empty": "it is empty",
        "constant": "it is 3.5 in every training row",
        "number": "an identifier: whole numbers, different on every row",
        "gaps": "an identifier: whole numbers, different on every row",
        "name": "free text: 9000 different values in 9000 rows",
        "all": "it is 'one' in every training row",
        "nothing": "it is empty",
    }
    table.write(shifted, tmp_path / "new.parquet")
    assert unseen(expected, sources.read(tmp_path / "new.parquet")) == lines
    assert [line.split(":")[0] for line in lines] == ["normal", "odd", "late", "late", "few", "many"]
    assert "few: 4000 never seen in training ('other ', 'n0', 'n1')" in lines
    columns.check(stored, "y")


def altered(rows):
    n = len(rows)
    few = ["other "] * 50 + [f"n{i}" for i in range(3950)] + ["a"] * (n - 4000)
    changes = {"normal": np.full(n, 99.0), "late": pa.array([None, 99] * (n // 2)), "few": few, "many": ["k1000"] * n}
    for name, values in changes.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
    return rows


@pytest.mark.parametrize("kind", ["normal", "equal", "few", "infinite", "tiny"])
def test_quantiles_are_those_of_the_sorted_column(kind, little_memory):
    rng = np.random.default_rng(1)
    values = {
        "normal": rng.normal(size=5000) * 10.0 ** rng.integers(-300, 300, 5000),
        "equal": np.full(5000, -1.5),
        "few": rng.integers(-2, 3, 5000) * 1.0,
        "infinite": np.where(rng.random(5000) < 0.3, np.inf, rng.normal(size=5000)),
        "tiny": rng.integers(-5, 5, 5000) * 5e-324,
    }[kind]
    little_memory()
    ordered, found = (
        np.sort(values[np.isfinite(values)]),
        encoding._ordered(columns.Column(pa.table({"x": values}), "x")),
    )
    assert (found[0], found[-1]) == (ordered[0], ordered[-1])
    for share in encoding.QUARTERS:
        assert encoding.quantile(found, share) == encoding.quantile(ordered, share)


def test_columns_in_pieces_are_refused_as_in_memory(tmp_path, little_memory):
    n = 9000
    texts = [str(i) for i in range(n)]
    texts[5000:5006] = ["x", "y", "z", "x", "y", "z"]
    past = np.arange(n) + 2**53
    past[8000] = past[10]
    missing = np.where(np.arange(n) == 6000, np.nan, np.arange(n) / 7)
    large = np.where(np.arange(n) == 6000, 1e39, np.arange(n) / 7)
    for name, values in {"text": texts, "past": past, "missing": missing, "large": large}.items():
        rows = pa.table({name: values, "y": [0, 1] * (n // 2)})
        table.write(rows, tmp_path / f"{name}.parquet")
    little_memory()
    for name, words in {
        "text": r"numbers and 6 cells of text \('x' in row 5000, 'y' in row 5001, .*'y' in row 5004, \.\.\.\)",
        "past": r"is 9007199254740993 in row 1, past 2\^53",
        "missing": r"has 1 missing values in the training part \(first in its row 6000\)",
        "large": r"'large' is 1e\+39 in row 6000",
    }.items():
        stored = sources.read(tmp_path / f"{name}.parquet")
        with pytest.raises(UserError, match=words):
            columns.check(stored, "y")
            fit(stored, Facts("y", [0, 1], [1, 1], None), "raw")
