import errno
import json
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT, assert_one_line

from plumbline.basics import files, formats, inputs
from plumbline.basics.errors import UserError


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file.json"
    formats.write_json({"old": 1}, path)
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


def test_metrics_are_finite_or_not_written(tmp_path):
    path = tmp_path / "file.json"
    with pytest.raises(ValueError, match="JSON"):
        formats.write_json({"a": math.nan}, path)
    assert not path.exists()


def test_six_digits():
    values = {"a": 0.123456789, "b": {"c": 123456789.0, "d": 7}, "e": "text", "f": 1e-300, "g": True}
    rounded = {"a": 0.123457, "b": {"c": 123457000.0, "d": 7}, "e": "text", "f": 1e-300, "g": True}
    assert formats.six_digits(values) == rounded


def test_csv_has_one_line_end_everywhere(tmp_path):
    path = tmp_path / "file.csv"
    formats.write_csv(("a", "b, c"), [(1, 0.1234567), ("x\ny", 2.0)], path)
    assert path.read_bytes() == b'a,"b, c"\n1,0.123457\n"x\ny",2.0\n'


@pytest.fixture(scope="module")
def reproduced(default, tmp_path_factory):
    return shutil.copytree(default.folder, tmp_path_factory.mktemp("files") / "project", symlinks=True)


@pytest.fixture(autouse=True)
def nothing_watched():
    inputs.forget()


def in_shell(folder, command):
    """As it ends, but for the snapshots of a training that takes long on a busy machine."""
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    done.stderr = "".join(line for line in done.stderr.splitlines(True) if "snapshot cannot be written" not in line)
    return done


def everything(folder):
    paths = [path for top in ("data", "models", "metrics") for path in folder.glob(f"{top}/**/*.*")]
    return {path: path.read_bytes() for path in paths if path.suffix != ".snapshot"}


