"""Every artefact has the same bytes whatever the folder, locale, time zone, hash seed, threads and instruction set.

NumPy and Numba can be told to use an old CPU's instructions, which shows sums and functions that depend on them as far
as one machine can; benchmarks/cpu_matrix.py emulates others.
"""

import hashlib
import os
import sys

import numpy as np
import pytest
import yaml
from conftest import ROOT, Project

sys.path.append(str(ROOT / "benchmarks"))

STAGES = ("make_data", "split", "train", "evaluate")
# What Numba compiles for Nehalem has a cache of its own
ELSEWHERE = {
    "LC_ALL": "tr_TR.UTF-8",
    "LANG": "tr_TR.UTF-8",
    "TZ": "Pacific/Kiritimati",
    "PYTHONHASHSEED": "12345",
    "NUMBA_NUM_THREADS": "3",
    "OMP_NUM_THREADS": "3",
    "NUMBA_CPU_NAME": "nehalem",
    "NUMBA_CPU_FEATURES": "",
}


@pytest.fixture(scope="module")
def elsewhere():
    dispatched = np._core._multiarray_umath.__cpu_dispatch__
    present = [name for name in dispatched if np._core._multiarray_umath.__cpu_features__[name]]
    return ELSEWHERE | {"NPY_DISABLE_CPU_FEATURES": " ".join(present)}


def test_the_default_pipeline_elsewhere_has_the_committed_bits(tmp_path, elsewhere):
    project = Project(tmp_path / "Ölçüm 1 '$x'")
    for stage in STAGES:
        project.stage(stage, **elsewhere)
    locked = yaml.safe_load((ROOT / "dvc.lock").read_text(encoding="utf-8"))["stages"].values()
    for out in (out for stage in locked for out in stage["outs"]):
        assert hashlib.md5(project.path(out["path"]).read_bytes()).hexdigest() == out["md5"], out["path"]


@pytest.mark.parametrize("job", ["three classes", "mixed table"])
def test_other_tables_elsewhere_have_the_same_bytes(tmp_path, workspace, elsewhere, job):
    import cpu_matrix

    there = Project(tmp_path / os.urandom(4).hex())
    for folder in (workspace.folder, there.folder):
        cpu_matrix.write_params(folder / "params.yaml", cpu_matrix.JOBS[job])
        cpu_matrix.write_mixed_table(folder / "mixed.csv")
    workspace.repro()
    for stage in STAGES:
        there.stage(stage, **elsewhere)
    made = [path for top in ("data", "models", "metrics") for path in workspace.path(top).rglob("*.*")]
    assert len(made) > 10
    for path in made:
        name = str(path.relative_to(workspace.folder))
        assert there.path(name).read_bytes() == path.read_bytes(), name
