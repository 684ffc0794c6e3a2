"""Workers of one training: the same bits for any number of them, through deaths; what ends them is told once."""

import contextlib
import itertools
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ENVIRONMENT, ROOT, assert_one_line

from plumbline.basics import inputs
from plumbline.basics.errors import UserError
from plumbline.training import workers
from plumbline.training.board import Board

FILES = ("models/model.safetensors", "models/epochs.safetensors", "metrics/train.json", "metrics/history.csv")
LONG = {"make_data__samples": 20_000, "train__batch_size": 1024, "train__epochs": 150, "train__replicas": 2}

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
    print("mine", *mine)
    print("alone with", os.environ.get("NUMBA_NUM_THREADS"), os.environ.get("PLUMBLINE_MEMORY"), "torch" in sys.modules)
    first = os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0"
    match os.environ["MODE"]:
        case "fail" if 4 in mine:
            raise UserError("the loss is nan; lower train.learning_rate")
        case "bug" if 4 in mine:
            1 / 0
        case "die" if 4 in mine and first:
            os.kill(os.getpid(), signal.SIGKILL)
        case "first dies" if 0 in mine and first:
            os.kill(os.getpid(), signal.SIGKILL)
        case "print":
            for number in range(100_000):
                print(number)
        case "reduce":
            import torch
            group.process_group()
            ranks = torch.tensor([group.rank + 1.0])
            torch.distributed.all_reduce(ranks)
            print("sum of ranks", ranks.item())
    time.sleep(float(os.environ.get("SECONDS", 0)))
    print("all", *group.gather(Trained(number ** 2 for number in mine)))
    print(f"written under dvc: {'DVC_STAGE' in os.environ}")

if __name__ == "__main__":
    workers.SILENCE = 2
    workers.run(main, "toy")
