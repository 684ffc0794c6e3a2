"""Several processes, on one host or many, that train whole networks each and exchange nothing until the end.

    PLUMBLINE_TORCHRUN="--nproc-per-node=4" dvc repro

makes `train` start torchrun, PyTorch's launcher, with these options. torchrun starts the workers, and all of them again
when one is killed. Each runs the stage's whole `main` with its share of the networks. One of them, the leader, gathers
what became of all networks; it alone prints and writes files. dvc.lock knows nothing of how a stage ran.

Every worker has a wire, a connection over TCP, to torchrun's worker 0, the hub. What workers tell one another all of
them tell at the same time (`Group.exchange`), until one tells the `End`: how the leader's `main` ended, or that of one
that failed. The wires are the standard library's, for to import torch takes 2 s of CPU. What comes is unpickled, so
only who knows torchrun's run id is heard. Wires are not encrypted; neither are those of PyTorch's own workers.
"""

import io
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from plumbline.basics import errors, inputs, memory, params
from plumbline.basics.errors import UserError, reason

TORCHRUN = "PLUMBLINE_TORCHRUN"  # the user's: torchrun's options
LAUNCHER = "PLUMBLINE_LAUNCHER"  # ours: the process that the workers end with
PATIENCE = 60  # seconds that workers wait for one another as they begin


def run(main: Callable[["Group"], None], module: str) -> None:
    """Run a stage's `main` in the part that this process has; `python -m module` is what its workers run."""
    if LAUNCHER in os.environ:
        work(main)
    elif options := os.environ.get(TORCHRUN, "").strip():
        errors.run(lambda: launch(options, module))
    else:
        errors.run(lambda: main(ALONE))


