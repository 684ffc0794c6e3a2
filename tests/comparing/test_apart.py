"""What is said of two versions of a file, in each of the kinds that stages write."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from plumbline.comparing.apart import difference, says_the_same

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


FIGURES = {  # what is near, and what is not, of 200 rows
    "a.json": (
        '{"accuracy": 0.9, "log_loss": 0.3, "rows": 200}',
        '{"accuracy": 0.91, "log_loss": 0.3005, "rows": 200}',
    ),
    "b.csv": ("of,metric,value\nx,auc,0.9\nx,log_loss,0.3\n", "of,metric,value\nx,log_loss,0.3005\nx,auc,0.91\n"),
    "roc.csv": ("x,y\n0.0,0.0\n0.5,0.9\n1.0,1.0\n", "x,y\n0.0,0.0\n0.49,0.9\n0.7,0.96\n1.0,1.0\n"),
    "confusion.csv": ("actual,predicted,number of rows\n0,0,50\n", "actual,predicted,number of rows\n0,0,52\n"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_autograd_are_near_within_a_few_rows_and_a_thousandth_of_a_loss(tmp_path, name):
    old, new = tmp_path / f"old-{name}", tmp_path / f"new-{name}"
    forged = [
        ("0.91", "0.92"),
        ("0.3005", "0.302"),
        ("0.49,0.9", "0.49,0.1"),
        ("52", "54"),
        ("200", "201"),
        ("x,", "z,"),
    ]
    forged += [("auc", "f1"), ("}", ', "more": 1}')]
    old.write_text(FIGURES[name][0])
    new.write_text(FIGURES[name][1])
    assert says_the_same(old, new, 200)
    for this, other in forged:
        if this in FIGURES[name][1] and (name, this) != ("roc.csv", "x,"):
            new.write_text(FIGURES[name][1].replace(this, other))
            assert not says_the_same(old, new, 200), other
    new.write_text("no table")
    assert not says_the_same(old, new, 200)


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
