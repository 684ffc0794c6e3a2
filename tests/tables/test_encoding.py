import datetime
import decimal
import math
import time

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from making import FACTS, put, stored
from sklearn.preprocessing import SplineTransformer

from plumbline.basics.errors import UserError
from plumbline.bits import initial, kernel, scoring, stream
from plumbline.bits import rows as compact
from plumbline.tables import columns, duck, encoding, robust, splits, store, unseen
from plumbline.tables.encoding import fit
from plumbline.tables.fitted import Category, Encoding, Number

ANY_NUMBER = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**300), 10**300)


def fitted(column, setting="robust", name="x é", facts=FACTS):
    table = stored(pa.table({name: column}), facts)
    return fit(table, setting), table


def encode(code, rows):
    """The inputs of a table's rows."""
    x = encoding.encode(code, rows if isinstance(rows, store.Table) else stored(rows))
    assert x.shape[1] == len(code.layout)
    return compact.expand(x, code.layout)


def encoded(column, setting="robust"):
    code, table = fitted(column, setting)
    return encode(code, table)


def test_a_wide_table_is_fitted_as_its_columns_alone_and_seldom_read(monkeypatch):
    """A query on a file takes time by all its columns: one for each column would take the square of their number."""
    wide, n, draws = 3 * store.WIDE, 60, np.random.default_rng(0)
    made = {f"x{i}": draws.normal(size=n) if i % 3 else draws.choice(["a", "b", "c"], n) for i in range(wide)}
    alone = [fit(stored(pa.table({name: values})), "robust").columns[0] for name, values in made.items()]
    table, queries = stored(pa.table(made)), []
    for name in ("run", "rows", "arrays"):
        asked = getattr(duck, name)
        monkeypatch.setattr(duck, name, lambda sql, asked=asked: queries.append(sql) or asked(sql))
    assert fit(table, "robust").columns == sorted(alone, key=lambda column: isinstance(column, Category))
    assert sum("read_parquet" in sql for sql in queries) < wide / 10


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
    mixed = fitted(column, "mixed")[0].columns[0]
    bins, splines = np.split(encoded(column, "mixed")[:, x.shape[1] :], [max(len(mixed.edges) - 1, 0)], axis=1)
    assert ((bins >= 0) & (bins <= 1)).all() and (bins[:, :-1] >= bins[:, 1:]).all()
    assert splines.shape[1] == len(mixed.knots) and (splines >= 0).all() and ((splines > 0).sum(axis=1) <= 2).all()
    np.testing.assert_array_equal(splines.sum(axis=1), np.full(len(x), float(len(mixed.knots) > 0)))
    if missing.any():
        assert (x[:, 1] == missing).all()
        assert (x[missing, 0] == 0).all()


@given(st.lists(st.floats(-1e6, 1e6) | st.integers(0, 5), min_size=3, max_size=80))
@example([0.0] * 8 + [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1.5] + [838861.4453125] * 4)  # between equals it is they
def test_bins_are_quantiles_and_their_inputs_piecewise_linear(values):
    values = np.round(np.array(values, float), 6)
    ends = np.unique(values)
    if len(ends) < 3:
        return
    code, _ = fitted(pa.array(values), "mixed")
    for found, bins in (code.columns[0].knots, 2 * robust.BINS[0]), (code.columns[0].edges, robust.BINS[0]):
        cut = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1))) if len(ends) > bins + 1 else ends
        np.testing.assert_allclose(found, cut, rtol=1e-9, atol=1e-9)
    ends, knots = np.array(code.columns[0].edges), code.columns[0].knots
    new = np.r_[values, ends, ends[0] - 1, ends[-1] + 1, np.linspace(ends[0], ends[-1], 20)]
    x = encode(code, pa.table({"x é": new}))
    # Gorishniy et al. 2022, equation 1: 0 below the bin, 1 above it, and else how far into it
    expected = np.clip((new[:, None] - ends[:-1]) / np.diff(ends), 0, 1)
    assert [columns.tolist() for columns in code.views] == [[2], [1], [0]]
    np.testing.assert_allclose(x[:, 1 : len(ends)], expected, atol=2e-6)
    splines = SplineTransformer(degree=1, knots=np.array(knots)[:, None], extrapolation="constant")
    np.testing.assert_allclose(x[:, len(ends) :], splines.fit_transform(new[:, None]), atol=2e-6)


