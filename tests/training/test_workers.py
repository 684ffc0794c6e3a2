"""Workers of one training: the same bits for any number of them, through deaths; what ends them is told once."""

import contextlib
import itertools
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import connection
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT, called

from plumbline.basics import inputs
from plumbline.basics.errors import UserError
from plumbline.training import workers
from stages import make_data, split, train

FILES = ("models/model.safetensors", "models/epochs.safetensors", "metrics/train.json", "metrics/history.csv")
TWO = "--nproc-per-node=2"

# A stage whose "networks" are numbers, and whose training of one is its square.
TOY = """
import os, signal, sys, time
from plumbline.basics.errors import UserError
from plumbline.training import workers

class Drawn(list):
    def take(self, part):
        return Drawn(self[part])

class Trained(list):
    @staticmethod
    def joined(parts):
        return Trained(sum(parts, []))

def main(group):
    mine = group.share(Drawn(range(5)))
    print("mine", *mine, os.environ["NUMBA_NUM_THREADS"], os.environ["PLUMBLINE_MEMORY"], "torch" in sys.modules)
    match os.environ["MODE"]:
        case "fail" if 4 in mine:
            raise UserError("the loss is nan; lower train.learning_rate")
        case "die" if 0 in mine and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        case "wait":
            time.sleep(60)
        case "reduce":
            import torch
            group.process_group()
            ranks = torch.tensor([group.rank + 1.0])
            torch.distributed.all_reduce(ranks)
            print("sum of ranks", ranks.item())
    print("all", *group.gather(Trained(number ** 2 for number in mine)))
    print("under dvc:", "DVC_STAGE" in os.environ)

if __name__ == "__main__":
    workers.run(main, "toy")
"""


@contextlib.contextmanager
def launched(folder, module, options, mode="", **environment):
    """A stage under way in a folder: its launcher, with standard output and error as one."""
    given = {"PLUMBLINE_TORCHRUN": options, "PYTHONPATH": str(ROOT), "MODE": mode, "PLUMBLINE_MEMORY": "2GB"}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", module], cwd=folder, env=ENVIRONMENT | given | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        # A shell starts what runs in its background deaf to interrupts, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def ended(process):
    """Status, and lines; standard output is closed when the last of launcher, torchrun and workers has gone."""
    out, _ = process.communicate(timeout=60)
    return process.returncode, out.splitlines()


def wait_for(process, start):
    assert any(line.startswith(start) for line in process.stdout), start


def below(pid):
    """The processes that one has started, and that these have."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children] + [pid for child in children for pid in below(child)]


@pytest.fixture
def hosts(tmp_path):
    """Two folders with the toy stage, as two hosts have it."""
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()
        (folder / "toy.py").write_text(TOY)
        shutil.copy(ROOT / "params.yaml", folder)
    return folders


@pytest.fixture
def meeting():
    """Where the launchers of two hosts meet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:{free.getsockname()[1]}"


# ---- one host


def test_workers_have_whole_networks_and_go_on_when_one_is_killed(hosts):
    with launched(hosts[0], "toy", TWO, "die") as process:
        status, lines = ended(process)
    said = [f"mine 0 1 {max(len(os.sched_getaffinity(0)) // 2, 1)} 2GB False"] * 2
    assert (status, [line for line in lines if "torch/distributed" not in line]) == (
        0,
        [*said, "all 0 1 4 9 16", "under dvc: False"],  # by one of them, said once
    )


def test_an_interrupt_ends_all(hosts):
    with launched(hosts[0], "toy", TWO, "wait") as process:
        wait_for(process, "mine")
        process.send_signal(signal.SIGINT)
        assert ended(process) == (130, ["interrupted: no file was left half-written"])


def test_no_worker_outlives_its_launcher(hosts):
    with launched(hosts[0], "toy", TWO, "wait") as process:
        wait_for(process, "mine")
        process.kill()
        assert ended(process) == (-signal.SIGKILL, [])


def test_workers_are_a_process_group_of_pytorchs(hosts):
    with launched(hosts[0], "toy", TWO, "reduce") as process:
        status, lines = ended(process)
    assert status == 0 and "sum of ranks 3.0" in lines


def test_torchrun_says_what_is_wrong_with_its_options(hosts):
    with launched(hosts[0], "toy", "--nonsense") as process:
        status, lines = ended(process)
    assert status == 1 and lines[-2].endswith("error: unrecognized arguments: --nonsense")
    assert lines[-1] == "error: torchrun ended with status 2 and the words above; PLUMBLINE_TORCHRUN is '--nonsense'"


# ---- hosts


def on_both(hosts, options, mode="", **second):
    with launched(hosts[0], "toy", options, mode) as one, launched(hosts[1], "toy", options, mode, **second) as other:
        return ended(one), ended(other)


def test_the_host_where_dvc_waits_has_the_files(hosts, meeting):
    one, (status, lines) = on_both(hosts, meeting, DVC_STAGE="train")
    assert one == (0, [])
    assert status == 0 and lines[1:] == ["all 0 1 4 9 16", "under dvc: True"]


def test_hosts_that_differ_are_refused_on_both(hosts, meeting):
    with (hosts[1] / "params.yaml").open("a") as file:
        file.write("# another\n")
    for status, lines in on_both(hosts, meeting):
        assert status == 1 and len([line for line in lines if line.startswith("error: hosts ")]) == 1
        assert "differ in params.yaml; give both" in lines[-1]


def test_a_users_error_is_one_line_on_both_hosts_and_starts_nothing_again(hosts, meeting):
    ends = on_both(hosts, meeting, "fail")
    assert [status for status, _ in ends] == [1, 1]
    lines = sorted(itertools.chain(*(lines for _, lines in ends)))
    assert lines[:2] == ["error: the loss is nan; lower train.learning_rate"] * 2
    assert len(lines) == 3 and lines[2].startswith("mine 0 1 ")


