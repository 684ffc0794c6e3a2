import json
import math
import os
import shutil
import subprocess

import pytest
from conftest import ENVIRONMENT, assert_one_line

from plumbline.basics import files, inputs
from plumbline.basics.errors import UserError


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file.json"
    files.write_json({"old": 1}, path)
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


def test_metrics_are_finite_or_not_written(tmp_path):
    path = tmp_path / "file.json"
    with pytest.raises(ValueError, match="JSON"):
        files.write_json({"a": math.nan}, path)
    assert not path.exists()


def test_six_digits():
    values = {"a": 0.123456789, "b": {"c": 123456789.0, "d": 7}, "e": "text", "f": 1e-300, "g": True}
    rounded = {"a": 0.123457, "b": {"c": 123457000.0, "d": 7}, "e": "text", "f": 1e-300, "g": True}
    assert files.six_digits(values) == rounded


def test_csv_has_one_line_end_everywhere(tmp_path):
    path = tmp_path / "file.csv"
    files.write_csv(("a", "b, c"), [(1, 0.1234567), ("x\ny", 2.0)], path)
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
            files.write_json({}, path)
        assert not any(path.exists() for path in paths)
    assert all(path.exists() for path in paths)
    with pytest.raises(KeyboardInterrupt), files.together():
        files.write_json({"new": 1}, paths[0])
        raise KeyboardInterrupt
    assert paths[0].read_text() == "{}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_a_folder_that_is_read_only_is_one_line(reproduced):
    shutil.rmtree(reproduced / "models")
    (reproduced / "models").symlink_to("/sys")  # where not even root may write
    done = in_shell(reproduced, "exec python -m stages.train")
    assert done.returncode == 1
    assert_one_line(done, "models/model.safetensors: ", "denied", "run the stage again")


def test_a_file_removed_under_a_running_stage_is_named(tmp_path):
    path = tmp_path / "file.json"
    with pytest.raises(OSError) as error, files.replacing(path) as partial:
        partial.write_text("half")
        partial.unlink()
    assert error.value.filename == str(path)
    with files.replacing(tmp_path / "a" / "b" / "file.json") as partial:
        partial.write_text("whole")
    assert (tmp_path / "a" / "b" / "file.json").read_text() == "whole"


def test_temporary_names_are_a_process_own_and_the_dead_ones_are_swept(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    for name in (f".file.json.{gone.pid}.partial", f".a.{gone.pid}.scratch", f".other.json.{os.getppid()}.partial"):
        (tmp_path / name).mkdir() if name.endswith("scratch") else (tmp_path / name).write_text("half")
    with files.replacing(tmp_path / "file.json") as partial:
        assert str(os.getpid()) in partial.name
        partial.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".other.json.{os.getppid()}.partial", "file.json"]


def test_a_scratch_folder_goes_whatever_happens(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.scratch(tmp_path) as folder:
        (folder / "rows").write_text("many")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_folder_under_a_later_name_stops_all_before_the_first_is_replaced(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match="b is a folder"), files.together():
        for name in "ab":
            files.write_json({}, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_an_array_on_the_disk_is_an_array(tmp_path):
    array = files.mapped((1000, 300), "float32", tmp_path)
    array[:] = 7
    assert array.sum() == 7 * 300_000
    assert list(tmp_path.iterdir()) == []  # its file has no name
