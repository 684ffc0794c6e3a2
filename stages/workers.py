"""Several processes, on one host or many, that work as one: who they are, what they exchange, how they end.

A stage's `main` takes a Group, or None where its process is alone. `run` finds out which: with PLUMBLINE_TORCHRUN set
to torchrun's options the process launches workers (stages.torchrun) and waits for them; one that torchrun started,
known by the environment variables it sets, is a worker. Nobody else imports torch for it. Where and how a stage runs is
no parameter: dvc.lock knows nothing of it.

A worker that fails as a plain process would, by a user's error or a bug, leaves word for the others and for its
launcher and exits with 0: torchrun would start all of them again, to fail again. One that is killed leaves none. Then
its group is lost, and torchrun does start it anew.
"""

import contextlib
import datetime
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numba
import numpy as np

from stages import errors

TORCHRUN = "PLUMBLINE_TORCHRUN"  # the user's: torchrun's options
LAUNCHER = "PLUMBLINE_LAUNCHER"  # our own, for the workers: the launching process and its folder for last words
LAST_WORDS = "last_words"
MEETING = 45  # seconds that workers wait for one another at the start; what goes wrong there is told within a minute
WAITING = 600  # seconds that a worker waits for the others' part of a step, who may have a large table to read first
LOST = 75  # exit status of a worker whose group is lost (sysexits.h: try again)


class Lost(Exception):
    """Another worker went without a word."""


class Group:
    """The workers of a stage, seen by one of them: `rank`, from 0, of `size`."""

    def __init__(self):
        import torch
        from torch import distributed

        self._torch, self._distributed = torch, distributed
        self.rank, self.size, self._local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        self.host, self.first_of_host = socket.gethostname(), self._local == 0
        self._device = torch.device("cpu")
        meeting, waiting = datetime.timedelta(seconds=MEETING), datetime.timedelta(seconds=WAITING)
        with _lost_if_it_fails():
            store, *_ = next(distributed.rendezvous("env://", timeout=meeting))
            self._store = distributed.PrefixStore(room(store, self.rank, self.size), store)
            self.rank = (self.rank - first_under_dvc(self._store, self.rank, self.size)) % self.size
            given = {"store": self._store, "rank": self.rank, "world_size": self.size}
            _one_interface()
            with _without_gloos_log():
                distributed.init_process_group("gloo", timeout=meeting, **given)
            self._talk = self._arrays = distributed.new_group(timeout=waiting)

    def use_cuda(self) -> None:
        """Exchange arrays by NCCL from here on, each worker of a host on a GPU of its own."""
        self._device = self._torch.device("cuda", self._local)
        self._torch.cuda.set_device(self._device)
        with _lost_if_it_fails():
            waiting = datetime.timedelta(seconds=WAITING)
            self._arrays = self._distributed.new_group(timeout=waiting, backend="nccl")

    def exchange(self, array: np.ndarray, sent: np.ndarray, received: np.ndarray) -> np.ndarray:
        """Send each worker its run of an array (n,), `sent` numbers to each; what they send here, in their order.

        All to all at once: in a ring, as torch gathers, each worker would wait for the one before it.
        """
        own = self._torch.from_numpy(array).to(self._device)
        every = own.new_empty((int(received.sum()),))
        with _lost_if_it_fails():
            self._distributed.all_to_all_single(every, own, received.tolist(), sent.tolist(), group=self._arrays)
            return every.cpu().numpy()

    def gather(self, array: np.ndarray) -> np.ndarray:
        """Every worker's array, all of one shape and kind, in the order of ranks: (size, ...)."""
        counts = np.full(self.size, array.size)
        return self.exchange(np.tile(array.ravel(), self.size), counts, counts).reshape(self.size, *array.shape)

    def broadcast(self, value):
        """The first worker's value, of any kind."""
        box = [value]
        with _lost_if_it_fails():
            self._distributed.broadcast_object_list(box, src=0, group=self._talk)
        return box[0]

    def values(self, value) -> list:
        """Every worker's value, of any kind, in the order of ranks."""
        every = [None] * self.size
        with _lost_if_it_fails():
            self._distributed.all_gather_object(every, value, group=self._talk)
        return every

    def leave(self) -> None:
        """End together: to the others, who goes alone looks like one that was killed."""
        self.values(None)
        self._distributed.destroy_process_group()

    def tell(self, message: str) -> None:
        """Leave word why this worker ends, before the others miss it."""
        with contextlib.suppress(RuntimeError):
            self._store.set(LAST_WORDS, json.dumps([self.host, message]))

    def told(self) -> str | None:
        """The word that another worker left, if one did."""
        with contextlib.suppress(RuntimeError):
            if self._store.check([LAST_WORDS]):
                host, message = json.loads(self._store.get(LAST_WORDS))
                return message if host == self.host or not message else f"on host {host}: {message}"
        return None


def room(store, rank: int, size: int) -> str:
    """Agree on a name under which the store is empty: torchrun's still has what workers wrote who were lost.

    Each of the others puts up a number of its own, to which the first one answers with the name. A number may be that
    of a predecessor, so the first one looks again until all have taken the name to themselves.
    """
    deadline, own = time.monotonic() + MEETING, uuid.uuid4().hex
    missing, answered = set(range(1, size)), {}
    if rank:
        store.set(f"number of {rank}", own)
        name = store.get(f"name for {own}").decode()
        store.set(f"{name} taken by {rank}", "")
        return name
    while missing and time.monotonic() < deadline:
        for other in missing:
            number = f"number of {other}"
            if store.check([number]) and answered.get(other) != (answer := store.get(number).decode()):
                store.set(f"name for {answer}", own)
                answered[other] = answer
        missing = {other for other in missing if not store.check([f"{own} taken by {other}"])}
        time.sleep(0.01)
    if missing:
        raise RuntimeError(f"worker {min(missing)} has not come")
    return own