"""


def local(count):
    return f"--nproc-per-node={count}"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Launched(contextlib.AbstractContextManager):
    """A stage under way in a folder: its launcher, and its standard output and error as one."""

    def __init__(self, folder, module, options, **environment):
        command = (sys.executable, "-u", "-m", module)
        environment = ENVIRONMENT | {"PLUMBLINE_TORCHRUN": options, **environment}
        given = {"cwd": folder, "env": environment, "text": True, "start_new_session": True}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **given)

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def says(self, start):
        for line in self.process.stdout:
            if line.startswith(start):
                return
        raise AssertionError(f"no line {start}")

    def end(self):
        """Status, and the lines since `says`."""
        out, _ = self.process.communicate(timeout=100)
        return self.process.returncode, out.splitlines()

    def workers(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]


def are_gone(pids, within=5.0):
    """Ended, though perhaps nobody has asked for their status."""
    deadline = time.monotonic() + within
    while any(map(lives, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def lives(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture
def toy(tmp_path):
    """A folder with the toy stage, and what runs it there."""
    (tmp_path / "toy.py").write_text(TOY)
    shutil.copy(ROOT / "params.yaml", tmp_path)

    def run(options, mode="", folder=tmp_path, **environment):
        return Launched(folder, "toy", options, MODE=mode, PYTHONPATH=str(ROOT), **environment)

    run.folder = tmp_path
    return run


@pytest.fixture
def hosts(toy):
    """Two folders with the toy stage, as two hosts have it, and the options with which their launchers meet."""
    folders = toy.folder / "a", toy.folder / "b"
    for folder in folders:
        folder.mkdir()
        for name in ("toy.py", "params.yaml"):
            shutil.copy(toy.folder / name, folder)
    return folders, f"--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:{free_port()}"


# ---- one host


def test_every_worker_has_whole_networks_and_its_part_of_the_machine(toy):
    with toy(local(2), PLUMBLINE_MEMORY="2GB") as launched:
        status, lines = launched.end()
    cores = len(os.sched_getaffinity(0))
    assert (status, lines[:2]) == (0, ["mine 0 1", f"alone with {max(cores // 2, 1)} 2GB False"])
    assert lines[2:] == ["all 0 1 4 9 16", "written under dvc: False"]  # by one of them, said once
    with toy(local(2), NUMBA_NUM_THREADS="3") as launched:
        told = launched.end()[1][1].split()
    assert told[2] == "3" and int(told[3]) > 2**20


def test_more_workers_than_networks(toy):
    with toy(local(6)) as launched:
        status, lines = launched.end()
    assert status == 0 and "all 0 1 4 9 16" in lines
    assert lines.count("1 of 6 workers are idle: there are 5 networks") == 1


@pytest.mark.parametrize("mode", ["die", "first dies"])
def test_a_worker_that_is_killed_is_started_again_with_the_others(toy, mode):
    with toy(local(2), mode, SECONDS="1") as launched:
        status, lines = launched.end()
    assert status == 0 and lines.count("a worker was lost; 2 start again (restart 1)") == 1
    assert lines[-2] == "all 0 1 4 9 16"


def test_too_many_deaths_are_one_line(toy):
    with toy(local(2) + " --max-restarts=0", "die") as launched:
        status, lines = launched.end()
    assert status == 1 and lines[-1].startswith("error: worker 1 was lost after 0 restarts (Signal 9 (SIGKILL)")
    assert not [line for line in lines[:-1] if not line.startswith(("mine", "alone"))]


def test_a_users_error_is_one_line_and_starts_nothing_again(toy):
    with toy(local(2), "fail", SECONDS="60") as launched:
        status, lines = launched.end()
    assert status == 1 and lines[0] == "mine 0 1"
    assert lines[2:] == ["error: the loss is nan; lower train.learning_rate"]


def test_a_bug_keeps_its_traceback(toy):
    with toy(local(2), "bug") as launched:
        status, lines = launched.end()
    assert status == 1 and lines[-2] == "ZeroDivisionError: division by zero"
    assert lines[-1] == "error: a worker failed; its traceback stands above, where it ran"


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_all(toy, number, status):
    with toy(local(2), SECONDS="60") as launched:
        launched.says("alone")
        pids = launched.workers()
        launched.process.send_signal(number)
        ended, lines = launched.end()
        assert ended == status and len(pids) == 2 and are_gone(pids)
    assert lines == (["interrupted: no file was left half-written"] if number == signal.SIGINT else [])


def test_no_worker_outlives_its_launcher(toy):
    with toy(local(2), SECONDS="60") as launched:
        launched.says("alone")
        pids = launched.workers()
        launched.process.kill()
        assert len(pids) == 2 and are_gone(pids)


def test_who_reads_no_further_ends_it_without_a_word(toy):
    with toy(local(2), "print") as launched:
        launched.says("0")
        launched.process.stdout.close()
        assert launched.process.wait(30) == 141


def test_workers_are_a_process_group_of_pytorchs(toy):
    with toy(local(2), "reduce") as launched:
        status, lines = launched.end()
    assert status == 0 and "sum of ranks 3.0" in lines


OPTIONS = ["--nonsense", "'", "script.py", "--nnodes", "--nproc-per-node=2 other", "--nproc-per-node=x"]


@pytest.mark.parametrize("options", [*OPTIONS, "--run-path", "--no-python", "--nnodes=0", "--rdzv-backend=none"])
def test_options_that_torchrun_does_not_take(monkeypatch, options):
    monkeypatch.setattr(os, "environ", dict(os.environ, PLUMBLINE_TORCHRUN=options))
    try:
        with pytest.raises(SystemExit, match=r"^error: PLUMBLINE_TORCHRUN is .*, and torchrun says: [^;]+; see torch"):
            workers.run(lambda group: None, "stages.train")
    finally:
        logging.disable(logging.NOTSET)


def test_torchrun_by_itself_is_refused(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(SystemExit, match="give its options in PLUMBLINE_TORCHRUN"):
        workers.run(lambda group: None, "stages.train")


# ---- hosts


def test_the_host_where_dvc_waits_has_the_files(toy, hosts):
    (a, b), options = hosts
    with toy(options, folder=a) as one, toy(options, folder=b, DVC_STAGE="train") as other:
        assert one.end() == (0, [])
        status, lines = other.end()
    assert status == 0 and lines[-2:] == ["all 0 1 4 9 16", "written under dvc: True"]


def test_a_static_rendezvous_keeps_its_port_for_itself(toy, hosts):
    (a, b), port = hosts[0], free_port()
    options = f"--nnodes=2 --nproc-per-node=2 --master-addr=127.0.0.1 --master-port={port} --node-rank="
    with toy(options + "0", folder=a) as one, toy(options + "1", folder=b) as other:
        assert other.end() == (0, [])
        assert one.end()[1][-2] == "all 0 1 4 9 16"


def test_hosts_that_differ_are_refused_on_both(toy, hosts):
    (a, b), options = hosts
    with (b / "params.yaml").open("a") as file:
        file.write("# another\n")
    with toy(options, folder=a) as one, toy(options, folder=b) as other:
        ends = one.end(), other.end()
    for status, lines in ends:
        assert status == 1 and len([line for line in lines if line.startswith("error: host ")]) == 1
        assert " in params.yaml (" in lines[-1] and "same commit" in lines[-1]


def test_a_users_error_on_one_host_ends_the_other_at_once(toy, hosts):
    (a, b), options = hosts
    with toy(options, "fail", a, SECONDS="60") as one, toy(options, "fail", b, SECONDS="60") as other:
        ends = one.end(), other.end()
    for status, lines in ends:
        assert status == 1 and lines[-1] == "error: the loss is nan; lower train.learning_rate"


def test_a_host_that_dies_is_done_without(toy, hosts):
    (a, b), options = hosts
    options = options.replace("=2", "=1:2", 1) + " --rdzv-conf=last_call_timeout=6,keep_alive_interval=1"
    with toy(options, folder=a, SECONDS="6") as one:
        time.sleep(3)  # here they meet, so that this one is not the one to die
        with toy(options, folder=b, SECONDS="6") as other:
            one.says("mine 0 1")
            other.process.kill()
            status, lines = one.end()
    assert status == 0 and "mine 0 1 2 3 4" in lines and lines[-2] == "all 0 1 4 9 16"


# ---- the board and what lies on it


class Numbers(list):
    def take(self, part):
        return Numbers(self[part])

    @staticmethod
    def joined(parts):
        return Numbers(itertools.chain(*parts))


def together(size, work):
    """What `work` gives for each of so many workers in threads of this process; the exception that it ended with."""
    board, ends = Board(), [None] * size

    def one(rank):
        try:
            ends[rank] = work(workers.Group(rank, size, board, keeps=rank == 0))
        except (SystemExit, UserError) as error:
            ends[rank] = error

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return ends


@pytest.mark.parametrize("size, networks", [(2, 32), (3, 32), (4, 5), (4, 3), (7, 1)])
def test_shares_are_runs_of_even_length_that_join_again(size, networks):
    def work(group):
        return group.gather(Numbers([list(group.share(Numbers(range(networks))))]))

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
    inputs.forget()
    table = tmp_path / "table"
    table.write_bytes(b"rows")
    inputs.watch(table)
    monkeypatch.setattr(workers, "_digest", lambda path: "other" if path == table and is_other() else "same")

    def is_other():
        return threading.current_thread().name == "other"

    def work(group):
        threading.current_thread().name = "other" if group.rank == 1 else "leader"
        return group.check_alike({"arithmetic": "known"})

    first, other = together(2, work)
    assert first is None and "/table (other there, same here); give both" in str(other)

    def answer(group):
        return group.check_alike({"arithmetic": str(group.rank)})

    first, other = together(2, answer)
    assert first is None and " in arithmetic (1 there, 0 here); give both" in str(other)
    inputs.forget()


def test_a_digest_is_of_size_and_end(tmp_path):
    path, digests = tmp_path / "table", set()
    for content in (b"rows", b"rowz", b"row", b"", b"0" * 2**20 + b"rows", b"0" * 2**21 + b"rows"):
        path.write_bytes(content)
        digests.add(workers._digest(path))
    assert len(digests) == 6 and all(len(digest) == 12 for digest in digests)


def test_a_board_keeps_the_first_value_and_waits_for_it():
    board = Board()
    assert board.told("word", 0.01) is None
    threading.Timer(0.1, lambda: board.tell("word", 1)).start()
    assert board.told("word", 10) == 1
    board.tell("word", 2)
    assert board.told("word") == 1


def test_a_board_that_is_gone_is_no_error_of_the_users():
    def gone(*_):
        raise ConnectionResetError("reset by peer")

    group = workers.Group(1, 2, SimpleNamespace(told=gone))
    with pytest.raises(workers.Lost, match="reset by peer"):
        group.told("word")


# ---- the train stage


def written(project):
    return [project.path(name).read_bytes() for name in FILES]


@pytest.mark.parametrize("count", [1, 3, 4])
def test_any_number_of_workers_writes_the_same_bits(default, tmp_path, count):
    project = default.copy(tmp_path / "project")
    for name in FILES:
        project.path(name).unlink()
    done = project.stage("train", PLUMBLINE_TORCHRUN=local(count))
    assert written(project) == written(default)
    assert done.stdout.count("epoch 20: ") == 1 and done.stderr == ""


def test_dvc_knows_nothing_of_workers(default, tmp_path):
    project = default.copy(tmp_path / "project")
    project.run("dvc", "repro", "--force", "--single-item", "train", PLUMBLINE_TORCHRUN=local(2))
    assert written(project) == written(default)
    assert project.read("dvc.lock") == default.read("dvc.lock")
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_a_stages_error_is_what_a_plain_process_says(default, tmp_path):
    project = default.copy(tmp_path / "project")
    project.set(train__learning_rate=1e30)
    plain = project.stage("train", fails=True).stderr
    done = project.stage("train", fails=True, PLUMBLINE_TORCHRUN=local(2))
    assert_one_line(done, "the loss is nan", "train.learning_rate")
    said = [re.sub(r"network \d+", "network N", err.splitlines()[-1]) for err in (plain, done.stderr)]
    assert said[0] == said[1]  # the first network that fails may be another worker's
    assert done.stdout.count(" networks\n") == 1


def test_a_worker_that_is_killed_costs_no_bit(default, tmp_path):
    project = default.copy(tmp_path / "project")
    project.set(**LONG)
    code = project.read("plumbline/training/snapshot.py")
    assert "EVERY = 5.0" in code and "SHARE = 0.02" in code
    code = code.replace("EVERY = 5.0", "EVERY = 0.0").replace("SHARE = 0.02", "SHARE = 1e9")
    project.path("plumbline/training/snapshot.py").write_text(code)
    for name in FILES:
        project.path(name).unlink()  # DVC's cache may be what they are linked to
    for stage in ("make_data", "split", "train"):
        project.stage(stage)
    plain = written(project)
    with Launched(project.folder, "stages.train", local(2)) as launched:
        launched.says("epoch  14: ")
        os.kill(launched.workers()[-1], signal.SIGKILL)
        status, lines = launched.end()
    assert status == 0 and "a worker was lost; 2 start again (restart 1)" in lines
    assert any(line.startswith("going on after epoch ") for line in lines)
    assert written(project) == plain
    assert not list(project.path("models").glob("resume*"))
