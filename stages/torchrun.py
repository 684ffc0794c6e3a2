"""Start a stage as workers under torchrun (torch.distributed.run): PLUMBLINE_TORCHRUN holds its options.

    PLUMBLINE_TORCHRUN="--standalone --nproc-per-node=4" dvc repro

and on each of several hosts, with one host's name in all of them (`dvc repro` on the one that is to have the files):

    PLUMBLINE_TORCHRUN="--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=HOST:29400" python -m stages.train

torchrun's defaults are for clusters: it waits ten minutes for a host, gives up at a worker's first death, and says why
in pages. Here it waits for less than one, starts up to RESTARTS times anew, and what it raises becomes one line. Each
of those is still the user's to set, with torchrun's own options.
"""

import argparse
import contextlib
import datetime
import ipaddress
import logging
import os
import shlex
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from stages.errors import NOBODY_READS, UserError, reason
from stages.workers import LAST_WORDS, LAUNCHER, LOST, MEETING, TORCHRUN, address_towards

RESTARTS = 3
LAST_CALL = 10  # seconds that the least number of hosts waits for more, up to the most
GOODBYE = 5  # seconds that workers have for ending when they are told to
ANSWERED = 5  # seconds in which a rendezvous that is one answers
PORT = 29400  # torchrun's own


def launch(options: str, module: str) -> None:
    """Run `python -m module` as workers until they end; a UserError says why they did not end well."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # it logs what it raises, and every attempt to connect
    from torch.distributed import run
    from torch.distributed.elastic.rendezvous import RendezvousConnectionError

    if "LOGLEVEL" not in os.environ:
        logging.disable(logging.CRITICAL)
    arguments = parsed(run.get_args_parser(), options, module)
    try:
        local = run.determine_local_world_size(arguments.nproc_per_node)
        os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // max(local, 1), 1)))
        config, *_ = run.config_from_args(arguments)
        if local < 1:
            raise ValueError(f"--nproc-per-node={local} is no worker at all")
    except (ValueError, RuntimeError, AssertionError) as error:
        raise UserError(refusal(options, str(error))) from None
    serves = meet(arguments, config.max_nodes)
    with tempfile.TemporaryDirectory(prefix="plumbline-", ignore_cleanup_errors=True) as folder:
        os.environ[LAUNCHER], words = f"{os.getpid()}:{folder}", Path(folder, LAST_WORDS)
        try:
            with in_one_line(arguments):
                try:
                    run.run(arguments)
                except RendezvousConnectionError:  # another launcher of this host took the port a moment earlier
                    if not serves:
                        raise
                    meet(arguments, config.max_nodes, may_serve=False)
                    run.run(arguments)
        except UserError:
            if not words.exists():  # a worker's own word says more
                raise
        if words.exists():
            if not (word := words.read_text(encoding="utf-8")):
                sys.exit(NOBODY_READS)
            raise UserError(word)


def parsed(parser: argparse.ArgumentParser, options: str, module: str) -> argparse.Namespace:
    """torchrun's own parser's reading of the options, with defaults for one training rather than for a cluster."""

    def refuse(message: str) -> None:
        raise UserError(refusal(options, message))

    parser.error = refuse
    parser.print_help = lambda *_: refuse("it asks for help, which `torchrun --help` gives")
    patient = f"join_timeout={MEETING},last_call_timeout={LAST_CALL},timeout={MEETING}"
    ours = [f"--max-restarts={RESTARTS}", f"--shutdown-timeout={GOODBYE}", f"--log-dir={os.devnull}"]
    try:
        given = shlex.split(options)
    except ValueError as error:
        refuse(str(error).lower())
    arguments = parser.parse_args([*ours, *given, "--module", module])
    if arguments.run_path or arguments.no_python:
        refuse("what it runs is the stage, as a module")
    if arguments.training_script != module:
        refuse(f"{arguments.training_script!r} is no option, and what it runs is the stage")
    arguments.rdzv_conf = ",".join(filter(None, (patient, arguments.rdzv_conf)))  # the last one holds
    return arguments


def refusal(options: str, why: str) -> str:
    """That options are none."""
    return f"{TORCHRUN} is {options!r}, which torchrun does not take: {why}; see torchrun --help"


# ---- where the hosts meet


def meet(arguments: argparse.Namespace, hosts: int, may_serve: bool = True) -> bool:
    """See to it that the hosts can meet at the endpoint, which torchrun would find out late and tell at length.

    Returns whether this launcher is to serve the rendezvous there, to the others and itself.
    """
    alone = hosts == 1 and not arguments.rdzv_endpoint and arguments.master_port is None
    if arguments.standalone or alone or arguments.rdzv_backend not in ("c10d", "static"):
        return False
    static = arguments.rdzv_backend == "static"
    if static:
        endpoint = arguments.rdzv_endpoint or f"{arguments.master_addr}:{arguments.master_port or 29500}"
    elif not (endpoint := arguments.rdzv_endpoint):
        raise UserError(f"{TORCHRUN} has no --rdzv-endpoint; add one, HOST:{PORT} with the same host everywhere")
    host, _, port = endpoint.rpartition(":") if ":" in endpoint else (endpoint, "", str(PORT))
    host = host.strip("[]")
    if not port.isdecimal() or int(port) > 65535:
        raise UserError(f"{TORCHRUN}: the endpoint is {endpoint!r}, and must be HOST:PORT, a port up to 65535")
    port = int(port)
    try:
        mine = is_here(host)
    except OSError as error:
        raise UserError(f"{TORCHRUN}: the host {host!r} of the endpoint is not known here ({error.strerror})") from None
    serves = arguments.node_rank == 0 if static else may_serve and mine and not in_use(host, port)
    if static and serves and (not mine or in_use(host, port)):
        raise UserError(f"{TORCHRUN}: " + (taken(host, port) if mine else f"{host} is not host 0, where this is run"))
    if not serves:
        wait_for(host, port, mine and not static)
    if not static:
        arguments.rdzv_conf = f"is_host={int(serves)},{arguments.rdzv_conf.removeprefix('is_host=1,')}"
    arguments.local_addr = arguments.local_addr or reachable(address_towards(host, port), host)
    return serves and not static


def reachable(address: str | None, host: str) -> str | None:
    """This host's address that the others are told: on Debian a host's own name stands for one that only it reaches."""
    import psutil

    if address is None or not is_loopback(address) or host == "localhost" or is_loopback(host):
        return address
    found = [each.address for of in psutil.net_if_addrs().values() for each in of if each.family == socket.AF_INET]
    found = [each for each in found if not is_loopback(each)]
    if len(found) != 1:
        raise UserError(
            f"{TORCHRUN}: {host} stands for {address} here, where no other host reaches it; give the address of this "
            f"host instead ({', '.join(found) or 'it has none'})"
        )
    return found[0]


def is_loopback(address: str) -> bool:
    """Whether it is an address, and one that a host has for itself alone."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def is_here(host: str) -> bool:
    """Whether an address is one of this host's own, whatever its name stands for."""
    family, kind, _, _, (address, *_) = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as trial:
        try:
            trial.bind((address, 0))
        except OSError:
            return False
        return True


