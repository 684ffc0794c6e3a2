"""Folds: every row in one, balanced, whole groups, blocks of time in order; a replica's own, whatever trains."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import stored
from sklearn.model_selection import KFold, StratifiedKFold

from plumbline.basics.errors import UserError
from plumbline.basics.params import Split
from plumbline.tables import folds
from plumbline.tables.store import Facts


def part(y, count, stratify=False, group=None, time=None, **columns):
    classes = sorted(set(y))
    split = Split(1.0, 0.0, count, stratify, group, time)
    facts = Facts("y", classes, [y.count(c) for c in classes], None, folds=split)
    return stored(pa.table({"y": y, **columns}), facts)


@pytest.mark.parametrize("n, count", [(10, 2), (11, 3), (103, 10)])
def test_folds_have_scikit_learns_sizes(n, count):
    fold_of = folds.of_replica(part([0, 1] * (n // 2) + [0] * (n % 2), count, stratify=n < 11), 42, 0)
    theirs = [len(test) for _, test in KFold(count).split(np.zeros(n))]
    assert np.bincount(fold_of).tolist() == theirs


def test_stratified_folds_have_each_class_as_scikit_learn_has():
    y = [0] * 50 + [1] * 33 + [2] * 7
    part_ = part(y, 5, stratify=True)
    for replica in range(3):
        fold_of = folds.of_replica(part_, 42, replica)
        ours = np.sort([np.bincount(np.array(y)[fold_of == k], minlength=3) for k in range(5)], axis=0)
        theirs = StratifiedKFold(5, shuffle=True, random_state=0).split(np.zeros(90), y)
        np.testing.assert_array_equal(ours, np.sort([np.bincount(np.array(y)[rows]) for _, rows in theirs], axis=0))


def test_replicas_draw_their_own_folds_and_always_the_same():
    part_ = part([0, 1] * 50, 5)
    first, again, other, seed = (folds.of_replica(part_, s, r) for s, r in [(42, 0), (42, 0), (42, 1), (43, 0)])
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (first != seed).any()
    # torch's own permutation, of the generator that "42/1/folds" seeds
    torch, hashlib = pytest.importorskip("torch"), pytest.importorskip("hashlib")
    drawn = int(hashlib.sha256(b"42/1/folds").hexdigest(), 16) & 0xFFFFFFFF
    order = torch.randperm(100, generator=torch.Generator().manual_seed(drawn)).numpy()
    assert other[order].tolist() == [i % 5 for i in range(100)]


@settings(max_examples=25)
@given(sizes=st.lists(st.integers(1, 40), min_size=4, max_size=30), replica=st.integers(0, 3))
def test_groups_stay_whole_and_no_fold_is_empty(sizes, replica):
    group = np.repeat(np.arange(len(sizes)), sizes).tolist()
    y = [0, 1] * (len(group) // 2) + [0] * (len(group) % 2)
    try:
        fold_of = folds.of_replica(part(y, 3, group="g", g=group), 42, replica)
    except UserError as error:
        assert "is in no row that" in str(error)  # a class of few rows may be in one group
        return
    assert all(len(set(fold_of[np.array(group) == g])) == 1 for g in set(group))
    rows = np.bincount(fold_of, minlength=3)
    assert rows.min() > 0 and rows.max() - rows.min() <= 2 * max(sizes)


@settings(max_examples=25)
@given(times=st.lists(st.integers(0, 30), min_size=12, max_size=60))
def test_blocks_of_time_follow_one_another(times):
    y = [0, 1] * (len(times) // 2) + [0] * (len(times) % 2)
    try:
        fold_of = folds.of_replica(part(y, 4, time="t", t=times), 42, 0)
    except UserError as error:
        assert "empty" in str(error) or "is in no row that" in str(error)
        return
    times = np.array(times)
    assert sorted(set(fold_of)) == [-1, 0, 1, 2]
    for fold in range(3):
        trained = folds.trained_on(fold_of, fold, by_time=True)
        assert times[trained].max() < times[fold_of == fold].min()
    np.testing.assert_array_equal(fold_of, folds.of_replica(part(y, 4, time="t", t=times.tolist()), 42, 7))


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(UserError, match="leaves a fold empty"):
        folds.of_replica(part([0, 1, 0], 4), 42, 0)
    with pytest.raises(UserError, match="leaves a fold empty, for rows of the same 'g' stay together"):
        folds.of_replica(part([0, 1] * 10, 3, group="g", g=["a", "b"] * 10), 42, 0)
    with pytest.raises(UserError, match="class 1 of 'y' is in no row that the network of fold 3"):
        folds.of_replica(part([0] * 19 + [1], 4, stratify=True), 42, 0)
    with pytest.raises(UserError, match="a fold empty, for rows of the same 't'"):
        folds.of_replica(part([0, 1] * 10, 4, time="t", t=[1.5] * 20), 42, 0)
