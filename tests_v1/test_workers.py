"""Workers of one training: the same bits for any number of them, through deaths; what ends them is told once."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, assert_one_line
from torch.distributed import HashStore

from stages import torchrun, workers

FILES = ("models/model.safetensors", "models/epochs.safetensors", "metrics/train.json", "metrics/history.csv")
LONG = {"make_data__samples": 20_000, "train__batch_size": 1024, "train__epochs": 150, "train__replicas": 1}


def alone(count):
    return f"--standalone --nproc-per-node={count}"


def written(project):
    return [project.path(name).read_bytes() for name in FILES]


@pytest.fixture(scope="module")
def trained(default, tmp_path_factory):
    """A long training's project that keeps a snapshot every epoch, and what a plain process wrote."""
    project = default.copy(tmp_path_factory.mktemp("workers") / "project")
    project.set(**LONG)
    code = project.read("stages/snapshot.py")
    project.path("stages/snapshot.py").write_text(code.replace("EVERY = 5.0", "EVERY = 0.0").replace("0.02", "1e9"))
    for name in FILES:
        project.path(name).unlink()  # DVC's cache may be what they are linked to
    for stage in ("make_data", "split", "train"):
        project.stage(stage)
    return project, written(project)


@contextlib.contextmanager
def launched(project, options):
    """A training under way: its launcher, and its standard output and error as one."""
    command = ("python", "-u", "-m", "stages.train")
    environment = ENVIRONMENT | {"PLUMBLINE_TORCHRUN": options}
    given = {"cwd": project.folder, "env": environment, "text": True, "start_new_session": True}
    launcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **given)
    try:
        yield launcher
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(launcher.pid, signal.SIGKILL)
        launcher.communicate()


def wait_for(launcher, start):
    for line in launcher.stdout:
        if line.startswith(start):
            return
    raise AssertionError(f"no line {start}")


def children(process):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[1] == str(process.pid):
                found.append(int(stat.parent.name))
    return sorted(found)


def are_gone(pids, within=5.0):
    deadline = time.monotonic() + within
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_any_number_of_workers_writes_the_same_bits_and_lock(default, tmp_path, count):
    project = default.copy(tmp_path / "project")
    done = project.run("dvc", "repro", "--force", "--single-item", "train", PLUMBLINE_TORCHRUN=alone(count))
    assert written(project) == written(default)
    assert project.read("dvc.lock") == default.read("dvc.lock")
    assert project.run("git", "status", "--porcelain").stdout == ""
    assert done.stdout.count("epoch 20: ") == 1


def test_a_worker_that_is_killed_costs_no_bit(trained, tmp_path):
    project, plain = trained[0].copy(tmp_path / "project"), trained[1]
    with launched(project, alone(2)) as launcher:
        wait_for(launcher, "epoch  14: ")
        os.kill(children(launcher)[-1], signal.SIGKILL)
        out, _ = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, out
    assert "a worker was lost; 2 start again (restart 1 of 3)" in out
    assert "going on after epoch " in out
    assert written(project) == plain


@pytest.mark.parametrize("options", [alone(3), alone(1), ""])
def test_a_killed_training_goes_on_with_any_number_of_workers(trained, tmp_path, options):
    project, plain = trained[0].copy(tmp_path / "project"), trained[1]
    with launched(project, alone(2)) as launcher:
        wait_for(launcher, "epoch  14: ")
        pids = children(launcher)
        launcher.kill()
        assert are_gone(pids)  # nobody but the launcher was killed
    done = project.stage("train", PLUMBLINE_TORCHRUN=options)
    assert "going on after epoch " in done.stderr
    assert written(project) == plain


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_all(trained, tmp_path, number, status):
    project = trained[0].copy(tmp_path / "project")
    with launched(project, alone(2)) as launcher:
        wait_for(launcher, "epoch   1: ")
        pids = children(launcher)
        launcher.send_signal(number)
        out, _ = launcher.communicate(timeout=30)
    assert launcher.returncode == status
    assert len(pids) == 2 and are_gone(pids)
    left = [line for line in out.splitlines() if not line.startswith("epoch ")]
    assert left == (["interrupted: no file was left half-written"] if number == signal.SIGINT else [])


def test_who_reads_no_further_ends_it_without_a_word(default, tmp_path):
    project = default.copy(tmp_path / "project")
    command = "python -u -m stages.train | head -1"
    done = project.run("bash", "-o", "pipefail", "-c", command, fails=True, PLUMBLINE_TORCHRUN=alone(2))
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (141, "", 1)


def test_too_many_deaths_are_one_line(trained, tmp_path):
    project = trained[0].copy(tmp_path / "project")
    with launched(project, alone(2) + " --max-restarts=0") as launcher:
        wait_for(launcher, "epoch   1: ")
        os.kill(children(launcher)[-1], signal.SIGKILL)
        out, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    said = [line for line in out.splitlines() if not line.startswith("epoch ")]
    assert len(said) == 1 and said[0].startswith("error: worker 1 was killed by SIGKILL and --max-restarts is 0")