def in_use(host: str, port: int) -> bool:
    """Whether a program of this host listens on the port; 0 is any free one."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    for place in (address, ("", port)):  # a rendezvous takes all addresses
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what a run left a moment ago listens no more
            try:
                trial.bind(place)
            except OSError:
                return True
    return False


def wait_for(host: str, port: int, mine: bool) -> None:
    """Wait until a rendezvous answers, the first host's; a UserError when none does.

    mine: it is this host's, where its port is already taken: by one that answers at once, or by another program.
    """
    from torch.distributed import DistError, TCPStore

    deadline, why = time.monotonic() + (ANSWERED if mine else MEETING), ""
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
            break
        except OSError as error:
            why = error.strerror or str(error)
        if time.monotonic() > deadline and mine:  # the port is taken, but at another address
            raise UserError(f"{TORCHRUN}: {taken(host, port)}") from None
        if time.monotonic() > deadline:
            where = f"{host} does not answer on port {port} ({why}) within {MEETING} s"
            raise UserError(f"{where}; start the stage there too, or let this host through, and try again") from None
        time.sleep(0.5)
    answered = []

    def ask() -> None:
        with contextlib.suppress(DistError):
            seconds = datetime.timedelta(seconds=ANSWERED)
            answered.append(TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=seconds))

    asking = threading.Thread(target=ask, daemon=True)  # which a program that listens and says nothing keeps for ever
    asking.start()
    asking.join(ANSWERED)
    if not answered:
        raise UserError(f"{TORCHRUN}: {taken(host, port)}")


def taken(host: str, port: int) -> str:
    """That a port is another program's."""
    return f"port {port} of {host} is in use by another program; end it, or name another port on all hosts"


# ---- how it ended


@contextlib.contextmanager
def in_one_line(arguments: argparse.Namespace) -> Iterator[None]:
    """What torchrun raises, in a user's words."""
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousClosedError, RendezvousError, RendezvousTimeoutError

    where = arguments.rdzv_endpoint or f"{arguments.master_addr}:{arguments.master_port}"
    few = f"not all hosts of --nnodes={arguments.nnodes} have come to {where} in time; start the stage on each of them"
    try:
        yield
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        sys.exit(128 + error.sigval)
    except ChildFailedError as error:
        raise UserError(of_failure(error.failures, arguments.max_restarts)) from None
    except RendezvousTimeoutError:
        raise UserError(few) from None
    except RendezvousClosedError:
        raise UserError(f"the workers that met at {where} have ended; start all hosts again") from None
    except (RendezvousError, DistError) as error:
        if "clients joined" in str(error):
            raise UserError(few) from None
        why = str(error.__cause__ or error).splitlines()[0]
        raise UserError(f"the host where workers meet, {where}, is lost ({why}); start all hosts again") from None
    except Exception as error:
        if arguments.rdzv_backend in ("c10d", "static"):
            raise
        why = f"--rdzv-backend={arguments.rdzv_backend} does not work here ({reason(error)})"
        raise UserError(f"{TORCHRUN}: {why}; take c10d, which needs nothing installed") from None


def of_failure(failures: dict, restarts: int) -> str:
    """Which of the workers ended first, and how; of some nothing is known but that they lost another."""
    rank, first = min(failures.items(), key=lambda item: (item[1].exitcode == LOST, item[1].timestamp))
    if first.exitcode == LOST:
        how = f"worker {rank} lost another, on another host,"
    elif first.exitcode < 0:
        how = f"worker {rank} was killed by {signal.Signals(-first.exitcode).name}"
    else:
        how = f"worker {rank} ended with status {first.exitcode}"
    spent = f"and has been started again {restarts} times" if restarts else "and --max-restarts is 0"
    return f"{how} {spent}; run the stage again when that is mended, and it goes on from where it stood"
