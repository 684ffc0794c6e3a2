"""verify against revisions that reproduce, that are forged, that are stale, and that cannot reproduce."""

import contextlib
import hashlib
import shutil
import subprocess
import warnings

import pytest
import yaml
from conftest import ENVIRONMENT, ROOT, assert_one_line, called, dvc

from plumbline import __main__ as plumbline

# Two stages that stand for the four: quick, and in the second's way as uncertain as autograd if the engine is torch.
DVC_YAML = """
stages:
  split:
    cmd: python -m stages.split
    deps: [rows.csv, stages/split.py, library]
    outs: [data/train.csv]
  train:
    cmd: python -m stages.train
    deps: [data/train.csv, stages/train.py, stages/network.py, library]
    params: [train]
    outs: [models/model.json]
    metrics: [{metrics/train.json: {cache: false}}, {metrics/history.csv: {cache: false}}]
"""
SPLIT = """
from pathlib import Path
from library import rows
Path("data").mkdir(exist_ok=True)
Path("data/train.csv").write_text(rows.first("rows.csv"))
"""
TRAIN = """
import json, os, random
from pathlib import Path
from library import rows
engine = Path("params.yaml").read_text()
luck = random.random() if "torch" in engine or "edited" in Path("stages/network.py").read_text() else 0.5
for folder in ("models", "metrics"):
    Path(folder).mkdir(exist_ok=True)
Path("models/model.json").write_text(json.dumps({"weights": [rows.SCALE, luck]}))
Path("metrics/train.json").write_text(json.dumps({"rows": len(rows.first("data/train.csv")), "portable": True}))
Path("metrics/history.csv").write_text("epoch,loss\\n1,0.5\\n")
"""
LIBRARY = """
from pathlib import Path
SCALE = 2.0
def first(path):
    return Path(path).read_bytes().decode()[:40]
"""


class Small:
    """A project of two small stages, run and committed."""

    def __init__(self, folder):
        self.folder = folder
        files = {"dvc.yaml": DVC_YAML, "params.yaml": "train:\n  engine: auto\n  epochs: 2\n"}
        files |= {"stages/split.py": SPLIT, "stages/train.py": TRAIN, "stages/__init__.py": ""}
        files |= {"library/rows.py": LIBRARY, ".gitignore": "/data\n/models\n__pycache__\n"}
        files |= {"stages/network.py": (ROOT / "stages/network.py").read_text()}
        for name, text in files.items():
            self.write(name, text)
        self.path("rows.csv").write_bytes(b"a,answer\r\n" + b"1,yes\r\n" * 20)
        self.run("git init -q -b main", "git config user.name test", "git config user.email test@example.org")
        self.run("dvc init -q", "dvc config core.check_update false")
        self.write(".dvcignore", "__pycache__\n")
        self.run("dvc repro -q")
        self.commit()

    def run(self, *commands):
        for command in commands:
            if command.startswith("dvc "):
                dvc(self.folder, *command.split()[1:])
            else:
                subprocess.run(command.split(), cwd=self.folder, env=ENVIRONMENT, check=True, capture_output=True)

    def path(self, name):
        return self.folder / name

    def write(self, name, text):
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)

    def replace(self, name, old, new):
        text = self.path(name).read_text()
        assert old in text, name
        self.path(name).unlink()  # DVC may have linked it to its cache
        self.write(name, text.replace(old, new, 1))

    def lock(self):
        return yaml.safe_load(self.path("dvc.lock").read_text())["stages"]

    def edit_lock(self, change):
        locked = yaml.safe_load(self.path("dvc.lock").read_text())
        change(locked["stages"])
        self.write("dvc.lock", yaml.safe_dump(locked, sort_keys=False))

    def commit(self):
        self.run("git add -A", "git commit -qm change")

    def verify(self, fails=False):
        with contextlib.chdir(self.folder), pytest.MonkeyPatch.context() as environment:
            for name in ("DVC_SITE_CACHE_DIR", "PYTHONPATH"):  # it sets them
                environment.setenv(name, "")
                environment.delenv(name)
            # The project's own folder on the path, as an installation that is editable has it
            environment.setenv("PYTHONPATH", f"{self.folder}:{ROOT}")
            environment.setenv("GIT_CEILING_DIRECTORIES", str(self.folder.parent))
            with warnings.catch_warnings(action="ignore"):  # DVC's own
                done = called(lambda: plumbline.command(["verify"]))
        assert (done.returncode != 0) == fails, done
        return done


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    return Small(tmp_path_factory.mktemp("small") / "project")


