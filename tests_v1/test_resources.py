import resource

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import assert_one_line

from stages import resources, sources
from stages.errors import UserError

GIB = 2**30
MEMINFO = "MemTotal: 33554432 kB\nMemFree: 1024 kB\nMemAvailable: 16777216 kB\n"


def machine(root, **files):
    """What the kernel says of memory, in a folder; __ in a name is a slash."""
    for name, text in {"proc__meminfo": MEMINFO, **files}.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_a_limit_it_is_what_the_machine_has(tmp_path):
    assert resources.available_memory(machine(tmp_path)) == 16 * GIB
    assert resources.available_memory(tmp_path / "none") is None
    resources.check_memory("train", 1e15, "x", tmp_path / "none")  # nobody says, so nothing is refused


def test_a_cgroup_of_version_2_limits_also_from_above(tmp_path):
    group = "sys__fs__cgroup__a__b__memory."
    files = {"proc__self__cgroup": "0::/a/b\n", f"{group}max": "max\n", f"{group}current": "5\n"}
    above = group.replace("b__", "")
    files |= {f"{above}max": f"{4 * GIB}\n", f"{above}current": f"{3 * GIB}\n"}
    files |= {f"{above}stat": f"anon 5\ninactive_file {GIB}\nactive_file 7\n"}
    assert resources.available_memory(machine(tmp_path, **files)) == 2 * GIB + 7


def test_a_cgroup_of_version_1_limits_also_where_only_the_mount_is_there(tmp_path):
    mount = "sys__fs__cgroup__memory__memory."
    files = {"proc__self__cgroup": "9:cpu:/docker/7\n4:memory:/docker/7\n0::/\n"}
    files |= {f"{mount}limit_in_bytes": f"{2 * GIB}\n", f"{mount}usage_in_bytes": f"{GIB}\n"}
    assert resources.available_memory(machine(tmp_path, **files)) == GIB


@pytest.mark.parametrize(
    "text, size",
    [("2GB", 2 * 10**9), ("512MiB", 2**29), (" 1.5 gib ", 3 * 2**29), ("3000000", 3 * 10**6), ("2e9", 2 * 10**9)],
)
def test_a_limit_is_read_as_people_write_it(monkeypatch, text, size):
    monkeypatch.setenv("PLUMBLINE_MEMORY", text)
    assert resources.memory_limit() == size


@pytest.mark.parametrize("text", ["much", "-1GB", "2 apples", "2", "0", "1023kiB", "nan", "GB", "1e999GB"])
def test_a_senseless_limit_is_refused(monkeypatch, text):
    monkeypatch.setenv("PLUMBLINE_MEMORY", text)
    with pytest.raises(UserError, match=r"^PLUMBLINE_MEMORY is '.*', and must be a size such as 2GB or 512MiB; set it"):
        resources.memory_limit()


def test_a_limit_is_of_the_whole_process(monkeypatch, tmp_path):
    root = machine(tmp_path, proc__self__status="VmRSS:\t 900000 kB\nRssAnon:\t 102400 kB\nVmData:\t 500000 kB\n")
    monkeypatch.setenv("PLUMBLINE_MEMORY", "1GiB")
    assert resources.available_memory(root) == GIB - 100 * 2**20
    monkeypatch.setenv("PLUMBLINE_MEMORY", "50MiB")  # taken already, and more
    assert resources.available_memory(root) == 0
    monkeypatch.setenv("PLUMBLINE_MEMORY", "")
    assert resources.available_memory(root) == 16 * GIB


