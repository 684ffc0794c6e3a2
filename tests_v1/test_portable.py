"""Every artefact has the same bytes whatever the folder, locale, time zone, hash seed, threads and instruction set.

NumPy, Arrow and Numba can be told to use an old CPU's instructions, which shows sums and functions that depend on them
as far as one machine can; benchmarks/cpu_matrix.py emulates others.
"""

import os

import numpy as np
import pytest
import yaml
from conftest import ROOT, Project

ELSEWHERE = {
    "LC_ALL": "tr_TR.UTF-8",
    "LANG": "tr_TR.UTF-8",
    "TZ": "Pacific/Kiritimati",
    "PYTHONHASHSEED": "12345",
    "NUMBA_NUM_THREADS": "3",
    "OMP_NUM_THREADS": "3",
    "ARROW_USER_SIMD_LEVEL": "NONE",
    "NUMBA_CPU_NAME": "nehalem",
    "NUMBA_CPU_FEATURES": "",
}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    dispatched = np._core._multiarray_umath.__cpu_dispatch__
    present = [name for name in dispatched if np._core._multiarray_umath.__cpu_features__[name]]
    cache = str(tmp_path_factory.mktemp("cache"))  # or a kernel compiled for this CPU would be taken
    return ELSEWHERE | {"NPY_DISABLE_CPU_FEATURES": " ".join(present), "XDG_CACHE_HOME": cache}


def test_the_default_pipeline_elsewhere_has_the_committed_bits(tmp_path, elsewhere):
    project = Project(tmp_path / "Ölçüm 1 '$x'")
    project.run("dvc", "repro", "-q", **elsewhere)
    assert yaml.safe_load(project.read("dvc.lock")) == yaml.safe_load((ROOT / "dvc.lock").read_text())


def test_three_classes_elsewhere_have_the_same_bytes(tmp_path, elsewhere, three_classes):
    project = Project(tmp_path / os.urandom(4).hex())
    project.path("params.yaml").write_text(three_classes.read("params.yaml"))
    for stage in ("make_data", "split", "train", "evaluate"):
        project.stage(stage, **elsewhere)
    for top in ("data", "models", "metrics"):
        for path in three_classes.path(top).rglob("*.*"):
            name = str(path.relative_to(three_classes.folder))
            assert project.path(name).read_bytes() == path.read_bytes(), name
