"""The ONNX file says what the model says, to the last bit: held by onnxruntime for every kind of column."""

import datetime

import msgspec
import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest
from making import FACTS, stored

from plumbline.basics.errors import UserError
from plumbline.exporting import graph
from plumbline.model.model import Card, Model
from plumbline.model.network import SHIPPED
from plumbline.scores import metrics
from plumbline.tables import encoding
from plumbline.tables.columns import MISSING, SPACES
from plumbline.tables.store import Facts, Spelling

DAY = datetime.datetime(2024, 2, 29, 13, 45, 7, 250_000)
UTC = datetime.UTC


def training_rows(n=400, seed=0):
    """Every kind of column, with gaps in most."""
    rng = np.random.default_rng(seed)

    def gaps(values, share=0.1):
        return [None if rng.random() < share else value for value in values]

    some = [DAY + datetime.timedelta(seconds=float(s)) for s in rng.uniform(-1e8, 1e8, n)]
    columns = {
        "y": rng.choice(["no", "yes"], n),
        "number": rng.normal(1e4, 3e3, n),
        "gaps": gaps(rng.normal(0, 1, n).tolist()),
        "whole": pa.array(rng.integers(-5, 90, n), pa.int32()),
        "narrow": pa.array(gaps(np.exp(rng.normal(0, 5, n)).tolist()), pa.float32()),
        "few": rng.choice([1, 2, 5], n),
        "constant mostly": np.where(rng.random(n) < 0.9, 7.0, rng.normal(0, 1, n)),
        "is so": gaps((rng.random(n) < 0.3).tolist()),
        "is always told": rng.random(n) < 0.3,
        "date": pa.array([moment.date() for moment in some], pa.date32()),
        "moment": gaps(some),
        "zoned": pa.array([moment.replace(tzinfo=UTC) for moment in some], pa.timestamp("ns", "Asia/Tokyo")),
        "clock": pa.array(gaps([moment.time() for moment in some]), pa.time64("us")),
        "plan": gaps(rng.choice(["basic", "plus", " plus", "true", "größe|;\n'\""], n).tolist()),
        "code": rng.choice(["01", "1", "-1"], n),
        "rare": gaps([f"r{i}" if i < 3 else "common" for i in rng.integers(0, 40, n)]),
        "city": gaps([f"c{int(i)}" for i in rng.exponential(40, n)]),
    }
    return pa.table(columns)


def new_rows(n=300):
    """Rows of the same columns with what training never saw."""
    table = training_rows(n, seed=1)
    odd = {
        "number": [np.inf, -np.inf, 1e300, -1e300, 1.7e308, 0.0, -0.0, 5e-324],
        "gaps": [None, np.inf, -np.inf, 1e9],
        "whole": [2**31 - 1, -(2**31), 0],
        "narrow": [float("inf"), None, 3e38],
        "few": [2**53, -(2**53), 3],
        "date": [datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None],
        "moment": [datetime.datetime(1700, 1, 1), datetime.datetime(2262, 1, 1)],
        "is always told": [None],
        "plan": ["gold", "", "NA", "  ", "n/a ", "\u3000null\t", "Basic", "basic ", "x" * 5000],
        "code": ["001", "", "1.0", "1.00", "-1.0", "1.0.0", ".0"],
        "rare": ["r1", "r39", "never"],
        "city": ["c0", "c400", "nowhere", None],
    }
    for name, values in odd.items():
        column = table.schema.get_field_index(name)
        kind = table.schema.types[column]
        mixed = pa.chunked_array([pa.array(values, kind), table[name].slice(len(values)).combine_chunks().cast(kind)])
        table = table.set_column(column, name, mixed)
    return table


