"""torchrun's options and what it raises, in a user's words; where hosts meet, found out before it starts."""

import socket
from types import SimpleNamespace

import pytest
from conftest import assert_one_line
from torch.distributed import TCPStore, run

from stages import torchrun, workers
from stages.errors import UserError
from stages.workers import LOST


def parsed(options):
    return torchrun.parsed(run.get_args_parser(), options, "stages.train")


@pytest.fixture
def listener():
    """A program that listens and says nothing."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        yield taken.getsockname()[1]


@pytest.mark.parametrize(
    "options",
    ["--nonsense", "'", "script.py", "--nnodes", "--nproc-per-node=2 other", "--help", "--run-path", "--no-python"],
)
def test_options_that_torchrun_does_not_take(options):
    with pytest.raises(UserError, match=r"PLUMBLINE_TORCHRUN is .* which torchrun does not take: "):
        parsed(options)


@pytest.mark.parametrize(
    "options",
    [
        "--nnodes=0",
        "--nproc-per-node=0",
        "--nproc-per-node=x",
        "--rdzv-conf=abc",
        "--rdzv-backend=etcd3",
        "--rdzv-backend=etcd-v2 --rdzv-endpoint=127.0.0.1:1",
    ],
)
def test_values_that_torchrun_does_not_take_are_one_line(project, options):
    done = project.stage("train", fails=True, PLUMBLINE_TORCHRUN=options)
    assert_one_line(done, "PLUMBLINE_TORCHRUN", options.split()[0])


def test_the_users_own_settings_hold():
    assert parsed("--standalone").max_restarts == torchrun.RESTARTS
    arguments = parsed("--max-restarts=0 --rdzv-conf=join_timeout=7")
    assert arguments.max_restarts == 0
    config, *_ = run.config_from_args(arguments)
    assert config.rdzv_configs["join_timeout"] == "7"
    assert config.rdzv_configs["last_call_timeout"] == str(torchrun.LAST_CALL)


def test_an_endpoint_is_needed_and_checked():
    with pytest.raises(UserError, match="no --rdzv-endpoint"):
        torchrun.meet(parsed("--nnodes=2 --rdzv-backend=c10d"), 2)
    with pytest.raises(UserError, match=r"'127.0.0.1:x'.* must be HOST:PORT"):
        torchrun.meet(parsed("--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:x"), 2)
    with pytest.raises(UserError, match=r"'none.invalid' .* is not known here"):
        torchrun.meet(parsed("--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=none.invalid:1"), 2)


@pytest.mark.parametrize("options", ["--rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:{}", "--master-port={}"])
def test_a_port_that_another_program_holds(monkeypatch, listener, options):
    monkeypatch.setattr(torchrun, "ANSWERED", 1)
    with pytest.raises(UserError, match=f"port {listener} of 127.0.0.1 is in use by another program"):
        torchrun.meet(parsed("--nnodes=2 " + options.format(listener)), 2)


def test_a_port_that_another_program_holds_at_another_address(monkeypatch, listener):
    monkeypatch.setattr(torchrun, "ANSWERED", 1)
    assert torchrun.in_use("127.0.0.2", listener)
    with pytest.raises(UserError, match=f"port {listener} of 127.0.0.2 is in use by another program"):
        torchrun.meet(parsed(f"--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=127.0.0.2:{listener}"), 2)


def test_a_host_whose_name_only_it_reaches_gives_the_others_its_address(monkeypatch):
    def has(*addresses):
        each = [SimpleNamespace(family=socket.AF_INET, address=address) for address in ("127.0.0.1", *addresses)]
        monkeypatch.setattr("psutil.net_if_addrs", lambda: {"eth0": each})

    has("192.0.2.7")
    assert torchrun.reachable("127.0.1.1", "host1") == "192.0.2.7"
    for asked in (("192.0.2.7", "host1"), ("127.0.0.1", "localhost"), ("127.0.0.1", "127.0.0.1"), (None, "host1")):
        assert torchrun.reachable(*asked) == asked[0]
    has("192.0.2.7", "198.51.100.7")
    with pytest.raises(UserError, match=r"host1 stands for 127\.0\.1\.1 here.*\(192\.0\.2\.7, 198\.51\.100\.7\)"):
        torchrun.reachable("127.0.1.1", "host1")


def test_a_host_that_does_not_answer(monkeypatch, listener):
    monkeypatch.setattr(torchrun, "MEETING", 0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match=f"127.0.0.1 does not answer on port {port}"):
        torchrun.meet(parsed(f"--nnodes=2 --node-rank=1 --master-port={port}"), 2)


def test_who_comes_second_finds_the_rendezvous():
    first = parsed("--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:0")
    torchrun.meet(first, 2)
    assert "is_host=1" in first.rdzv_conf and first.local_addr == "127.0.0.1"
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    second = parsed(f"--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:{store.port}")
    torchrun.meet(second, 2)
    assert "is_host=0" in second.rdzv_conf
    late = parsed("--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:0")
    assert torchrun.meet(late, 2)
    late.rdzv_endpoint = second.rdzv_endpoint  # as it looks to one that found the port free, and was too late
    assert not torchrun.meet(late, 2, may_serve=False)
    assert late.rdzv_conf.startswith("is_host=0,") and "is_host=1" not in late.rdzv_conf


def test_nobody_is_asked_where_there_is_one_host(monkeypatch):
    monkeypatch.setattr(torchrun, "is_here", None)
    torchrun.meet(parsed("--standalone --nproc-per-node=2"), 1)
    torchrun.meet(parsed("--nproc-per-node=2"), 1)


def test_this_hosts_addresses_and_interfaces():
    assert torchrun.is_here("127.0.0.1") and not torchrun.is_here("192.0.2.1")
    assert workers.interface(workers.address_towards("127.0.0.1", 1)) == "lo"
    assert workers.interface(None) is None


def test_the_worker_that_ended_first_is_named():
    lost, killed, failed = (SimpleNamespace(exitcode=code, timestamp=10 - code) for code in (LOST, -9, 3))
    assert torchrun.of_failure({0: lost, 1: killed}, 3).startswith("worker 1 was killed by SIGKILL and has been")
    assert torchrun.of_failure({0: lost, 2: failed}, 0).startswith("worker 2 ended with status 3 and --max-restarts is")
    assert "worker 0 lost another" in torchrun.of_failure({0: lost}, 3)


def test_hosts_that_never_come_are_one_line_in_time(project):
    for options in ("--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:{}", "--nnodes=2 --master-port={}"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        given = options.format(port) + " --rdzv-conf=join_timeout=3,timeout=3"
        done = project.stage("train", fails=True, PLUMBLINE_TORCHRUN=given)
        assert_one_line(done, "not all hosts of --nnodes=2 have come", str(port))
    assert torchrun.MEETING < 60