@pytest.mark.parametrize("wide, ends", [(270, (5, 9)), (551, (0, 0))])
def test_a_wide_table_has_fewer_bins_a_column_so_that_time_stays_linear_in_columns(wide, ends):
    draws = np.random.default_rng(0).normal(size=(30, wide))
    code = fit(stored(pa.table({f"x{i}": draws[:, i] for i in range(wide)} | {"y": [0, 1] * 15})), "mixed")
    assert {(len(column.edges), len(column.knots)) for column in code.columns} == {ends}
    assert len(code.views) == (3 if any(ends) else 1)


def test_a_missing_number_lies_where_the_median_does_and_is_marked_for_every_member():
    code, _ = fitted(pa.array([1.0, 2.0, 4.0, None]), "mixed")
    assert [columns.tolist() for columns in code.views] == [[1, 3], [1, 2], [0, 1]]
    x = encode(code, pa.table({"x é": [2.0, None]}))
    np.testing.assert_array_equal(x[:, 1], [0, 1])
    np.testing.assert_array_equal(x[0, 2:], x[1, 2:])
    assert "edges" not in msgspec.json.decode(msgspec.json.encode(fitted(pa.array([1.0, 2.0]))[0].columns[0]))


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=80, unique=True), st.integers(-60, 900))
def test_robust_is_its_formula_and_does_not_know_the_scale(values, power):
    values = np.round(np.array(values), 6)
    if len(set(values)) < 3:
        return
    quarter, median, three_quarters = np.quantile(values, [0.25, 0.5, 0.75])
    spread = (three_quarters - quarter) or (values.max() - values.min()) / 2
    z = (values - median) / (spread / robust.IQR_OF_NORMAL)
    expected = z / np.sqrt(1 + (z / robust.CLIP) ** 2)
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


@pytest.mark.parametrize("setting", ["raw", "robust", "mixed"])
def test_a_zero_has_no_sign_for_sorting_would_leave_it_to_the_cpu(setting):
    values = np.random.default_rng(1).choice([-0.0, 0.0, 1.0], 400)
    code, table = fitted(pa.array(values), setting)
    number = code.columns[0]
    for figure in (number.low, number.centre, *encode(code, table)[values == 0.0, 0]):
        assert figure != 0.0 or math.copysign(1.0, figure) == 1.0


def test_raw_is_the_numbers_as_they_are():
    values = np.array([1.5, -2.25, 3e38, 1e-30])
    np.testing.assert_array_equal(encoded(pa.array(values), "raw")[:, 0], values.astype(np.float32))
    np.testing.assert_array_equal(encoded(pa.array([True, False, True]), "raw")[:, 0], [1, 0, 1])


@pytest.mark.parametrize("value, word", [(None, "missing"), (math.nan, "missing"), (math.inf, "inf"), (1e39, "1e+39")])
def test_raw_refuses_what_it_cannot_take_and_names_the_other_setting(value, word):
    with pytest.raises(UserError, match=r"'x é'.*row 1.*robust") as error:
        encoded(pa.array([1.0, value, 3.0]), "raw")
    assert word in str(error.value)
    code, _ = fitted(pa.array([1.0, 2.0, 3.0]), "raw")
    with pytest.raises(UserError, match=r"'x é'.*row 1.*robust"):
        encode(code, pa.table({"x é": pa.array([1.0, value, 3.0])}))


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
    ours = encode(code, pa.table({"x é": pa.array(new, pa.string())}))
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


def test_many_categories_have_an_input_each_and_decide():
    """Of the cities that decide the class each has some three rows; one-hot and a regression are right in 97 %."""
    from sklearn.linear_model import LogisticRegression

    draws = np.random.default_rng(0)
    cities, answer = draws.integers(0, 2000, 8000), draws.integers(0, 2, 2000)
    table = pa.table({"city": [f"city{city}" for city in cities], "z": draws.normal(size=8000)})
    training, test = slice(0, 5600), slice(5600, 8000)
    code = fit(stored(table.slice(0, 5600)), "robust")
    seen = np.isin(cities[test], cities[training])
    x, y = encoding.encode(code, stored(table)), answer[cities].astype(np.int32)
    assert code.width == 1 + len(np.unique(cities[training])) and x.shape == (8000, 2)
    trainer = kernel.Trainer(initial.weights([stream.seeded(0)], code.width, 32, 1), 128, 0.01, 0.1, None, code.layout)
    for epoch in range(12):
        trainer.train(x, y, stream.permutations(np.array([epoch]), 5600), np.zeros((1, 2)))
    right = (scoring.probabilities(x[test], trainer.weights(), code.layout)[0, :, 0] >= 0.5) == y[test]
    inputs = compact.expand(x, code.layout)
    theirs = LogisticRegression(C=10).fit(inputs[training], y[training]).score(inputs[test], y[test])
    assert right[seen].mean() > 0.97 and right.mean() > theirs - 0.02 > 0.92


