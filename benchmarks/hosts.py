"""Several hosts: time a step, bytes on the wire and bits, and from these an estimate for a billion rows.

The hosts are network namespaces of this machine, each with a host name, a folder and an address of its own, and a veth
link to a switch whose ends `tc` holds to a rate (tbf). The table is hard-linked into each folder. On every host
`python -m stages.train` starts torchrun with a rendezvous over TCP at the first one. What the links carried is what
their counters say between the first and the last epoch told; so is the time. `models/model.safetensors` is then held
to that of a plain process. Delay takes netem, which not every kernel has: here the switch is a process (`--switch`)
that hands every frame on after the delay, and without delay a bridge of the kernel's.

All hosts share this machine's processors: with more hosts than those, time a step says little about separate machines,
and the estimate goes by the rows a second of one thread, and by what a step takes beside computing.
Needs root, `ip` and `tc`. Takes everything down also when it fails. Writes benchmarks/results/hosts.txt.

    sudo python benchmarks/hosts.py
"""

import argparse
import contextlib
import hashlib
import heapq
import json
import math
import os
import platform
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent

NETWORK, PORT = "10.213.77", 29400
NAME = f"plumbline{os.getpid()}"
LIMIT = 600  # seconds for one run


class Link(NamedTuple):
    """What joins a host to the switch: bits a second, or none held to, and seconds of delay from host to host."""

    rate: float | None
    delay: float

    def __str__(self) -> str:
        """For the report."""
        rate = f"{self.rate / 1e6:,.0f} Mbit/s" if self.rate else "not limited"
        return f"{rate}, {self.delay * 1e3:g} ms"