def given(column) -> np.ndarray:
    """A column of an Arrow table as onnxruntime is given it (docs/export.md): (n, 1)."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.string())
    if pa.types.is_string(column.type):
        return np.array(column.fill_null(""), object).reshape(-1, 1)
    if pa.types.is_temporal(column.type):
        unit = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9, "D": 1 / 86400}[getattr(column.type, "unit", "D")]
        ticks = column.cast(pa.int32() if unit < 1 else pa.int64())
        return np.array(ticks.cast(pa.float64(), safe=False).fill_null(np.nan)).reshape(-1, 1) / unit
    return np.array(column.cast(pa.float64(), safe=False).fill_null(np.nan), np.float64).reshape(-1, 1)


def model_of(fitted, classes=("no", "yes"), networks=1, hidden=24, scale=1.0, seed=5):
    """A model of random weights."""
    k, rng = len(classes) if len(classes) > 2 else 1, np.random.default_rng(seed)
    shapes = {"net.0.weight": (hidden, fitted.width), "net.0.bias": (hidden,)}
    shapes |= {"net.2.weight": (k, hidden), "net.2.bias": (k,)}
    weights = {name: rng.normal(0, scale, (networks, *shape)).astype(np.float32) for name, shape in shapes.items()}
    return Model(weights, Card("y", list(classes), [1] * len(classes), fitted, SHIPPED, hidden))


def answers(model, table: pa.Table):
    """(label, probabilities) by onnxruntime, of a file that is as ONNX has it."""
    file = graph.made(model, {})
    onnx.checker.check_model(file, full_check=True)
    session = onnxruntime.InferenceSession(file.SerializeToString())
    return session.run(None, {each.name: given(table[each.name]) for each in session.get_inputs()})


def expected(model, table: pa.Table):
    """(numbers of classes, probabilities) as predict has them."""
    mean = metrics.ensemble(model.probabilities(encoding.encode(model.card.encoding, stored(table))))
    return metrics.predicted(mean), metrics.by_class(mean)


def facts_of(classes):
    return Facts("y", list(classes), [1] * len(classes), None)


@pytest.mark.parametrize("setting", ["raw", "robust", "mixed"])
@pytest.mark.parametrize("classes", [("no", "yes"), (0, 1, 7), (False, True), (0.5, 1.5, 2.5), ("a", "b", "ü,\n")])
def test_every_kind_of_column_is_scored_with_the_bits_of_predict(setting, classes):
    table, new = training_rows(), new_rows()
    rng = np.random.default_rng(0)
    table = table.set_column(0, "y", pa.array([classes[i] for i in rng.integers(0, len(classes), len(table))]))
    if setting == "raw":  # numbers must be finite float32
        odd = ["gaps", "narrow", "is so"]
        table, new = table.drop(odd), training_rows(300, seed=1).drop(odd)
    fitted = encoding.fit(stored(table, facts_of(classes)), setting)
    assert {column.name for column in fitted.columns} == set(table.column_names[1:])
    if setting == "mixed":
        assert next(column for column in fitted.columns if column.name == "city").counts
    for networks in (1, 3):
        model = model_of(fitted, classes, networks)
        label, probability = answers(model, new)
        number, p = expected(model, new)
        np.testing.assert_array_equal(probability, p.astype(np.float32))
        assert label.tolist() == np.array(classes)[number].tolist()
        assert (probability.shape, label.shape) == ((300, len(classes)), (300,))


@pytest.mark.parametrize("name", [name for name in training_rows(3).column_names if name != "y"])
def test_each_kind_of_column_alone(name):
    table = training_rows().select(["y", name])
    for setting in ("robust", "mixed"):
        model = model_of(encoding.fit(stored(table, FACTS), setting), scale=3.0)
        new = new_rows()
        np.testing.assert_array_equal(answers(model, new)[1], expected(model, new)[1].astype(np.float32))


def test_raw_numbers_of_any_size_are_added_up_in_predicts_order():
    """A MatMul in float or double is 1e-4 off: what it adds up is large, and cancels."""
    rng = np.random.default_rng(0)
    columns = {"y": rng.choice(["no", "yes"], 500), "age": rng.uniform(18, 90, 500)}
    table = pa.table(columns | {"income": rng.lognormal(10, 1, 500), "year": rng.integers(1990, 2030, 500)})
    model = model_of(encoding.fit(stored(table, FACTS), "raw"), scale=0.02)
    probability = answers(model, table)[1]
    assert ((probability > 0.01) & (probability < 0.99)).mean() > 0.05
    np.testing.assert_array_equal(probability, expected(model, table)[1].astype(np.float32))


def test_what_stands_for_nothing_is_a_gap_as_it_is_in_a_table():
    rng = np.random.default_rng(0)
    columns = {"y": rng.choice(["no", "yes"], 120), "plan": [["a", "b", None][i % 3] for i in range(120)]}
    model = model_of(encoding.fit(stored(pa.table(columns), FACTS), "robust"))
    gaps = [space + word + end for space in SPACES for word in MISSING for end in ("", space)]
    new = pa.table({"plan": [*gaps, "a ", "\u200b", "None", "na", "-", "a\n"]})
    np.testing.assert_array_equal(answers(model, new)[1], expected(model, new)[1].astype(np.float32))


def test_all_categories_may_be_pooled():
    rng = np.random.default_rng(0)
    for gaps in (0, 7):
        names = [None if gaps and i % gaps == 0 else f"c{i // 3}" for i in range(120)]
        table = pa.table({"y": rng.choice(["no", "yes"], 120), "plan": names, "x": rng.normal(size=120)})
        model = model_of(encoding.fit(stored(table, FACTS), "robust"))
        assert model.card.encoding.columns[1].values == []
        np.testing.assert_array_equal(answers(model, table)[1], expected(model, table)[1].astype(np.float32))


@pytest.mark.parametrize("words", [["TRUE", " False "], ["true", "false"], ["True", "False"]])
def test_booleans_are_read_as_the_cells_of_a_csv(words):
    table = training_rows().select(["y", "is so"])
    model = model_of(encoding.fit(stored(table, FACTS), "robust"))
    session = onnxruntime.InferenceSession(graph.made(model, {}).SerializeToString())
    (_, said), (_, gap) = (
        session.run(None, {"is so": np.array(cells, object)[:, None]}) for cells in (words, ["", "maybe"])
    )
    rows = pa.table({"is so": [True, False, None]})
    np.testing.assert_array_equal(np.concatenate([said, gap[:1]]), expected(model, rows)[1].astype(np.float32))
    np.testing.assert_array_equal(gap[0], gap[1])


HOSTILE = [
    "label",
    "probabilities",
    "label_",
    "_0",
    "__",
    "_c0",
    "_module_x",
    "a b",
    "x\ny",
    "'\"`|",
    "ß日本\u202e",
    "n",
]


def test_a_column_may_have_any_name():
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(0, 1, 90) if i % 2 else rng.choice(["a", "b"], 90) for i, name in enumerate(HOSTILE)}
    table = pa.table({"y": rng.choice(["no", "yes"], 90)} | columns)
    model = model_of(encoding.fit(stored(table, FACTS), "mixed"))
    np.testing.assert_array_equal(answers(model, table)[1], expected(model, table)[1].astype(np.float32))
    outputs = [output.name for output in graph.made(model, {}).graph.output]
    assert outputs == ["label__", "probabilities_"]


def test_columns_of_one_kind_alone_and_one_row_and_none():
    rng = np.random.default_rng(0)
    for columns in ({"a": rng.choice(["p", "q"], 60)}, {"a": rng.normal(0, 1, 60)}):
        table = pa.table({"y": rng.choice(["no", "yes"], 60)} | columns)
        model = model_of(encoding.fit(stored(table, FACTS), "mixed"))
        for rows in (60, 1, 0):
            label, probability = answers(model, table[:rows])
            assert (label.shape, probability.shape) == ((rows,), (rows, 2))
            np.testing.assert_array_equal(probability, expected(model, table)[1][:rows].astype(np.float32))


def test_what_predict_refuses_is_nan():
    table = training_rows().select(["y", "number", "whole"])
    model = model_of(encoding.fit(stored(table, FACTS), "raw"))
    bad = pa.table({"number": [np.nan, np.inf, 1e39, 1.0, -np.inf], "whole": [1.0, 2.0, 3.0, np.nan, 1.0]})
    assert np.isnan(answers(model, bad)[1]).all()


def test_inputs_say_what_they_hold():
    table = training_rows()
    facts = msgspec.structs.replace(FACTS, spellings={"narrow": Spelling("DOUBLE", "1.234,5 €", ",", ".", "€")})
    file = graph.made(model_of(encoding.fit(stored(table, facts), "robust")), {"target": "y"})
    holds = {each.name: (each.type.tensor_type.elem_type, each.doc_string) for each in file.graph.input}
    assert holds["number"] == (onnx.TensorProto.DOUBLE, "a number; NaN is a gap")
    assert holds["narrow"] == (onnx.TensorProto.DOUBLE, "a number; NaN is a gap; the table has it as '1.234,5 €'")
    assert holds["date"] == (onnx.TensorProto.DOUBLE, "seconds since 1970-01-01 UTC; NaN is a gap")
    assert holds["clock"] == (onnx.TensorProto.DOUBLE, "seconds since midnight; NaN is a gap")
    assert holds["plan"] == (onnx.TensorProto.STRING, "text; '' is a gap")
    assert holds["is so"] == (onnx.TensorProto.STRING, "true or false; '' is a gap")
    assert [(each.key, each.value) for each in file.metadata_props] == [("target", "y")]


def test_a_column_without_a_name_is_one_line():
    fitted = encoding.fit(stored(training_rows().select(["y", "number"]), FACTS), "robust")
    nameless = msgspec.structs.replace(fitted, columns=[msgspec.structs.replace(fitted.columns[0], name="")])
    with pytest.raises(UserError, match="a column has no name"):
        graph.made(model_of(nameless), {})