def test_a_users_error_is_what_a_plain_process_says_and_starts_nothing_again(default, tmp_path):
    project = default.copy(tmp_path / "project")
    project.set(train__learning_rate=1e30)
    plain = project.stage("train", fails=True).stderr
    done = project.stage("train", fails=True, PLUMBLINE_TORCHRUN=alone(2))
    assert_one_line(done, "the loss is nan", "train.learning_rate")
    assert done.stderr.splitlines()[-1] == plain.splitlines()[-1]
    assert done.stdout.count(" networks\n") == 1


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_two_launchers_meet_and_one_with_another_table_is_refused(default, tmp_path):
    options = f"--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:{free_port()}"
    hosts = [default.copy(tmp_path / name) for name in "ab"]
    for host in hosts:  # both find the port free, and one of them too late
        code = host.read("stages/torchrun.py").replace("may_serve and mine and not in_use(host, port)", "may_serve")
        assert code != host.read("stages/torchrun.py")
        host.path("stages/torchrun.py").write_text(code)
    with launched(hosts[0], options) as one, launched(hosts[1], options) as other:
        outs = [launcher.communicate(timeout=100)[0] for launcher in (one, other)]
    assert [one.returncode, other.returncode] == [0, 0], outs
    assert sorted("epoch 20: " in out for out in outs) == [False, True]  # told once
    table = hosts[1].path("data/train.parquet")
    shutil.copy(hosts[1].path("data/test.parquet"), table.with_name("other"))
    table.unlink()
    table.with_name("other").rename(table)
    with launched(hosts[0], options) as one, launched(hosts[1], options) as other:
        outs = [launcher.communicate(timeout=100)[0] for launcher in (one, other)]
    assert [one.returncode, other.returncode] == [1, 1], outs
    for out in outs:
        assert out.startswith("error: host ") and len(out.splitlines()) == 1
        assert "data/train.parquet is " in out and "dvc pull" in out


def test_a_users_error_on_one_host_ends_the_other_at_once(default, tmp_path):
    options = f"--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:{free_port()}"
    hosts = [default.copy(tmp_path / name) for name in "ab"]
    hosts[1].set(train__learning_rate=-1)
    began = time.monotonic()
    with launched(hosts[0], options) as one, launched(hosts[1], options) as other:
        outs = [launcher.communicate(timeout=100)[0] for launcher in (one, other)]
    assert [one.returncode, other.returncode] == [1, 1], outs
    assert all("train.learning_rate must be a number > 0.0, not -1" in out for out in outs)
    assert all(len(out.splitlines()) == 1 for out in outs)
    assert time.monotonic() - began < workers.MEETING


def test_a_host_that_dies_is_done_without(trained, tmp_path):
    hosts, plain = [trained[0].copy(tmp_path / name) for name in "ab"], trained[1]
    port, deadline = free_port(), time.monotonic() + 60
    options = f"--nnodes=1:2 --rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:{port}"
    options += " --rdzv-conf=last_call_timeout=6,keep_alive_interval=1"

    def until(happens):
        while not happens():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    with launched(hosts[0], options) as one:
        until(lambda: torchrun.in_use("127.0.0.1", port))  # here they meet, so that this one is not the one to die
        with launched(hosts[1], options) as other:
            until(lambda: any(host.path("models/resume.safetensors").exists() for host in hosts))
            pids = children(other)
            other.kill()
            out, _ = one.communicate(timeout=120)
            assert len(pids) == 1 and are_gone(pids)
    assert one.returncode == 0, out
    assert "a worker was lost; 1 start again" in out
    assert written(hosts[0]) == plain


def met(store, size):
    """What `room` gave each of the workers."""
    names = [None] * size

    def meet(rank):
        names[rank] = workers.room(store, rank, size)

    threads = [threading.Thread(target=meet, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return names


def test_workers_that_start_again_meet_under_another_name():
    store, seen = HashStore(), set()
    for size in (3, 3, 2, 4, 1):
        names = met(store, size)
        assert len(set(names)) == 1 and names[0] and not seen & set(names)
        seen |= set(names)


def test_a_worker_that_never_comes_is_missed_in_time(monkeypatch):
    monkeypatch.setattr(workers, "MEETING", 0.2)
    with pytest.raises(RuntimeError, match="worker 1 has not come"):
        workers.room(HashStore(), 0, 3)


def test_the_first_worker_is_where_dvc_waits(monkeypatch):
    store = HashStore()
    for rank in (1, 3):
        store.set(f"under dvc {rank}", "no")
    store.set("under dvc 2", "yes")
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert workers.first_under_dvc(store, 0, 4) == 2
    store.set("under dvc 2", "no")
    assert workers.first_under_dvc(store, 0, 4) == 0
    monkeypatch.setenv("DVC_STAGE", "train")
    assert workers.first_under_dvc(store, 3, 4) == 3


def test_workers_share_the_cores(default, tmp_path):
    project = default.copy(tmp_path / "project")
    code = project.read("stages/train.py").replace(
        "    settings = params.read()\n",
        "    settings = params.read()\n    import numba; print('threads', numba.get_num_threads())\n",
        1,
    )
    project.path("stages/train.py").write_text(code)
    cores = len(os.sched_getaffinity(0))
    done = project.stage("train", PLUMBLINE_TORCHRUN=alone(2))
    assert f"threads {max(cores // 2, 1)}\n" in done.stdout
    done = project.stage("train", PLUMBLINE_TORCHRUN=alone(2), NUMBA_NUM_THREADS="3")
    assert "threads 3\n" in done.stdout
