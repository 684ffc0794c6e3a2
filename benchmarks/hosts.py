"""Workers of one training, on one host and on two: seconds, CPU seconds and bits beside those of a plain process.

Two hosts are two network namespaces of this machine, each with a folder and an address of its own, and a wire between
them; each has one thread, for they share this machine's cores. This needs root and `ip` (iproute2), and is left out
without. CPU seconds are those of all processes, torchrun's among them, which takes some 2 s to import PyTorch. Sides
take turns, and the table has medians.

Writes benchmarks/results/hosts.txt.

    sudo python benchmarks/hosts.py
"""

import contextlib
import functools
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import scratch

JOBS = ({"make_data.samples": 1000}, {"make_data.samples": 250_000, "train.batch_size": 1024})
PLAIN = "a plain process"
WORKERS = (1, 2, 3, 4)
NETWORK, PORT, NAME = "10.213.77", 29400, f"plumbline{os.getpid()}"
OUTPUTS = ("models/model.safetensors", "models/epochs.safetensors", "metrics/history.csv", "metrics/train.json")


class Run(NamedTuple):
    """How a training went."""

    seconds: float
    cpu: float
    digest: str  # of what it wrote


def main() -> None:
    parser = scratch.parser(__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plumbline-hosts-") as folder:
        lines = report(Path(folder), options.smoke, 1 if options.smoke else options.repetitions)
        scratch.tell(lines, "hosts.txt", options.smoke)


def report(folder: Path, smoke: bool, repetitions: int) -> Iterator[str]:
    """The lines of the results."""
    networked = not os.geteuid() and shutil.which("ip")
    yield f"{repetitions} turns, 32 networks; {scratch.heading()}"
    for number, job in enumerate([JOBS[0] | {"train.epochs": 1}] if smoke else JOBS):
        sides = prepared(folder / f"job{number}", job, (1,) if smoke else WORKERS, networked)
        runs = {side: [] for side in sides}
        for _ in range(repetitions):
            for side, train in sides.items():
                runs[side].append(train())
        plain = runs[PLAIN]
        yield ""
        rows = f"{job['make_data.samples'] * 4 // 5:,} rows"
        yield f"{rows:30} {'seconds':>8} {'CPU s':>8} {'CPU to plain':>13}  bits"
        for side, each in runs.items():
            seconds, cpu = (statistics.median(column) for column in list(zip(*each))[:2])
            ratio = statistics.median(run.cpu / beside.cpu for run, beside in zip(each, plain))
            same = "the same" if {run.digest for run in each} == {plain[0].digest} else "OTHERS"
            yield f"{side:30} {seconds:8.2f} {cpu:8.2f} {ratio:13.2f}  {same}"
    if not networked:
        yield "two hosts are left out: network namespaces need root, and ip"


def prepared(folder: Path, job: dict, workers: tuple[int, ...], networked: bool) -> dict[str, Callable[[], Run]]:
    """The ways in which a job can be trained."""
    copy = scratch.project(folder)
    copy.set(job)
    for stage in ("make_data", "split"):
        copy.stage(stage)
    sides = {PLAIN: lambda: alone(copy)}
    for count in workers:
        sides[f"workers on one host: {count}"] = functools.partial(alone, copy, f"--nproc-per-node={count}")
    if networked:
        other = scratch.Copy(shutil.copytree(folder, f"{folder}other"))
        sides[f"{PLAIN}, one thread"] = lambda: alone(copy, NUMBA_NUM_THREADS="1")
        sides["two hosts, a worker each"] = lambda: apart([copy, other])
    return sides


def alone(copy: scratch.Copy, torchrun: str = "", **environment: str) -> Run:
    """Train on this host."""
    return trained([copy], [[]], [environment | ({"PLUMBLINE_TORCHRUN": torchrun} if torchrun else {})])


def apart(copies: list[scratch.Copy]) -> Run:
    """Train on two hosts with a worker each; the first has the files, as if DVC waited for them there."""
    options = f"--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint={NETWORK}.1:{PORT}"
    each = [f"--local-addr={NETWORK}.{host} --rdzv-conf=is_host={host == 1}" for host in (1, 2)]
    given = [{"PLUMBLINE_TORCHRUN": f"{options} {own}", "NUMBA_NUM_THREADS": "1"} for own in each]
    given[0]["DVC_STAGE"] = "train"
    with network() as names:
        return trained(copies, [["ip", "netns", "exec", name] for name in names], given)


def trained(copies: list[scratch.Copy], inside: list[list[str]], given: list[dict[str, str]]) -> Run:
    """Train in each of some folders at once, under a command and with an environment for each."""
    for name in OUTPUTS:
        (copies[0].folder / name).unlink(missing_ok=True)
    start, before = time.perf_counter(), os.times()
    processes = [
        subprocess.Popen(
            [*prefix, sys.executable, "-m", "stages.train"],
            cwd=copy.folder, env=copy.environment | environment, stdout=subprocess.DEVNULL,
        )
        for copy, prefix, environment in zip(copies, inside, given)
    ]  # fmt: skip
    statuses = [process.wait(600) for process in processes]
    if any(statuses):
        sys.exit("a training failed; its line is above")
    seconds, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    content = b"".join((copies[0].folder / name).read_bytes() for name in OUTPUTS)
    return Run(seconds, cpu, hashlib.sha256(content).hexdigest())


@contextlib.contextmanager
def network() -> Iterator[list[str]]:
    """Two namespaces, joined by a wire; gone at the end."""
    names = [f"{NAME}h1", f"{NAME}h2"]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "wire", "netns", names[0], "type", "veth", "peer", "name", "wire", "netns", names[1])
        for number, name in enumerate(names, 1):
            ip("-n", name, "address", "add", f"{NETWORK}.{number}/24", "dev", "wire")
            for device in ("lo", "wire"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def ip(*words: str) -> None:
    """Run `ip`."""
    subprocess.run(["ip", *words], check=True)


if __name__ == "__main__":
    main()
