"""The benchmark's own code: what it measures must be the same training."""

import runpy
import shutil

import numpy as np
import pytest
from conftest import ROOT
from test_kernel import orders_for, problem

from stages import kernel

HOSTS = runpy.run_path(str(ROOT / "benchmarks" / "hosts.py"))
TRAINING = runpy.run_path(str(ROOT / "benchmarks" / "training.py"))


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
@pytest.mark.parametrize("n, batch", [(100, 32), (700, 300)])
def test_hand_written_c_trains_what_the_kernel_trains(tmp_path, n, batch):
    x, y, weights = problem(n, 10, 32, 1)
    ours = kernel.Trainer(x, y, weights, batch, 0.01)
    packed = kernel.pack(weights)[0]
    state = packed, np.zeros_like(packed), np.zeros_like(packed), np.ones(2)
    epoch = TRAINING["c_epoch"](TRAINING["compile_c"](tmp_path))
    for number in range(5):
        order = orders_for(n, 1, number)
        unshuffled = 0  # in place of a seed
        loss = epoch(x, y.astype(np.float32), order[0].copy(), n, batch, 0.01, unshuffled, *state)
        assert loss == pytest.approx(ours.epoch(order)[0, 0], rel=1e-4)
    np.testing.assert_allclose(packed, kernel.pack(ours.weights)[0], atol=3e-4)


def test_the_plot_is_of_the_table(tmp_path):
    jobs = TRAINING["measured"]((ROOT / "benchmarks" / "results" / "training.txt").read_text())
    assert list(jobs) == [job.name for job in TRAINING["JOBS"]]
    assert all(speed > 0 and "kernel" in next(iter(sides)) for sides in jobs.values() for speed in sides.values())
    TRAINING["draw"](jobs, tmp_path / "plot.svg")
    assert "</svg>" in (tmp_path / "plot.svg").read_text()


@pytest.mark.parametrize("job", [HOSTS["SMALL"], HOSTS["LARGE"], HOSTS["TINY"]])
def test_the_bytes_reckoned_for_hosts_are_what_a_worker_sends(job):
    """benchmarks/hosts.py's job.sent against the arrays that the kernel hands to the group."""
    sent = []

    class Group:
        rank, size = 2, 3  # the one that has most of 64 shards

        def exchange(self, array, counts, received):
            sent.append(array.itemsize * counts[: self.rank].sum())  # what is its own stays here
            return np.zeros(received.sum(), array.dtype)

        def gather(self, array):
            sent.append(array.nbytes * (self.size - 1))
            return np.stack([array] * self.size)

    x, y, weights = problem(job.batch, job.features, job.hidden, 1)
    kernel.Trainer(x, y, weights, job.batch, 0.01, group=Group()).epoch(orders_for(job.batch, 1, 0))
    assert sum(sent) == pytest.approx(job.sent(3), rel=0.02)
    assert len(sent) == 1 + job.by_slice(3)
    assert weights["net.0.weight"][0].size + 2 * job.hidden + 1 == job.parameters
