"""Permutation importance: scikit-learn's on the same model and rows, and by simulation where the truth is known."""

import csv

import numpy as np
import pytest
from sklearn import metrics as sklearn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import permutation_importance

from plumbline.bits import initial, stream
from plumbline.explaining import importance
from plumbline.model import model, network
from plumbline.model.network import SHIPPED
from plumbline.tables.fitted import Category, Encoding, Number


def numbers(*names):
    return [Number(name, "number", -1.0, 1.0, 0.0, 0.0, 0.0, 1.0, marks_missing=False) for name in names]


def a_model(columns, networks=3, classes=2, h=6, seed=0):
    """Networks with weights as they are drawn, the first inputs' larger."""
    encoding = Encoding(columns)
    d, k = encoding.width, initial.outputs_for(classes)
    weights = initial.weights([stream.seeded(seed + r) for r in range(networks)], d, h, k)
    weights["net.0.weight"] *= np.linspace(6, 1, d).astype(np.float32)
    weights["net.2.weight"] *= 4
    return model.Model(weights, model.Card("y", list(range(classes)), [1] * classes, encoding, SHIPPED, h))


def some_rows(saved, n, seed=0):
    """Rows, and labels that are as probable as network 0 says."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, len(saved.card.encoding.layout))).astype(np.float32)
    p = saved.first().probabilities(x)[0].astype(float)
    p = np.concatenate([1 - p, p], axis=1) if p.shape[1] == 1 else p
    target = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return x, np.minimum(target, p.shape[1] - 1)


def measured(saved, x, target, columns):
    """The drops of so many columns of the encoded rows, by all of the networks."""
    asked = importance.chosen(saved, columns)
    return [importance.drop_of(each, pairs) for each, pairs in zip(asked, importance.changes(saved, x, target, asked))]


class Estimator(ClassifierMixin, BaseEstimator):
    """Network r as scikit-learn sees a classifier."""

    def __init__(self, saved, r):
        self.saved, self.r, self.classes_ = saved, r, np.arange(len(saved.card.classes))

    def fit(self, x, y):
        raise AssertionError("it is trained")

    def predict_proba(self, x):
        p = self.saved.probabilities(np.ascontiguousarray(x, np.float32))[self.r].astype(float)
        p = np.concatenate([1 - p, p], axis=1) if p.shape[1] == 1 else p
        return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3])
def test_drops_are_scikit_learns(classes):
    """The same rows and networks, and so many shuffles of its own that their mean is near."""
    saved = a_model(numbers("a", "b", "c"), classes=classes)
    x, target = some_rows(saved, 300)
    ours = measured(saved, x, target, 3)
    theirs = []
    for r in range(3):
        found = permutation_importance(
            Estimator(saved, r), x, target, scoring="neg_log_loss", n_repeats=40, random_state=0
        )
        theirs.append(found.importances_mean)
    assert [drop.column for drop in ours] == ["a", "b", "c"]
    for drop, mean in zip(ours, np.mean(theirs, axis=0)):
        assert drop.low < mean < drop.high
        assert drop.drop == pytest.approx(mean, abs=(drop.high - drop.low) / 4)
    assert ours[0].drop > 2 * ours[2].drop > 0


def test_a_drop_is_the_mean_over_its_shuffles_of_scikit_learns_log_loss():
    saved = a_model(numbers("a", "b"))
    x, target = some_rows(saved, 80)
    expected = []
    for r in range(3):
        network = Estimator(saved, r)
        before = sklearn.log_loss(target, network.predict_proba(x))
        for order in importance.shuffles(80):
            mixed = x.copy()
            mixed[:, 1] = x[order, 1]
            expected.append(sklearn.log_loss(target, network.predict_proba(mixed)) - before)
    assert measured(saved, x, target, 2)[1].drop == pytest.approx(np.mean(expected), rel=1e-5)


def test_all_inputs_of_a_column_go_together():
    """A number and its mark of missing rows, here each other's opposites; of a category one number is all."""
    marked = Number("b", "number", -1.0, 1.0, 0.0, 0.0, 0.0, 1.0, marks_missing=True)
    saved = a_model([*numbers("a"), marked, Category("c", ["p", "q", "r"], pools_others=False, marks_missing=False)])
    x, target = some_rows(saved, 60)
    x[:, 1] = np.arange(60) % 2
    x[:, 2] = 1 - x[:, 1]
    seen = []

    class Watching(model.Model):
        def probabilities(self, x, batch_size=4096):
            seen.append(x.copy())
            return super().probabilities(x, batch_size)

    drops = measured(Watching(*saved), x, target, 3)
    assert [drop.inputs for drop in drops] == [1, 2, 3]
    assert len(seen) == 1 + 3  # all shuffles of a column are scored together
    for shuffled in seen[2].reshape(importance.SHUFFLES, 60, 4):
        np.testing.assert_array_equal(shuffled[:, [0, 3]], x[:, [0, 3]])
        np.testing.assert_array_equal(shuffled[:, 1:3].sum(axis=1), 1)
        assert (shuffled[:, 1] != x[:, 1]).any()


