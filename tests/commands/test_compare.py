"""Comparisons as a user asks for them, between revisions whose predictions are written for it."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import ENVIRONMENT, dvc

from plumbline import __main__ as plumbline
from plumbline.basics import inputs
from plumbline.basics.errors import UserError
from plumbline.scores import differences
from plumbline.tables import duck, store

ROWS, NETWORKS = 400, 8
DVC_YAML = """
stages:
  train:
    cmd: python -m stages.train
    deps: [data/dataset.parquet, data/train.parquet, stages/network.py, plumbline/bits]
    params: [train]
    metrics: [{metrics/history.csv: {cache: false}}]
  evaluate:
    cmd: python -m stages.evaluate
    deps: [data/test.parquet, metrics/history.csv, stages/evaluate.py, plumbline/bits, plumbline/scores]
    outs: [metrics/predictions.parquet]
    metrics: [{metrics/plots/test_epochs.csv: {cache: false}}]
"""


class Revisions:
    """A git and DVC repository with the files that compare reads, as if the stages had run."""

    def __init__(self, folder: Path, classes=(0, 1)):
        self.folder, self.classes = folder, list(classes)
        self.write("dvc.yaml", DVC_YAML)
        self.write("params.yaml", "train:\n  hidden_size: 32\n  epochs: 20\n")
        self.write(".gitignore", "/metrics/predictions.parquet\n")
        for name in ("network", "evaluate"):
            self.write(f"stages/{name}.py", "")
        for name in ("bits/kernel", "bits/stream", "scores/metrics"):
            self.write(f"plumbline/{name}.py", "")
        for part in ("dataset", "train", "test"):
            self.write(f"data/{part}.parquet", "rows")
        self.run("git init -q -b main", "git config user.name test", "git config user.email test@example.org")
        self.run("dvc init -q", "dvc config core.check_update false")
        self.results()
        self.commit("start")

    def run(self, *commands):
        for command in commands:
            if command.startswith("dvc "):
                dvc(self.folder, *command.split()[1:])
                continue
            done = subprocess.run(command.split(), cwd=self.folder, env=ENVIRONMENT, capture_output=True, text=True)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def replace(self, name, old, new):
        text = (self.folder / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def results(self, skill=1.0, networks=NETWORKS, epochs=20, rows=None, order=None, flip=(), validation=0, luck=1):
        """What the stages write: networks that are about as good as `skill`, the first the worst, on the same rows."""
        rng, k = np.random.default_rng(0), len(self.classes)
        n = len(rows) if rows is not None else ROWS
        row = np.arange(n) if rows is None else np.array(rows)
        target = rng.integers(0, k, ROWS)[:n]
        logits = np.random.default_rng(luck).normal(size=(NETWORKS, ROWS, k))[:networks, :n]
        logits += skill * np.linspace(0.8, 1.2, NETWORKS)[:networks, None, None] * np.eye(k)[target]
        p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        p = (p if k > 2 else p[..., 1:]).astype(np.float32)
        target[list(flip)] = (target[list(flip)] + 1) % k
        order = np.arange(n) if order is None else order
        path = self.folder / "metrics/predictions.parquet"
        path.unlink(missing_ok=True)  # DVC may have linked it to its cache
        rows = {
            store.ROW: row[order],
            "part": np.where(order < validation, "validation", "test"),
            "target": np.array(self.classes)[target[order]],
            "probability": list(p[:, order].transpose(1, 0, 2).reshape(n, -1)),
        }
        with duck.registered(_rows=pa.table(rows)):
            store.copy("FROM _rows", path, "predictions", store.Facts("answer", self.classes, [1] * k, None))
        for name, side in (("history", "train"), ("plots/test_epochs", "test")):
            lines = [f"{e},{1 / e:.6g},{1 - 1 / (e + 1):.6g}" for e in range(1, epochs + 1)]
            self.write(f"metrics/{name}.csv", "\n".join([f"epoch,{side}_loss,{side}_accuracy", *lines, ""]))

    def commit(self, message):
        self.run("dvc commit -q -f", "git add -A", f"git commit -qm {message}")

    def experiment(self, name, **change):
        self.results(**change)
        self.run("dvc commit -q -f", f"dvc exp save -q -f -n {name}")
        self.restore()

    def restore(self):
        self.run("git checkout -q .", "git clean -qfd", "dvc checkout -q --force")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three experiments over main and a branch; the workspace is main's."""
    revisions = Revisions(tmp_path_factory.mktemp("revisions"))
    revisions.replace("params.yaml", "hidden_size: 32", "hidden_size: 2")
    revisions.experiment("worse", skill=0.5)
    revisions.experiment("luck", luck=2)
    revisions.experiment("one", networks=1)
    revisions.run("git checkout -qb branch")
    revisions.write("plumbline/bits/kernel.py", "# a remark\n")
    revisions.write("plumbline/bits/known.txt", "no code\n")
    revisions.write("stages/network.py", "# another\n")
    revisions.replace("params.yaml", "epochs: 20", "epochs: 40")
    revisions.results(skill=1.2, epochs=40)
    revisions.commit("longer")
    revisions.run("git checkout -q main", "dvc checkout -q")
    return revisions


