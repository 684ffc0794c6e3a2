"""Several processes, on one host or many, that train whole networks each and exchange nothing until the end.

    PLUMBLINE_TORCHRUN="--nproc-per-node=4" dvc repro

makes `train` start torchrun, PyTorch's launcher, with these options; torchrun starts the workers, and starts all of
them again when one is killed. Each runs the stage's whole `main` with its share of the networks. The first of them,
the leader, gathers what became of all networks; it alone prints and writes files. Where and how a stage runs is no
parameter: dvc.lock knows nothing of it.

What workers tell one another they put up on a board (plumbline.training.board). A worker that fails as a plain
process would, by a user's error or a bug, puts word of it there, and all end with status 0: torchrun would start them
again, to fail again.
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
import typing
import uuid
from collections.abc import Callable
from pathlib import Path

from plumbline.basics import errors, inputs, memory, params
from plumbline.basics.errors import UserError, reason

if typing.TYPE_CHECKING:
    from plumbline.training.board import Board

TORCHRUN = "PLUMBLINE_TORCHRUN"  # the user's: torchrun's options
LAUNCHER = "PLUMBLINE_LAUNCHER"  # ours, for the workers: the launching process, and the file for their last words
OURS = ["--max-restarts=3", "--shutdown-timeout=5", f"--log-dir={os.devnull}"]  # the user's come later, and hold
PATIENCE = 5  # seconds in which torchrun ends a worker that has lost another of its host
SILENCE = 20  # seconds without a sign of life after which a worker, and its host, is taken for lost
STATUS = 75  # exit status of a worker that has lost another (sysexits.h: try again)


class Lost(Exception):
    """Another worker went without a word."""


class Group:
    """The workers of a stage, seen by one of them: `rank`, from 0, of `size`. A plain process is a group of one."""

    def __init__(self, rank: int = 0, size: int = 1, board: "Board | None" = None, keeps: bool = False):
        self.rank, self.size, self.keeps = rank, size, keeps  # keeps: whether the board lies here
        self._board, self._busy = board, 1

    @property
    def leads(self) -> bool:
        """Whether this is the worker that prints, and writes files."""
        return self.rank == 0

    def last_heard(self) -> float:
        """When the worker that has been silent for longest was heard, as far as is known here."""
        return min(self._board.heard.values()) if self.keeps else time.monotonic()

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

        from plumbline.training import board

        self.check_alike({})
        port = 0 if self.keeps else self.told("port of gloo")
        store = distributed.TCPStore(board.place()[0], port, is_master=self.keeps, wait_for_workers=False)
        self.tell("port of gloo", store.port)
        distributed.init_process_group("gloo", store=store, rank=self.rank, world_size=self.size)

    def check_alike(self, facts: dict[str, str]) -> None:
        """Refuse a host that would compute something else: code, files read and `facts` must be the leader's."""
        host, files = socket.gethostname(), [Path(params.PATH), *inputs.watched()]
        packages = (name for name in ("numpy", "numba", "duckdb", "torch") if name in sys.modules)
        facts |= {name: sys.modules[name].__version__.partition("+")[0] for name in packages}
        facts |= {"Python": platform.python_version()} | {_name(path): _digest(path) for path in files}
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
        """Put up a value, for every worker."""
        self.ask("tell", name, value)

    def told(self, name: str, seconds: float | None = None):
        """A value of another worker, as `Board.told`."""
        return self.ask("told", name, seconds)

    def ask(self, method: str, *arguments):
        """What the board answers; Lost if it is gone, and the worker that kept it."""
        try:
            return getattr(self._board, method)(*arguments)
        except (OSError, EOFError) as error:
            raise Lost(reason(error)) from None


ALONE = Group()


def _name(path: Path) -> str:
    """As it is on every host, wherever the code lies there."""
    return str(path.relative_to(inputs.CODE) if path.is_relative_to(inputs.CODE) else path)


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
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        sys.exit(f"error: torchrun started this by itself; give its options in {TORCHRUN} and run python -m {module}")
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
            refuse("what it runs is the stage, give options alone")
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
    watcher = threading.Thread(target=_watch, args=(group,), daemon=True)
    watcher.start()
    try:
        word = _word(group, main)
        if word is not None or group.leads:
            group.tell("word", (socket.gethostname(), word))
    except Lost:
        time.sleep(PATIENCE)  # in which torchrun ends this worker too, if it knows
        os._exit(STATUS)
    watcher.join()


def _word(group: Group, main: Callable[[Group], None]) -> str | None:
    """Run `main`; what there is to say of a failure, nothing ("") when nobody reads any more, or None."""
    try:
        with contextlib.nullcontext() if group.leads else _silence():
            if (restart := os.environ["TORCHELASTIC_RESTART_COUNT"]) != "0":
                print(f"a worker was lost; {group.size} start again (restart {restart})", file=sys.stderr)
            errors.run(lambda: main(group))
    except SystemExit as end:
        if isinstance(end.code, str):
            return end.code.removeprefix("error: ")
        if end.code == errors.NOBODY_READS:
            return ""
        if end.code:  # a signal
            os._exit(end.code)
    except Lost:
        raise
    except Exception:
        time.sleep(PATIENCE)  # perhaps PyTorch says that another is lost; then torchrun ends this one too
        traceback.print_exc()
        return "a worker failed; its traceback stands above, where it ran"
    return None


def _watch(group: Group) -> None:
    """End this process when there is word, of a failure or that all is done, or when the launcher has gone."""
    launcher, told, heard = int(os.environ[LAUNCHER].partition(":")[0]), None, time.monotonic()
    while told is None and os.getppid() == launcher:
        try:
            told = group.ask("listen", group.rank)
            heard = group.last_heard()
        except Lost:
            time.sleep(1)
        if told is None and time.monotonic() - heard > SILENCE:
            os._exit(STATUS)
    host, word = told or ("", None)
    with contextlib.suppress(Lost):  # who keeps the board goes last
        group.tell(f"end of {group.rank}", True)
        for rank in range(group.size) if told and group.keeps else ():
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
    """Meet the others. The leader is where DVC waits for files, on whatever host, or else torchrun's worker 0."""
    from plumbline.training import board  # a plain process does without, and starts sooner

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    group = Group(rank, size, board.found(rank), keeps=rank == 0)
    group.tell(f"dvc of {rank}", "DVC_STAGE" in os.environ)
    answers = [group.told(f"dvc of {other}", board.MEETING) for other in range(size)]
    if None in answers:
        host, port = board.place()
        raise UserError(f"worker {answers.index(None)} of {size} does not reach worker 0 at {host}:{port}")
    group.rank = (rank - (answers.index(True) if True in answers else 0)) % size
    return group


@contextlib.contextmanager
def _silence():
    """What is printed is printed once, by the leader."""
    with Path(os.devnull).open("w") as no, contextlib.redirect_stdout(no), contextlib.redirect_stderr(no):
        yield
