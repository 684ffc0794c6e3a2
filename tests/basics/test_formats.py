"""An edited YAML file: its other values, its comments and its order stay."""

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from plumbline.basics.formats import edited_yaml, flat, read_yaml

PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(0, 99), st.just(0.0001), st.sampled_from(["a", "no", "1", "a: b", ""])
)
LISTS = st.lists(st.sampled_from(["a", "b c", "1", "no"]), max_size=3)


@given(st.lists(st.tuples(LISTS, VALUES, VALUES), min_size=1, max_size=4))
def test_edits_one_after_the_other_change_what_they_name_alone(edits):
    text, wanted = PARAMS, flat(read_yaml(PARAMS.encode(), "it"))
    for drop, noise, train in edits:
        values = {"make_data.drop": drop, "make_data.classes": noise, "split.train": train}
        text, wanted = edited_yaml(text, values), wanted | values
        assert flat(read_yaml(text.encode(), "it")) == wanted
        assert [line.partition("#")[2] for line in text.splitlines() if "  # " in line] == [
            line.partition("#")[2] for line in PARAMS.splitlines() if "  # " in line
        ]


@pytest.mark.parametrize(
    "before", ["drop: [a]", "drop: [a]  # c", "drop:\n  - a", "drop:\n  - a  # c\n  - b", "drop:\n  # c\n  - a"]
)
@pytest.mark.parametrize("after", [[], ["x"], None])
def test_a_list_in_any_style_becomes_another_value(before, after):
    text = f"one:\n  {before}\n\ntwo:\n  three: 1\n"
    edited = edited_yaml(text, {"one.drop": after})
    assert read_yaml(edited.encode(), "it") == {"one": {"drop": after}, "two": {"three": 1}}