def launch(options: str, module: str) -> None:
    """Have torchrun run the workers until they end; what goes wrong with it, it says itself."""
    ours = ["--max-restarts=3", f"--log-dir={os.devnull}"]  # the user's come later, and hold
    if not any(name in options for name in ("--nnodes", "--rdzv", "--master")):
        ours += ["--standalone", "--local-addr=127.0.0.1"]
    command = [sys.executable, "-m", "torch.distributed.run", *ours, *options.split(), "--module", module]
    given = {"LOGLEVEL": "ERROR", "TORCH_CPP_LOG_LEVEL": "FATAL"}  # or it talks at every start
    own = {LAUNCHER: str(os.getpid()), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # a new port when they start again
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    held = subprocess.PIPE  # the workers' standard input, which ends with this process, however it ends
    with subprocess.Popen(command, env=given | os.environ | own, stdin=held, start_new_session=True) as torchrun:
        try:
            status = torchrun.wait()
        finally:
            torchrun.kill()
    if status:
        raise UserError(f"torchrun ended with status {status} and the words above; {TORCHRUN} is {options!r}")


class End(NamedTuple):
    """How all workers end: 0, or an error's status or line."""

    status: int | str


class Group:
    """The workers of a stage, seen by one of them: `rank`, from 0, of `size`. A plain process is a group of one.

    wires: the hub's to all others, or another's to the hub.
    """

    def __init__(self, rank: int = 0, size: int = 1, wires: list | None = None, is_hub: bool = True):
        self.rank, self.size, self._wires, self._is_hub = rank, size, wires or [], is_hub

    @property
    def leads(self) -> bool:
        """Whether this is the worker that prints, and writes files."""
        return self.rank == 0

    def share(self, drawn, **facts: str):
        """This worker's run of the networks that were drawn; the main of a worker that is left without one ends here.

        What has been read so far, and `facts` by name, must be the same on every host, or a UserError names it.
        """
        if self.size == 1:
            return drawn
        self.check_alike(facts)
        busy = min(self.size, len(drawn))
        if busy < self.size:
            print(f"{len(drawn)} networks keep {busy} of {self.size} workers busy", file=sys.stderr)
        if self.rank >= busy:
            self.gather(None)
        first, end = (len(drawn) * rank // busy for rank in (self.rank, self.rank + 1))
        return drawn.take(slice(first, end))

    def gather(self, trained):
        """What became of all networks, for the leader; every other main ends here. None: this worker had no network."""
        if self.size == 1:
            return trained
        parts = [part for part in self.exchange(trained) if part is not None]
        if not self.leads:
            sys.exit()
        return type(trained).joined(parts)

    def process_group(self) -> None:
        """Make the workers PyTorch's default process group, over gloo: for one network that all of them train."""
        from torch import distributed

        self.check_alike({})
        distributed.init_process_group("gloo")

    def check_alike(self, facts: dict[str, str]) -> None:
        """Refuse a host that would compute something else: code, files read and `facts` must be the leader's."""
        read = (Path(params.PATH), *inputs.watched())
        own = {str(path).removeprefix(f"{inputs.CODE}/"): inputs.digest(path) for path in read}
        (first, theirs), *_ = told = self.exchange((socket.gethostname(), own | facts))
        for host, its in told:
            for name in sorted(theirs.keys() | its.keys()):
                if its.get(name) != theirs.get(name):
                    raise UserError(f"hosts {first} and {host} differ in {name}; give both the same commit and data")

    def exchange(self, value) -> list:
        """Every worker's value, in the order of their ranks; the end of this process if one of them is an `End`."""
        try:
            if self._is_hub:
                values = dict([(self.rank, value), *(wire.recv() for wire in self._wires)])
                told = [values[rank] for rank in range(self.size)]
            for wire in self._wires:
                wire.send(told if self._is_hub else (self.rank, value))
            if not self._is_hub:
                told = self._wires[0].recv()
        except (OSError, EOFError):  # one was killed, and torchrun starts all of them again
            os._exit(1)
        for each in told:
            if isinstance(each, End):
                end(each.status)
        return told


ALONE = Group()


# ---- a worker


def work(main: Callable[[Group], None]) -> None:
    """Run `main` as a worker, with its part of the machine, and end the process."""
    beside = int(os.environ["LOCAL_WORLD_SIZE"])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("NUMBA_NUM_THREADS", str(max(cores // beside, 1)))
    threading.Thread(target=end_with_launcher, daemon=True).start()
    try:
        os.environ.setdefault(memory.VARIABLE, str(memory.limit() // beside))
        group = joined()
    except UserError as error:
        end(f"error: {error}")
    if not group.leads:
        sys.stdout = sys.stderr = io.StringIO()
    status = None
    try:
        errors.run(lambda: main(group))
    except SystemExit as ended:
        status = ended.code
    group.exchange(End(status or 0) if status or group.leads else None)


def joined() -> Group:
    """Meet the others. The leader is where DVC waits for files, or else torchrun's worker 0."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    group = Group(rank, size, wires(rank, size), rank == 0)
    under_dvc = group.exchange("DVC_STAGE" in os.environ)
    group.rank = (rank - (under_dvc.index(True) if True in under_dvc else 0)) % size
    return group


def wires(rank: int, size: int) -> list:
    """The hub's connections to all others, or another's to the hub; a UserError where that is not reached."""
    from multiprocessing import connection  # a plain process does without, and starts sooner

    key, deadline = os.environ["TORCHELASTIC_RUN_ID"].encode(), time.monotonic() + PATIENCE
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]) + 1  # the port itself is PyTorch's
    if rank == 0:
        with connection.Listener((host if host == "127.0.0.1" else "", port), backlog=size, authkey=key) as listener:
            return [listener.accept() for _ in range(size - 1)]
    while True:
        try:
            return [connection.Client((host, port), authkey=key)]
        except (OSError, EOFError) as error:
            if time.monotonic() > deadline:
                where = f"host {socket.gethostname()} does not reach worker 0 at {host}:{port}"
                raise UserError(f"{where} ({reason(error)}); see torchrun's --local-addr") from None
            time.sleep(0.05)


def end(status: int | str) -> None:
    """End this process, and for a failure its launcher: torchrun would start the worker again, to fail again."""
    if status and os.environ["LOCAL_RANK"] == "0":
        if isinstance(status, str):
            print(status, file=sys.__stderr__, flush=True)
        os.kill(int(os.environ[LAUNCHER]), signal.SIGTERM)
    os._exit(0)


def end_with_launcher() -> None:
    """End this process when its launcher ends, which holds the other end of standard input."""
    select.select([0], [], [])
    os._exit(0)
