import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from stages import resources, spill
from stages.errors import UserError

MIB = 2**20


def limited(code, megabytes, **environment):
    """Run code in a process that the system gives so much memory and no more."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_DATA, (megabytes * MIB,) * 2)  # noqa: E731
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=ROOT, env=environment, preexec_fn=limit, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def left(monkeypatch, tmp_path):
    """Say how much memory there is, beside what is promised."""

    def say(count):
        monkeypatch.setattr(resources, "available_memory", lambda root="/": count)
        monkeypatch.setattr(spill, "_promised", {})
        monkeypatch.setattr(spill, "SMALL", 0)
        monkeypatch.setattr(spill, "_folder", tmp_path / "new")

    return say


def is_mapped(array):
    return not array.flags.owndata


def test_an_array_that_fits_is_an_ordinary_one(left):
    left(spill.RESERVE + 4000)
    array = spill.empty((10, 100), np.float32)
    assert (array.shape, array.dtype, is_mapped(array)) == ((10, 100), np.float32, False)
    left(None)  # nobody says how much there is
    assert not is_mapped(spill.empty(10**6, np.int64))


def test_one_that_does_not_fit_is_on_the_disk_and_leaves_no_file(left):
    left(spill.RESERVE + 3999)
    array = spill.empty((10, 100), np.float32)
    assert is_mapped(array)
    assert array.flags.writeable
    array[:] = np.arange(1000, dtype=np.float32).reshape(10, 100)
    assert array[9, 99] == 999
    assert not list(spill._folder.iterdir())
    assert not is_mapped(spill.empty((0, 5), np.float32))  # no file of no bytes can be mapped


def test_a_small_one_is_made_without_asking(left, monkeypatch):
    left(0)
    monkeypatch.setattr(spill, "SMALL", 4001)
    assert not is_mapped(spill.empty(1000, np.float32))
    assert is_mapped(spill.empty(1001, np.float32))


def test_what_is_promised_and_not_yet_touched_counts(left):
    left(spill.RESERVE + 10_000)
    first = spill.empty(6000, np.int8)
    assert is_mapped(spill.empty(6000, np.int8))
    view = first[10:]
    del first
    assert is_mapped(spill.empty(6000, np.int8))
    del view
    assert not is_mapped(spill.empty(6000, np.int8))


def test_a_disk_that_does_not_take_it_is_an_error_and_no_bus_error(left):
    left(0)
    with pytest.raises(UserError, match=r"^1,000,000,000\.0 GB do not fit in memory, and the disk of .* make room"):
        spill.empty(10**18, np.int8)
    assert not list(spill._folder.iterdir())


def test_rows_at_a_time_are_a_power_of_two_and_never_none(left):
    left(None)
    assert spill.rows_at_a_time(1e9, 2**20) == 2**20
    left(spill.PIECES * 100_000_000)
    assert spill.rows_at_a_time(8, 2**20) == 2**20
    assert spill.rows_at_a_time(1000, 2**20) == 2**16
    assert spill.rows_at_a_time(1e9, 2**20) == 1024
    assert spill.rows_at_a_time(1e9, 500) == 500


WORK = """
import numpy as np
from stages import spill
spill.beside(FOLDER)
array = MAKE(60_000_000, np.float64)
for start in range(0, len(array), 10**6):
    array[start : start + 10**6] = np.arange(start, start + 10**6) / 7
print(repr(array.sum()))
"""


def test_the_system_ends_what_does_not_spill(tmp_path):
    """480 MB in a process that may have 400: only a mapped array gets through, and it has the same sum."""
    code = WORK.replace("FOLDER", repr(str(tmp_path)))
    spilled = limited(code.replace("MAKE", "spill.empty"), 400)
    assert spilled.stdout == f"{(np.arange(60_000_000) / 7).sum()!r}\n", spilled.stderr
    ordinary = limited(code.replace("MAKE", "np.empty"), 400)
    assert ordinary.returncode == 1
    assert "MemoryError" in ordinary.stderr
