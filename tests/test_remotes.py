"""A DVC remote over SSH: what one clone pushes another pulls, and `make` there runs no stage.

The server is Debian's sshd, started for the test on a port of this machine alone, with keys of its own.
"""

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import ENVIRONMENT, ROOT, Project, dvc

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin")
needs_sshd = pytest.mark.skipif(not SSHD, reason="no SSH server is installed: apt-get install openssh-server")
CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
Subsystem sftp internal-sftp
"""


class Server:
    """An SSH server that lets the test's own key in, and can go away and come back."""

    def __init__(self, folder: Path):
        self.folder, self.port, self.process = folder, free_port(), None
        for name in ("host", "user"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True, timeout=60)
        (folder / "config").write_text(CONFIG.format(port=self.port, folder=folder))
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where root's server locks itself in; made at boot otherwise

    def start(self) -> None:
        command = [SSHD, "-D", "-E", str(self.folder / "log"), "-f", str(self.folder / "config")]
        self.process = subprocess.Popen(command)
        for _ in range(100):
            assert self.process.poll() is None, (self.folder / "log").read_text()
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=10) as client:
                    assert client.recv(4) == b"SSH-"
                    return
            except ConnectionRefusedError:
                time.sleep(0.1)
        pytest.fail(f"sshd does not answer: {(self.folder / 'log').read_text()}")

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=60)
            self.process = None

    def logins(self) -> int:
        return (self.folder / "log").read_text().count("Accepted publickey")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def first(default, tmp_path, server) -> Project:
    """A clone that has run everything, with a remote on the server, set up as docs/remotes.md has it."""
    project = default.copy(tmp_path / "first")
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, project.path(name))
    address = f"ssh://127.0.0.1:{server.port}{tmp_path}/remote"
    dvc(project.folder, "remote", "add", "--default", "store", address)
    dvc(project.folder, "remote", "modify", "store", "user", getpass.getuser())
    project.commit("a remote")
    settle(project, server)
    return project


def clone(source, folder, server) -> Project:
    """A clone by git, in which this machine's key is known and `make` finds the tests' environment set up."""
    other = object.__new__(Project)
    other.folder = folder
    subprocess.run(["git", "clone", "-q", source, folder], check=True, env=ENVIRONMENT, timeout=60)
    other.run("git", "config", "user.name", "test")
    other.run("git", "config", "user.email", "test@example.org")
    settle(other, server)
    return other


def settle(project, server):
    dvc(project.folder, "remote", "modify", "--local", "store", "keyfile", str(server.folder / "user"))
    set_up(project)


def set_up(project) -> None:
    """The clone's environment is the tests' own; its `plumbline` must be the clone's all the same."""
    project.path(".venv/bin").mkdir(parents=True)
    project.path(".venv/bin/plumbline").write_text('#!/bin/sh\nexec python -m plumbline "$@"\n')
    project.path(".venv/bin/plumbline").chmod(0o755)
    time.sleep(0.01)  # make goes by the time
    project.path(".venv/installed").touch()


