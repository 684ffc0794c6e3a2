"""The one figure of memory, under every kind of limit."""

from pathlib import Path

import pytest

from plumbline.basics import memory
from plumbline.basics.errors import UserError

GIB = 2**30


def machine(root, **files):
    """What the kernel says of control groups, in a folder; __ in a name is a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_a_limit_it_is_what_the_machine_has(tmp_path, monkeypatch):
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    (total,) = [
        line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:")
    ]
    assert memory.limit(tmp_path) == pytest.approx(int(total) * 1024, rel=0.01)


def test_a_cgroup_of_version_2_limits_also_from_above(tmp_path, monkeypatch):
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    files = {"proc__self__cgroup": "0::/a/b\n", "sys__fs__cgroup__a__b__memory.max": "max\n"}
    assert memory.limit(machine(tmp_path / "without", **files)) > 100 * 2**20
    files["sys__fs__cgroup__a__memory.max"] = f"{100 * 2**20}\n"
    assert memory.limit(machine(tmp_path / "with", **files)) == 100 * 2**20


def test_a_cgroup_of_version_1_limits_also_where_only_the_mount_is_there(tmp_path, monkeypatch):
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    files = {"proc__self__cgroup": "9:cpu:/docker/7\n4:memory:/docker/7\n0::/\n"}
    files["sys__fs__cgroup__memory__memory.limit_in_bytes"] = f"{GIB // 8}\n"
    assert memory.limit(machine(tmp_path, **files)) == GIB // 8


@pytest.mark.parametrize(
    "text, size",
    [("2GB", 2 * 10**9), ("512MiB", 2**29), (" 1.5 gib ", 3 * 2**29), ("3000000", 3 * 10**6), ("2e9", 2 * 10**9)],
)
def test_a_limit_is_read_as_people_write_it(monkeypatch, text, size):
    monkeypatch.setenv(memory.VARIABLE, text)
    assert memory.limit() == size


@pytest.mark.parametrize("text", ["much", "-1GB", "2 apples", "2", "0", "1023kiB", "nan", "GB", "1e999GB"])
def test_a_senseless_limit_is_refused(monkeypatch, text):
    monkeypatch.setenv(memory.VARIABLE, text)
    with pytest.raises(UserError, match=r"^PLUMBLINE_MEMORY is '.*', and must be a size such as 2GB or 512MiB; set it"):
        memory.limit()