@pytest.fixture
def compare(made, monkeypatch, capsys):
    """Run `plumbline compare` there; gives what it prints. The workspace is main's again afterwards."""
    monkeypatch.chdir(made.folder)

    def run(*arguments):
        capsys.readouterr()
        inputs.forget()  # a process a command, as a user has it
        plumbline.command(["compare", *arguments])
        return capsys.readouterr().out

    run.made = made
    yield run
    made.restore()


def compared(compare, *arguments):
    return json.loads(compare(*arguments, "--json"))


def judged(report):
    (entry,) = report["entries"]
    return {d["metric"]: d for d in entry["judged"]}


def verdicts(report):
    return {metric: d["verdict"] for metric, d in judged(report).items()}


def changes(report):
    (entry,) = report["entries"]
    return entry["changes"]


def test_the_workspace_as_committed_is_identical(compare):
    report = compared(compare)
    assert (report["base"]["name"], report["entries"][0]["side"]["name"]) == ("HEAD", "workspace")
    assert report["base"]["branch"] == report["entries"][0]["side"]["branch"] == "main"
    assert set(verdicts(report).values()) == {"identical"}
    assert compare() == "workspace predicts exactly what HEAD does.\nNothing that a stage reads has changed.\n"


def test_a_real_loss_is_called_worse_and_gates(compare):
    report = compared(compare, "HEAD", "worse")
    assert (report["part"], report["rows"], report["networks"]) == ("test", ROWS, NETWORKS)
    assert set(verdicts(report).values()) == {"worse"}
    assert changes(report)["params"] == {"train.hidden_size": [32, 2]}
    for d in judged(report).values():
        assert d["low"] <= d["difference"] <= d["high"]
        assert d["difference"] == pytest.approx(d["other"] - d["base"])
    with pytest.raises(UserError, match=r"^worse is worse than HEAD in accuracy, log_loss, roc_auc, brier$"):
        compare("HEAD", "worse", "--fail-on", "worse")
    compare("worse", "HEAD", "--fail-on", "worse")
    assert set(verdicts(compared(compare, "worse", "HEAD")).values()) == {"better"}
    assert set(verdicts(compared(compare, "HEAD", "luck")).values()) == {"no evidence"}