@pytest.fixture
def small(reproduced, tmp_path):
    copy = object.__new__(Small)
    copy.folder = shutil.copytree(reproduced.folder, tmp_path / "project", symlinks=True)
    return copy


def verdicts(done):
    """{(stage, file): verdict} of the printed table."""
    lines = [line.split(maxsplit=2) for line in done.stdout.split("\n\n")[1].splitlines()]
    return {(stage, file): verdict for stage, file, verdict in lines[1:]}


def wrong(done):
    return {key: verdict for key, verdict in verdicts(done).items() if verdict != "same"}


def test_the_pipeline_itself_reproduces_and_head_is_what_counts(default, tmp_path):
    project = default.copy(tmp_path / "project")
    project.set(train__epochs=3)  # uncommitted
    done = project.plumbline("verify")
    locked = yaml.safe_load(project.read("dvc.lock"))["stages"]
    outs = {(name, out["path"]) for name, stage in locked.items() for out in stage["outs"]}
    assert set(verdicts(done)) == outs
    assert not wrong(done)
    assert f"{len(outs)} of {len(outs)} files have the bits of dvc.lock" in done.stdout
    assert "not what is uncommitted: params.yaml" in done.stdout
    assert default.run("git", "rev-parse", "HEAD").stdout[:10] in done.stdout


def test_changed_code_of_a_folder_without_a_new_lock_is_found_and_measured(default, tmp_path):
    """The scratch copy runs its own code, whatever is installed. Code of plumbline/bits would be compiled anew."""
    project = default.copy(tmp_path / "project")
    code = project.read("plumbline/training/loop.py")
    assert "= settings.learning_rate * share_of_rate" in code
    other = code.replace("= settings.learning_rate * share_of_rate", "= 2 * settings.learning_rate * share_of_rate")
    project.path("plumbline/training/loop.py").write_text(other)
    project.commit("another rate")
    done = project.run("python", "-m", "plumbline", "verify", fails=True, PYTHONPATH=str(ROOT))
    assert verdicts(done)["train", "plumbline/training"].startswith("dvc.lock is stale")
    assert verdicts(done)["split", "data/train.parquet"] == "same"
    assert "array net.0.weight differs in" in done.stdout
    assert "metrics/predictions.parquet: column probability differs in" in done.stdout


def test_a_small_project_reproduces_also_with_windows_line_ends_in_git(small):
    assert not wrong(small.verify())


def test_a_forged_lock_and_forged_metrics_are_found(small):
    def forge(stages):
        stages["train"]["outs"][2]["md5"] = "0" * 32
        stages["split"]["deps"][0]["md5"] = "1" * 32 + ".dir"
        stages["train"]["deps"][0]["md5"] = "2" * 32
        stages["train"]["params"]["params.yaml"]["train"]["epochs"] = 21

    locked = small.lock()
    assert locked["train"]["outs"][2]["path"] == "models/model.json"
    assert locked["split"]["deps"][0]["path"] == "library"
    assert locked["train"]["deps"][0]["path"] == "data/train.csv"
    small.edit_lock(forge)
    small.replace("metrics/train.json", '"rows": 40, "portable": true', '"rows": 41, "portable": false')
    small.commit()
    done = small.verify(fails=True)
    assert wrong(done) == {
        ("split", "library"): "dvc.lock is stale: HEAD has another",
        ("train", "data/train.csv"): "dvc.lock is stale: HEAD has another",
        ("train", "params"): "dvc.lock is stale: HEAD has another",
        ("train", "models/model.json"): "DIFFERS",
        ("train", "metrics/train.json"): "DIFFERS in git, not in dvc.lock",
    }
    assert "train is the first stage that went off" in done.stdout
    assert "models/model.json: the committed version is not at hand" in done.stdout
    assert "metrics/train.json: figure rows differs in 1 of 1 values" in done.stdout
    assert "the committed result was made on a machine that fails the known answer" in done.stdout
    assert_one_line(done, "5 of", "dvc repro")


