"""Each benchmark runs, in a tiny size; and what they measure is the same training."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from plumbline.bits import initial, kernel, layers, stream

FOLDER = ROOT / "benchmarks"
sys.path.append(str(FOLDER))
SHARED = ("scratch", "peers")  # what benchmarks import
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in SHARED)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name):
    if name == "hosts" and (os.getuid() != 0 or not shutil.which("ip") or not shutil.which("tc")):
        pytest.skip("network namespaces need root, ip and tc")
    command, machine = [sys.executable, FOLDER / f"{name}.py", "--smoke"], os.environ | {"OMP_NUM_THREADS": "1"}
    before = {path: path.stat().st_mtime_ns for path in (FOLDER / "results").iterdir()}
    done = subprocess.run(command, cwd=ROOT, env=machine, capture_output=True, text=True, timeout=300)
    assert not done.returncode, done.stdout + done.stderr
    assert done.stdout.count("\n") > 1
    assert {path: path.stat().st_mtime_ns for path in (FOLDER / "results").iterdir()} == before


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
@pytest.mark.parametrize("n, batch", [(100, 32), (700, 300)])
def test_hand_written_c_trains_what_the_kernel_trains(tmp_path, n, batch):
    import training

    x = stream.normal(stream.seeded(1), n * 10).reshape(n, 10)
    y = (x[:, 0] > x[:, 1] * x[:, 2]).astype(np.int32)
    weights = initial.weights([stream.seeded(0)], 10, 32, 1)
    ours, packed = kernel.Trainer(weights, batch, 0.01), layers.pack(weights)[0]
    state = packed, np.zeros_like(packed), np.zeros_like(packed), np.ones(2)
    epoch = training.c_epoch(training.compile_c(tmp_path))
    for number in range(5):
        order = stream.permutation(stream.seeded(number), n).astype(np.int32)
        sums, unshuffled = np.zeros((1, 2)), 0  # in place of a seed
        loss = epoch(x, y.astype(np.float32), order.copy(), n, batch, 0.01, unshuffled, *state)
        ours.train(x, y, order[None], sums)
        assert loss == pytest.approx(sums[0, layers.LOSS] / n, rel=1e-4)
    np.testing.assert_allclose(packed, layers.pack(ours.weights)[0], atol=3e-4)


def test_the_plot_is_of_the_table(tmp_path):
    import training

    jobs = training.measured((FOLDER / "results/training.txt").read_text())
    assert list(jobs) == [job.name for job in training.JOBS]
    assert all(speed > 0 and "kernel" in next(iter(sides)) for sides in jobs.values() for speed in sides.values())
    training.draw(jobs, tmp_path / "plot.svg")
    assert "</svg>" in (tmp_path / "plot.svg").read_text()


def test_the_first_version_is_measured_by_its_own_code(tmp_path):
    import scratch

    if not scratch.first_version_code(tmp_path / "first"):
        pytest.skip("git has no commit of the first version here, as in a shallow clone")
    first = scratch.Copy(tmp_path / "first")
    told = first.run("python", "-c", "from stages import kernel; print(kernel.__file__)")
    assert told.strip() == str(tmp_path / "first/stages/kernel.py")