def test_the_text_has_the_verdict_first(compare):
    report, lines = compared(compare, "HEAD", "worse"), compare("HEAD", "worse").splitlines()
    d = judged(report)["accuracy"]
    assert lines[:3] == [
        "worse is worse than HEAD in accuracy, log_loss, roc_auc and brier:",
        f"accuracy {d['base']:.4f} -> {d['other']:.4f}, {d['difference']:+.4f} "
        f"(95 % interval {d['low']:+.4f} to {d['high']:+.4f}).",
        f"A true difference of {d['seen']:.4f} would be found four times in five.",
    ]
    assert (
        lines[4]
        == f"{ROWS} test rows (there is no validation part), mean over {NETWORKS} networks of this training part:"
    )
    assert lines[6].split("  ")[0] == "metric"
    assert lines[12] == "changed: parameter train.hidden_size: 32 -> 2"
    assert lines[-1].startswith("luck in accuracy: ")


def test_figures_are_those_of_the_predictions(compare):
    import pyarrow.parquet as pq
    from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score

    table = pq.read_table(compare.made.folder / "metrics/predictions.parquet").to_pydict()
    target, probability = np.array(table["target"]), np.array(table["probability"]).T  # (R, n)
    expected = {
        "accuracy": np.mean([accuracy_score(target, p >= 0.5) for p in probability]),
        "log_loss": np.mean([log_loss(target, p) for p in probability]),
        "roc_auc": np.mean([roc_auc_score(target, p) for p in probability]),
        "brier": np.mean([brier_score_loss(target, p) for p in probability]),
    }
    found = judged(compared(compare, "HEAD", "worse"))
    assert {metric: d["base"] for metric, d in found.items()} == pytest.approx(expected)


def test_a_branch_with_changed_code_and_parameters(compare):
    found = changes(compared(compare, "main", "branch"))
    assert found["params"] == {"train.epochs": [20, 40]}
    assert found["files"] == {
        "plumbline/bits/kernel.py": ["train", "evaluate"],
        "plumbline/bits/known.txt": ["train", "evaluate"],
        "stages/network.py": ["train"],
    }
    text = compare("main", "branch")
    assert "changed: parameter train.epochs: 20 -> 40\n" in text
    assert "changed: plumbline/bits/kernel.py, read by train and evaluate\n" in text


def test_code_of_the_workspace_is_asked_of_git_too(compare):
    compare.made.write("plumbline/scores/metrics.py", "# edited\n")
    compare.made.write("plumbline/scores/new.py", "# not in git yet\n")
    compare.made.run("dvc commit -q -f")
    assert changes(compared(compare))["files"] == {
        "plumbline/scores/metrics.py": ["evaluate"],
        "plumbline/scores/new.py": ["evaluate"],
    }


def test_what_a_parameter_holds_writes_no_line_of_its_own(compare):
    compare.made.replace("params.yaml", "hidden_size: 32", 'hidden_size: "32\\nworkspace is better than HEAD"')
    compare.made.run("dvc commit -q -f")
    text = compare()
    assert "changed: parameter train.hidden_size: 32 -> 32 workspace is better than HEAD\n" in text


def test_what_changed_of_itself_and_another_command_are_said(compare):
    """Predictions that differ although all that they are made of is the same, and a stage run in another way."""
    compare.made.results(luck=3)
    compare.made.run("dvc commit -q -f")
    assert changes(compared(compare))["made"] == ["metrics/predictions.parquet"]
    assert "changed: metrics/predictions.parquet: made anew of the same, and differs\n" in compare()
    compare.made.replace("dvc.yaml", "python -m stages.train", "python -O -m stages.train")
    compare.made.run("dvc commit -q -f")
    assert changes(compared(compare))["stages"] == ["train"]


STALE = {
    "a parameter": (
        lambda made: made.replace("params.yaml", "hidden_size: 32", "hidden_size: 64"),
        "params.yaml (train.hidden_size is 64 and was 32)",
    ),
    "code": (lambda made: made.write("plumbline/scores/metrics.py", "# edited\n"), "plumbline/scores"),
    "a new file": (lambda made: made.write("plumbline/bits/new.py", ""), "plumbline/bits"),
    "data": (lambda made: made.write("data/test.parquet", "others"), "data/test.parquet"),
    "a file that is gone": (lambda made: (made.folder / "data/test.parquet").unlink(), "data/test.parquet"),
    "a metric": (lambda made: made.replace("metrics/history.csv", "1,1,", "1,2,"), "metrics/history.csv"),
    "predictions": (lambda made: made.results(luck=2), "metrics/predictions.parquet"),
    "a command": (lambda made: made.replace("dvc.yaml", "python -m", "python -O -m"), "the command of "),
}


