"""What is said of two versions of a file, in each of the kinds that stages write."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from plumbline.comparing.apart import difference

KINDS = ("safetensors", "json", "csv", "parquet")


def write_parquet(path, a, b):
    lists = [list(pair) for pair in zip(b[::2], b[1::2])]
    pq.write_table(pa.table({"a": a, "b": pa.array(lists, pa.list_(pa.float32()))}), path)


@pytest.mark.parametrize(
    "change, said",
    [
        (([1, 2, 3], [0, 0, 0, 0, 0, 0]), "the contents are the same"),
        (([1, 5, 3], [0, 0, 0, 0, 0, 0]), "column a differs in 1 of 3 values, 1 of 3 rows by at most 3"),
        (([1, None, 3], [0, 0, 0, 0, 0, 0]), "column a differs in 1 of 3 values, 1 of 3 rows"),
        (([1, 2, 3], [0, 0, 1, 2, 0, 0.5]), "column b differs in 3 of 6 values, 2 of 3 rows by at most 2"),
        (([1, 2], [0, 0, 0, 0]), "column a has shape (3,), now (2,)"),
    ],
)
def test_tables_are_compared_by_rows_and_columns(tmp_path, change, said):
    write_parquet(tmp_path / "old.parquet", [1, 2, 3], [0] * 6)
    write_parquet(tmp_path / "new.parquet", *change)
    assert said in difference(tmp_path / "old.parquet", tmp_path / "new.parquet")


def test_parameters_figures_and_texts_are_compared(tmp_path):
    for name, value in (("old", 1.0), ("new", 1.5)):
        save_file({"w": np.array([[0, value]], np.float32)}, tmp_path / f"{name}.safetensors")
        (tmp_path / f"{name}.json").write_text(f'{{"a": {{"b": {value}}}, "{name}": 1}}')
        (tmp_path / f"{name}.csv").write_text(f"x,y\n1,{name}\n")
        (tmp_path / f"{name}.parquet").write_text("junk")
    said = {kind: difference(tmp_path / f"old.{kind}", tmp_path / f"new.{kind}") for kind in KINDS}
    assert said["safetensors"] == "array w differs in 1 of 2 values, 1 of 1 rows by at most 0.5"
    assert "figure a.b differs in 1 of 1 values, 1 of 1 rows by at most 0.5" in said["json"]
    assert "figure new is only in the new one" in said["json"]
    assert said["csv"] == "column y differs in 1 of 1 values, 1 of 1 rows"
    assert "cannot be read" in said["parquet"]
