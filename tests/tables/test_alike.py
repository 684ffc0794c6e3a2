"""Texts that are nearly equal."""

from plumbline.tables import columns


def test_texts_that_differ_in_case_spaces_or_composition_are_named_with_their_rows():
    counts = {
        "Paris": 90,
        "paris ": 3,
        "PARIS": 5,
        "Caf\u00e9": 4,
        "Cafe\u0301": 2,
        "Straße": 1,
        "STRASSE": 1,
        "New  York": 2,
    }
    counts |= {"New York": 7, "Rome": 50, "cafe": 3}
    assert columns.alike(counts) == [
        "'Paris' (90 rows) and 'PARIS' (5 rows) and 'paris ' (3 rows)",
        "'New York' (7 rows) and 'New  York' (2 rows)",
        "'Café' (4 rows) and 'Cafe\\u0301' (2 rows)",
        "'STRASSE' (1 rows) and 'Straße' (1 rows)",
    ]
    assert columns.alike({"a": 5, "a\u200b": 2}) == ["'a' (5 rows) and 'a\\u200b' (2 rows)"]
    assert columns.alike({"a": 1, "b": 2}) == []