@pytest.mark.parametrize("what", STALE)
def test_what_is_not_as_dvc_lock_has_it_is_named_and_there_is_no_verdict(compare, capsys, what):
    change, named = STALE[what]
    change(compare.made)
    refused(compare, "no verdict: workspace is not as its dvc.lock has it: ", named, "; run `dvc repro`")
    assert capsys.readouterr().out == ""


def test_a_commit_without_its_results_is_named_too(compare):
    compare.made.replace("params.yaml", "epochs: 20", "epochs: 30")
    compare.made.run("git commit -qam forgotten")
    refused(compare, "no verdict: HEAD is not as", "params.yaml (train.epochs is 30 and was 20)", "there and commit")
    compare.made.run("git reset -q --hard HEAD~1")


def test_a_stage_that_has_not_run_is_named(compare):
    (compare.made.folder / "dvc.lock").unlink()
    refused(compare, "workspace is not as its dvc.lock has it: stage train has not run, stage evaluate has not run")


def test_one_network_gets_an_interval_and_no_verdict(compare):
    report = compared(compare, "HEAD", "one")
    assert report["networks"] == 1
    report = compared(compare, "worse", "one")
    assert set(verdicts(report).values()) == {"no verdict"}
    assert all(d["low"] < d["high"] for d in judged(report).values())
    assert "No verdict on one beside worse, for " in compare("worse", "one")


def test_the_networks_the_one_and_the_ensemble_are_told_apart(compare):
    figures = {of: judged(compared(compare, "HEAD", "worse", "--of", of))["log_loss"] for of in differences.OF}
    assert len({d["base"] for d in figures.values()}) == 3
    assert figures["ensemble"]["base"] < figures["mean"]["base"] < figures["network"]["base"]  # network 0 is the worst
    assert {d["verdict"] for d in figures.values()} == {"worse"}
    assert "the model file's network:" in compare("HEAD", "worse", "--of", "network")


def test_markdown_is_the_comments(compare):
    assert compare("HEAD", "luck", "--md").startswith("**○ No evidence** that `luck` differs from `main`")


def drawn(compare, path, *arguments):
    """The page of a comparison."""
    compare(*arguments, "--html", str(path))
    return path.read_text()


def test_the_page_is_one_file_that_needs_no_other_and_begins_with_the_verdict(compare, tmp_path):
    page = drawn(compare, tmp_path / "page.html", "HEAD", "worse")
    assert page.count("<svg") == 4 + 2  # a difference for each metric, loss and accuracy
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert re.search(r"<h1>▼ Worse: worse [0-9a-f]{7} beside main [0-9a-f]{7}</h1>", page)
    assert "<dt>Verdict</dt><dd>worse is worse than main in accuracy, log_loss, roc_auc and brier: accuracy " in page
    assert "<dd>parameter train.hidden_size: 32 -&gt; 2</dd>" in page
    for name in ("main", "worse"):
        assert all(re.search(f">{side} of {name} [0-9a-f]{{7}}</text>", page) for side in ("train", "test"))


def test_the_page_of_experiments_has_a_row_each(compare, tmp_path):
    page = drawn(compare, tmp_path / "page.html", "--experiments")
    assert re.search(r"<h1>Experiments over main [0-9a-f]{7}</h1>", page)
    assert page.count("<svg") == 1
    assert all(re.search(f"{name} [0-9a-f]{{7}}", page) for name in ("worse", "luck"))


