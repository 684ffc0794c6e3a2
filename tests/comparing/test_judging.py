"""What is concluded from two revisions, or from several: on rows made for it, without git or DVC."""

import hashlib

import numpy as np
import pytest

from plumbline.basics.errors import UserError
from plumbline.comparing import judging, words
from plumbline.comparing.lock import Stage
from plumbline.comparing.result import Changes, Side
from plumbline.comparing.revisions import Revision
from plumbline.scores import intervals, metrics
from plumbline.scores.differences import Difference, Rows


@pytest.fixture(autouse=True)
def unchanged(monkeypatch):
    """There is no git to ask here."""
    monkeypatch.setattr(judging.revisions, "changes", lambda *_: Changes({}, {}, [], []))


def verdict(result):
    return " ".join(words.sentences(result))


def revision(
    name, probability, target, rows=None, part="test", classes=(0, 1), patience=0, held_out=0.0, group=None, fold=None,
    split=None,
):  # fmt: skip
    """A revision with one part; probability: (R, n) of the second class."""
    row, probability = np.arange(len(target)) if rows is None else np.array(rows), np.array(probability, np.float32)
    scored = Rows(probability[..., None], np.array(target), 1, group, fold, row)
    params = {"params.yaml": {"train": {"patience": patience, "held_out": held_out}, "split": split or {}}}
    mark = hashlib.sha256(probability).hexdigest()
    stages = {"train": Stage("", params, {}, {})}
    side = Side(name, None, None, len(probability), {})
    return Revision(side, None, list(classes), {part: scored}, stages, mark, "", "")