def test_what_is_pooled_is_counted():
    town = [*["Oslo"] * 30, *["Rome"] * 30, "Bergen", "Bergen", "Paris", None]
    numbers = [f"n{min(i, 450)}" for i in range(451)] + ["n450"] * 4549  # many of one row
    for values, expected in ((town, {"x é": (2, 3)}), (numbers, {}), (["a", "b"] * 30, {})):
        code, table = fitted(pa.array(values))
        assert encoding.pooled(code, table) == expected
    (column,) = fitted(pa.array([f"n{i // 2}" for i in range(2 * columns.MOST_CATEGORIES + 8)]))[0].columns
    assert len(column.values) == columns.MOST_CATEGORIES and column.pools_others


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
        (datetime.time(1, 2, 3, 500_000), pa.time64("ns"), 3723.5),
    ],
)
def test_every_kind_of_column_becomes_a_number(value, kind, number):
    column = pa.array([value, None], kind)
    table = stored(pa.table({"x": column}))
    (piece,) = table.pieces({"x": columns.number_or_nan("x", table.columns["x"])})
    assert piece["x"][0] == pytest.approx(number, rel=1e-15)
    assert np.isnan(piece["x"][1])
    code, table = fitted(column)
    assert encode(code, table).tolist() == [[0, 0], [0, 1]]


def test_a_duration_is_its_seconds(tmp_path):
    put(tmp_path / "t.parquet", "t", {"x": np.array([5, 10**9, 3], "timedelta64[ms]"), "z": np.arange(3.0)})
    table = store.open(tmp_path / "t.parquet")
    (number, _) = fit(table, "robust").columns
    assert (number.kind, number.low, number.high) == ("duration", 0.003, 10**6)


def test_a_dictionary_of_texts_is_categories():
    x = encoded(pa.array(["b", "a", None, "b"] * 3).dictionary_encode())
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
            "such as '0.12.2021'; write a measure",
        ),
        ([f"€{i},378.31" for i in range(30)], "such as '€0,378.31'; write a measure as a number"),
        ([f"some words about {i} of them" for i in range(30)], "free text"),
    ],
)
def test_what_teaches_nothing_is_left_out_with_the_reason(values, why):
    table = pa.table({"x": pa.array(values), "other": pa.array(np.arange(len(values)) % 7)})
    code = fit(stored(table), "robust")
    assert [column.name for column in code.columns] == ["other"]
    assert code.left_out[0].name == "x"
    assert why in code.left_out[0].why


def test_what_a_split_goes_by_is_no_feature():
    table = pa.table({"who": [1, 1, 2], "x": [1.0, 2.0, 3.0], "y": ["no", "yes", "no"]})
    code = fit(stored(table, msgspec.structs.replace(FACTS, split_by=["who"])), "robust")
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
    code = fit(stored(table), "mixed")
    again = msgspec.json.decode(msgspec.json.encode(code), type=Encoding)
    assert again == code
    np.testing.assert_array_equal(encode(again, table), encode(code, table))


def said(code, table):
    """What training never saw: {(column, what): rows}."""
    ((_, values),) = encoding.with_values(code, table)
    found = {(column, what): np.flatnonzero(mask).tolist() for column, what, mask in unseen.of_rows(code, values)}
    return {what: rows for what, rows in found.items() if rows}


