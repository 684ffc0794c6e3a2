"""Several processes, on one host or many, that train whole networks each and exchange nothing until the end.

    PLUMBLINE_TORCHRUN="--nproc-per-node=4" dvc repro

makes `train` start torchrun, PyTorch's launcher, with these options. torchrun starts the workers, and starts all of
them again when one is killed. Each runs the stage's whole `main` with its share of the networks. One of them, the
leader, gathers what became of all networks; it alone prints and writes files. Where and how a stage runs is no
parameter: dvc.lock knows nothing of it.

What workers tell one another they put up on a board (plumbline.training.board). All of them stay until the "end"
stands there: how the leader's `main` ended, or that of the first that failed.
"""

import contextlib
import hashlib
import io
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from plumbline.basics import errors, inputs, memory, params
from plumbline.basics.errors import UserError

TORCHRUN = "PLUMBLINE_TORCHRUN"  # the user's: torchrun's options
LAUNCHER = "PLUMBLINE_LAUNCHER"  # ours: the process that the workers end with
PATIENCE = 60  # seconds that workers wait for one another as they begin, and as they end


def run(main: Callable[["Group"], None], module: str) -> None:
    """Run a stage's `main` in the part that this process has; `python -m module` is what its workers run."""
    if LAUNCHER in os.environ:
        work(main)
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        sys.exit(f"error: torchrun started this by itself; give its options in {TORCHRUN} and run python -m {module}")
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


class Group:
    """The workers of a stage, seen by one of them: `rank`, from 0, of `size`. A plain process is a group of one."""

    def __init__(self, rank: int = 0, size: int = 1, board=None):
        self.rank, self.size, self.board = rank, size, board
        self._busy = 1  # workers that have networks

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
        self._busy = min(self.size, len(drawn))
        if self._busy < self.size:
            print(f"{len(drawn)} networks keep {self._busy} of {self.size} workers busy", file=sys.stderr)
        if self.rank >= self._busy:
            sys.exit()
        first, end = (len(drawn) * rank // self._busy for rank in (self.rank, self.rank + 1))
        return drawn.take(slice(first, end))

    def gather(self, trained):
        """What became of all networks, for the leader; the main of every other worker ends here."""
        if not self.leads:
            self.tell(f"networks of {self.rank}", trained)
            sys.exit()
        others = [self.told(f"networks of {rank}") for rank in range(1, self._busy)]
        return type(trained).joined([trained, *others]) if others else trained

    def process_group(self) -> None:
        """Make the workers PyTorch's default process group, over gloo: for one network that all of them train."""
        from torch import distributed

        self.check_alike({})
        distributed.init_process_group("gloo")

    def check_alike(self, facts: dict[str, str]) -> None:
        """Refuse a host that would compute something else: files read and `facts` must be the leader's."""
        host, files = socket.gethostname(), [Path(params.PATH), *inputs.watched()]
        facts |= {str(path): _digest(path) for path in files if path.suffix != ".py"}  # code is in the board's key
        if self.leads:
            self.tell("facts", (host, facts))
        first, theirs = self.told("facts")
        for name in sorted(theirs.keys() | facts.keys()):
            if facts.get(name) != theirs.get(name):
                raise UserError(f"hosts {first} and {host} differ in {name}; give both the same commit and data")

    def tell(self, name: str, value) -> None:
        """Put up a value, for every worker."""
        self._ask("tell", name, value)

    def told(self, name: str, seconds: float | None = None):
        """A worker's value as soon as it is there; None if it is not within so many seconds."""
        return self._ask("told", name, seconds)

    def _ask(self, method: str, *arguments):
        """What the board answers. It goes with the worker that keeps it, and torchrun starts all of them again."""
        try:
            return getattr(self.board, method)(*arguments)
        except (OSError, EOFError):
            os._exit(1)


ALONE = Group()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- a worker


def work(main: Callable[[Group], None]) -> None:
    """Run `main` as a worker, with its part of the machine, and end the process."""
    beside = int(os.environ["LOCAL_WORLD_SIZE"])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("NUMBA_NUM_THREADS", str(max(cores // beside, 1)))
    try:
        os.environ.setdefault(memory.VARIABLE, str(memory.limit() // beside))
        group = joined()
    except UserError as error:
        end(f"error: {error}")
    watcher = threading.Thread(target=watch, args=(group,), daemon=True)
    watcher.start()
    status, unread = None, io.StringIO()
    try:
        with contextlib.ExitStack() as silence:
            if not group.leads:
                silence.enter_context(contextlib.redirect_stdout(unread))
                silence.enter_context(contextlib.redirect_stderr(unread))
            errors.run(lambda: main(group))
    except SystemExit as ended:
        status = ended.code
    if status or group.leads:
        group.tell("end", status or 0)
    watcher.join()


def joined() -> Group:
    """Meet the others. The leader is where DVC waits for files, on whatever host, or else torchrun's worker 0."""
    from plumbline.training import board  # a plain process does without, and starts sooner

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    group = Group(rank, size, board.found(PATIENCE))
    group.tell(f"dvc of {rank}", "DVC_STAGE" in os.environ)
    answers = [group.told(f"dvc of {other}", PATIENCE) for other in range(size)]
    if None in answers:
        raise UserError(f"worker {answers.index(None)} of {size} did not come within {PATIENCE} s")
    group.rank = (rank - (answers.index(True) if True in answers else 0)) % size
    return group


def watch(group: Group) -> None:
    """End this process when the end is told; it comes, too, when a host's launcher has gone."""
    while (status := group.told("end", 0.5)) is None:
        if not launcher_lives():
            group.tell("end", f"error: the workers on host {socket.gethostname()} were stopped")
    with contextlib.suppress(OSError, EOFError):  # who keeps the board goes last, but does not answer the last of us
        group.board.tell(f"{group.rank} has heard", True)
    if os.environ["RANK"] == "0":
        for rank in range(group.size):
            group.told(f"{rank} has heard", PATIENCE)
    end(status)


def end(status: int | str) -> None:
    """End this process, and for a failure its launcher: torchrun would start the worker again, to fail again."""
    if status and os.environ["LOCAL_RANK"] == "0" and launcher_lives():
        if isinstance(status, str):
            print(status, file=sys.stderr, flush=True)
        os.kill(int(os.environ[LAUNCHER]), signal.SIGTERM)
    os._exit(0)


def launcher_lives() -> bool:
    """Whether anybody waits for what the workers do: the launcher holds the other end of standard input."""
    return not select.select([0], [], [], 0)[0]
