"""Comparisons as a user asks for them, between revisions made for it; one copy of the project serves most tests."""

import json
import shutil

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import assert_one_line

from stages import stream


@pytest.fixture(scope="module")
def revisions(tmp_path_factory, default):
    """The reproduced project with some experiments over it and a branch; the workspace is main's."""
    project = default.copy(tmp_path_factory.mktemp("revisions") / "project")
    for name, change in {
        "tiny": "train.hidden_size=2",
        "slow": "train.learning_rate=0.001",
        "one": "train.replicas=1",
    }.items():
        project.run("dvc", "exp", "run", "-n", name, "-S", change)
        project.restore()
    project.run("git", "checkout", "-qb", "branch")
    project.path("stages/scores.py").write_text(project.read("stages/scores.py") + "\n# a remark\n")
    project.set(train__epochs=40)
    project.run("dvc", "repro", "-q")
    project.commit("longer")
    project.run("git", "checkout", "-q", "main")
    project.restore()
    return project


def compared(project, *arguments, **options):
    return json.loads(project.stage("compare", *arguments, "--json", **options).stdout)


def verdicts(report):
    return {d["metric"]: d["verdict"] for d in report["differences"]}


def test_the_workspace_as_committed_is_identical(revisions):
    report = compared(revisions)
    assert (report["base"], report["other"]) == ("HEAD", "workspace")
    assert set(verdicts(report).values()) == {"identical"}
    assert "identical predictions" in revisions.stage("compare").stdout


def test_a_real_loss_is_called_worse_and_gates(revisions):
    report = compared(revisions, "HEAD", "tiny")
    assert report["rows"] == 200
    assert report["networks"] == 32
    assert verdicts(report)["log_loss"] == "worse"
    assert report["params"] == {"train.hidden_size": [32, 2]}
    for d in report["differences"]:
        assert d["low"] <= d["difference"] <= d["high"]
        assert d["difference"] == pytest.approx(d["other"] - d["base"])
    gate = revisions.stage("compare", "HEAD", "tiny", "--fail-on", "worse", fails=True)
    assert gate.stderr.splitlines()[-1].startswith("error: tiny is worse than HEAD in ")
    revisions.stage("compare", "tiny", "HEAD", "--fail-on", "worse")
    reverse = verdicts(compared(revisions, "tiny", "HEAD"))
    assert reverse["log_loss"] == "better"


def test_figures_are_those_of_evaluate_json(revisions):
    report = compared(revisions, "HEAD", "slow")
    metrics = json.loads(revisions.read("metrics/evaluate.json"))["replicas"]
    for d in report["differences"]:
        assert d["base"] == pytest.approx(metrics[d["metric"]]["mean"], rel=1e-5)


def test_a_branch_with_changed_code_and_parameters(revisions):
    report = compared(revisions, "main", "branch")
    assert report["params"] == {"train.epochs": [20, 40]}
    assert report["code"] == {"stages/scores.py": ["evaluate"]}
    text = revisions.stage("compare", "main", "branch").stdout
    assert "parameter train.epochs: 20 -> 40" in text
    assert "code stages/scores.py: changes evaluate" in text
    assert "uncertainty of" in text


def test_one_network_gets_an_interval_and_no_verdict(revisions):
    report = compared(revisions, "HEAD", "one")
    assert report["networks"] == 1
    assert set(verdicts(report).values()) == {"identical"}  # network 0 is the same alone
    report = compared(revisions, "tiny", "one")
    assert set(verdicts(report).values()) == {"one network"}
    assert all(d["low"] < d["high"] for d in report["differences"])
    assert any("raise train.replicas" in note for note in report["notes"])


