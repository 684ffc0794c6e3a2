"""A table larger than memory: the same bytes as without a limit, and nothing left on the disk."""

import hashlib

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import Workspace, assert_one_line

from plumbline.tables import store

STAGES = ("make_data", "split", "train", "evaluate")


def digests(workspace):
    files = [path for part in ("data", "models", "metrics") for path in workspace.path(part).rglob("*")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}


def mixed(n):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 4))
    x[rng.random(n) < 0.1, 1] = np.nan
    frame = pd.DataFrame(x, columns=list("abcd"))
    frame["kind"] = rng.choice(["x", "y", "z", None], n)
    frame["who"] = rng.integers(0, 300, n)
    frame["y"] = np.where(x[:, 0] > rng.normal(size=n), "no", np.where(x[:, 2] > 0, "yes", "maybe"))
    frame.loc[::97, "y"] = None
    return frame


@pytest.mark.parametrize("way", [{}, {"split__stratify": True}, {"split__group": "who"}, {"split__time": "c"}])
def test_a_limit_changes_no_byte(tmp_path, monkeypatch, way):
    monkeypatch.setattr(store, "ROWS", 2048)  # a row group: then 9,000 rows are a large table
    seen = []
    for name, limit in {"free": None, "tight": "1MiB"}.items():
        workspace = Workspace(tmp_path / name)
        monkeypatch.chdir(workspace.folder)
        mixed(9000).to_parquet("t.parquet", row_group_size=1300)
        workspace.set(make_data__source="t.parquet", split__train=0.6, split__validation=0.1, train__replicas=2)
        workspace.set(train__encoding="robust", train__epochs=2, evaluate__batch_size=1000, **way)
        if limit:
            monkeypatch.setenv("PLUMBLINE_MEMORY", limit)
        for stage in STAGES if not way else STAGES[:2]:
            workspace.run(stage)
        if not way:
            workspace.run("commands.predict", "t.parquet", "--output", "metrics/scored.parquet", "--ensemble")
        seen.append(digests(workspace))
        monkeypatch.delenv("PLUMBLINE_MEMORY", raising=False)
        assert not list(workspace.folder.rglob("*.scratch")) + list(workspace.folder.rglob("*.partial"))
    assert seen[0] == seen[1]
    assert len(seen[0]) == (4 if way else 24)


def test_predict_writes_the_same_bytes_on_any_number_of_threads(default, tmp_path):
    """Memory decides how many DuckDB has. In which vectors collected rows come must not: row groups end with them."""
    draws, found = np.random.default_rng(0).normal(size=(500_000, 10)), []
    pd.DataFrame(draws, columns=[f"x{i}" for i in range(10)]).to_parquet(tmp_path / "t.parquet")
    for memory in "2GiB", "300MiB":  # two threads where there are two cores, and one
        for keep in [], ["--keep", "x3"]:
            paths = [str(tmp_path / name) for name in ("t.parquet", "scored.parquet")]
            default.plumbline("predict", paths[0], "--output", paths[1], *keep, PLUMBLINE_MEMORY=memory)
            found.append(hashlib.sha256((tmp_path / "scored.parquet").read_bytes()).hexdigest())
            groups = pq.read_metadata(paths[1])
            assert [groups.row_group(i).num_rows for i in range(5)] == [122_880] * 4 + [8480]
    assert found[:2] == found[2:] and found[0] != found[1]


def test_a_senseless_limit_is_one_line(default):
    done = default.stage("split", fails=True, PLUMBLINE_MEMORY="lots")
    assert_one_line(done, "PLUMBLINE_MEMORY is 'lots'", "such as 2GB or 512MiB")
