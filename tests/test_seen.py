"""What the stages say of a table's columns: in two files, and on stderr where something is odd."""

import csv
import io

import numpy as np
import pandas as pd


def lines(workspace, name):
    return {row["column"]: row for row in csv.DictReader(io.StringIO(workspace.read(f"metrics/{name}.csv")))}


def test_the_notebooks_table_has_no_warning(workspace):
    assert "".join(done.stderr for done in workspace.repro()) == ""
    seen, tested = lines(workspace, "columns"), lines(workspace, "test_columns")
    assert list(seen) == [*(f"x{i}" for i in range(10)), "y"]
    assert list(tested) == ["(rows)", "y", *(f"x{i}" for i in range(10))]
    assert {row["warning"] for row in (*seen.values(), *tested.values())} == {""}
    assert sum(int(row["inputs"]) for row in seen.values()) == 10
    train = pd.read_parquet("data/train.parquet")
    ones = train["y"].mean()
    assert seen["y"]["values"] == f"0 ({1 - ones:.0%}), 1 ({ones:.0%})".replace("%", " %")


def test_what_is_odd_is_said_once_and_stands_in_the_files(workspace):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=300), "account_id": rng.integers(0, 90, 300)})
    frame["y"] = np.where(rng.random(300) < 0.5, "yes", "no")
    frame["paid"] = np.where(frame["y"] == "yes", "in full", "late")
    frame = pd.concat([frame, frame[:60]], ignore_index=True)
    frame.to_csv("odd.csv", index=False)
    workspace.set(make_data__source="odd.csv", train__replicas=2, train__epochs=2)
    *_, train, evaluate = workspace.repro()
    parts = [pd.read_parquet(f"data/{part}.parquet").drop(columns="_row") for part in ("train", "test")]
    repeated = parts[0].duplicated().sum()
    told = [line.split(";")[0] for line in train.stderr.splitlines()]
    assert told == [
        "warning: column 'paid' is nearly the target itself (ROC AUC 1.000 alone)",
        "warning: column 'account_id' is an identifier by its name, and taken as a measure: 86 different numbers",
        f"warning: {repeated} of {len(parts[0])} rows ({repeated / len(parts[0]):.0%}) repeat another row".replace(
            "%", " %"
        ),
    ]
    seen, tested = lines(workspace, "columns"), lines(workspace, "test_columns")
    assert [name for name, row in seen.items() if row["warning"]] == ["account_id", "paid", "(rows)"]
    assert [name for name, row in tested.items() if row["warning"]] == ["(rows)"]
    known = set(parts[0].itertuples(index=False, name=None))
    copies = sum(row in known for row in parts[1].itertuples(index=False, name=None))
    assert evaluate.stderr.startswith(f"warning: {copies} of {len(parts[1])} test rows (")