def test_new_rows_are_told_where_training_saw_nothing_like_them():
    training = pa.table({"n": [1.0, 2.0, 5.0], "c": ["a", "b", "a"]})
    columns = [Number("n", "number", 1.0, 5.0, 2.0, 1.0, 0.0, 1.0, False), Category("c", ["a", "b"], False, False)]
    code = Encoding(columns)
    assert said(code, stored(training)) == {}
    new = pa.table({"extra": [0] * 4, "c": ["a", "z", None, "z"], "n": [0.5, 5.0, 6.0, None]})
    gap = "missing, and never so in training"
    assert said(code, stored(new)) == {
        ("n", "below training's 1"): [0],
        ("n", "above training's 5"): [2],
        ("n", gap): [3],
        ("c", "never seen in training"): [1, 3],
        ("c", gap): [2],
    }
    np.testing.assert_array_equal(encode(code, new)[:, 1:], [[1, 0], [0, 0], [0, 0], [0, 0]])
    gappy = Encoding([msgspec.structs.replace(column, marks_missing=True) for column in columns])
    assert {what for _, what in said(gappy, stored(new))} & {gap} == set()
    pooled = Encoding([columns[0], msgspec.structs.replace(columns[1], pools_others=True)])
    assert said(pooled, stored(new))["c", "rare or never seen in training"] == [1, 3]
    assert said(pooled, stored(new))["c", gap] == [2]
    exact = Encoding([msgspec.structs.replace(columns[0], high=0.1)])  # a float32 0.1 is above the float64
    assert ("n", "above training's 0.1") in said(exact, stored(pa.table({"n": pa.array([0.1], pa.float32())})))


def test_numbers_and_booleans_are_found_among_texts_as_these_were_written():
    """pandas makes 1.0 of 1 where a column has gaps."""
    code = Encoding([Category("c", ["1", "2.0", "True", "false", "x"], False, False)])
    for values, expected in [
        ([1.0, 2.0, None, 1.5, math.nan], [0, 1, 6, 5, 6]),
        ([1, 2, None], [0, 5, 6]),
        ([True, False, None], [2, 3, 6]),
        (["1", "1.0", "x.0", "True", "true"], [0, 0, 5, 2, 5]),
    ]:
        ((_, found),) = encoding.with_values(code, stored(pa.table({"c": values})))
        assert found["c"].tolist() == expected


@pytest.mark.parametrize(
    "kind, value, words",
    [
        ("number", 89.5, "89.5"),
        ("instant", 86400.0 * 365, "1971-01-01"),
        ("instant", -0.5, "1969-12-31T23:59:59.500000"),
        ("instant", 1e300, "1e+300"),
        ("time of day", 3600.0 * 13 + 90, "13:01:30"),
        ("duration", 3600.0, "3600"),
    ],
)
def test_a_range_is_told_as_its_column_is_written(kind, value, words):
    column = Number("v", kind, value, value, 0.0, 1.0, 0.0, 1.0, False)
    (_, what, _), *_ = unseen.of_rows(Encoding([column]), {"v": np.array([0.0])})
    assert what == f"below training's {words}"


def test_a_new_table_without_a_column_or_with_another_kind_is_refused():
    code, _ = fitted(pa.array([1.0, 2.0, 4.0]))
    with pytest.raises(UserError, match="'x é' is missing"):
        encode(code, pa.table({"x": [1.0]}))
    with pytest.raises(UserError, match=r"'x é' holds 'many' in row 1, .* on numbers there"):
        encode(code, pa.table({"x é": ["1", "many"]}))
    with pytest.raises(UserError, match=r"holds date.*a number there"):
        encode(code, pa.table({"x é": [DAY]}))
    empty = pa.table({"x é": pa.nulls(2)})
    assert encode(code, empty).tolist() == [[0], [0]]


@pytest.mark.parametrize(
    "column, words",
    [
        (pa.array([[1], [2]]), ["'x'", "BIGINT[]", "make_data.drop"]),
        (pa.array([{"a": 1}, {"a": 2}]), ["'x'", "STRUCT(", "flatten"]),
        (pa.array([b"\xff", b"a"]), ["'x'", "BLOB"]),
        (pa.array([2**53 + 1, 2**53 + 1, 5]), ["'x' is 9007199254740993 in row 0", "2^53", "identifier"]),
    ],
)
def test_a_column_that_no_encoding_takes_is_refused(column, words):
    with pytest.raises(UserError) as error:
        columns.check(stored(pa.table({"x": column, "y": column})))
    for word in words:
        assert word in str(error.value)