def first_under_dvc(store, rank: int, size: int) -> int:
    """Torchrun's rank of the worker that is to write: on the host where DVC waits for the files, which may be any."""
    store.set(f"under dvc {rank}", "yes" if "DVC_STAGE" in os.environ else "no")
    answers = store.multi_get([f"under dvc {other}" for other in range(size)])
    return answers.index(b"yes") if b"yes" in answers else 0


def run(main: Callable[[Group | None], None], module: str) -> None:
    """Run a stage's `main` in the part that this process has; `python -m module` is what its workers run."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _work(main)
    elif os.environ.get(TORCHRUN, "").strip():
        from stages import torchrun

        errors.run(lambda: torchrun.launch(os.environ[TORCHRUN], module))
    else:
        errors.run(lambda: main(None))


def _work(main: Callable[[Group | None], None]) -> None:
    launcher, _, folder = os.environ.get(LAUNCHER, "").partition(":")
    _end_with(int(launcher or os.getppid()), folder)
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal interrupts everyone, and torchrun then its workers
        signal.signal(number, _quietly)
    group, began = None, time.monotonic()

    def share() -> None:
        nonlocal group
        group = Group()
        _begin(group)
        with _silent() if group.rank else contextlib.nullcontext():
            main(group)
        group.leave()

    try:
        message = _complaint(share)
        if message is not None and group:
            group.tell(message)
    except Lost as error:
        message = group.told() if group else None
        # One that was killed while they met may be why, but hardly twice.
        again = os.environ["TORCHELASTIC_RESTART_COUNT"] != "0"
        if message is None and group is None and (again or time.monotonic() - began > MEETING):
            message = (
                f"the workers have not met on host {socket.gethostname()} ({error}); let each host reach the others at "
                "any port, or name the network with GLOO_SOCKET_IFNAME"
            )
        if message is None:
            _end(LOST)
    if message is None:
        return
    if folder:
        Path(folder, LAST_WORDS).write_text(message, encoding="utf-8")
        _end(0)
    if message:  # torchrun was started by hand, and does not know of last words
        print(f"error: {message}", file=sys.stderr)
    _end(1)


def _end(status: int) -> None:
    """End before the others: gloo's threads do not take part in an orderly end, and abort the process."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _begin(group: Group) -> None:
    if "NUMBA_NUM_THREADS" not in os.environ:
        numba.set_num_threads(max(numba.config.NUMBA_NUM_THREADS // int(os.environ["LOCAL_WORLD_SIZE"]), 1))
    restart = os.environ["TORCHELASTIC_RESTART_COUNT"]
    if group.rank == 0 and restart != "0":
        of = f"{restart} of {os.environ['TORCHELASTIC_MAX_RESTARTS']}"
        print(f"a worker was lost; {group.size} start again (restart {of})", file=sys.stderr, flush=True)


def _complaint(work: Callable[[], None]) -> str | None:
    """What there is to say of work that failed, in a user's words or after a traceback; None if it went well.

    Nothing, "", when whoever read what it prints has had enough.
    """
    try:
        errors.run(work)
    except SystemExit as end:
        if end.code == errors.NOBODY_READS:
            return ""
        if not isinstance(end.code, str):  # a signal
            _end(end.code)
        return end.code.removeprefix("error: ")
    except Lost:
        raise
    except Exception:
        traceback.print_exc()
        return "a worker failed; its traceback is above"
    return None


def _quietly(number: int, frame) -> None:
    """End at a signal without a word, which the launcher has; files that are half written go."""
    for another in (signal.SIGINT, signal.SIGTERM):
        signal.signal(another, signal.SIG_IGN)
    sys.exit(128 + number)


def _end_with(launcher: int, folder: str) -> None:
    """End when the launcher has gone, however it went, and clear up after it."""

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(1)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(LOST)

    threading.Thread(target=watch, daemon=True).start()


def _one_interface() -> None:
    """Have gloo use the network on which the first worker's host is reached.

    By itself it takes the address that this host's name stands for: on Debian 127.0.1.1, where nobody else reaches it.
    stages.torchrun is not asked: with modules in use that a plain process has not, their snapshots would differ.
    """
    if "GLOO_SOCKET_IFNAME" in os.environ:
        return
    if name := interface(address_towards(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))):
        os.environ["GLOO_SOCKET_IFNAME"] = name


def address_towards(host: str, port: int) -> str | None:
    """This host's address in the network in which the other one is; nothing is sent for it."""
    with contextlib.suppress(OSError):
        family, _, _, _, address = socket.getaddrinfo(host, port or 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as trial:
            trial.connect(address)
            return trial.getsockname()[0]
    return None


def interface(address: str | None) -> str | None:
    """The name of the network interface that has an address."""
    import psutil

    owned = psutil.net_if_addrs().items()
    return next((name for name, addresses in owned for each in addresses if each.address == address), None)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """What is printed is printed once, by the first worker."""
    with Path(os.devnull).open("w") as no, contextlib.redirect_stdout(no), contextlib.redirect_stderr(no):
        yield


@contextlib.contextmanager
def _without_gloos_log() -> Iterator[None]:
    """It logs every attempt to connect, besides raising what went wrong in the end."""
    kept = os.dup(2)
    with Path(os.devnull).open("w") as no:
        os.dup2(no.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def _lost_if_it_fails() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # a connection refused or closed, or time that ran out
        if type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
            raise
        raise Lost(str(error).splitlines()[0]) from None