def sides(better=(0.0,), n=300, networks=4, target=None, names="base other third fourth", **about):
    """A base and others that are so much better, on the same rows."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, n) if target is None else np.array(target)
    shared = rng.normal(size=len(target))
    made = []
    for name, skill in zip(names.split(), (0.0, *better)):
        z = (2 * target - 1) * (1.0 + skill) + shared + 0.3 * rng.normal(size=(networks, len(target)))
        made.append(revision(name, 1 / (1 + np.exp(-z)), target, **about))
    return made


def with_parts(side, *parts):
    """The same with its rows as each of these parts."""
    (own,) = side.parts.values()
    return side._replace(parts=dict.fromkeys(parts, own))


# ---- which rows judge


def test_rows_that_no_choice_has_seen_judge():
    base, other = sides()
    watching = other._replace(stages=sides(patience=3)[0].stages)
    holding_out = other._replace(stages=sides(patience=3, held_out=0.1)[0].stages)
    unknown = other._replace(stages={})

    def chosen(*sides, parts, asked=None):
        return judging.part_of([with_parts(side, *parts) for side in sides], asked)

    assert chosen(base, other, parts=["out-of-fold", "validation", "test"])[0] == "out-of-fold"
    assert chosen(base, other, parts=["validation", "test"]) == (
        "validation",
        "the test part stays for a last look, --part test",
    )
    assert chosen(base, holding_out, parts=["validation", "test"])[0] == "validation"
    stopped = "networks of other stopped by the validation part"
    assert chosen(base, watching, parts=["validation", "test"]) == ("test", stopped)
    assert chosen(base, unknown, parts=["validation", "test"])[1].startswith("networks of other may have stopped")
    assert chosen(base, other, parts=["test"]) == ("test", "there is no validation part")
    assert chosen(base, unknown, parts=["validation"]) == ("validation", "there is no other part")
    assert chosen(base, other, parts=["validation", "test"], asked="test") == ("test", "as asked for")
    with pytest.raises(UserError, match="base has no validation part, only test; choose another --part"):
        chosen(base, other, parts=["test"], asked="validation")


def test_parts_that_one_side_has_not_do_not_judge():
    base, other = sides()
    assert judging.judge(base, with_parts(other, "validation", "test")).part == "test"
    with pytest.raises(UserError, match="no verdict: base and other have no part in common"):
        judging.judge(base, with_parts(other, "validation"))
    ranked = judging.rank(base, [other, with_parts(sides()[1], "validation", "test")._replace(mark="x")])
    assert ranked.left_out == {"other": "its parts are validation, test, and those of base test"}


def test_other_rows_labels_and_classes_are_refused():
    base, other = sides()
    (part,) = other.parts.values()
    with pytest.raises(UserError, match="figures over different classes cannot be compared"):
        judging.judge(base, other._replace(classes=["a", "b"]))
    away = other._replace(parts={"test": part._replace(row=part.row + 7)})
    with pytest.raises(UserError, match=r"^no verdict: base and other were scored on different test rows \(14 are"):
        judging.judge(base, away)
    target = part.target.copy()
    target[3] = 1 - target[3]
    flipped = other._replace(parts={"test": part._replace(target=target)})
    with pytest.raises(UserError, match=r"1 of 300 test rows have another label in other than in base \(row 3"):
        judging.judge(base, flipped)


# ---- out-of-fold rows


def cross_fitted(better=(0.5,), count=5, networks=4, n=300, **about):
    """Sides of networks that each have their own folds of the rows."""
    fold = np.stack([np.random.default_rng(r).permutation(n) % count for r in range(networks)])
    split = {"folds": count, "train": 1.0}
    return sides(better, n, networks, part="out-of-fold", fold=fold, split=split, **about)


def test_out_of_fold_rows_judge_and_each_fold_is_ranked_apart():
    from sklearn.metrics import roc_auc_score

    base, other = cross_fitted()
    result = judging.judge(base, other)
    assert (result.part, result.rows, result.networks, result.notes) == ("out-of-fold", 300, 4, [])
    said = (
        "300 out-of-fold rows (scored by networks that did not train on them), the configuration's mean over 4 replicas"
    )
    assert words.about(result).startswith(said)
    scored, auc = other.parts["out-of-fold"], next(d for d in result.entries[0].judged if d.metric == "roc_auc")
    each = [
        roc_auc_score(scored.target[own == f], p[own == f])
        for p, own in zip(scored.probability[..., 0], scored.fold)
        for f in range(5)
    ]
    assert auc.other == pytest.approx(np.mean(each))
    assert judging.judge(base, other, "roc_auc").entries[0].figure.value == pytest.approx(np.mean(each))
    together = judging.judge(base, other, "roc_auc", "ensemble").entries[0].figure.value
    assert together == pytest.approx(roc_auc_score(scored.target, metrics.ensemble(scored.probability)[:, 0]))

    ranked = judging.rank(base, [other])  # no test part: nothing to look at last
    assert (ranked.part, ranked.last_look) == ("out-of-fold", None)
    assert "with a smaller split.train the test part stays" in words.last_look(ranked)
    looked = judging.rank(base, [other._replace(parts={**other.parts, "test": sides([0.5])[1].parts["test"]})])
    assert looked.left_out == {"other": "its parts are out-of-fold, test, and those of base out-of-fold"}


def test_networks_of_other_folds_are_not_paired_and_the_change_of_the_split_is_told():
    base, _ = cross_fitted()
    for other, told in [
        (cross_fitted(count=10)[1], ", for split.folds: 5 -> 10"),
        (cross_fitted()[1]._replace(parts=sides(part="out-of-fold")[1].parts), ""),
    ]:
        with pytest.raises(
            UserError, match=f"^no verdict: base and other have other folds{told}; bring both to the same"
        ):
            judging.judge(base, other)
        assert judging.rank(base, [other]).left_out.keys() == {"other"}
    fewer = cross_fitted(networks=3)[1]  # whose folds are those of the first three
    assert judging.judge(base, fewer).notes == ["3 to 4 networks: the first 3 of each are compared"]
    plain = sides(split={"folds": 0, "train": 0.8})[1]
    with pytest.raises(
        UserError, match=r"base and other have no part in common, for split.folds: 5 -> 0, split.train: 1.0"
    ):
        judging.judge(base, plain)
    base = base._replace(parts={**base.parts, "test": plain.parts["test"]})
    assert judging.judge(base, plain).why == "other has no out-of-fold rows"


def test_the_model_files_network_is_not_judged_by_rows_that_it_trained_on():
    base, other = cross_fitted()
    for asked in (None, "out-of-fold"):
        with pytest.raises(
            UserError, match=r"^the model file's network trained on the out-of-fold rows; choose --of mean"
        ):
            judging.judge(base, other, of="network", part=asked)
    tested = [
        side._replace(parts={**side.parts, "test": plain.parts["test"]})
        for side, plain in zip((base, other), sides([0.5]))
    ]
    result = judging.judge(*tested, of="network")
    assert (result.part, result.why) == ("test", "the model file's network trained on the out-of-fold rows")
    assert judging.judge(*tested).part == "out-of-fold"
    assert judging.judge(*tested, part="test").part == "test"
    assert judging.rank(tested[0], tested[1:]).last_look.rows == 300


def test_a_class_that_a_fold_lacks_or_has_once_leaves_no_verdict_by_rank():
    target = np.r_[np.ones(11, int), np.zeros(289, int)]
    fold = np.tile(np.arange(300) % 5, (4, 1))
    few = sides([1.0], target=target, part="out-of-fold", fold=fold)
    found = {d.metric: d for d in judging.judge(*few).entries[0].judged}
    assert found["roc_auc"].verdict != "no verdict"  # two in every fold
    fold[2, 0] = 1
    fold[2, 5] = 2
    once = {d.metric: d for d in judging.judge(*few).entries[0].judged}["roc_auc"]
    assert (once.verdict, once.why) == ("no verdict", "folds with 1 row of a class, and 2 are needed")
    fold[2, 10] = 3
    assert "roc_auc" not in {d.metric for d in judging.judge(*few).entries[0].judged}
    together = {d.metric: d for d in judging.judge(*few, of="ensemble").entries[0].judged}["roc_auc"]
    assert together.why == "" and together.low < together.difference < together.high  # all rows are ranked together


def test_what_more_rows_to_train_on_brought_is_a_sentence(monkeypatch):
    half, whole = cross_fitted([1.0])

    def said(base, other, **params):
        found = Changes({"train.fold_rows": (0.5, 1.0) if base is half else (1.0, 0.5)} | params, {}, [], [])
        monkeypatch.setattr(judging.revisions, "changes", lambda *_: found)
        return judging.judge(base, other).entries[0].judged[1], words.sentences(judging.judge(base, other))[-1]

    d, grown = said(half, whole)
    expected = (
        f"log_loss {d.base:.4f} -> {d.other:.4f}, {d.difference:+.4f} (95 % interval {d.low:+.4f} to {d.high:+.4f})"
    )
    assert d.high < 0
    assert grown == f"2 times the rows to train on: {expected}; more rows are likely to help."
    assert said(whole, half)[1] == grown
    assert said(half, half._replace(mark="b"))[1].endswith("exactly what base does.")
    assert "rows to train on" not in said(half, whole, **{"train.epochs": (1, 2)})[1]


# ---- two revisions


def test_the_metrics_and_the_one_that_was_asked_for_first():
    base, other = sides([0.5])
    result = judging.judge(base, other)
    assert [d.metric for d in result.entries[0].judged] == ["accuracy", "log_loss", "roc_auc", "brier"]
    result = judging.judge(base, other, "average_precision")
    assert [d.metric for d in result.entries[0].judged][:2] == ["average_precision", "accuracy"]
    assert result.metric == "average_precision"
    with pytest.raises(UserError, match="roc_auc is not defined on the test part of base; choose a --metric of accura"):
        judging.judge(*sides(target=[1] * 30), "roc_auc")
    assert [d.metric for d in judging.judge(*sides(target=[1] * 30)).entries[0].judged] == [
        "accuracy",
        "log_loss",
        "brier",
    ]


def test_a_mean_a_network_and_an_ensemble_are_three_things():
    from sklearn.metrics import log_loss

    base, other = sides([0.5])
    p, target = other.parts["test"].probability[..., 0].astype(float), other.parts["test"].target
    expected = {
        "mean": np.mean([log_loss(target, each) for each in p]),
        "network": log_loss(target, p[0]),
        "ensemble": log_loss(target, p.mean(axis=0)),
    }
    for of, value in expected.items():
        result = judging.judge(base, other, "log_loss", of)
        d, entry = result.entries[0].judged[0], result.entries[0]
        assert d.other == pytest.approx(value, abs=1e-6)
        assert entry.figure.value == pytest.approx(value, abs=1e-6)
        assert entry.figure.low < value < entry.figure.high
        assert d.low < d.difference < d.high < 0
        assert (result.of, d.verdict) == (of, "better")
    assert "mean over 4 networks" in words.about(judging.judge(base, other))
    assert "the model file's network" in words.about(judging.judge(base, other, of="network"))
    assert "the ensemble of 4 networks" in words.about(judging.judge(base, other, of="ensemble"))


def test_more_networks_on_one_side_are_left_aside_for_a_mean():
    base, _ = sides()
    fewer = sides(networks=3)[1]
    result = judging.judge(base, fewer)
    assert result.networks == 3
    assert result.notes == ["3 to 4 networks: the first 3 of each are compared"]
    assert judging.judge(base, fewer, of="network").notes == []


def test_rows_in_groups_are_said():
    result = judging.judge(*sides(n=300, group=np.arange(300) // 6))
    assert (result.rows, result.groups) == (300, 50)
    assert words.about(result).startswith("300 test rows in 50 groups (there is no validation part)")


def test_a_difference_that_is_found_has_a_number_and_what_would_have_been_found():
    base, other = sides([1.0])
    said = verdict(judging.judge(base, other))
    d = words.lead(judging.judge(base, other))
    assert said.startswith("other is better than base in accuracy, log_loss, roc_auc and brier: accuracy 0.")
    assert f"{d.difference:+.4f} (95 % interval {d.low:+.4f} to {d.high:+.4f})" in said
    assert said.endswith(f"A true difference of {d.seen:.4f} would be found four times in five.")
    assert d.seen > (d.high - d.low) / 2
    assert verdict(judging.judge(other, base)).startswith("base is worse than other in accuracy")


def test_what_would_be_found_four_times_in_five_is():
    """By repetition: the truth is the number that was given, and so many intervals leave out 0."""
    rng = np.random.default_rng(1)

    def told(truth):
        d = rng.normal(truth, 0.2, 200) + rng.normal(0, 0.008, (8, 1)) + rng.normal(0, 0.1, (8, 200))
        estimate = intervals.estimate(d)
        return judging._judged(Difference("accuracy", 0, 0, estimate.mean, *estimate.student(), "better", estimate))

    seen = np.mean([told(0.0).seen for _ in range(200)])
    assert 0.74 < np.mean([told(seen).low > 0 for _ in range(400)]) < 0.86


def test_luck_lies_in_rows_here_and_more_of_them_would_help():
    d = words.lead(judging.judge(*sides(n=200, networks=8)))
    assert d.verdict == "no evidence"
    assert d.by_rows > 0.6
    assert d.twice_rows < 0.8
    assert d.twice_networks <= 1.0
    assert d.rows_needed > 200
    lines = words.luck(d)
    assert lines[0].startswith(
        f"luck in accuracy: {d.by_rows:.0%} from the rows, {1 - d.by_rows:.0%} from seeds; twice"
    )
    more = words.two_digits(d.rows_needed)
    assert lines[1] == f"about {more:,} rows would tell a difference of {abs(d.difference):.4f} from none"


def test_too_few_networks_or_rows_of_a_class_get_no_verdict_and_the_reason():
    said = verdict(judging.judge(*sides([1.0], networks=2)))
    assert said.startswith(
        "No verdict on other beside base, for there are 2 networks, and 3 are needed to tell how seeds differ: "
    )
    result = judging.judge(*sides([1.0], target=[1] * 3 + [0] * 97))
    assert {d.metric: d.verdict for d in result.entries[0].judged}["roc_auc"] == "no verdict"
    assert {d.metric: d.why for d in result.entries[0].judged}["roc_auc"] == "3 rows of a class, and 5 are needed"


# ---- several


def test_experiments_stand_beside_their_base_best_first():
    base, *others = sides([1.0, -0.5, 0.9])
    result = judging.rank(base, others, "log_loss")
    assert [entry.side.name for entry in result.entries][:2] == ["other", "fourth"]
    assert [entry.side.name for entry in result.entries][2:] == ["base", "third"]
    values = [entry.figure.value for entry in result.entries]
    assert values == sorted(values)
    by_name = {entry.side.name: entry for entry in result.entries}
    assert by_name["base"].judged == []
    assert not by_name["third"].is_among_best
    assert by_name["third"].judged[0].verdict == "worse"
    assert by_name["other"].is_among_best
    assert result.luck >= 0
    assert (result.part, result.last_look) == ("test", None)


def test_the_winners_last_look_is_at_the_test_part():
    from sklearn.metrics import accuracy_score

    base, other = (with_parts(side, "validation", "test") for side in sides([1.0]))
    result = judging.rank(base, [other])
    assert result.part == "validation"
    scored = other.parts["test"]
    expected = np.mean([accuracy_score(scored.target, p >= 0.5) for p in scored.probability[..., 0]])
    assert result.last_look.value == pytest.approx(expected)
    assert result.last_look.low < expected < result.last_look.high
    assert words.last_look(result).startswith(f"other in the test part: accuracy {expected:.4f}, 95 % interval 0.")


def test_identical_runs_are_one_and_equal_figures_are_not():
    base, other = sides([1.0])
    again = other._replace(side=Side("again", None, None, 4, {}))
    as_base = base._replace(side=Side("as base", None, None, 4, {}))
    (part,) = other.parts.values()
    nearly = part._replace(probability=part.probability * np.float32(0.999))
    alike = other._replace(side=Side("alike", None, None, 4, {}), parts={"test": nearly}, mark="a")
    result = judging.rank(base, [other, again, as_base, alike])
    assert {entry.side.name: entry.same for entry in result.entries} == {
        "base": ["as base"],
        "other": ["again"],
        "alike": [],
    }
    assert judging.judge(other, again).entries[0].judged[0].verdict == "identical"
    assert judging.judge(other, alike, "accuracy").entries[0].judged[0].verdict == "no difference"
    assert verdict(judging.judge(other, again)) == "again predicts exactly what other does."


def test_what_cannot_stand_beside_the_base_is_left_out():
    base, other = sides()
    (part,) = other.parts.values()
    away = other._replace(side=Side("away", None, None, 4, {}), parts={"test": part._replace(row=part.row + 7)})
    strange = other._replace(side=Side("strange", None, None, 4, {}), classes=["a", "b"])
    alone = sides(networks=1, names="base alone")[1]
    result = judging.rank(base, [away, other, strange, alone], unread={"gone": "its predictions are nowhere"})
    assert {entry.side.name for entry in result.entries} == {"base", "other"}
    assert result.left_out.keys() == {"away", "strange", "alone", "gone"}
    assert "different test rows (14 are in one alone" in result.left_out["away"]
    assert result.left_out["alone"] == "1 of 4 networks are too few"
    with pytest.raises(UserError, match="there are no experiments over base"):
        judging.rank(base, [])


def test_only_runs_like_the_base_are_one_entry():
    base, _ = sides()
    result = judging.rank(base, [base._replace(side=Side("same", None, None, 4, {}))])
    assert [entry.same for entry in result.entries] == [["same"]]
    assert verdict(result).startswith("No experiment differs from base: accuracy 0.")
