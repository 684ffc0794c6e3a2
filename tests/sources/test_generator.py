"""What a user's generator may make, and what goes wrong in one, told by its line."""

import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plumbline.basics.errors import UserError
from plumbline.bits.stream import seeded
from plumbline.sources import generator
from plumbline.tables import duck


def made(folder, text, keep=list):
    """Types and rows of what a generator with this text makes."""
    source = folder / "mine.py"
    source.write_text("import numpy as np\nimport pandas as pd\nimport pyarrow as pa\n" + text)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    rows = generator.read(source, None, seeded(1), scratch, keep)
    return rows.types, duck.rows(rows.in_order)


def returning(expression):
    return f"def make(params, generator):\n    return {expression}\n"


@pytest.mark.parametrize(
    "column, kind, values",
    [
        ("np.array([0.5, np.nan], np.float32)", "FLOAT", [0.5, None]),
        ("np.array([0.5, 2], np.float16)", "FLOAT", [0.5, 2.0]),
        ("[1, 2]", "BIGINT", [1, 2]),
        ("np.arange(2, dtype='u1')", "UTINYINT", [0, 1]),
        ("np.array(['a', 'b'])", "VARCHAR", ["a", "b"]),
        ("np.array(['a', None], object)", "VARCHAR", ["a", None]),
        ("np.ma.masked_array([1, 2], [False, True])", "BIGINT", [1, None]),
        ("np.array([True, False])", "BOOLEAN", [True, False]),
        ("np.array(['2021-12-31', 'NaT'], 'M8[D]')", "TIMESTAMP", [datetime.datetime(2021, 12, 31), None]),
        ("np.array([1500, 'NaT'], 'm8[ms]')", "DOUBLE", [1.5, None]),
        ("np.arange(4)[::2]", "BIGINT", [0, 2]),
    ],
)
def test_a_dict_of_arrays_is_a_table(tmp_path, column, kind, values):
    types, rows = made(tmp_path, returning(f"{{'a \"b': {column}}}"))
    assert types['a "b'].replace("TIMESTAMP_S", "TIMESTAMP") == kind
    assert [None if row[0] != row[0] else row[0] for row in rows] == values


@pytest.mark.parametrize(
    "table",
    [
        "pd.DataFrame(columns)",
        "pa.table(columns)",
        "pa.Table.from_pandas(pd.DataFrame(columns))",
        "pd.DataFrame(columns).astype({'c': 'category', 'd': 'category'})",
        "pa.table(columns).set_column(3, 'd', pa.array(columns['d']).dictionary_encode())",
    ],
)
def test_tables_of_others_are_tables(tmp_path, table):
    text = (
        "def make(params, generator):\n"
        "    columns = {'x': [1.5, 2.5], 'n': [1, 2], 'c': ['u', None], 'd': [3, 4]}\n"
        f"    return {table}\n"
    )
    types, rows = made(tmp_path, text)
    is_category = "category" in table or "dictionary" in table
    assert types == {"x": "DOUBLE", "n": "BIGINT", "c": "VARCHAR", "d": "VARCHAR" if is_category else "BIGINT"}
    assert rows == [(1.5, 1, "u", "3" if is_category else 3), (2.5, 2, None, "4" if is_category else 4)]


def test_pieces_are_one_table_and_columns_that_are_not_kept_are_gone(tmp_path):
    text = (
        "def make(params, generator):\n    for i in range(3):\n        yield {'a': np.full(i, i), 'b': np.zeros(i)}\n"
    )
    assert made(tmp_path, text, lambda names: ["a"]) == ({"a": "BIGINT"}, [(1,), (2,), (2,)])


def test_it_draws_from_the_stream(tmp_path):
    _, rows = made(tmp_path, returning("{'a': generator.normal(size=3)}"))
    assert [row[0] for row in rows] == seeded(1).normal(size=3).tolist()


@pytest.mark.parametrize(
    "text, words",
    [
        ("x = 1\n", ["mine.py must define make(params, generator)"]),
        (returning("1 / 0"), ["mine.py line 5", "ZeroDivisionError: division by zero"]),
        ("def make(:\n", ["mine.py line 4", "SyntaxError"]),
        (returning("pd.DataFrame({'a': [1]})['b']"), ["mine.py line 5", "KeyError"]),
        ("def make(params, generator):\n    yield {'a': [1]}\n    raise ValueError('x\\ny')\n", ["line 6", "x y"]),
        (returning("[1]"), ["a dict of NumPy arrays", "not list"]),
        (returning("None"), ["must return or yield", "not NoneType"]),
        (returning("iter([])"), ["yields no table"]),
        (returning("pa.table([[1], [2]], names=['y', 'y'])"), ["mine.py has columns 'y' and 'y'"]),
        (returning("pd.DataFrame([[1, 2]], columns=['y', 'y'])"), ["mine.py has columns 'y' and 'y'"]),
        (returning("{'a': [1], 'b': [1, 2]}"), ["different lengths ('a' has 1, 'b' has 2)"]),
        (returning("{'a': np.zeros((2, 2))}"), ["column 'a' of shape (2, 2)"]),
        (returning("{'a': np.array([1j])}"), ["mine.py makes what is no table"]),
        (
            "def make(params, generator):\n    yield {'a': [1]}\n    yield {'a': [0.5]}\n",
            ["tables of different columns: {'a': 'BIGINT'}, {'a': 'DOUBLE'}"],
        ),
        (
            "def make(params, generator):\n    yield {'a': [1]}\n    yield {'b': [1]}\n",
            ["tables of different columns: {'a': 'BIGINT'}, {'b': 'BIGINT'}"],
        ),
    ],
)
def test_what_goes_wrong_is_said_in_one_line_that_leads_to_it(tmp_path, text, words):
    with pytest.raises(UserError) as error:
        made(tmp_path, text)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_many_small_pieces_are_as_good_as_one(tmp_path):
    whole = "def make(params, generator):\n    yield {'a': np.arange(5000)}\n"
    parts = (
        "def make(params, generator):\n    for i in range(0, 5000, 100):\n        yield {'a': np.arange(i, i + 100)}\n"
    )
    files = []
    for i, text in enumerate((whole, parts)):
        Path(tmp_path, str(i)).mkdir()
        made(tmp_path / str(i), text)
        rows = generator.read(tmp_path / str(i) / "mine.py", None, seeded(1), tmp_path / str(i), list)
        duck.copy(rows.in_order, tmp_path / f"{i}.parquet", 2048, "")
        files.append((tmp_path / f"{i}.parquet").read_bytes())
    assert files[0] == files[1]
    assert pq.read_table(tmp_path / "0.parquet").equals(pa.table({"a": pd.Series(range(5000))}))
