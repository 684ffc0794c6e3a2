"""The cache of compiled code is optional: damaged or full, the run compiles and goes on."""

import itertools
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import ENVIRONMENT, ROOT, assert_one_line

ASK = f"cd {ROOT} && exec {sys.executable} -c 'from plumbline.bits.compiling import exp; print(exp(0.0))'"


def asked(cache, before=""):
    """What a process that needs a compiled function says on stderr; its result is right."""
    environment = ENVIRONMENT | {"XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(["bash", "-c", before + ASK], env=environment, capture_output=True, text=True)
    assert done.stdout == "1.0\n", done.stderr
    return done.stderr.splitlines()


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    cache = tmp_path_factory.mktemp("filled") / "cache"
    assert len(asked(cache)) == 1
    assert asked(cache) == []
    return cache


def test_processes_that_find_nothing_and_compile_at_once(filled, tmp_path):
    """As queued runs do on a machine that has compiled nothing; what lies in the cache then is whole."""
    cache = tmp_path / "cache"
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(asked, [cache] * 3))
    assert {line.split()[0] for line in itertools.chain(*said)} == {"compiling"}
    assert {path.name for path in cache.rglob("*")} == {path.name for path in filled.rglob("*")}
    assert asked(cache) == []


@pytest.mark.parametrize("damage", ["empty", "half", "a bit"])
def test_a_damaged_entry_is_compiled_anew(filled, tmp_path, damage):
    cache = shutil.copytree(filled, tmp_path / "cache")
    (entry,) = cache.glob("plumbline/*/*")
    content = entry.read_bytes()
    half, odd = content[: len(content) // 2], bytes([content[-1] ^ 1])
    entry.write_bytes({"empty": b"", "half": half, "a bit": content[:-1] + odd}[damage])
    asked(cache)
    (entry,) = cache.glob("plumbline/*/*")
    assert len(entry.read_bytes()) == len(content)
    assert entry.read_bytes() != content[:-1] + odd


def test_a_folder_that_takes_nothing_is_named_in_one_line(tmp_path):
    for _ in range(2):
        _, line = asked(tmp_path, "ulimit -f 0; ")
        assert f"{tmp_path}/plumbline/" in line
        assert "File too large" in line
    (tmp_path / "file").write_text("")
    _, line = asked(tmp_path / "file")
    assert "file/plumbline/" in line
    assert "Not a directory" in line


@pytest.mark.parametrize("threads", ["0", "-1", "many", "", "4097", "1" + "0" * 400])
def test_a_number_of_threads_that_is_none_is_one_line(threads):
    main = "from plumbline.basics import errors; errors.run(lambda: __import__('plumbline.bits.compiling'))"
    environment = ENVIRONMENT | {"NUMBA_NUM_THREADS": threads}
    done = subprocess.run([sys.executable, "-c", main], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert_one_line(done, "NUMBA_NUM_THREADS", repr(threads), "from 1 to 4096")


def test_settings_of_another_project_change_nothing(filled, tmp_path):
    senseless = "NUMBA_OPT=x NUMBA_DEBUG=x NUMBA_BOUNDSCHECK=1 NUMBA_THREADING_LAYER=nonsense"
    assert asked(filled, f"export {senseless}; ") == []


def test_numba_cache_dir_is_where_compiled_code_lies(filled, tmp_path):
    assert asked(tmp_path, f"export NUMBA_CACHE_DIR={filled}; ") == []
    assert not list(tmp_path.iterdir())