class Job(NamedTuple):
    """A training: the synthetic table's rows and features, and a network."""

    rows: int
    features: int
    hidden: int
    batch: int
    epochs: int

    @property
    def parameters(self) -> int:
        """Of the network."""
        return self.features * self.hidden + 2 * self.hidden + 1

    @property
    def steps(self) -> int:
        """In an epoch."""
        return -(-(self.rows * 4 // 5) // self.batch)

    def sent(self, workers: int) -> float:
        """Bytes that each worker sends in a step, with its losses: to every other its gradients, or of large ones that
        one's slice of them, and then the sum of its own slice.
        """
        shards = self.shards(workers)
        slices = (shards + 1) / workers if self.by_slice(workers) else shards
        return (workers - 1) * (slices * 4 * self.parameters + 16 * shards)

    def by_slice(self, workers: int) -> bool:
        """Whether the gradients are large ones."""
        return self.shards(workers) * self.parameters > 2**16  # stages.kernel.SLICED

    def shards(self, workers: int) -> int:
        """Of a batch, those of the worker that has most."""
        return -(-min(max(self.batch // 256, 1), 64) // workers)  # stages.kernel.shards_of

    def __str__(self) -> str:
        """For the report."""
        return f"{self.features} x {self.hidden}, batch {self.batch:,}"


SMALL, LARGE = Job(500_000, 10, 32, 16384, 15), Job(200_000, 50, 256, 16384, 10)
TINY = SMALL._replace(batch=1024, epochs=10)  # whose steps are hardly more than the exchange
SLOW, FAST, OPEN = Link(100e6, 1e-3), Link(1e9, 0.0), Link(None, 0.0)
RUNS = [
    *((SMALL, hosts, link) for link in (OPEN, FAST, SLOW) for hosts in (2, 3, 4)),
    *((TINY, hosts, FAST) for hosts in (2, 4)),
    *((LARGE, 2, link) for link in (OPEN, FAST, SLOW)),
]


class Costs(NamedTuple):
    """Seconds a row: computing; drawing its place in the epoch's order and passing over it, as every worker does with
    every row; and encoding it anew, which one worker does.
    """

    compute: float
    order: float
    passing: float
    encode: float

    def reading(self, workers: int) -> float:
        """Of all rows, by each of so many workers."""
        return self.passing + self.encode / workers

    def here(self, workers: int) -> float:
        """What so many workers take on this machine without the exchange, two at a time."""
        return (self.compute + self.encode + workers * (self.order + self.passing)) / min(workers, 2)


# Seconds a row, least of three: drawing an epoch's order; reading the rows of one worker, and of one of 64, by it.
READING = """
import functools, time
import numpy as np
from stages import encoding, parts, rows, stream, table

def taken(work, count):
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best / count

part, facts = table.stored("data/train.parquet")
fitted = encoding.fit(part, facts, "raw")
seeds, n, batch = stream.shuffle_seeds(stream.seeded(1), 1), len(part), 2**17
print(taken(lambda: stream.permutations(seeds, 10_000_000), 10_000_000))
y, order, room = table.class_numbers(part, facts), stream.permutations(seeds, n), np.empty(n * fitted.width, np.float32)
scanned = rows.Rows(functools.partial(parts._scan_table, part, fitted), fitted.width, room)
for workers in (1, 64):
    own = lambda networks, count: (np.arange(count) % batch < batch // workers)[None]
    print(taken(lambda: [len(x) for x, _, _ in scanned.windows(y, order, batch, own)], n))
"""
BILLION, CORES, MACHINES = 1e9, 8, (1, 4, 16, 64)
CLUSTERS = (Link(1e9, 1e-4), Link(25e9, 2e-5))


# ---- the network


def ip(*words: str, namespace: str | None = None) -> str:
    """Run `ip`, in a namespace."""
    inside = ["-n", namespace] if namespace else []
    return subprocess.run(["ip", *inside, *words], check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def network(hosts: int, link: Link) -> Iterator[list[str]]:
    """Namespaces of so many hosts, on links to a switch in a namespace of its own; all gone at the end."""
    names, switch, process = [f"{NAME}h{i}" for i in range(1, hosts + 1)], f"{NAME}s", None
    try:
        ip("netns", "add", switch)
        if not link.delay:
            ip("link", "add", "bridge", "type", "bridge", namespace=switch)
            ip("link", "set", "bridge", "up", namespace=switch)
        for number, name in enumerate(names, 1):
            ip("netns", "add", name)
            ip("link", "add", "wire", "netns", name, "type", "veth", "peer", "name", f"port{number}", "netns", switch)
            ip("address", "add", f"{NETWORK}.{number}/24", "dev", "wire", namespace=name)
            for device, where in (("lo", name), ("wire", name), (f"port{number}", switch)):
                ip("link", "set", device, "up", namespace=where)
            if link.delay:
                no_offloads(name, "wire")
            else:
                ip("link", "set", f"port{number}", "master", "bridge", namespace=switch)
            if link.rate:
                for device, where in (("wire", name), (f"port{number}", switch)):
                    held = ("rate", f"{link.rate:.0f}bit", "burst", "256kb", "latency", "100ms")
                    subprocess.run(["tc", "-n", where, "qdisc", "add", "dev", device, "root", "tbf", *held], check=True)
        if link.delay:
            command = [sys.executable, __file__, "--switch", str(link.delay), *map(str, range(1, hosts + 1))]
            process = subprocess.Popen(["ip", "netns", "exec", switch, *command])
        yield names
    finally:
        if process:
            process.kill()
            process.wait()
        for name in [*names, switch]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def no_offloads(namespace: str, device: str) -> None:
    """Have the kernel finish a host's frames: a process that hands them on gets what a wire would."""
    code = (
        "import ctypes, fcntl, socket, struct, sys\n"
        "for command in (0x17, 0x1f, 0x24, 0x2c):\n"  # ETHTOOL_STXCSUM, STSO, SGSO, SGRO of linux/ethtool.h
        "    value = ctypes.create_string_buffer(struct.pack('II', command, 0))\n"
        "    request = struct.pack('16sP', sys.argv[1].encode(), ctypes.addressof(value))\n"
        "    fcntl.ioctl(socket.socket(), 0x8946, request)\n"  # SIOCETHTOOL
    )
    subprocess.run(["ip", "netns", "exec", namespace, sys.executable, "-c", code, device], check=True)


def switch(delay: float, ports: list[str]) -> None:
    """Hand every frame from a port on to the port of its address, after `delay` seconds."""
    sockets = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in ports]  # ETH_P_ALL
    for each, port in zip(sockets, ports):
        each.bind((f"port{port}", 0))
        each.setblocking(False)
    known, waiting, order = {}, [], 0
    while True:
        pause = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
        for arrived in select.select(sockets, [], [], pause)[0]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    frame, (_, _, kind, *_) = arrived.recvfrom(65536)
                    if kind != socket.PACKET_OUTGOING:
                        known[frame[6:12]] = arrived
                        heapq.heappush(waiting, (time.monotonic() + delay, order := order + 1, arrived, frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, arrived, frame = heapq.heappop(waiting)
            for target in [known[frame[:6]]] if frame[:6] in known else sockets:
                if target is not arrived:
                    with contextlib.suppress(OSError):  # a full queue drops, as a switch does
                        target.send(frame)


def carried(names: list[str]) -> int:
    """Bytes that the hosts have sent on their links."""
    links = (json.loads(ip("-s", "-j", "link", "show", "wire", namespace=name))[0] for name in names)
    return sum(link["stats64"]["tx"]["bytes"] for link in links)


# ---- a training


def prepare(folder: Path, job: Job) -> None:
    """A checkout with the job's table and parameters."""
    shutil.copytree(HERE.parent / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    text = (HERE.parent / "params.yaml").read_text()
    values = {"samples": job.rows, "features": job.features, "hidden_size": job.hidden, "batch_size": job.batch}
    values |= {"epochs": job.epochs, "replicas": 1}
    for name, value in values.items():
        text = re.sub(rf"(?m)^(  {name}:) \S+", rf"\1 {value}", text, count=1)
    (folder / "params.yaml").write_text(text)
    for stage in ("make_data", "split"):
        subprocess.run([sys.executable, "-m", f"stages.{stage}"], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def train(folder: Path, names: list[str]) -> tuple[float, int, str]:
    """Train in a folder a host, or alone: seconds an epoch, bytes on the wire an epoch, and the model's SHA-256."""
    hosts, processes = [folder / name for name in names] or [folder], []
    for number, host in enumerate(hosts, 1):
        (host / "models").mkdir(parents=True, exist_ok=True)
        command, environment = [sys.executable, "-u", "-m", "stages.train"], os.environ | {"NUMBA_NUM_THREADS": "1"}
        if names:
            for part in ("stages", "params.yaml"):
                (host / part).unlink(missing_ok=True)
                (host / part).symlink_to(folder / part)
            shutil.rmtree(host / "data", ignore_errors=True)
            shutil.copytree(folder / "data", host / "data", copy_function=os.link)
            options = f"--nnodes={len(names)} --rdzv-backend=c10d --rdzv-endpoint={NETWORK}.1:{PORT}"
            environment["PLUMBLINE_TORCHRUN"] = options
            named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', f"host{number}"]
            command = ["ip", "netns", "exec", names[number - 1], *named, *command]
        out = subprocess.PIPE if number == 1 else subprocess.DEVNULL  # rank 0 is the first host's: the least address
        processes.append(subprocess.Popen(command, cwd=host, env=environment, stdout=out, text=True))
    try:
        told = []
        for line in processes[0].stdout:
            if line.startswith("epoch"):
                told.append((int(line.split()[1].rstrip(":")), time.perf_counter(), carried(names)))
        if any(process.wait(LIMIT) for process in processes):
            sys.exit("a host's training failed; its line is above")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
    (first, began, before), (last, ended, after) = told[0], told[-1]
    sha = hashlib.sha256((hosts[0] / "models/model.safetensors").read_bytes()).hexdigest()
    return (ended - began) / (last - first), (after - before) // (last - first), sha


def measured(folder: Path, job: Job) -> Costs:
    """What a row takes on this machine with one thread."""
    plain, _, _ = train(folder, [])
    order, one, share = map(float, subprocess.check_output([sys.executable, "-c", READING], cwd=folder).split())
    passing = max((64 * share - one) / 63, 0.0)
    return Costs(plain / (job.rows * 4 // 5) - order, order, passing, one - passing)


def exchange(job: Job, workers: int, link: Link, spent: dict[int, float]) -> float:
    """Seconds that a step's exchange takes: all send to all at once, once or by slices twice, each with a word before
    it that there is room.

    spent: what it takes once beside the link between 2 and between 4 hosts; longer the more there are.
    """
    if workers == 1:
        return 0.0
    beside = spent[2] + (workers - 2) * (spent[4] - spent[2]) / 2
    return (1 + job.by_slice(workers)) * (beside + 2 * link.delay) + (
        job.sent(workers) * 8 / link.rate if link.rate else 0.0
    )


def report(scratch: Path) -> Iterator[str]:
    """Run it all, and tell it line by line."""
    costs, shas = {}, {}
    yield "ns a row with one thread: computing, its place in the epoch's order, passing over it, encoding it anew"
    for job in (SMALL, LARGE):
        folder = scratch / f"costs {job.hidden}"
        prepare(folder, job._replace(batch=2**17))
        costs[job.hidden] = measured(folder, job._replace(batch=2**17))
        yield f"{job.features} x {job.hidden}: " + ", ".join(f"{cost * 1e9:.0f}" for cost in costs[job.hidden])
    yield ""
    yield f"{'network':24} hosts {'link, and delay from host to host':34} ms a step  KB a step  (sent by a host) bits"
    spent = {}
    for job, hosts, link in RUNS:
        folder = scratch / f"{job}"
        if job not in shas:
            prepare(folder, job)
            seconds, _, shas[job] = train(folder, [])
            yield f"{job!s:24} {1:5} {'(a plain process)':34} {seconds / job.steps * 1e3:9.2f}"
        with network(hosts, link) as names:
            seconds, carried, sha = train(folder, names)
        same = "the same" if sha == shas[job] else "OTHERS"
        step, wire = seconds / job.steps, carried / hosts / job.steps
        if job is TINY:
            spent[hosts] = step - costs[job.hidden].here(hosts) * job.batch
        yield (
            f"{job!s:24} {hosts:5} {link!s:34} {step * 1e3:9.2f} {wire / 1e3:10.1f}  "
            f"({job.sent(hosts) / 1e3:.1f} of gradients) {same}"
        )
    if len(spent) == 2:
        yield ""
        yield from estimate(costs, spent)


def estimate(costs: dict[int, Costs], spent: dict[int, float]) -> Iterator[str]:
    """What more machines would do, by those figures."""
    yield f"ESTIMATE, not measured: a billion training rows, machines of {CORES} cores with one worker each"
    between = ", ".join(f"{hosts} hosts {seconds * 1e3:.2f} ms" for hosts, seconds in spent.items())
    yield f"an exchange takes beside the link between {between}, as above, and so on for more"
    yield ""
    yield f"{'network':24} {'link':22} " + " ".join(f"{f'{m} machines':>12}" for m in MACHINES) + "   s an epoch"
    limits = []
    for job in (SMALL, LARGE):
        cost = costs[job.hidden]
        for link in CLUSTERS:
            for batch in (2**14, 2**17, 2**20):
                this, line = job._replace(batch=batch), []
                for machines in MACHINES:
                    computing = cost.compute * batch * math.ceil(64 / machines / CORES) / 64
                    talking = exchange(this, machines, link, spent)
                    whole = BILLION * (cost.order + (cost.reading(machines) if machines > 1 else 0.0))
                    line.append(f"{whole + BILLION / batch * (computing + talking):12,.0f}")
                yield f"{this!s:24} {link!s:22} " + " ".join(line)
            for machines in MACHINES[1:]:
                per_row = cost.compute * math.ceil(64 / machines / CORES) / 64
                limits.append((job, link, machines, exchange(job, machines, link, spent) / per_row))
    yield ""
    yield "batch from which a step takes longer to compute than to exchange; smaller ones are limited by communication"
    for job in (SMALL, LARGE):
        for link in CLUSTERS:
            found = [f"{m} machines: {b:,.0f}" for j, which, m, b in limits if j is job and which is link]
            yield f"{f'{job.features} x {job.hidden}':24} {link!s:22} " + ", ".join(found)


def main() -> None:
    """Run all, or only be the switch."""
    if sys.argv[1:2] == ["--switch"]:
        switch(float(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two hosts on one link, and no file of results")
    quick = parser.parse_args().quick
    if os.geteuid():
        sys.exit("error: network namespaces need root; run sudo python benchmarks/hosts.py")
    if missing := [tool for tool in ("ip", "tc", "unshare") if not shutil.which(tool)]:
        sys.exit(f"error: {', '.join(missing)} is not here; install iproute2 and util-linux")
    for number in (signal.SIGTERM, signal.SIGINT):  # so that the network is taken down, without a traceback
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="plumbline-hosts-") as scratch:
        if quick:
            RUNS[:] = [(SMALL, 2, FAST)]
        lines = [f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}", ""]
        for line in report(Path(scratch)):
            print(line, flush=True)
            lines.append(line)
    if not quick:
        (HERE / "results/hosts.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
