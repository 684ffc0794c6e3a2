import json
import math

import pytest

from stages import files


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file.json"
    files.write_json({"old": 1}, path)
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


def test_metrics_are_finite_or_not_written(tmp_path):
    path = tmp_path / "file.json"
    with pytest.raises(ValueError, match="JSON"):
        files.write_json({"a": math.nan}, path)
    assert not path.exists()


def test_six_digits():
    values = {"a": 0.123456789, "b": {"c": 123456789.0, "d": 7}, "e": "text", "f": 1e-300, "g": True}
    rounded = {"a": 0.123457, "b": {"c": 123457000.0, "d": 7}, "e": "text", "f": 1e-300, "g": True}
    assert files.six_digits(values) == rounded


def test_csv_has_one_line_end_everywhere(tmp_path):
    path = tmp_path / "file.csv"
    files.write_csv(("a", "b, c"), [(1, 0.1234567), ("x\ny", 2.0)], path)
    assert path.read_bytes() == b'a,"b, c"\n1,0.123457\n"x\ny",2.0\n'