def test_codes_and_tickets_are_text_and_not_refused():
    codes = ["1", "2", "3", "K"] * 20
    tickets = [*map(str, range(60)), *(f"PC {i}" for i in range(20))]
    columns.check(stored(pa.table({"x": codes, "t": tickets, "big": [2**60 + i for i in range(80)]})))


def test_rows_encode_alike_whatever_stands_beside_them():
    frame = pd.DataFrame({"a": [1.0, None, 3.0, 9.0], "b": list("xyxy"), "c": [True, False, None, True]})
    rows = pa.Table.from_pandas(frame)
    code = fit(stored(rows), "robust")
    whole = encode(code, rows)
    for i in range(4):
        np.testing.assert_array_equal(encode(code, rows.slice(i, 1))[0], whole[i])


OURS = ["text", "rows", "hash", "first", "missing", "place", "row", "taken", "number", "value", "t", "v", "c0", "g"]
OURS += ["mean"]


@pytest.mark.parametrize("name", OURS)
def test_a_column_may_have_a_name_of_our_queries(name, tmp_path):
    other = np.arange(60) // 2 % 7
    values = {"": np.array([*"aaabbc"] * 10, object), "x": np.array([*"kkll"] * 15, object)}
    plain = pa.table({"x": values[""], "z": values["x"], "n": other})
    ours = pa.table({name: values[""], "z": values["x"], "n": other})
    found, expected = fit(stored(ours), "robust").columns, fit(stored(plain), "robust").columns  # the number first
    assert [found[0], msgspec.structs.replace(found[1], name="x"), found[2]] == expected
    columns.check(stored(ours))
    assert splits.group_firsts(stored(ours), name).tolist() == [0, 0, 0, 3, 3, 5] * 10
    beside = pa.table({"x": values[""], name: other})
    assert splits.group_firsts(stored(beside), "x").tolist() == [0, 0, 0, 3, 3, 5] * 10
    assert splits.times(stored(beside), name).tolist() == other.tolist()
    for rows in (np.arange(60)[::-1].astype(np.int32), np.ones(60, bool)):
        store.take(stored(ours), rows, tmp_path / "taken.parquet", "taken", FACTS)
        assert len(store.open(tmp_path / "taken.parquet")) == 60


# ---- in pieces


@pytest.mark.parametrize("count", [1, 2, 5, 4096])
def test_a_texts_number_is_its_place_and_one_of_many_that_is_none_is_told_at_once(count):
    values, n = [f"it's é {i}" for i in range(count)][::-1], 50_000  # not in order
    table = stored(pa.table({"c": [f"it's é {i % (2 * count)}" for i in range(n - 2)] + [None, ""]}))
    before = time.process_time()
    (piece,) = table.pieces({"code": columns.code("c", "VARCHAR", values)}, n)
    assert time.process_time() - before < 3  # by casts alone 4 s and more
    expected = [count - 1 - i % (2 * count) if i % (2 * count) < count else None for i in range(n - 2)] + [None] * 2
    assert piece["code"].tolist() == expected


@pytest.fixture
def in_pieces(monkeypatch):
    """Tables of more than 64 rows come in pieces, and are no small ones."""

    def begin():
        monkeypatch.setattr(store, "VALUES", 1)
        monkeypatch.setattr(store, "VECTOR", 64)
        monkeypatch.setattr(store, "ROWS", 64)
        monkeypatch.setattr(robust, "IN_CACHE", 50)

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
            "single": (rng.normal(size=n) ** 3).astype(np.float32),
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
            "nothing": pa.array(["", " \t", None] * (n // 3)),
            "y": rng.choice(["no", "yes"], n),
        }
    )


