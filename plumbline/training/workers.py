"""Several processes, on one host or many, that train whole networks each and exchange nothing until the end.

    PLUMBLINE_TORCHRUN="--nproc-per-node=4" dvc repro

makes `train` start torchrun, PyTorch's launcher, with these options; torchrun starts the workers, and starts all of
them again when one is killed. Each runs the stage's whole `main` with its share of the networks. The first of them,
the leader, gathers what became of all networks; it alone prints and writes files. Where and how a stage runs is no
parameter: dvc.lock knows nothing of it.

What workers tell one another lies on a board. torchrun's worker 0 keeps it, at the address that torchrun gives for
this, by the standard library's multiprocessing: no worker imports torch for it, which takes 1.5 s of CPU each.

A worker that fails as a plain process would, by a user's error or a bug, puts word of it on the board, and all end
with status 0: torchrun would start them again, to fail again.
"""

import contextlib
import hashlib
import logging
import os
import platform
import shlex
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from multiprocessing.context import AuthenticationError
from multiprocessing.managers import BaseManager
from pathlib import Path

from plumbline.basics import errors, inputs, memory, params
from plumbline.basics.errors import UserError, reason

TORCHRUN = "PLUMBLINE_TORCHRUN"  # the user's: torchrun's options
LAUNCHER = "PLUMBLINE_LAUNCHER"  # ours, for the workers: the launching process, and the file for their last words
OURS = ["--max-restarts=3", "--shutdown-timeout=5", f"--log-dir={os.devnull}"]  # the user's come later, and hold
MEETING = 60  # seconds that workers wait for one another at the start
PATIENCE = 5  # seconds in which torchrun ends a worker that has lost another


class Board:
    """Values by name, and those who wait for one."""

    def __init__(self):
        self._values, self._news = {}, threading.Condition()

    def tell(self, name: str, value) -> None:
        """Put up a value; the first of a name stays."""
        with self._news:
            self._values.setdefault(name, value)
            self._news.notify_all()

    def told(self, name: str, seconds: float | None = None):
        """A value as soon as it is there; None if it is not within so many seconds."""
        with self._news:
            self._news.wait_for(lambda: name in self._values, seconds)
            return self._values.get(name)


class Group:
    """The workers of a stage, seen by one of them: `rank`, from 0, of `size`. A plain process is a group of one."""

    def __init__(self, rank: int = 0, size: int = 1, board: Board | None = None):
        self.rank, self.size, self._board, self._busy = rank, size, board, 1

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
        if idle := self.size - self._busy:
            print(f"{idle} of {self.size} workers are idle: there are {len(drawn)} networks", file=sys.stderr)
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
        keeps = isinstance(self._board, Board)
        port = 0 if keeps else self.told("port of gloo")
        store = distributed.TCPStore(_place()[0], port, is_master=keeps, wait_for_workers=False)
        self.tell("port of gloo", store.port)
        distributed.init_process_group("gloo", store=store, rank=self.rank, world_size=self.size)

    def check_alike(self, facts: dict[str, str]) -> None:
        """Refuse a host that would compute something else: code, files read and `facts` must be the leader's."""
        host, python = socket.gethostname(), {"Python": platform.python_version()}
        files = [Path(params.PATH), *inputs.watched()]
        facts = facts | python | {os.path.relpath(path, inputs.CODE): _digest(path) for path in files}
        if self.leads:
            self.tell("facts", (host, facts))
        first, theirs = self.told("facts")
        if names := sorted(name for name in theirs.keys() | facts.keys() if facts.get(name) != theirs.get(name)):
            name, more = names[0], f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(
                f"host {host} differs from host {first} in {name} ({facts.get(name)} there, {theirs.get(name)} here)"
                f"{more}; give both the same commit, packages and data (dvc pull)"
            )

    def tell(self, name: str, value) -> None:
        """Put a value on the board, for every worker."""
        self._ask("tell", name, value)

    def told(self, name: str, seconds: float | None = None):
        """A value of another worker, as `Board.told`."""
        return self._ask("told", name, seconds)

    def _ask(self, method: str, *arguments):
        try:
            return getattr(self._board, method)(*arguments)
        except (OSError, EOFError) as error:  # a connection that is refused or closed
            raise RuntimeError(f"another worker is lost: {reason(error)}") from None


ALONE = Group()


def _digest(path: Path) -> str:
    """Of a file's size and last MiB; a Parquet table ends with what it holds."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - 2**20, 0))
        return hashlib.sha256(b"%d " % size + file.read()).hexdigest()[:12]


def run(main: Callable[[Group], None], module: str) -> None:
    """Run a stage's `main` in the part that this process has; `python -m module` is what its workers run."""
    if LAUNCHER in os.environ:
        _work(main)
    elif options := os.environ.get(TORCHRUN, "").strip():
        errors.run(lambda: _launch(options, module))
    else:
        errors.run(lambda: main(ALONE))


# ---- the launcher