def test_intervals_cover_about_as_often_as_they_say():
    """The truth is the drop on very many rows. Counted to the receiving row alone, 82 % of the intervals held it."""
    saved = a_model(numbers("a", "b"), networks=1)
    x, target = some_rows(saved, 100_000, seed=1)
    truth = measured(saved, x, target, 1)[0].drop
    covered = 0
    for seed in range(300):
        drop = measured(saved, *some_rows(saved, 100, seed=seed + 2), 1)[0]
        covered += drop.low <= truth <= drop.high
    assert 0.92 <= covered / 300 <= 0.995


def test_a_column_that_the_networks_do_not_use_drops_by_nothing():
    saved = a_model(numbers("a", "b"))
    saved.weights["net.0.weight"][:, :, 1] = 0.0
    drop = measured(saved, *some_rows(saved, 50), 2)[1]
    assert (drop.drop, drop.low, drop.high) == (0.0, 0.0, 0.0)


def test_drops_depend_on_no_order_of_sums():
    """Networks in another order add up in another order; the mean is the same to the last bit."""
    saved = a_model(numbers("a", "b"), networks=7)
    x, target = some_rows(saved, 90)
    losses = importance.losses(saved, x, target)
    assert losses.sum() == sum(losses[:, ::-1].ravel().tolist())
    np.testing.assert_array_equal(losses * importance.GRID, np.rint(losses * importance.GRID))


# ---- how much is done


@pytest.mark.parametrize(
    "columns, networks, h, rows, expected",
    [
        (10, 32, 32, 200, (200, 8, 10)),  # the notebook's
        (14, 4, 1024, 10_000, (8192, 4, 14)),
        (300, 4, 1024, 10**6, (512, 4, 43)),  # first fewer rows, then fewer columns
        (60, 4, 1024, 10**6, (1833, 4, 60)),
        (20_000, 4, 1024, 10**6, (512, 4, 1)),
    ],
)
def test_the_work_is_counted(columns, networks, h, rows, expected):
    encoding = Encoding(numbers(*(f"c{i}" for i in range(columns))))
    card = model.Card("y", [0, 1], [1, 1], encoding, SHIPPED, h)
    saved = model.Model({"net.0.bias": np.zeros((networks, h))}, card)
    work = importance.affordable(saved, rows)
    assert work == expected
    if work.columns > 1:
        products = importance.SHUFFLES * np.prod(work, dtype=float) * h * (columns + 1)
        assert products <= importance.MOST_WORK


def test_where_not_all_columns_are_asked_those_of_the_largest_weights_are():
    saved = a_model(numbers("a", "b", "c", "d"))
    x, target = some_rows(saved, 40)
    assert [drop.column for drop in measured(saved, x, target, 2)] == ["a", "b"]
    saved.weights["net.0.weight"][:, :, 3] *= 100
    assert [drop.column for drop in measured(saved, x, target, 2)] == ["d", "a"]


# ---- in the pipeline


def lines(workspace):
    with workspace.path("metrics/importance.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_stage_says_the_part_and_writes_the_largest_drop_first(workspace):
    workspace.set(train__replicas=2, split__train=0.6, split__validation=0.2)
    done = workspace.repro()[-1]
    assert lines(workspace) == []
    assert "importance" not in done.stdout
    workspace.set(evaluate__importance=True)
    done = workspace.run("evaluate")
    assert "importance of 10 columns on 200 validation rows, 2 networks" in done.stdout
    found = lines(workspace)
    assert tuple(found[0]) == importance.COLUMNS
    assert {line["column"] for line in found[:5]} == {f"x{i}" for i in range(5)}  # that the labels follow
    drops = [float(line["drop"]) for line in found]
    assert drops == sorted(drops, reverse=True)
    assert {(line["part"], line["rows"], line["networks"], line["inputs"]) for line in found} == {
        ("validation", "200", "2", "1")
    }
    report = workspace.run("commands.report").stdout.splitlines()
    start = report.index("What the model goes by") + 2  # below the names of columns
    assert [line.split()[0] for line in report[start : start + 5]] == [line["column"] for line in found[:5]]
    assert report[start + 5] == "and 5 more" and "200 validation rows" in report[start + 6]
    first = workspace.path("metrics/importance.csv").read_bytes()
    workspace.run("evaluate")
    assert workspace.path("metrics/importance.csv").read_bytes() == first


def test_a_validation_part_that_was_watched_does_not_decide(workspace):
    workspace.set(train__replicas=2, train__epochs=3, split__train=0.6, split__validation=0.2, train__patience=1)
    workspace.set(evaluate__importance=True)
    assert "on 200 test rows" in workspace.repro()[-1].stdout
    workspace.set(train__held_out=0.2)
    assert "on 200 validation rows" in [workspace.run(stage) for stage in ("train", "evaluate")][-1].stdout


def test_an_edited_network_has_its_importance(workspace, monkeypatch):
    monkeypatch.setattr(importance, "MOST_WORK", 2**21)
    monkeypatch.setattr(importance, "FEWEST_ROWS", 150)
    path = workspace.path(network.PATH)
    path.write_text(path.read_text().replace("nn.ReLU()", "nn.Tanh()"))
    workspace.set(train__replicas=1, train__epochs=5, evaluate__importance=True)
    done = workspace.repro()[-1]
    assert "importance of 7 columns on 150 test rows" in done.stdout
    assert "only the 7 of 10 columns with the first places in the table" in done.stdout
    assert {line["column"] for line in lines(workspace)} == {f"x{i}" for i in range(7)}