def test_what_must_be_held_at_once_is_told_with_the_least_that_works(monkeypatch, tmp_path):
    root = machine(tmp_path, proc__self__status="RssAnon:\t 102400 kB\n")
    monkeypatch.setenv("PLUMBLINE_MEMORY", "1GiB")
    resources.check_piece("train", 750 * 2**20, "a batch", root)
    with pytest.raises(UserError, match=r"^train needs at least 1,1\d\d MB of memory, for a batch and .* is 1GiB; "):
        resources.check_piece("train", 800 * 2**20, "a batch", root)
    monkeypatch.delenv("PLUMBLINE_MEMORY")
    with pytest.raises(UserError, match=r"^train needs at least 18,\d\d\d MB of memory, for .* there are 17,285 MB; "):
        resources.check_piece("train", 16.1 * GIB, "a batch", root)
    monkeypatch.setenv("PLUMBLINE_MEMORY", "100000GB")  # which is not what it lacks
    with pytest.raises(UserError, match=r" there are 17,285 MB; "):
        resources.check_piece("train", 16.1 * GIB, "a batch", root)


def test_too_little_memory_or_disk_says_how_much_and_what_to_lower(tmp_path):
    with pytest.raises(UserError, match=r"^train needs about 20\.4 GB of memory and there are 17\.2 GB; lower y$"):
        resources.check_memory("train", 20e9, "y", machine(tmp_path))
    resources.check_memory("train", 16e9, "y", tmp_path)
    with pytest.raises(UserError, match=r"^split writes about 1,000,000,000\.0 GB and the disk of .*not/there has "):
        resources.check_disk("split", 1e18, tmp_path / "not/there", "y")


def test_a_table_that_no_disk_holds_is_refused_before_it_is_made(project):
    project.path("data").mkdir()
    project.path("data/dataset.parquet").write_text("old")
    project.set(make_data__samples=10**15)
    assert_one_line(project.stage("make_data", fails=True), "make_data writes about 48,000,000.0 GB", "samples")
    project.set(make_data__samples=10**7, make_data__features=10**5)
    done = project.stage("make_data", fails=True, PLUMBLINE_MEMORY="1GB")
    assert_one_line(done, "of memory, for", "rows of make_data.features")
    assert project.read("data/dataset.parquet") == "old"


def test_every_stage_asks_before_it_works(default, tmp_path):
    project = default.copy(tmp_path / "project")
    before = {path: path.read_bytes() for path in project.folder.rglob("*.parquet")}
    for stage in ("make_data", "split", "train", "evaluate"):
        done = project.stage(stage, fails=True, PLUMBLINE_MEMORY="2MB")
        assert_one_line(done, f"{stage} needs at least", "of memory, for", "PLUMBLINE_MEMORY is 2MB")
    project.path("t.csv").write_text("a,y\n1,2\n")
    words = ["reading t.csv whole needs about", "save it as Parquet"]
    done = project.stage("predict", "t.csv", "--output", "s.csv", fails=True, PLUMBLINE_MEMORY="2MB")
    assert_one_line(done, *words)
    assert {path: path.read_bytes() for path in project.folder.rglob("*.parquet")} == before


def test_the_estimate_of_a_table_is_its_bytes_not_compressed(tmp_path):

    pq.write_table(pa.table({"a": np.zeros(100_000)}), tmp_path / "t.parquet", use_dictionary=False)
    assert 800_000 <= sources.read(tmp_path / "t.parquet").nbytes < 810_000


def test_a_ulimit_counts_as_it_counts_itself(monkeypatch, tmp_path):
    """-d and -v count more than what the process holds, and so does the least that works."""
    status = "RssAnon:\t 102400 kB\nVmData:\t 512000 kB\nVmSize:\t 1024000 kB\n"
    root, none = machine(tmp_path, proc__self__status=status), (resource.RLIM_INFINITY,) * 2
    given = {resource.RLIMIT_DATA: none, resource.RLIMIT_AS: none}
    monkeypatch.setattr(resource, "getrlimit", given.__getitem__)
    assert resources.available_memory(root) == 16 * GIB
    given[resource.RLIMIT_AS] = 2 * GIB, 2 * GIB
    assert resources.available_memory(root) == 2 * GIB - 1000 * 2**20
    given[resource.RLIMIT_DATA] = GIB, GIB
    assert resources.available_memory(root) == GIB - 500 * 2**20
    with pytest.raises(UserError, match=r"^split needs at least 1,2\d\d MB of memory, .* ulimit -d is 1,074 MB; "):
        resources.check_piece("split", 500 * 2**20, "a batch", root)