def _launch(options: str, module: str) -> None:
    """Be torchrun until the workers end; a UserError has their last words, or torchrun's own."""
    words = Path(tempfile.gettempdir(), f"plumbline-{uuid.uuid4().hex}")
    os.environ[LAUNCHER] = f"{os.getpid()}:{words}"
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # an address anew for workers that start again
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # torchrun logs in pages what it raises in the end
    if "LOGLEVEL" not in os.environ:
        logging.disable(logging.CRITICAL)

    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    def refuse(why: str) -> None:
        raise ValueError(why)

    parser, failure = run.get_args_parser(), None
    parser.error = refuse
    try:
        arguments = parser.parse_args([*OURS, *shlex.split(options), "--module", module])
        if arguments.training_script != module or arguments.run_path:
            refuse("what it runs is the stage; give options alone")
        workers = max(run.determine_local_world_size(arguments.nproc_per_node), 1)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
            os.environ.setdefault(name, str(max(cores // workers, 1)))
        os.environ.setdefault(memory.VARIABLE, str(memory.limit() // workers))
        run.run(arguments)
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        sys.exit(128 + error.sigval)
    except ChildFailedError as error:
        rank, first = error.get_first_failure()
        lost = f"worker {rank} was lost after {arguments.max_restarts} restarts ({reason(first.message)})"
        failure = f"{lost}; run the stage again, and it goes on from its snapshot"
    except Exception as error:
        failure = f"{TORCHRUN} is {options!r}, and torchrun says: {reason(error) or repr(error)}; see torchrun --help"
    if words.exists():
        failure = words.read_text(encoding="utf-8")
        words.unlink()
        if not failure:
            sys.exit(errors.NOBODY_READS)
    if failure:
        raise UserError(failure)


# ---- a worker


def _work(main: Callable[[Group], None]) -> None:
    """Run `main` as a worker, and end the process."""
    for number in (signal.SIGINT, signal.SIGTERM):  # from torchrun: half-written files go, and nothing is said
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        group = _joined()
    except UserError as error:
        _end(str(error))
    watcher, word = threading.Thread(target=_watch, args=(group,), daemon=True), None
    watcher.start()
    try:
        with contextlib.nullcontext() if group.leads else _silence():
            if (restart := os.environ["TORCHELASTIC_RESTART_COUNT"]) != "0":
                print(f"a worker was lost; {group.size} start again (restart {restart})", file=sys.stderr)
            errors.run(lambda: main(group))
    except SystemExit as end:
        if isinstance(end.code, int) and end.code != errors.NOBODY_READS:
            os._exit(end.code)  # by a signal
        word = end.code.removeprefix("error: ") if isinstance(end.code, str) else end.code and ""
    except Exception:
        time.sleep(PATIENCE)  # where another is lost, torchrun ends this one meanwhile
        traceback.print_exc()
        word = "a worker failed; its traceback stands above, where it ran"
    if word is not None or group.leads:
        group.tell("word", (socket.gethostname(), word))
    watcher.join()


def _watch(group: Group) -> None:
    """End this process when there is word, of a failure or that all is done, or when the launcher has gone."""
    launcher, told = int(os.environ[LAUNCHER].partition(":")[0]), None
    while told is None and os.getppid() == launcher:
        try:
            told = group.told("word", 1.0)
        except RuntimeError:
            time.sleep(1)
    host, word = told or ("", None)
    with contextlib.suppress(RuntimeError):  # who keeps the board goes last
        group.tell(f"end of {group.rank}", True)
        for rank in range(group.size) if told and isinstance(group._board, Board) else ():
            group.told(f"end of {rank}", PATIENCE)
    _end(f"on host {host}: {word}" if word and host != socket.gethostname() else word)


def _end(word: str | None) -> None:
    """End with a status that starts nothing again, and leave the launcher the word, if it has none."""
    with contextlib.suppress(FileExistsError):
        if word is not None:
            with Path(os.environ[LAUNCHER].partition(":")[2]).open("x", encoding="utf-8") as file:
                file.write(word)
    os._exit(0)


def _joined() -> Group:
    """Find the others. The leader is where DVC waits for files, on whatever host, or else torchrun's worker 0."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    host, port = _place()
    board = Board()
    BaseManager.register("board", callable=lambda: board, exposed=("tell", "told"))
    key, deadline = os.environ["TORCHELASTIC_RUN_ID"].encode(), time.monotonic() + MEETING
    if rank == 0:
        server = BaseManager(("" if host != "127.0.0.1" else host, port), key).get_server()
        threading.Thread(target=server.serve_forever, daemon=True).start()
    while rank and isinstance(board, Board):
        try:
            manager = BaseManager((host, port), key)
            manager.connect()
            board = manager.board()
        except (OSError, EOFError, AuthenticationError) as error:
            if time.monotonic() > deadline:
                where = f"worker {rank}, on host {socket.gethostname()}, does not reach worker 0 at {host}:{port}"
                raise UserError(f"{where} ({reason(error)}); see torchrun's --local-addr") from None
            time.sleep(0.05)
    group = Group(rank, size, board)
    group.tell(f"dvc of {rank}", "DVC_STAGE" in os.environ)
    answers = [group.told(f"dvc of {other}", MEETING) for other in range(size)]
    if None in answers:
        raise UserError(f"worker {answers.index(None)} of {size} does not reach worker 0 at {host}:{port}")
    group.rank = (rank - (answers.index(True) if True in answers else 0)) % size
    return group


def _place() -> tuple[str, int]:
    """Where the board is. torchrun's static rendezvous keeps the port it is given for itself."""
    alone = os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"]
    is_taken = os.environ["TORCHELASTIC_USE_AGENT_STORE"] == "True"
    return "127.0.0.1" if alone else os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]) + is_taken


@contextlib.contextmanager
def _silence():
    """What is printed is printed once, by the leader."""
    with Path(os.devnull).open("w") as no, contextlib.redirect_stdout(no), contextlib.redirect_stderr(no):
        yield
