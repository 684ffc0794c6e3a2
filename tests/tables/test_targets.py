"""Target statistics: held to their formula, and to what a row may not know."""

import math

import numpy as np
import pyarrow as pa
import pytest
from making import stored

from plumbline.bits import rows
from plumbline.tables import encoding, targets
from plumbline.tables.store import Facts

RARE = 80  # categories of some five rows each


def table(classes=2, seed=0, split_by=(), n=500):
    draws = np.random.default_rng(seed)
    city = draws.integers(0, RARE, n)
    city[: n // 5] = RARE  # a frequent one
    y = ((city * 7919 % 5 < 2) ^ (draws.random(n) < 0.2)).astype(int) if classes == 2 else city % classes
    names = [None if c == 3 else f"c{c}" for c in city]
    made = {"city": names, "x": draws.normal(size=n), "who": [f"w{i // 4}" for i in range(n)], "y": y}
    return made, Facts("y", [*range(classes)], [1] * classes, None, list(split_by))


def fitted(made, facts, setting="mixed"):
    part = stored(pa.table({name: made[name] for name in made if name != "who" or facts.split_by}), facts)
    return encoding.fit(part, setting), part


def statistics(code, x):
    (at,) = [i for i, column in enumerate(code.columns) if column.name == "city"]
    return x[:, code.places[at][: code.columns[at].statistics]]


@pytest.mark.parametrize("classes", [2, 3])
def test_a_new_row_has_what_the_training_rows_of_its_category_say(classes):
    made, facts = table(classes)
    code, _ = fitted(made, facts)
    new = {"city": ["c1", "c80", None, "never seen"], "x": [0.0] * 4, "y": [0] * 4}
    x = statistics(code, encoding.encode(code, stored(pa.table(new), facts)))
    assert x.shape[1] == targets.width(classes)
    y, n, known = np.array(made["y"]), len(made["y"]), code.columns[-1].values
    assert code.columns[-1].pools_others
    for row, city in zip(x, new["city"]):
        rare = city is not None and city not in known  # these share numbers, as they share an input
        own = np.array([c not in [*known, None] if rare else c == city for c in made["city"]])
        assert own.any()
        for c, value in zip([1] if classes == 2 else range(classes), row):
            q = ((y == c).sum() + 1) / (n + classes)
            p = ((y[own] == c).sum() + 10 * q) / (own.sum() + 10)
            assert value == pytest.approx(math.log(p / (1 - p)) - math.log(q / (1 - q)), abs=1e-6)
        assert row[-1] == pytest.approx(own.sum() / (own.sum() + 10))
    everyone, _ = fitted(made | {"city": [f"c{i % 100}" for i in range(500)]}, facts)
    x = statistics(everyone, encoding.encode(everyone, stored(pa.table(new), facts)))
    assert not everyone.columns[-1].pools_others and (np.abs(x[2:]) < 1e-9).all()


def test_no_training_row_knows_its_own_label_and_others_do():
    made, facts = table()
    code, part = fitted(made, facts)
    x = statistics(code, encoding.encode(code, part, trained=True))
    for row in range(0, 500, 61):
        other = made | {"y": made["y"].copy()}
        other["y"][row] ^= 1
        again = statistics(
            code_ := fitted(other, facts)[0], encoding.encode(code_, fitted(other, facts)[1], trained=True)
        )
        np.testing.assert_array_equal(again[row], x[row])
        assert (again != x).any()


def test_where_a_category_says_nothing_neither_do_its_numbers():
    """Counted on all rows they would tell each row's own label: a correlation of a quarter and more."""
    made, facts = table(n=4000)
    made["y"] = np.random.default_rng(5).integers(0, 2, 4000)
    code, part = fitted(made | {"city": [f"c{i % 1500}" for i in range(4000)]}, facts)
    honest, naive = (statistics(code, encoding.encode(code, part, trained)) for trained in (True, False))
    assert abs(np.corrcoef(honest[:, 0], made["y"])[0, 1]) < 0.06
    assert np.corrcoef(naive[:, 0], made["y"])[0, 1] > 0.5


def test_rows_that_the_split_keeps_together_are_in_one_fold():
    made, facts = table(split_by=["who"])
    _, part = fitted(made, facts)
    fold = targets.folds(part).reshape(-1, 4)
    assert (fold == fold[:, :1]).all()
    assert (np.bincount(fold[:, 0], minlength=targets.FOLDS) >= 15).all()


def test_members_of_one_view_see_categories_and_those_of_the_other_statistics_beside_the_frequent_ones():
    made, facts = table()
    code, part = fitted(made, facts)
    number, city = code.columns
    assert city.values[0] == "c80" and city.frequent == 1 and city.values[1:] == sorted(city.values[1:])
    second, _, first = code.views
    kinds = code.layout[:, 0]
    assert [*(kinds == rows.CODE)] == sorted(kinds == rows.CODE)
    assert {*code.layout[first, 2]} >= {city.codes} and {rows.SPLINE, rows.CODE} <= {*kinds[second]}
    assert code.layout[second][kinds[second] == rows.CODE, 2].tolist() == [1]
    x = encoding.encode(code, part)
    for view in (first, second):
        rows.plan(code.layout, view)
    inputs = rows.expand(x, code.layout)
    beside = inputs[:, rows.inputs_of(code.layout, code.places[1][city.statistics :][:1])][:, 0]
    np.testing.assert_array_equal(beside == 1, [name == "c80" for name in made["city"]])
    assert inputs.shape[1] == code.width == number.width + city.width


@pytest.mark.parametrize("setting", ["robust", "raw"])
def test_only_mixed_has_them_and_only_where_many_are_rare(setting):
    made, facts = table()
    assert not any(getattr(column, "counts", None) for column in fitted(made, facts, setting)[0].columns)
    few = made | {"city": [f"c{i % 60}" for i in range(500)]}
    assert any(getattr(column, "counts", None) for column in fitted(few, facts)[0].columns)
    few["city"] = [f"c{i % 24}" for i in range(500)]
    assert not any(getattr(column, "counts", None) for column in fitted(few, facts)[0].columns)
