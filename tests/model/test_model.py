import msgspec
import numpy as np
import pytest

from plumbline.basics.errors import UserError
from plumbline.bits import initial, rows, scoring, stream
from plumbline.model import model, sealed
from plumbline.model.network import SHIPPED
from plumbline.tables.fitted import Category, Encoding, LeftOut, Number


def saved(path, classes=2, **changes):
    k = initial.outputs_for(classes)
    weights = initial.weights([stream.seeded(r) for r in range(3)], 4, 5, k) | changes
    number = Number("x é", "number", -1e300, 0.1, 1 / 3, 1e-20, 0.5, 2 / 7, marks_missing=True)
    columns = [number, Category("c", ["a"], pools_others=True, marks_missing=False)]
    encoding = Encoding(columns, [LeftOut("id", "an identifier")])
    card = model.Card("y", [f"class {c}" for c in range(classes)], [1] * classes, encoding, SHIPPED, 5)
    model.save(weights, card, path)
    return weights, card


def encoded_rows(n):
    """Rows of its encoding: a number, whether it is missing, and one of three categories, of which one has no input."""
    x = stream.normal(stream.seeded(9), 3 * n).reshape(n, 3)
    x[:, 2] = np.arange(n) % 3
    return x


@pytest.mark.parametrize("classes", [2, 3])
def test_what_is_saved_is_loaded(tmp_path, classes):
    weights, card = saved(tmp_path / "model.safetensors", classes)
    loaded = model.load(tmp_path / "model.safetensors")
    assert loaded.card == card
    assert loaded.card.sizes == (4, 5, initial.outputs_for(classes))
    x = encoded_rows(10)
    expected = scoring.probabilities(rows.expand(x, card.encoding.layout), weights)
    np.testing.assert_array_equal(loaded.probabilities(x), expected)
    np.testing.assert_array_equal(loaded.first().probabilities(x, 3), expected[:1])
    for name, array in weights.items():
        np.testing.assert_array_equal(loaded.weights[name], array)


def test_the_same_model_has_the_same_bytes(tmp_path):
    for name in "ab":
        saved(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"net.0.bias": np.zeros((3, 6), np.float32)}, ["net.0.bias", "(3, 6)", "(3, 5)"]),
        ({"net.2.bias": np.zeros((2, 1), np.float32)}, ["net.2.bias", "(2, 1)", "(3, 1)"]),
        ({"net.0.weight": np.zeros((3, 5, 4))}, ["net.0.weight", "float64"]),
        ({"net.0.weight": np.zeros((5, 4), np.float32)}, ["net.0.weight", "(5, 4)"]),
        ({"net.2.weight": np.full((3, 1, 5), np.nan, np.float32)}, ["net.2.weight", "not finite"]),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path, changes, words):
    saved(tmp_path / "model.safetensors", **changes)
    with pytest.raises(UserError) as error:
        model.load(tmp_path / "model.safetensors")
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ["a", "a"]},
        {"classes": ["a"], "train_counts": [1]},
        {"classes": ["a", 1]},
        {"classes": [1, 1.5]},
        {"classes": [0, True]},
        {"classes": []},
        {"classes": [None, "a"]},
        {"classes": ["a", ["b"]]},
        {"classes": ["a", "b", "c"], "train_counts": [1] * 3},
        {"train_counts": [1]},
        {"train_counts": [1, -1]},
        {"positive": "c"},
    ],
)
def test_a_card_with_senseless_classes_is_refused_in_one_line(tmp_path, changes):
    path = tmp_path / "model.safetensors"
    weights, card = saved(path)
    sealed.write(path, weights, msgspec.json.encode(msgspec.to_builtins(card) | changes))
    with pytest.raises(UserError, match=r"^[^\n]*(class|train_counts|net\.2)[^\n]*; run `dvc repro`$"):
        model.load(path)


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff" * 100, b"\x80\x04K\x01."])
def test_what_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"is not a model that train wrote.*dvc repro"):
        model.load(path)


def test_a_missing_model_says_how_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"dvc checkout"):
        model.load(tmp_path / "none.safetensors")