@pytest.mark.parametrize(
    "stage, first",
    [
        ("make_data", "data"),
        ("split", "data/train.parquet"),
        ("train", "models/model.safetensors"),
        ("evaluate", "metrics/predictions.parquet"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_every_file_as_it_was(reproduced, stage, first):
    before = everything(reproduced)
    done = in_shell(reproduced, f"ulimit -f 4; exec python -m stages.{stage}")  # no file may grow above 4 KiB
    assert done.returncode == 1
    assert_one_line(done, f"error: {first}: File too large", "run the stage again")
    assert everything(reproduced) == before


def test_a_full_disk_at_a_later_file_leaves_every_file_as_it_was(reproduced):
    before = everything(reproduced)
    size = (reproduced / "models/model.safetensors").stat().st_size // 1024 + 8  # KiB: below that of 100 epochs
    command = f"sed -i 's/epochs: 20/epochs: 100/; s/replicas: 32/replicas: 2/' params.yaml; ulimit -f {size}; "
    done = in_shell(reproduced, command + "python -m stages.train")
    in_shell(reproduced, "sed -i 's/epochs: 100/epochs: 20/; s/replicas: 2$/replicas: 32/' params.yaml")
    assert done.returncode == 1
    assert_one_line(done, "error: models/epochs.safetensors: File too large", "nothing was written")
    assert everything(reproduced) == before


def test_files_written_together_appear_together_or_not_at_all(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    with files.together():
        for path in paths:
            formats.write_json({}, path)
        assert not any(path.exists() for path in paths)
    assert all(path.exists() for path in paths)
    with pytest.raises(KeyboardInterrupt), files.together():
        formats.write_json({"new": 1}, paths[0])
        raise KeyboardInterrupt
    assert paths[0].read_text() == "{}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_a_folder_that_is_read_only_is_one_line(reproduced):
    shutil.rmtree(reproduced / "models")
    (reproduced / "models").symlink_to("/sys")  # where not even root may write
    done = in_shell(reproduced, "exec python -m stages.train")
    assert done.returncode == 1
    assert_one_line(done, "models/model.safetensors: ", "permitted", "run the stage again")


def test_a_file_removed_under_a_running_stage_is_named(tmp_path):
    path = tmp_path / "file.json"
    with pytest.raises(OSError) as error, files.replacing(path) as partial:
        partial.write_text("half")
        partial.unlink()
    assert error.value.filename == str(path)
    with files.replacing(tmp_path / "a" / "b" / "file.json") as partial:
        partial.write_text("whole")
    assert (tmp_path / "a" / "b" / "file.json").read_text() == "whole"


HOLDING = """
import sys, time
from plumbline.basics import files
with files.scratch(sys.argv[1]) as folder, files.replacing(f"{sys.argv[1]}/file.json") as partial:
    partial.write_text("half")
    print("there", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_has_left_is_swept_and_what_a_living_one_has_stays(tmp_path):
    command = [sys.executable, "-c", HOLDING, tmp_path]
    dead, living = (
        subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=ENVIRONMENT, text=True) for _ in range(2)
    )
    for process in (dead, living):
        assert process.stdout.readline() == "there\n"
    (tmp_path / f".duckdb.{dead.pid}.scratch").mkdir()
    assert len(list(tmp_path.iterdir())) == 5  # two folders of each, and DuckDB's
    dead.kill()
    dead.wait()
    with files.replacing(tmp_path / "file.json") as partial:
        partial.write_text("whole")
    assert len(list(tmp_path.glob(".*.scratch"))) == 2
    living.kill()
    living.wait()
    for process in (dead, living):
        process.stdout.close()
    files.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_a_folder_that_another_sweeps_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    lock, swept = files._lock, []

    def late(path, *how):
        """The other process has had the lock, and has removed the folder, when this one gets it."""
        held = lock(path, *how)
        if not swept:
            swept.append(path)
            path.rmdir()
        return held

    monkeypatch.setattr(files, "_lock", late)
    with files.scratch(tmp_path) as folder:
        assert folder.exists() and folder != swept[0]


def test_a_scratch_folder_goes_whatever_happens(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.scratch(tmp_path) as folder:
        (folder / "rows").write_text("many")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_folder_under_a_later_name_stops_all_before_the_first_is_replaced(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match="b is a folder"), files.together():
        for name in "ab":
            formats.write_json({}, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


# Three files, of which two were there, take their names: the old ones go aside, the new ones come.
RENAMES = 5
SETS = {"old": {"a": "old", "b": "old"}, "new": {"a": "new", "b": "new", "c": "new"}}
WRITING = """
import os, signal, sys
from pathlib import Path
from plumbline.basics import files
count, replace = 0, Path.replace
def killed(*paths):
    global count
    count += 1
    if count == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(*paths)
Path.replace = killed
with files.together():
    for name in "abc":
        with files.replacing(name) as partial:
            partial.write_text("new")
"""


def old_ones(folder):
    for name, text in SETS["old"].items():
        (folder / name).write_text(text)


def texts(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("error", [OSError(errno.EBUSY, "busy"), KeyboardInterrupt()])
@pytest.mark.parametrize("number", range(1, RENAMES + 1))
def test_whichever_rename_fails_nothing_has_changed(tmp_path, monkeypatch, number, error):
    old_ones(tmp_path)
    inputs.forget()
    replace, calls = Path.replace, []

    def failing(*paths):
        calls.append(paths)
        if len(calls) == number:
            raise error
        return replace(*paths)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(type(error)) as raised, files.together():
        for name in "abc":
            with files.replacing(tmp_path / name) as partial:
                partial.write_text("new")
    assert texts(tmp_path) == SETS["old"]
    assert len(list(tmp_path.iterdir())) == 2
    if isinstance(error, OSError):
        assert Path(raised.value.filename).parent == tmp_path


@pytest.mark.parametrize("number", range(1, RENAMES + 2))
def test_whenever_it_is_killed_no_old_file_stands_beside_a_new_one(tmp_path, number):
    old_ones(tmp_path)
    command = [sys.executable, "-c", WRITING, str(number)]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)}, check=False)
    assert (done.returncode == 0) == (number > RENAMES)
    assert any(texts(tmp_path).items() <= whole.items() for whole in SETS.values())
    files.sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == len(texts(tmp_path))


def test_of_two_writers_of_one_file_the_first_to_end_is_right_and_the_other_is_told(tmp_path):
    said = r"b was written by another process while this ran, .* nothing was written: run it again"
    with pytest.raises(UserError, match=said), files.together():
        for name in "ab":
            formats.write_json({"mine": 1}, tmp_path / name)
        subprocess.run(["cp", "/dev/null", tmp_path / "b"], check=True)
    assert texts(tmp_path) == {"b": ""}


def test_what_this_process_wrote_itself_it_may_write_again(tmp_path):
    for number in range(2):
        with files.together():
            for name in "ab":
                formats.write_json({"mine": number}, tmp_path / name)
    assert set(texts(tmp_path).values()) == {'{\n  "mine": 1\n}\n'}


@pytest.mark.parametrize("stage, unbuffered", [("make_data", ""), ("split", ""), ("train", ""), ("evaluate", "1")])
def test_standard_output_on_a_full_disk_is_one_line_and_leaves_every_file_as_it_was(full, stage, unbuffered):
    before = everything(full)
    done = in_shell(full, f"PYTHONUNBUFFERED={unbuffered} exec python -m stages.{stage} > /dev/full")
    assert done.returncode == 1
    assert_one_line(done, "standard output: No space left on device; nothing was written under its final name")
    assert everything(full) == before


@pytest.fixture(scope="module")
def full(default, tmp_path_factory):
    """A project whose every stage would write something else."""
    other = default.copy(tmp_path_factory.mktemp("full") / "project")
    other.set(seed=43)
    return other.folder


def test_dvc_takes_no_hashes_while_a_stage_by_hand_gives_names(tmp_path, monkeypatch):
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    hashing = ["flock", ".dvc/tmp/lock", "sh", "-c", "echo held; sleep 0.3; echo hashes > hashed"]
    with subprocess.Popen(hashing, stdout=subprocess.PIPE) as held:
        assert held.stdout.readline() == b"held\n"
        with files.together():
            formats.write_json({}, "a.json")
        assert (tmp_path / "hashed").exists()


def test_a_stage_ends_with_the_dvc_that_was_killed(tmp_path):
    """What stands for DVC starts a stage that sleeps, and is killed."""
    stage = "from plumbline.basics import errors; import os, time; print(os.getpid(), flush=True);"
    stage += "errors.run(lambda: time.sleep(60))"
    environment = ENVIRONMENT | {"DVC_STAGE": "train", "PYTHONPATH": str(ROOT)}
    starts = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {stage!r}])"
    with subprocess.Popen([sys.executable, "-c", starts], env=environment, stdout=subprocess.PIPE, text=True) as dvc:
        assert dvc.stdout.readline()
        time.sleep(0.3)  # for the stage to begin
        dvc.kill()
        assert dvc.stdout.read() == ""  # it is the stage's as well, which ends by now


def test_an_array_on_the_disk_is_an_array(tmp_path):
    array = files.mapped((1000, 300), "float32", tmp_path)
    array[:] = 7
    assert array.sum() == 7 * 300_000
    assert list(tmp_path.iterdir()) == []  # its file has no name


def test_a_cell_ends_no_script_of_the_page_that_dvc_plots_makes_and_is_read_as_it_was(tmp_path):
    names = ["<script>alert(1)</script>", "<!--<script>", "a < b </", "<i>\r\nx"]
    formats.write_csv(["column", "n"], [(name, 1.0) for name in names], tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_bytes().decode()
    assert "</" not in text
    assert "<!" not in text
    assert [row["column"] for row in formats.read_csv(tmp_path / "t.csv", ["n"])] == names