# ---- what workers exchange


class Numbers(list):
    def take(self, part):
        return Numbers(self[part])

    @staticmethod
    def joined(parts):
        return Numbers(itertools.chain(*parts))


def together(size, work):
    """What `work` gives for each of so many workers in threads of this process; the exception that it ended with."""
    wires, ends = [multiprocessing.Pipe() for _ in range(size - 1)], [None] * size

    def one(rank):
        own = [wires[rank - 1][1]] if rank else [wire for wire, _ in wires]
        try:
            ends[rank] = work(workers.Group(rank, size, own, rank == 0))
        except (SystemExit, UserError) as error:
            ends[rank] = error

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return ends


@pytest.mark.parametrize("size, networks", [(2, 32), (3, 32), (4, 5), (4, 3), (7, 1)])
def test_shares_are_runs_of_even_length_that_join_again(size, networks, monkeypatch):
    def work(group):
        return group.gather(Numbers([list(group.share(Numbers(range(networks))))]))

    monkeypatch.chdir(ROOT)
    inputs.forget()
    leader, *others = together(size, work)
    assert list(itertools.chain(*leader)) == list(range(networks)) and len(leader) == min(size, networks)
    lengths = [len(share) for share in leader]
    assert max(lengths) - min(lengths) <= 1
    assert all(isinstance(end, SystemExit) and end.code is None for end in others)  # main is the leader's from here


def test_a_plain_process_is_a_group_of_one():
    some = Numbers([1, 2])
    assert workers.ALONE.leads and workers.ALONE.share(some) is some and workers.ALONE.gather(some) is some


def test_what_a_host_has_read_and_answers_is_compared(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    inputs.forget()
    table, code = tmp_path / "table", str(ROOT / "plumbline/bits/kernel.py")
    table.write_bytes(b"rows")
    inputs.watch(table)
    for path, name in ((str(table), table), (code, "plumbline/bits/kernel.py")):
        thread = "digest", lambda each, path=path: threading.current_thread().name if str(each) == path else "same"
        with monkeypatch.context() as digests:
            digests.setattr(inputs, *thread)
            for refused in together(2, lambda group: group.check_alike({})):
                assert f"differ in {name}; give both" in str(refused)
    _, other = together(2, lambda group: group.check_alike({"arithmetic": str(group.rank)}))
    assert "differ in arithmetic; give both" in str(other)
    assert together(2, lambda group: group.check_alike({})) == [None, None]
    inputs.forget()


def test_only_who_has_the_run_reaches_worker_0(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1] - 1
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, str(value))
    with monkeypatch.context() as hurry:
        hurry.setattr(workers, "PATIENCE", 0.1)
        with pytest.raises(UserError, match=r"does not reach worker 0 at 127\.0\.0\.1:\d+ \(.*refused\); see"):
            workers.wires(1, 2)
    with ThreadPoolExecutor() as pool:
        hub = pool.submit(workers.wires, 0, 2)
        (mine,) = workers.wires(1, 2)
        mine.send("word")
        assert hub.result(10)[0].recv() == "word"
        hub = pool.submit(workers.wires, 0, 2)
        with pytest.raises(multiprocessing.AuthenticationError):
            _stranger(port + 1)
        assert isinstance(hub.exception(10), multiprocessing.AuthenticationError)


def _stranger(port):
    """Who knocks with a key of another run, as soon as somebody listens."""
    for _ in range(200):
        try:
            return connection.Client(("127.0.0.1", port), authkey=b"other")
        except ConnectionRefusedError:
            time.sleep(0.05)


# ---- the train stage


def written(project):
    return [project.path(name).read_bytes() for name in FILES]


def test_any_number_of_workers_writes_the_same_bits(default, tmp_path):
    project = default.copy(tmp_path / "project")
    for name in FILES:
        project.path(name).unlink()
    done = project.stage("train", PLUMBLINE_TORCHRUN="--nproc-per-node=3")
    assert written(project) == written(default)
    assert done.stdout.count("epoch 20: ") == 1 and done.stderr == ""


def test_dvc_knows_nothing_of_workers(default, tmp_path):
    project = default.copy(tmp_path / "project")
    project.run("dvc", "repro", "--force", "--single-item", "train", PLUMBLINE_TORCHRUN=TWO)
    assert written(project) == written(default)
    assert project.read("dvc.lock") == default.read("dvc.lock")
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_a_worker_that_is_killed_costs_no_bit(default, tmp_path, monkeypatch):
    project = default.copy(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    project.set(make_data__samples=20_000, train__batch_size=1024, train__epochs=150, train__replicas=2)
    code = project.read("plumbline/training/snapshot.py")
    assert "EVERY = 5.0" in code and "SHARE = 0.02" in code
    code = code.replace("EVERY = 5.0", "EVERY = 0.0").replace("SHARE = 0.02", "SHARE = 1e9")
    project.path("plumbline/training/snapshot.py").write_text(code)
    for name in FILES:
        project.path(name).unlink()  # DVC's cache may be what they are linked to
    for stage in (make_data, split, train):
        assert not called(stage.main).returncode
    plain = written(project)
    with launched(project.folder, "stages.train", TWO, PYTHONPATH=str(project.folder)) as process:
        wait_for(process, "epoch  14: ")
        os.kill(below(process.pid)[-1], signal.SIGKILL)
        status, lines = ended(process)
    assert status == 0 and any(line.startswith("going on after epoch ") for line in lines)
    assert written(project) == plain
    assert not list(project.path("models").glob("resume*"))