@pytest.mark.parametrize("name", ["a$x__y$", "_hidden", "a<b>&c"])
def test_a_branchs_name_is_neither_mathematics_nor_html_and_hides_nothing(compare, tmp_path, name):
    subprocess.run(["git", "branch", "-f", name], check=True)
    page = drawn(compare, tmp_path / "page.html", "HEAD", name)
    assert f">test of {html.escape(name)} " in page
    assert f"<h1>= Identical: {html.escape(name)} " in page


def test_experiments_are_ranked_beside_their_base(compare):
    ranking = compared(compare, "--experiments")
    assert (ranking["part"], ranking["is_ranking"]) == ("test", True)
    values = [entry["figure"]["value"] for entry in ranking["entries"]]
    assert values == sorted(values, reverse=True)
    stars = {entry["side"]["name"]: entry["is_among_best"] for entry in ranking["entries"]}
    assert stars == {"HEAD": True, "luck": True, "worse": False}
    assert ranking["left_out"] == {"one": f"1 of {NETWORKS} networks are too few"}
    text = compare("--experiments")
    assert "\nWith 95 % confidence the best is among the *. " in text
    assert "The test part chose, so no figure is free of that choice; with a validation part" in text
    assert "train.hidden_size=2" in text
    assert "left out: one: " in text
    other = compared(compare, "--experiments", "--metric", "average_precision")
    metrics = {d["metric"] for entry in other["entries"] for d in entry["judged"]}
    assert metrics == {other["metric"]} == {"average_precision"}


def test_a_validation_part_chooses_and_the_test_part_is_a_last_look(tmp_path, monkeypatch, capsys):
    made = Revisions(tmp_path, classes=("red", "green", "blue"))
    made.results(validation=100)
    made.replace("params.yaml", "epochs: 20", "epochs: 20\n  patience: 0")
    made.commit("three")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there are no experiments over HEAD"):
        plumbline.command(["compare", "--experiments"])
    made.experiment("tiny", validation=100, skill=0.1)

    def run(*arguments):
        capsys.readouterr()
        plumbline.command(["compare", *arguments])
        return capsys.readouterr().out

    ranking = json.loads(run("--experiments", "--json"))
    assert (ranking["part"], ranking["rows"], ranking["last_look"]["rows"]) == ("validation", 100, ROWS - 100)
    text = run("--experiments")
    assert "HEAD in the test part: accuracy " in text
    assert "With 95 % confidence no other is as good." in text
    assert "for all" not in text
    assert (
        run("HEAD", "tiny").splitlines()[4].startswith("100 validation rows (the test part stays for a last look, --")
    )
    last = json.loads(run("HEAD", "tiny", "--part", "test", "--json"))
    assert (last["part"], last["rows"]) == ("test", ROWS - 100)


# ---- what cannot be compared


def refused(compare, *words, arguments=()):
    """The one line of a comparison that is refused; and nothing else is said but what stands on stdout."""
    with pytest.raises(UserError) as error:
        compare(*arguments)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_other_rows_are_refused_and_nothing_is_judged(compare, capsys):
    compare.made.results(rows=range(50, ROWS))
    compare.made.run("dvc commit -q -f")
    refused(compare, "no verdict", "HEAD and workspace were scored on different test rows", "50 are in one alone")
    assert capsys.readouterr().out == ""


def test_other_labels_are_refused(compare):
    compare.made.results(flip=[3])
    wrong = f"1 of {ROWS} test rows have another label in workspace than in HEAD (row 3 for one)"
    compare.made.run("dvc commit -q -f")
    refused(compare, wrong)


def test_rows_in_another_order_are_the_same_rows(compare):
    compare.made.results(order=np.arange(ROWS)[::-1])
    compare.made.run("dvc commit -q -f")
    assert set(verdicts(compared(compare)).values()) == {"identical"}


