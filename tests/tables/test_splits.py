"""Cuts of a permutation: every row once, no group or class where it must not be, the same rows as the first version."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import stored

from plumbline.basics.errors import UserError
from plumbline.basics.params import Split
from plumbline.tables import splits
from plumbline.tables.store import Facts


def shares(train, validation, **changes):
    return Split(
        **{"train": train, "validation": validation, "folds": 0, "stratify": False, "group": None, "time": None}
        | changes
    )


def parts_of(part_of, split):
    """The rows of each part; refused as by the stage when one has none."""
    splits.check(part_of, split)
    return [np.flatnonzero(part_of == i) for i in range(3)]


def test_sizes_are_rounded_down_and_the_rest_is_test():
    split, order = shares(0.5, 0.25), np.random.default_rng(0).permutation(11)
    part_of = splits.by_shares(order, split)
    splits.check(part_of, split)
    assert part_of[order].tolist() == [0] * 5 + [1] * 2 + [2] * 4


@pytest.mark.parametrize("n, given_shares", [(3, (0.2, 0.0)), (3, (0.5, 0.1)), (1, (0.5, 0.0))])
def test_a_part_without_rows_is_refused(n, given_shares):
    with pytest.raises(UserError, match="part has no rows"):
        parts_of(splits.by_shares(np.arange(n), shares(*given_shares)), shares(*given_shares))


@given(
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=6),
    train=st.floats(0.3, 0.8),
    validation=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 1000),
)
def test_stratified_parts_have_every_classes_share_and_every_row_once(counts, train, validation, seed):
    classes = np.repeat(np.arange(len(counts)), counts)
    order = np.random.default_rng(seed).permutation(len(classes))
    split = shares(train, validation, stratify=True)
    try:
        parts = parts_of(splits.by_class(order, classes, split), split)
    except UserError as error:
        assert "part has no rows" in str(error)
        return
    assert sorted(np.concatenate(parts)) == list(range(len(classes)))
    for c, count in enumerate(counts):
        n = [(classes[rows] == c).sum() for rows in parts]
        assert n[0] >= 1
        assert abs(n[0] - train * count) <= 1
        assert abs(n[1] - validation * count) <= 1


def test_of_a_class_the_permutations_first_rows_train():
    order, classes = np.random.default_rng(0).permutation(90), np.arange(90) % 3
    part_of = splits.by_class(order, classes, shares(0.5, 0.1, stratify=True))
    for c in range(3):
        assert part_of[order[classes[order] == c]].tolist() == [0] * 15 + [1] * 3 + [2] * 12


@given(groups=st.lists(st.integers(0, 12), min_size=5, max_size=200), seed=st.integers(0, 1000))
def test_a_group_is_never_on_two_sides(groups, seed):
    firsts, groups = np.unique(groups, return_index=True, return_inverse=True)[1:]
    order = np.random.default_rng(seed).permutation(len(groups))
    split = shares(0.6, 0.2, group="g")
    try:
        parts = parts_of(splits.by_group(order, firsts[groups], split), split)
    except UserError as error:
        assert "groups of 'g'" in str(error)
        return
    seen = [set(groups[rows]) for rows in parts]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    assert abs(len(parts[0]) - 0.6 * len(groups)) <= np.bincount(groups).max() / 2 + 1


def test_large_groups_are_not_trained_on_more_often():
    firsts = np.r_[np.zeros(50, int), np.arange(50, 100)]
    rng = np.random.default_rng(0)
    in_train = sum(
        splits.by_group(rng.permutation(100), firsts, shares(0.5, 0.0, group="g"))[0] == 0 for _ in range(400)
    )
    assert 0.4 < in_train / 400 < 0.6


@pytest.mark.parametrize("kind", ["text", "number", "float", "date", "bool"])
def test_groups_are_those_of_pandas(kind):
    drawn = np.random.default_rng(0).integers(0, 40, 1000)
    values = {
        "text": [f"it's {i}" for i in drawn],
        "number": drawn - 2**60,
        "float": drawn / 7,
        "date": [datetime.date(2020, 1, 1) + datetime.timedelta(days=int(i)) for i in drawn],
        "bool": drawn > 20,
    }[kind]
    found = splits.group_firsts(stored(pa.table({"who": values})), "who")
    np.testing.assert_array_equal(found, pd.Series(range(1000)).groupby(pd.Series(values)).transform("min"))


@pytest.mark.parametrize(
    "values",
    [
        pa.array([3, -1, 2**62, 2**62 + 1, 3]),
        pa.array([2**63 + 5, 2**63 + 4, 1], pa.uint64()),
        pa.array([0.5, -0.0, 0.0, float("inf"), -1e300]),
        pa.array([decimal.Decimal("1.05"), decimal.Decimal("-2.5"), decimal.Decimal("1.04")]),
        pa.array([datetime.date(2021, 1, 1), datetime.date(1930, 1, 1), datetime.date(2020, 12, 31)]),
        pa.array([10**18 + 1, 10**18, 5], pa.timestamp("ns")),
        pa.array([3, 2, 1], pa.timestamp("ms", "Europe/Berlin")),
        pa.array([datetime.time(3), datetime.time(1), datetime.time(2)]),
    ],
    ids=str,
)
def test_times_sort_as_the_values_do(values):
    times = splits.times(stored(pa.table({"t": values})), "t")
    python = values.to_pylist() if not pa.types.is_timestamp(values.type) else values.cast(pa.int64()).to_pylist()
    assert np.argsort(times, kind="stable").tolist() == sorted(range(len(values)), key=lambda i: python[i])


TABLE = {
    "who": [1, 2, 3, 4, 5, 6],
    "kind": list("ababab"),
    "gap": [1.0, 2, None, 4, float("nan"), 6],
    "truth": [True, False] * 3,
    "lists": [[1]] * 6,
    "times": pa.array([None, 1, 2, 3, 4, None], pa.timestamp("us")),
}


@pytest.mark.parametrize(
    "way, name, words",
    [
        (splits.group_firsts, "whom", ["split.group 'whom' is not a column", "did you mean 'who'?"]),
        (splits.group_firsts, "gap", ["split.group 'gap' is missing in 2 rows", "first in row 2", "fill it or drop"]),
        (splits.times, "when", ["split.time 'when' is not a column"]),
        (splits.times, "kind", ["split.time 'kind' holds text", "dates, times or numbers"]),
        (splits.times, "truth", ["split.time 'truth' holds boolean", "dates, times or numbers"]),
        (splits.times, "lists", ["split.time 'lists' holds bigint[]", "dates, times or numbers"]),
        (splits.times, "gap", ["split.time 'gap' is missing in 2 rows", "first in row 2"]),
        (splits.times, "times", ["split.time 'times' is missing in 2 rows", "first in row 0"]),
    ],
)
def test_a_column_that_cannot_split_is_refused(way, name, words):
    with pytest.raises(UserError) as error:
        way(stored(pa.table(TABLE)), name)
    for word in words:
        assert word in str(error.value)


def test_a_class_that_no_training_row_has_is_refused():
    facts = Facts("y", ["a", "b", "rare"], [19, 19, 2], None)
    with pytest.raises(UserError, match=r"class 'rare' of 'y' has 2 rows and none is in the training part.*stratify"):
        splits.check_classes(np.array([0, 1, 1]), facts)
    splits.check_classes(np.array([0, 2, 1]), facts)