def test_markdown_has_the_table_and_a_chart(revisions):
    lines = revisions.stage("compare", "HEAD", "slow", "--md").stdout.splitlines()
    assert lines[0] == "### HEAD -> slow: 200 test rows, means over 32 networks"
    assert [line.split(" | ")[0] for line in lines[4:8]] == ["| accuracy", "| log_loss", "| roc_auc", "| brier"]
    chart = lines[lines.index("```mermaid") :]
    series = [line for line in chart if line.startswith("  line [")]
    assert [line.count(",") + 1 for line in series] == [20] * 4
    different = revisions.stage("compare", "main", "branch", "--md").stdout
    assert '"percent of the run" 0 --> 100' in different
    assert "Runs of 20 and 40 epochs." in different


def test_the_picture_is_one_file_that_needs_no_other(revisions, tmp_path):
    revisions.stage("compare", "HEAD", "slow", "--plot", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 1
    assert "<script" not in page
    assert 'href="http' not in page.replace('xmlns:xlink="http', "")
    assert "HEAD and slow: 200 test rows, 32 networks" in page


def test_experiments_are_ranked_with_one_correction(revisions):
    ranking = compared(revisions, "--experiments")
    assert ranking["part"] == "test"
    assert ranking["pairs"] == 6  # HEAD and three experiments
    names = [entry["name"] for entry in ranking["entries"]]
    means = [entry["chosen"]["other"] for entry in ranking["entries"]]
    assert set(names) == {"tiny", "slow", "one"}
    assert means == sorted(means, reverse=True)
    text = revisions.stage("compare", "--experiments").stdout
    assert "choosing by the test part flatters the winner" in text
    assert "train.hidden_size=2" in text
    by_loss = compared(revisions, "--experiments", "--metric", "log_loss")
    losses = [entry["chosen"]["other"] for entry in by_loss["entries"]]
    assert losses == sorted(losses)


def test_a_validation_part_is_what_is_chosen_by(three_classes, tmp_path):
    project = three_classes.copy(tmp_path / "project")
    project.commit("three classes")
    assert_one_line(project.stage("compare", "--experiments", fails=True), "there are no experiments over HEAD")
    project.run("dvc", "exp", "run", "-n", "tiny", "-S", "train.hidden_size=2")
    ranking = compared(project, "--experiments")
    assert ranking["part"] == "validation"
    (entry,) = ranking["entries"]
    assert entry["chosen"]["estimate"]["n"] == 100
    assert entry["test"]["estimate"]["n"] == 200
    text = project.stage("compare", "--experiments").stdout
    assert "test part" in text
    assert "flatters" not in text


def test_other_rows_are_refused_and_the_unpaired_interval_is_marked(revisions):
    revisions.set(split__train=0.7)
    revisions.run("dvc", "repro", "-q")
    done = revisions.stage("compare", fails=True)
    assert_one_line(done, "no verdict", "HEAD and workspace were scored on different test rows", "100 are in one alone")
    assert "NOT PAIRED" in done.stdout
    assert "not paired" in done.stdout
    revisions.restore()


def rewrite(project, change):
    """Rewrite the workspace's predictions by a function of their table, metadata kept."""
    path = project.path("metrics/predictions.parquet")
    table = pq.read_table(path)
    metadata = table.schema.metadata
    changed = change(table).replace_schema_metadata(metadata)
    path.unlink()  # DVC links it to its cache
    pq.write_table(changed, path)


def test_other_labels_are_refused(revisions):
    def flip(table):
        labels = table.column("target").to_numpy().copy()
        labels[3] = 1 - labels[3]
        return table.set_column(2, "target", pa.array(labels))

    rewrite(revisions, flip)
    done = revisions.stage("compare", fails=True)
    assert_one_line(done, "1 of 200 test rows have another label in workspace than in HEAD")
    assert "the workspace's predictions are not those of its dvc.lock" in done.stdout
    revisions.restore()


def test_rows_in_another_order_are_the_same_rows(revisions):
    rewrite(revisions, lambda table: table.take(list(range(199, -1, -1))))
    assert set(verdicts(compared(revisions)).values()) == {"identical"}
    revisions.restore()


def test_other_classes_are_refused(three_classes, revisions):
    shutil.copy(three_classes.path("metrics/predictions.parquet"), revisions.path("three.parquet"))
    revisions.path("metrics/predictions.parquet").unlink()
    revisions.path("three.parquet").rename(revisions.path("metrics/predictions.parquet"))
    assert_one_line(revisions.stage("compare", fails=True), "classes [0, 1]", "[0, 1, 2]")
    revisions.restore()


def test_a_revision_that_does_not_exist(revisions):
    assert_one_line(
        revisions.stage("compare", "nowhere", fails=True), "'nowhere' is no branch, tag, commit or experiment"
    )


def test_predictions_that_are_nowhere(revisions, tmp_path):
    clone = revisions.copy(tmp_path / "project")
    shutil.rmtree(clone.path(".dvc/cache"))
    done = clone.stage("compare", "HEAD", "slow", fails=True)
    assert_one_line(done, "metrics/predictions.parquet of HEAD", "dvc pull", "dvc repro")
    clone.path("metrics/predictions.parquet").unlink()
    shutil.copytree(revisions.path(".dvc/cache"), clone.path(".dvc/cache"))
    assert_one_line(clone.stage("compare", fails=True), "not in the workspace", "dvc repro")


@pytest.mark.parametrize("name", ["dvc.lock", "metrics/history.csv"])
def test_a_file_in_conflict_is_one_line(revisions, name):
    text = revisions.read(name)
    try:
        revisions.path(name).write_text(f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> other\n")
        assert_one_line(revisions.stage("compare", fails=True), f"{name} of workspace is n", "`dvc repro`")
    finally:
        revisions.path(name).write_text(text)


def test_who_reads_a_comparison_may_stop_early(revisions):
    done = revisions.run("bash", "-o", "pipefail", "-c", "python -m stages.compare HEAD slow | true", fails=True)
    assert (done.returncode, done.stderr) == (141, "")  # as a program that SIGPIPE ends


def test_a_test_part_of_one_class_has_the_other_metrics(project):
    last = stream.permutation(stream.seeded(42), 40)[38:]  # the rows that become the test part
    rows = "".join(f"{i % 7},{i},{int(i % 5 == 0 and i not in last)}\n" for i in range(40))
    project.path("t.csv").write_text("a,b,y\n" + rows)
    project.set(make_data__source="t.csv", train__replicas=3, train__epochs=2, split__train=0.95)
    project.run("dvc", "repro", "-q")
    project.commit("one class in the test part")
    assert pd.read_parquet(project.path("data/test.parquet"))["y"].nunique() == 1
    project.set(train__epochs=3)
    project.run("dvc", "repro", "-q")
    report = compared(project)
    assert list(verdicts(report)) == ["accuracy", "log_loss", "brier"]
    assert not {"nan", "NaN"} & set(project.stage("compare").stdout.replace(",", " ").split())


def test_predictions_come_from_a_remote_when_the_cache_has_them_not(revisions, tmp_path):
    project = revisions.copy(tmp_path / "project")
    project.run("dvc", "remote", "add", "-d", "store", str(tmp_path / "store"))
    project.run("dvc", "push", "-q")
    project.run("rm", "-rf", ".dvc/cache", "metrics/predictions.parquet")
    assert compared(project, "HEAD", "HEAD")["rows"] == 200
    assert not project.path("metrics/predictions.parquet").exists()  # the workspace is left as it was


def test_features_that_changed_under_the_same_rows_and_labels_are_mentioned(project):
    rows = [f"{(7 * i) % 50},{i % 3},{int(i % 50 < 20)}" for i in range(200)]
    project.path("t.csv").write_text("a,b,y\n" + "\n".join(rows) + "\n")
    project.set(make_data__source="t.csv", train__replicas=2, train__epochs=2)
    project.run("dvc", "repro", "-q")
    project.commit("a table")
    project.path("t.csv").write_text("a,b,y\n" + "\n".join("1" + row for row in rows) + "\n")
    project.run("dvc", "repro", "-q")
    report = compared(project)
    assert report["refused"] is None
    assert any("features changed" in note for note in report["notes"])
    assert report["data"] is True
