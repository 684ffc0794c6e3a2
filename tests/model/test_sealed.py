"""The model file refuses whatever train did not write: mutated bytes, and well-sealed files with senseless contents."""

import json
import pickle

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_model import saved

from plumbline.basics.errors import UserError
from plumbline.model import model, sealed


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('code ran on load')",)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "model.safetensors"
    saved(path)
    return path.read_bytes()


def loaded_or_refused(path, content):
    """The model in these bytes, or the message that refuses them by name; anything else raised fails the test."""
    path.write_bytes(content)
    try:
        return model.load(path)
    except UserError as error:
        assert str(path) in str(error)
        assert "dvc repro" in str(error)
        assert "\n" not in str(error)
        return str(error)


def header(**entries):
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Bomb()),
        b"PK\x03\x04" + bytes(100),
        header(),
        header(__metadata__={"plumbline": "[" * 100_000}),
        header(__metadata__={"plumbline": '{"sha256": "", "text": 1}'}),
        header(**{"net.0.weight": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 2**40]}}),
        header(**{"net.0.weight": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}),
        (2**63).to_bytes(8, "little") + b"{}",
        (2**20).to_bytes(8, "little") + b"{}",
    ],
)
def test_what_is_no_model_is_refused_and_runs_nothing(tmp_path, content):
    assert isinstance(loaded_or_refused(tmp_path / "model.safetensors", content), str)


def test_a_folder_under_the_name_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a model that train wrote"):
        model.load(tmp_path)


def test_any_altered_weight_is_refused(tmp_path, content):
    for back in (1, 50, 150):
        altered = bytearray(content)
        altered[-back] ^= 1
        assert "altered" in loaded_or_refused(tmp_path / "model.safetensors", bytes(altered))


@settings(max_examples=400)
@given(st.data())
def test_a_mutated_file_is_refused_or_loads_whole(tmp_path_factory, content, data):
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    cut = data.draw(st.integers(0, len(content)))
    until = data.draw(st.integers(cut, min(len(content), cut + 16)))
    found = loaded_or_refused(path, content[:cut] + data.draw(st.binary(max_size=16)) + content[until:])
    if not isinstance(found, str):
        whole = loaded_or_refused(path, content)
        assert found.card == whole.card
        for name, array in whole.weights.items():
            np.testing.assert_array_equal(found.weights[name], array)


@settings(max_examples=100)
@given(st.data())
def test_a_sealed_file_with_other_arrays_is_refused_by_name(tmp_path_factory, content, data):
    path = tmp_path_factory.getbasetemp() / "sizes.safetensors"
    path.write_bytes(content)
    weights, text = sealed.read(path)
    name = data.draw(st.sampled_from(sorted(weights)))
    kind = data.draw(st.sampled_from([np.float32, np.float64, np.int32, np.bool_]))
    shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=4)))
    value = data.draw(st.sampled_from([0.0, np.inf, np.nan] if kind in (np.float32, np.float64) else [0]))
    sealed.write(path, weights | {name: np.full(shape, value, kind)}, text)
    assert name in loaded_or_refused(path, path.read_bytes())


def test_a_text_that_is_not_utf_8_is_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    weights, text = sealed.read(path)
    with pytest.raises((UnicodeDecodeError, msgspec.MsgspecError)):
        sealed.write(path, weights, text.replace(b"class", b"\xff\xff"))


def test_arrays_are_what_they_were_however_they_lie_in_memory(tmp_path):
    whole = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    given = {
        "turned": whole.T,
        "every second": whole[:, :, ::2],
        "last": whole[:, -1],
        "one": np.float32(3).reshape(()),
    }
    sealed.write(tmp_path / "arrays", given, b"{}")
    found, _ = sealed.read(tmp_path / "arrays")
    for name, array in given.items():
        np.testing.assert_array_equal(found[name], array)