def altered(rows):
    n = len(rows)
    few = ["other "] * 50 + [f"n{i}" for i in range(3950)] + ["a"] * (n - 4000)
    changes = {"normal": np.full(n, 99.0), "late": pa.array([None, 99] * (n // 2)), "few": few, "many": ["k1000"] * n}
    for name, values in changes.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
    return rows


def test_what_a_table_of_every_kind_is_fitted_as():
    rows = big()
    code = fit(stored(rows), "robust")
    assert {left.name: left.why for left in code.left_out} == {
        "empty": "it is empty",
        "constant": "it is 3.5 in every training row",
        "number": "an identifier: whole numbers, different on every row",
        "gaps": "an identifier: whole numbers, different on every row",
        "name": "free text: 9000 different values in 9000 rows",
        "all": "it is 'one' in every training row",
        "nothing": "it is empty",
    }
    columns.check(stored(rows))
    found = said(code, stored(altered(rows)))
    assert list(dict.fromkeys(column for column, _ in found)) == ["normal", "odd", "late", "few", "many"]
    assert len(found["few", "never seen in training"]) == 4000
    assert sum(len(rows) for (column, _), rows in found.items() if column == "odd") == 2


def test_in_pieces_a_table_is_fitted_and_encoded_as_whole(in_pieces):
    table = stored(big())
    code = fit(table, "robust")
    whole = encode(code, table)
    in_pieces()
    assert len(next(table.pieces({"normal": "normal"}))["normal"]) == 64 and not table.is_small
    assert fit(table, "robust") == code
    np.testing.assert_array_equal(encode(code, table), whole)
    for rows in (None, 999, 10**6):
        pieces = list(encoding.pieces(code, table, rows))
        np.testing.assert_array_equal(compact.expand(np.concatenate(pieces), code.layout), whole)
        assert rows is None or max(map(len, pieces)) == min(rows, 9000)


def test_a_robust_column_is_standardized_to_the_last_digits():
    """Against sums that Python rounds exactly: fixed point loses nothing that float32 could show."""
    for name in ("normal", "odd", "equal", "when"):
        rows = big().select([name, "y"])
        (number,) = fit(stored(rows), "robust").columns
        values = rows.column(name).cast(pa.float64() if name != "when" else pa.int64()).to_numpy()
        z = robust.smooth_clip(values[~np.isnan(values)].astype(float), number.centre, number.scale)
        mean = math.fsum(z) / len(z)
        deviation = math.sqrt(math.fsum((z - mean) ** 2) / len(z))
        assert number.mean == pytest.approx(mean, abs=1e-12)
        assert number.deviation == pytest.approx(deviation, rel=1e-10)


@pytest.mark.parametrize("kind", ["normal", "equal", "few", "infinite", "tiny", "single"])
def test_quartiles_are_those_of_the_sorted_column(kind, in_pieces):
    rng = np.random.default_rng(1)
    values = {
        "normal": rng.normal(size=5000) * 10.0 ** rng.integers(-300, 300, 5000),
        "equal": np.full(5000, -1.5),
        "few": rng.integers(-2, 3, 5000) * 1.0,
        "infinite": np.where(rng.random(5000) < 0.3, np.inf, rng.normal(size=5000)),
        "tiny": rng.integers(-5, 5, 5000) * 5e-324,
        "single": rng.normal(size=5000).astype(np.float32),
    }[kind]
    table = stored(pa.table({"x": values}))
    in_pieces()
    ordered, found = np.sort(values[np.isfinite(values)]), robust.numbers(table)["x"].robust
    assert (found.low, found.high) == (ordered[0], ordered[-1])
    assert found.centre == robust.quantile(ordered, 0.5)
    spread = robust.quantile(ordered, 0.75) - robust.quantile(ordered, 0.25)
    assert found.scale == max(
        (spread or ordered[-1] / 2 - ordered[0] / 2 or 1.0) / robust.IQR_OF_NORMAL, robust.SMALLEST
    )


def test_columns_in_pieces_are_refused_with_the_tables_row(in_pieces):
    n = 9000
    past = np.arange(n) + 2**53
    past[8000] = past[10]
    missing = np.where(np.arange(n) == 6000, np.nan, np.arange(n) / 7)
    large = np.where(np.arange(n) == 6000, 1e39, np.arange(n) / 7)
    columns_of = {"past": past, "missing": missing, "large": large}
    tables = {
        name: stored(pa.table({name: values, "y": ["no", "yes"] * (n // 2)})) for name, values in columns_of.items()
    }
    in_pieces()
    for name, words in {
        "past": r"is 9007199254740993 in row 1, past 2\^53",
        "missing": r"'missing' is missing in row 6000",
        "large": r"'large' is 1e\+39 in row 6000",
    }.items():
        with pytest.raises(UserError, match=words):
            columns.check(tables[name])
            encode(fit(tables[name], "raw"), tables[name])