def test_a_stage_that_was_taken_out_of_dvc_yaml_and_stays_in_dvc_lock_proves_nothing(small):
    small.replace("metrics/train.json", '"rows": 40', '"rows": 99')
    small.edit_lock(lambda stages: stages["train"]["outs"][1].update(md5="3" * 32))
    small.write("dvc.yaml", DVC_YAML[: DVC_YAML.index("  train:")])
    small.commit()
    assert wrong(small.verify(fails=True)) == {("train", "dvc.lock"): "stage is not in dvc.yaml"}


def test_figures_that_no_stage_makes_are_found_though_dvc_lock_has_none_of_them_either(small):
    """The stage was taken out of dvc.yaml and of dvc.lock, and what git keeps of it says what it likes."""
    second = DVC_YAML.replace("metrics: [{metrics/train.json: {cache: false}}, ", "metrics: [").replace(
        "train:\n", "b:\n"
    )
    small.write("dvc.yaml", second)
    small.edit_lock(lambda stages: stages.update(b=stages.pop("train")))
    small.edit_lock(lambda stages: stages["b"]["outs"].pop(1))
    small.replace("metrics/train.json", '"rows": 40', '"rows": 99')
    small.commit()
    assert wrong(small.verify(fails=True)) == {("none", "metrics/train.json"): "no stage makes it; `git rm` it"}


@pytest.mark.parametrize(
    "change, said",
    [
        (
            ("    params: [train]\n", "    params: [train]\n    frozen: true\n"),
            "stage train of HEAD's dvc.yaml is frozen",
        ),
        (("  train:\n", "  train:\n    wdir: stages\n"), "stage train of HEAD's dvc.yaml has a wdir"),
        ((DVC_YAML, "stages: {}\n"), "dvc.yaml of HEAD has no stages"),
    ],
)
def test_what_makes_dvc_skip_a_stage_is_refused_by_name(small, change, said):
    small.write("dvc.yaml", DVC_YAML.replace(*change))
    small.commit()
    assert_one_line(small.verify(fails=True), said)


def test_a_folder_that_git_keeps_and_a_stage_that_always_runs(small):
    """What git had of its files is gone before the stage runs."""
    made = "  plot: {cmd: mkdir -p deep/points; echo 1 > deep/points/a.csv, always_changed: true, plots: "
    small.write("dvc.yaml", DVC_YAML + made + "[{deep/points: {cache: false}}]}\n")
    small.run("dvc repro -q")
    small.commit()
    assert not wrong(small.verify())
    small.write("deep/points/a.csv", "2\n")
    small.commit()
    assert wrong(small.verify(fails=True)) == {("plot", "deep/points"): "DIFFERS in git, not in dvc.lock"}


def test_a_module_that_is_not_in_git_is_not_found_elsewhere(small):
    small.write("stages/helper.py", "SCALE = 3.0\n")
    small.write("stages/train.py", "from stages.helper import SCALE\n" + TRAIN)
    small.run("dvc repro -q")
    small.run("git commit -qam forgotten")
    assert_one_line(small.verify(fails=True), "HEAD's pipeline does not run in a scratch copy")


