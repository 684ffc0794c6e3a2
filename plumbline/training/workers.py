"""Workers: several processes, on one host or many, that each train whole networks.

    PLUMBLINE_TORCHRUN="--nproc-per-node=4" dvc repro

makes `train` start torchrun, PyTorch's launcher, with these options. torchrun starts the workers, and starts all of
them again when one is killed. Each worker runs the stage's whole `main` with its share of the networks. One of them,
the leader, gathers all trained networks. It alone prints and writes files. dvc.lock is the same however a stage ran.

Every worker has a wire, a TCP connection, to torchrun's worker 0, the hub. Workers exchange values all at the same time
(`Group.exchange`). The last value is an `End`: the leader's `main` has ended, or some worker's has failed. The wires
are multiprocessing's, because importing torch takes 2 s of CPU. Values are pickled, so whoever connects must know
torchrun's run id. Wires are not encrypted; neither are those of PyTorch's own workers.
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

TORCHRUN = "PLUMBLINE_TORCHRUN"  # set by the user: torchrun's options
LAUNCHER = "PLUMBLINE_LAUNCHER"  # set for the workers: the process that started torchrun
PATIENCE = 60  # seconds that workers wait for one another as they begin


def run(main: Callable[["Group"], None], module: str) -> None:
    """Run a stage's `main`: as a plain process, as a worker, or by starting workers that run `python -m module`."""
    if LAUNCHER in os.environ:
        work(main)
    elif options := os.environ.get(TORCHRUN, "").strip():
        errors.run(lambda: launch(options, module))
    else:
        errors.run(lambda: main(ALONE))


def launch(options: str, module: str) -> None:
    """Start torchrun, and wait until all workers have ended. torchrun prints its own errors."""
    ours = ["--max-restarts=3", f"--log-dir={os.devnull}"]  # the user's options come later, and win
    if not any(name in options for name in ("--nnodes", "--rdzv", "--master")):
        ours += ["--standalone", "--local-addr=127.0.0.1"]
    command = [sys.executable, "-m", "torch.distributed.run", *ours, *options.split(), "--module", module]
    given = {"LOGLEVEL": "ERROR", "TORCH_CPP_LOG_LEVEL": "FATAL"}  # or torchrun prints at every start
    own = {LAUNCHER: str(os.getpid()), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # a new port at every restart
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    held = subprocess.PIPE  # the workers' standard input: it is closed when this process ends, however it ends
    with subprocess.Popen(command, env=given | os.environ | own, stdin=held, start_new_session=True) as torchrun:
        try:
            status = torchrun.wait()
        finally:
            torchrun.kill()
    if status:
        raise UserError(f"torchrun ended with status {status} and the words above; {TORCHRUN} is {options!r}")


class End(NamedTuple):
    """The last value that is exchanged, upon which all workers end."""

    status: int | str  # 0, or an error's exit status or line


class Group:
    """The workers of a stage, as one of them sees them: it is number `rank` of `size`. A plain process is alone.

    wires: of the hub those to all others, of another worker the one to the hub.
    """

    def __init__(self, rank: int = 0, size: int = 1, wires: list | None = None, is_hub: bool = True):
        self.rank, self.size, self._wires, self._is_hub = rank, size, wires or [], is_hub

    @property
    def leads(self) -> bool:
        """Whether this is the leader, which prints and writes files."""
        return self.rank == 0

    def share(self, drawn, **facts: str):
        """This worker's share of the networks that were drawn. If there are too few, the process waits and exits here.

        A UserError where hosts differ in `facts`, or in a file that was read so far.
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
        """All trained networks, for the leader; other workers exit here. trained: None if this worker has none."""
        if self.size == 1:
            return trained
        parts = [part for part in self.exchange(trained) if part is not None]
        if not self.leads:
            sys.exit()
        return type(trained).joined(parts)

    def process_group(self) -> None:
        """Make the workers PyTorch's default process group, over gloo, to train one network together."""
        from torch import distributed

        self.check_alike({})
        distributed.init_process_group("gloo")

    def check_alike(self, facts: dict[str, str]) -> None:
        """A UserError where a host would compute something else: code, files read and `facts` must be the leader's."""
        read = (Path(params.PATH), *inputs.watched())
        own = {str(path).removeprefix(f"{inputs.CODE}/"): inputs.digest(path) for path in read}
        (first, theirs), *_ = told = self.exchange((socket.gethostname(), own | facts))
        for host, its in told:
            for name in sorted(theirs.keys() | its.keys()):
                if its.get(name) != theirs.get(name):
                    raise UserError(f"hosts {first} and {host} differ in {name}; give both the same commit and data")

    def exchange(self, value) -> list:
        """Every worker's value, in the order of the ranks. If one of them is an `End`, the process ends here."""
        try:
            if self._is_hub:
                values = dict([(self.rank, value), *(wire.recv() for wire in self._wires)])
                told = [values[rank] for rank in range(self.size)]
            for wire in self._wires:
                wire.send(told if self._is_hub else (self.rank, value))
            if not self._is_hub:
                told = self._wires[0].recv()
        except (OSError, EOFError):  # a worker was killed; torchrun starts all of them again
            os._exit(1)
        for each in told:
            if isinstance(each, End):
                end(each.status)
        return told


ALONE = Group()


# ---- a worker


def work(main: Callable[[Group], None]) -> None:
    """Run `main` as a worker, with its part of the host's cores and memory, and end the process."""
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
    """Connect to the other workers. The leader is one that DVC has started, or else torchrun's worker 0."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    group = Group(rank, size, wires(rank, size), rank == 0)
    under_dvc = group.exchange("DVC_STAGE" in os.environ)
    group.rank = (rank - (under_dvc.index(True) if True in under_dvc else 0)) % size
    return group


def wires(rank: int, size: int) -> list:
    """The hub's connections to all others, or this worker's to the hub; a UserError if the hub is not reached."""
    from multiprocessing import connection  # here, so that a plain process starts sooner

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
    """End this process. After a failure end the launcher too, for torchrun would start the workers again."""
    if status and os.environ["LOCAL_RANK"] == "0":
        if isinstance(status, str):
            print(status, file=sys.__stderr__, flush=True)
        os.kill(int(os.environ[LAUNCHER]), signal.SIGTERM)
    os._exit(0)


def end_with_launcher() -> None:
    """Wait until the launcher ends, which closes standard input, and end this process."""
    select.select([0], [], [])
    os._exit(0)