@needs_sshd
def test_what_one_clone_pushes_another_pulls_and_make_there_runs_no_stage(first, server, tmp_path):
    assert "8 files pushed" in first.run("dvc", "push").stdout
    assert server.logins() == 1
    second = clone(first.folder, tmp_path / "second", server)
    assert not second.path("data").exists()
    done = second.run("make")
    assert "Running stage" not in done.stdout
    assert done.stdout.count("didn't change, skipping") == 4
    assert done.stdout.endswith(first.plumbline("report").stdout)
    assert done.stderr == ""
    assert second.run("git", "status", "--short").stdout == ""
    for top in ("data", "models", "metrics"):
        for path in first.path(top).rglob("*.*"):
            assert second.path(path.relative_to(first.folder)).read_bytes() == path.read_bytes()
    # What one changes reaches the other with git alone: it pulls what the new dvc.lock names, folders and experiments.
    first.path("parts/year=2024").mkdir(parents=True)
    shutil.copy(first.path("data/dataset.parquet"), first.path("parts/year=2024/part-0.parquet"))
    dvc(first.folder, "add", "-q", "parts")
    first.set(make_data__source="parts", train__replicas=2, train__epochs=3)
    dvc(first.folder, "repro", "-q")
    first.commit("a folder")
    first.run("dvc", "push", "-q")
    first.run("dvc", "exp", "run", "-q", "-n", "wider", "-S", "train.hidden_size=64")
    first.run("git", "init", "-q", "--bare", "-b", "main", str(tmp_path / "git"))
    for clone_of_it in (first, second):
        clone_of_it.run("git", "remote", "add", "bare", str(tmp_path / "git"))
    first.run("git", "push", "-q", "bare", "main")
    first.run("dvc", "exp", "push", "-q", "bare", "wider")
    second.run("git", "pull", "-q", "bare", "main")
    assert "Running stage" not in second.run("make").stdout
    assert second.path("parts/year=2024/part-0.parquet").is_file()
    second.run("dvc", "exp", "pull", "-q", "bare", "wider")
    told = second.plumbline("compare", "HEAD", "wider").stdout
    assert "parameter train.hidden_size: 32 -> 64" in told
    assert told == first.plumbline("compare", "HEAD", "wider").stdout
    # With everything here nothing is asked of the server, and nothing of one that is away.
    first.restore()
    logins = server.logins()
    server.stop()
    assert first.run("make").stderr == ""
    assert server.logins() == logins
    # A source on which someone works, and that is saved nowhere yet, is not pulled over.
    server.start()
    changed = second.path("parts/year=2024/part-0.parquet")
    rows = pd.read_parquet(changed)
    changed.unlink()  # it may be a link into DVC's cache
    rows[:400].to_parquet(changed)
    assert "parts: 400 rows" in second.run("make").stdout
    assert len(pd.read_parquet(changed)) == 400


@needs_sshd
def test_make_goes_on_without_the_server_and_without_what_it_lacks(first, server, tmp_path):
    server.stop()
    second = clone(first.folder, tmp_path / "second", server)
    done = second.run("make")
    assert done.stderr == "the remote could not be pulled from (`dvc pull` says why); stages make what is missing\n"
    assert done.stdout.count("Running stage") == 4
    assert second.run("git", "status", "--short").stdout == ""
    server.start()
    assert "Everything is up to date" not in first.run("dvc", "push", "split").stdout
    third = clone(first.folder, tmp_path / "third", server)
    done = third.run("make")
    assert done.stderr == ""
    assert [line for line in done.stdout.splitlines() if line.startswith("Running stage")] == [
        f"Running stage '{stage}':" for stage in ("make_data", "train", "evaluate")
    ]
    assert third.run("git", "status", "--short").stdout == ""


def test_make_without_a_remote_asks_for_none(project):
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, project.path(name))
    set_up(project)
    project.path(".bin").mkdir()
    for name in ("dvc", "plumbline"):
        project.path(f".bin/{name}").write_text(f'#!/bin/sh\necho "{name} $@"\n')
        project.path(f".bin/{name}").chmod(0o755)
    project.path(".venv/bin/plumbline").unlink()
    path = f"{project.path('.bin')}{os.pathsep}{ENVIRONMENT['PATH']}"
    assert project.run("make", PATH=path).stdout.splitlines() == ["dvc repro", "plumbline report"]
    project.path(".dvc/config").write_text(project.read(".dvc/config") + "['remote \"store\"']\n    url = x\n")
    assert project.run("make", PATH=path).stdout.splitlines() == ["dvc repro", "plumbline report"]
    project.path(".dvc/config.local").write_text("[core]\n    remote = store\n")
    status, pull = "dvc status --quiet", "dvc pull --quiet --allow-missing"
    for up_to_date, asked in ((0, [status]), (1, [status, pull])):
        project.path(".bin/dvc").write_text(f'#!/bin/sh\necho "dvc $@" >> asked{up_to_date}\nexit {up_to_date}\n')
        project.run("make", fails=bool(up_to_date), PATH=path)
        assert project.read(f"asked{up_to_date}").splitlines() == [*asked, "dvc repro"]