def test_what_only_the_machine_computes_is_exempt_and_no_more(small):
    """With the torch engine a stale lock and forged figures are found all the same."""
    small.replace("params.yaml", "engine: auto", "engine: torch")
    small.run("dvc repro -q")
    small.commit()
    small.replace("params.yaml", "epochs: 2", "epochs: 3")
    small.replace("metrics/train.json", '"rows": 40', '"rows": 99')
    small.run("git commit -qam forged")
    done = small.verify(fails=True)
    assert wrong(done) == {
        ("train", "params"): "dvc.lock is stale: HEAD has another",
        ("train", "models/model.json"): "exempt, differs",
        ("train", "metrics/train.json"): "DIFFERS in git, not in dvc.lock",
    }
    assert "train.engine is torch" in done.stdout
    small.run("dvc repro -q")
    small.edit_lock(lambda stages: stages["train"]["outs"][1].update(md5=md5(small.path("metrics/train.json"), "99")))
    small.commit()
    assert wrong(small.verify(fails=True))["train", "metrics/train.json"] == "DIFFERS"


def md5(path, rows):
    """Write another number of rows, and say the file's MD5."""
    text = path.read_text().replace('"rows": 40', f'"rows": {rows}')
    path.unlink()
    path.write_text(text)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def test_an_edited_network_is_autograds_and_exempt_too(small):
    """A comment is no edit; another network is."""
    small.write("stages/network.py", small.path("stages/network.py").read_text() + "\n# a remark\n")
    small.run("dvc repro -q")
    small.commit()
    assert not wrong(small.verify())
    small.write("stages/network.py", small.path("stages/network.py").read_text() + "edited = True\n")
    small.run("dvc repro -q")
    small.commit()
    done = small.verify()
    assert wrong(done) == {("train", "models/model.json"): "exempt, differs"}
    assert "stages/network.py is not as shipped" in done.stdout
    assert "figure weights differs in 1 of 2 values" in done.stdout


def test_a_table_that_dvc_tracks_comes_from_the_cache(small):
    small.run("git rm -q --cached rows.csv", "dvc add -q rows.csv", "dvc repro -q")
    small.commit()
    small.path("rows.csv").unlink()
    assert not wrong(small.verify())
    shutil.rmtree(small.path(".dvc/cache"))
    assert_one_line(small.verify(fails=True), "`dvc checkout", "failed", "`dvc pull` brings it into the cache")
    assert not small.path(".dvc/cache").exists()


def test_figures_of_scikit_learn_are_held_to_a_tolerance(small):
    """The last digits are a machine's; a verdict, or a figure further away, is not."""
    small.write("dvc.yaml", DVC_YAML + "    plots: [{metrics/baselines.json: {cache: false}}]\n")
    jitter = 'told = {"trees": {"log_loss": 0.5 + random.random() / 1000, "verdict": "better"}}\n'
    small.write("stages/train.py", TRAIN + jitter + 'Path("metrics/baselines.json").write_text(json.dumps(told))\n')
    small.run("dvc repro -q")
    small.commit()
    assert wrong(small.verify()) == {("train", "metrics/baselines.json"): "within the tolerance"}
    for old, new in (('"log_loss": 0.5', '"log_loss": 0.3'), ('"better"', '"worse"')):
        forged = small.path("metrics/baselines.json").read_text().replace(old, new)
        small.write("metrics/baselines.json", forged)
        small.run("dvc commit -q -f train")
        small.commit()
        assert wrong(small.verify(fails=True)) == {("train", "metrics/baselines.json"): "DIFFERS"}


def test_what_cannot_be_verified_is_one_line(small):
    small.run("git rm -q dvc.lock", "git commit -qm none")
    assert_one_line(small.verify(fails=True), "dvc.lock", "commit")
    small.write("dvc.lock", "stages: [1, 2]\n")
    small.commit()
    assert_one_line(small.verify(fails=True), "dvc.lock of HEAD", "dvc repro")
    small.write("dvc.yaml", "foo: [\n")
    small.write("dvc.lock", "stages: {}\n")
    small.commit()
    assert_one_line(small.verify(fails=True), "HEAD's pipeline does not run", "dvc.yaml")
    shutil.rmtree(small.path(".git"))
    assert_one_line(small.verify(fails=True), "git")