def test_other_classes_are_refused(compare, monkeypatch):
    monkeypatch.setattr(compare.made, "classes", [0, 1, 2])
    compare.made.results()
    compare.made.run("dvc commit -q -f")
    refused(compare, "classes [0, 1]", "[0, 1, 2]")


def test_a_revision_that_does_not_exist(compare):
    refused(compare, "'nowhere' is no branch, tag, commit or experiment", arguments=["nowhere"])


def test_predictions_that_are_nowhere(made, tmp_path, monkeypatch):
    clone = shutil.copytree(made.folder, tmp_path / "clone", symlinks=True)
    cache = (clone / ".dvc/cache").rename(tmp_path / "cache")
    monkeypatch.chdir(clone)
    with pytest.raises(UserError, match=re.escape("metrics/predictions.parquet of HEAD is neither in git")) as error:
        plumbline.command(["compare", "HEAD", "luck"])
    assert "dvc pull" in str(error.value)
    Path("metrics/predictions.parquet").unlink()
    with pytest.raises(UserError, match=r"metrics/predictions.parquet of HEAD is neither in git"):
        plumbline.command(["compare"])
    cache.rename(clone / ".dvc/cache")
    plumbline.command(["compare"])  # as if it had been checked out


def test_predictions_come_from_a_remote_when_the_cache_has_them_not(made, tmp_path, monkeypatch, capsys):
    clone = shutil.copytree(made.folder, tmp_path / "clone", symlinks=True)
    monkeypatch.chdir(clone)
    dvc(Path(), "remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    dvc(Path(), "push", "-q")
    shutil.rmtree(".dvc/cache")
    Path("metrics/predictions.parquet").unlink()
    capsys.readouterr()
    plumbline.command(["compare", "HEAD", "HEAD", "--json"])
    assert json.loads(capsys.readouterr().out)["rows"] == ROWS
    assert not Path("metrics/predictions.parquet").exists()  # the workspace is left as it was


def test_a_file_in_conflict_is_one_line(compare):
    for name, said in (
        ("metrics/history.csv", "not as the stages write it"),
        ("dvc.lock", "unable to read: 'dvc.lock'"),
    ):
        text = (compare.made.folder / name).read_text()
        compare.made.write(name, f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> other\n")
        if name != "dvc.lock":
            compare.made.run("dvc commit -q -f")
        refused(compare, "workspace", said, "`dvc repro`")


def test_the_first_versions_predictions_and_other_tables_are_one_line(compare):
    import pyarrow.parquet as pq

    path = compare.made.folder / "metrics/predictions.parquet"
    columns = {
        "_row": [0],
        "part": ["test"],
        "target": [1],
        "probability": pa.array([[0.5]], pa.list_(pa.float32(), 1)),
    }
    facts = {"target": "y", "classes": [0, 1], "class_counts": [1, 1], "stream": None}
    path.unlink()
    pq.write_table(pa.table(columns).replace_schema_metadata({"plumbline": json.dumps(facts)}), path)
    compare.made.run("dvc commit -q -f")
    refused(compare, "metrics/predictions.parquet of workspace is not a table that a stage wrote", "`dvc repro`")
    path.unlink()
    store.copy("SELECT 0 AS _row, 1 AS y", path, "test", store.Facts("y", [0, 1], [1, 1], None))
    compare.made.run("dvc commit -q -f")
    refused(compare, "metrics/predictions.parquet of workspace holds the test rows")


def test_who_reads_a_comparison_may_stop_early(made):
    command = ["bash", "-o", "pipefail", "-c", "python -m plumbline compare HEAD luck | true"]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        command, cwd=made.folder, env=ENVIRONMENT | {"PYTHONPATH": root}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (141, "")  # as a program that SIGPIPE ends


def test_another_dataset_under_the_same_rows_and_labels_is_mentioned(compare):
    compare.made.write("data/dataset.parquet", "other rows")
    compare.made.run("dvc commit -q -f")
    assert "changed: data/dataset.parquet, read by train\n" in compare()
