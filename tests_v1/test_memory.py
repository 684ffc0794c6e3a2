"""The stages within a memory limit: the same bytes, and an end where nothing goes to the disk."""

import hashlib
import re
import resource
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import ENVIRONMENT, Project, assert_one_line
from test_row_groups import set_rows

MIB = 2**20
STAGES = ("make_data", "split", "train", "evaluate")


def digests(project):
    files = [path for part in ("data", "models", "metrics") for path in project.path(part).rglob("*")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}


def set_in_spill(project, old, new):
    text = project.read("stages/spill.py")
    assert old in text
    project.path("stages/spill.py").write_text(text.replace(old, new))


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


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory):
    """9,000 rows in groups of 2,000, three classes, robust encoding; tests only read it."""
    project = Project(tmp_path_factory.mktemp("memory") / "project")
    set_rows(project, 2000)
    mixed(9000).to_parquet(project.path("t.parquet"), row_group_size=1300)
    project.set(make_data__source="t.parquet", split__train=0.6, split__validation=0.1, train__encoding="robust")
    project.set(train__replicas=2, train__epochs=2, evaluate__batch_size=1000)
    return project


@pytest.mark.parametrize("way", [{}, {"split__stratify": True}, {"split__group": "who"}, {"split__time": "c"}])
def test_a_limit_changes_no_byte(in_memory, tmp_path, way):
    seen = []
    for name, limit in {"free": None, "tight": "420MiB"}.items():
        project = in_memory.copy(tmp_path / name)
        project.set(**way)
        if limit:  # all arrays go to the disk, and the smallest pieces through memory
            set_in_spill(project, "PIECES = 8", "PIECES = 80_000")
        for stage in STAGES if not way else STAGES[:2]:
            project.stage(stage, **({"PLUMBLINE_MEMORY": limit} if limit else {}))
        if not way:
            arguments = "t.parquet", "--output", "metrics/scored.parquet", "--ensemble"
            project.stage("predict", *arguments, **({"PLUMBLINE_MEMORY": limit} if limit else {}))
        seen.append(digests(project))
        assert not list(project.folder.rglob(".spill-*"))
    assert seen[0] == seen[1]
    assert len(seen[0]) == (4 if way else 16)


def limited(project, stage, megabytes):
    """Run a stage in a process that the system gives so much memory and no more."""
    return subprocess.run(
        [sys.executable, "-m", f"stages.{stage}"],
        cwd=project.folder,
        env=ENVIRONMENT | {"OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (megabytes * MIB,) * 2),
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_a_table_that_does_not_fit_goes_through_the_disk_and_without_it_the_process_ends(project, tmp_path):
    """split and evaluate of 4 million rows where the system gives 450 MiB, most of which are Python's libraries."""
    project.set(make_data__samples=4_000_000, split__train=0.5, train__hidden_size=8, train__replicas=4)
    project.set(train__epochs=1, train__batch_size=16384, evaluate__batch_size=16384)
    for stage in STAGES:
        project.stage(stage)
    expected = digests(project)
    for stage in ("split", "evaluate"):
        done = limited(project, stage, 450)
        assert done.returncode == 0, done.stderr
    assert digests(project) == expected
    set_in_spill(
        project, "left = resources.available_memory()\n    if left is None:", "left = None\n    if left is None:"
    )
    for stage in ("split", "evaluate"):
        done = limited(project, stage, 450)
        assert done.returncode == 1
        assert re.search("not enough memory|malloc|MemoryError", done.stderr), done.stderr


def test_a_senseless_limit_is_one_line_and_one_too_small_says_the_least(default):
    for stage in STAGES[1:]:
        done = default.stage(stage, fails=True, PLUMBLINE_MEMORY="lots")
        assert_one_line(done, "PLUMBLINE_MEMORY is 'lots'", "such as 2GB or 512MiB")
    done = default.stage("evaluate", fails=True, PLUMBLINE_MEMORY="2MB")
    assert_one_line(done, "evaluate needs at least", "PLUMBLINE_MEMORY is 2MB")


def test_a_wide_table_of_one_row_group_is_spilled_column_by_column(tmp_path, monkeypatch):
    from stages import resources, sources, spill, table

    rng = np.random.default_rng(0)
    rows = pa.table({f"x{i}": rng.random(3000) for i in range(20)} | {"t": [f"text {i % 7}" for i in range(3000)]})
    table.write(rows, tmp_path / "whole.parquet")
    stored, order = sources.read(tmp_path / "whole.parquet"), rng.permutation(3000)
    expected = stored.read().take(order)
    monkeypatch.setattr(resources, "available_memory", lambda root="/": 1000)
    monkeypatch.setattr(spill, "_folder", tmp_path)
    monkeypatch.setattr(spill, "SMALL", 0)
    assert table.take(stored, order).equals(expected)
    with table.writing(tmp_path / "pieces.parquet") as writer:
        for piece in stored.groups():
            assert len(piece) <= 1024
            writer.write(piece)
        writer.finish()
    assert (tmp_path / "pieces.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
