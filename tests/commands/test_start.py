"""plumbline start: what it writes, what DVC is told, what is refused before that; and the settings by size."""

import csv
import shutil
import subprocess

import numpy as np
import pytest
from conftest import ROOT, assert_one_line, scores

from plumbline.basics import formats, params
from plumbline.commands import start
from plumbline.commands.settings import settings_for
from plumbline.tables import store

ROWS = 400
HEADER = "id,age,city,day,customer,churned"


def table(rows: int = ROWS) -> str:
    """A CSV of customers of whom the older ones leave."""
    generator = np.random.default_rng(0)
    lines = [HEADER]
    for i, age in enumerate(generator.integers(18, 90, rows)):
        city, left = ("Paris", "Rome", "Oslo")[i % 3], "yes" if age + generator.normal(0, 10) > 55 else "no"
        lines.append(f"{1000 + i},{age},{city},2021-{1 + i % 12:02}-03,{i // 4},{left}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def repository(workspace):
    """A workspace with a git and an empty DVC of its own, a commit, and a table that neither knows."""
    workspace.path(".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/.gitignore", ".dvc")
    git("init", "-q")
    git("config", "user.name", "test")
    git("config", "user.email", "test@example.org")
    git("add", ".")
    git("commit", "-qm", "start")
    workspace.path("customers.csv").write_text(table())
    return workspace


@pytest.fixture
def added(monkeypatch) -> list:
    """What DVC was told, which it is not: starting it takes seconds."""
    told = []
    monkeypatch.setattr(start, "dvc", lambda *words: told.append(words))
    return told


def git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout


def written() -> params.Params:
    return params.read()


# ---- what it does


def test_the_table_the_settings_and_dvc(repository, added):
    before = repository.read("params.yaml")
    said = repository.run("commands.start", "customers.csv", "churned", "--drop", "id,day").stdout
    after = written()
    assert (after.make_data.source, after.make_data.target) == ("customers.csv", "churned")
    assert after.make_data.drop == ["id", "day"]
    for name, value in settings_for(ROWS, 2, 3).items():
        section, field = name.split(".")
        assert getattr(getattr(after, section), field) == value, name
    assert added == [("add", "--quiet", "--no-relink", "customers.csv")]
    assert said.splitlines()[-1] == "Next: dvc repro | plumbline report"
    assert "customers.csv: 400 rows, 3 features" in said
    for column in ("age", "city", "customer", "churned"):
        assert any(line.startswith(f"{column} ") for line in said.splitlines())
    assert comments(repository.read("params.yaml")) == comments(before)
    assert not list(repository.path("data").iterdir())


def comments(text: str) -> list[str]:
    return [line.partition("#")[2] for line in text.splitlines() if "#" in line]


def test_what_becomes_of_a_column_is_what_train_makes_of_it(repository, added):
    """Of the training rows, and not of a column that the split goes by."""
    said = repository.run("commands.start", "customers.csv", "churned", "--group", "customer").stdout
    shown = {line.split()[0]: line for line in said.splitlines() if line}
    assert "left out: the split goes by it" in shown["customer"]
    repository.set(train__epochs=1, train__members=2, train__replicas=1)
    repository.repro()
    for line in repository.read("metrics/columns.csv").splitlines()[1:]:
        column, becomes = line.split(",")[0], next(csv.reader([line]))[5]
        assert becomes[:50] in shown[column]


def test_then_the_pipeline_runs(repository, added):
    repository.run("commands.start", "customers.csv", "churned")
    repository.set(train__epochs=2, train__hidden_size=4)
    repository.repro()
    assert [len(store.open(f"data/{part}.parquet")) for part in ("train", "validation", "test")] == [ROWS, 0, 0]
    assert len(scores(repository, "out-of-fold")) > 20 and not scores(repository)


def test_dvc_has_the_file_and_it_stays_the_users_own(repository):
    """With DVC itself; a second start, and a file in a folder that DVC tracks, need not tell it again."""
    assert "DVC tracks customers.csv now" in repository.run("commands.start", "customers.csv", "churned").stdout
    assert repository.path("customers.csv.dvc").exists()
    assert repository.path("customers.csv").stat().st_mode & 0o200
    again = repository.run("commands.start", "customers.csv", "churned", "--drop", "id", "--yes")
    assert "DVC tracks" not in again.stdout
    assert written().make_data.drop == ["id"]


def test_a_table_that_git_tracks_is_left_to_git(repository, added):
    git("add", "customers.csv")
    assert "DVC" not in repository.run("commands.start", "customers.csv", "churned").stdout
    assert not added


def test_a_folder_of_parquet(repository, added):
    repository.path("sales").mkdir()
    for i in range(2):
        store.copy("SELECT i % 7 AS x, i % 3 AS z, i % 2 AS y FROM range(100) AS t(i)", f"sales/{i}.parquet", "rows")
    repository.run("commands.start", "sales/", "y")
    assert written().make_data.source == "sales"
    assert added[0][-1] == "sales"


def test_a_generator_is_for_git(repository, added):
    said = repository.run("commands.start", "stages/synthetic.py", "y").stdout
    assert "git does not" not in said
    repository.path("mine.py").write_text(repository.read("stages/synthetic.py"))
    said = repository.run("commands.start", "mine.py", "y", "--yes").stdout
    assert "`git add mine.py`" in said
    assert not added
    assert written().make_data.source == "mine.py"


def test_a_table_elsewhere_keeps_its_whole_path(repository, added, tmp_path):
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text(table())
    said = repository.run("commands.start", "../elsewhere.csv", "churned").stdout
    assert "outside the repository" in said
    assert written().make_data.source == str(elsewhere)
    assert not added


@pytest.mark.parametrize("option, column", [("group", "customer"), ("time", "day")])
def test_rows_that_go_together(repository, added, option, column):
    repository.run("commands.start", "customers.csv", "churned", f"--{option}", column)
    split = written().split
    assert (getattr(split, option), split.stratify) == (column, False)


@pytest.mark.parametrize("labels, word, label", [(("no", "yes"), "no", "no"), ((0, 1), "0", 0)])
def test_the_positive_class(repository, added, labels, word, label):
    text = table().replace(",no\n", f",{labels[0]}\n").replace(",yes\n", f",{labels[1]}\n")
    repository.path("customers.csv").write_text(text)
    repository.run("commands.start", "customers.csv", "churned", "--positive", word)
    assert written().make_data.positive == label
    repository.run("commands.start", "customers.csv", "churned", "--yes")
    assert written().make_data.positive is None


@pytest.mark.parametrize(
    "classes, word, label",
    [
        (["False", "True"], "true", "True"),
        (["0.0", "1.0"], "1", "1.0"),
        ([0.0, 1.0], "0", 0.0),
        (["1", "1.0"], "1", "1"),
    ],
)
def test_a_positive_class_that_looks_other_in_the_table(classes, word, label):
    assert start.positive(classes, word) == label


def test_a_positive_class_of_booleans():
    assert start.positive([False, True], "false") is False


def test_a_column_with_a_comma_in_its_name_is_dropped_in_quotes(repository, added):
    repository.path("odd.csv").write_text(table().replace(HEADER, '"i,d",age,city,day,customer,churned', 1))
    repository.run("commands.start", "odd.csv", "churned", "--drop", '"i,d", day')
    assert written().make_data.drop == ["i,d", "day"]


def test_a_dry_run_shows_and_does_nothing(repository, added):
    before = git("status", "--porcelain"), repository.read("params.yaml")
    said = repository.run("commands.start", "customers.csv", "churned", "--dry-run").stdout
    assert "+  target: churned " in said
    assert "-  target: y " in said
    assert "`dvc add customers.csv` would run" in said
    assert (git("status", "--porcelain"), repository.read("params.yaml")) == before
    assert not added


def test_a_query_its_files_and_what_the_table_must_be_like(repository, added):
    repository.path("q.sql").write_text("SELECT * FROM 'customers.csv'")
    refused = repository.run("commands.start", "q.sql", "churned", fails=True)
    assert_one_line(refused, "q.sql", "add to them in dvc.yaml: `- customers.csv`")
    shutil.copy(ROOT / "dvc.yaml", ".")
    wired = repository.read("dvc.yaml").replace("- ${make_data.expect}", "- ${make_data.expect}\n      - customers.csv")
    repository.path("dvc.yaml").write_text(wired)
    empty = repository.read("stages/expect.yaml")
    shown = repository.run("commands.start", "q.sql", "churned", "--expect", "--dry-run").stdout
    assert "stages/expect.yaml would say:" in shown and repository.read("stages/expect.yaml") == empty
    said = repository.run("commands.start", "q.sql", "churned", "--expect").stdout
    assert added == [("add", "--quiet", "--no-relink", "customers.csv")]
    assert "`git add q.sql`" in said and "stages/expect.yaml says what the table is like" in said
    assert "categories: [Oslo, Paris, Rome]" in repository.read("stages/expect.yaml")
    repository.path("customers.csv").write_text(table().replace("Rome", "Roma", 1))
    for command in (["make_data"], ["commands.start", "q.sql", "churned"]):
        assert_one_line(repository.run(*command, fails=True), "stages/expect.yaml", "'Roma' in row 1 (1 row in all)")
    again = ["commands.start", "q.sql", "churned", "--expect"]
    assert_one_line(repository.run(*again, fails=True), "stages/expect.yaml has changes that are in no commit")
    repository.run(*again, "--yes")
    assert "Roma" in repository.read("stages/expect.yaml")


# ---- it asks before it overwrites


def test_what_is_in_no_commit_is_not_overwritten_unasked(repository, added, monkeypatch):
    repository.set(seed=7)
    before = repository.read("params.yaml")
    done = repository.run("commands.start", "customers.csv", "churned", fails=True)
    assert_one_line(done, "params.yaml has changes that are in no commit", "--yes")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "")
    done = repository.run("commands.start", "customers.csv", "churned", fails=True)
    assert_one_line(done, "params.yaml stays as it is")
    assert repository.read("params.yaml") == before
    assert not added
    monkeypatch.setattr("builtins.input", lambda question: "y")
    repository.run("commands.start", "customers.csv", "churned")
    assert (written().seed, written().make_data.target) == (7, "churned")


def test_the_same_again_overwrites_nothing_and_does_not_ask(repository, added):
    repository.run("commands.start", "customers.csv", "churned")
    repository.run("commands.start", "customers.csv", "churned")


# ---- what is refused, before anything is written


WRONG = {
    "no target": (["customers.csv", "churn"], "has no column 'churn'", "did you mean 'churned'?"),
    "a measure": (["customers.csv", "id"], "'id' has 400 different values", "measure"),
    "no such group": (["customers.csv", "churned", "--group", "custmer"], "split.group 'custmer'", "customer"),
    "no such time": (["customers.csv", "churned", "--time", "days"], "split.time 'days'", "did you mean 'day'?"),
    "a time of text": (["customers.csv", "churned", "--time", "city"], "'city' holds text"),
    "both": (["customers.csv", "churned", "--time", "day", "--group", "city"], "split.group", "split.time", "cannot"),
    "too few groups": (["customers.csv", "churned", "--group", "city"], "part has no rows"),
    "no such class": (["customers.csv", "churned", "--positive", "Yes"], "make_data.positive must be a class, 'no' or"),
    "a class of three": (["customers.csv", "city", "--positive", "Rome"], "make_data.positive is for two classes"),
    "no such drop": (["customers.csv", "churned", "--drop", "id,ages"], "no column 'ages'", "did you mean 'age'?"),
    "drops the target": (["customers.csv", "churned", "--drop", "churned"], "make_data.drop names 'churned'"),
    "no table": (["customer.csv", "churned"], "customer.csv is not there"),
    "no table's kind": (["params.yaml", "churned"], "params.yaml is of no kind that is read here"),
    "a ragged line": (["ragged.csv", "churned"], "ragged.csv line 402", "cells"),
    "no make": (["nothing.py", "churned"], "nothing.py must define make"),
    "the project": ([".", "churned"], "holds what the stages write"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_work_is_one_line_and_nothing_is_written(repository, added, what):
    words, *parts = WRONG[what]
    repository.path("ragged.csv").write_text(table() + "1,2\n")
    repository.path("nothing.py").write_text("x = 1\n")
    before = git("status", "--porcelain"), repository.read("params.yaml")
    assert_one_line(repository.run("commands.start", *words, fails=True), *parts)
    assert (git("status", "--porcelain"), repository.read("params.yaml")) == before
    assert not added


def test_a_params_yaml_that_is_none(repository, added):
    repository.path("params.yaml").write_text("seed: [1\n")
    done = repository.run("commands.start", "customers.csv", "churned", "--yes", fails=True)
    assert_one_line(done, "params.yaml", "not valid YAML")
    repository.path("params.yaml").write_text(" \n")
    assert_one_line(repository.run("commands.start", "customers.csv", "churned", fails=True), "params.yaml")
    repository.path("params.yaml").unlink()
    assert_one_line(repository.run("commands.start", "customers.csv", "churned", fails=True), "params.yaml is not here")


def test_outside_a_repository(workspace, added):
    workspace.path("customers.csv").write_text(table())
    done = workspace.run("commands.start", "customers.csv", "churned", fails=True)
    assert_one_line(done, "not a git repository")


def test_a_repository_without_dvc(repository, added):
    shutil.rmtree(repository.path(".dvc"))
    done = repository.run("commands.start", "customers.csv", "churned", fails=True)
    assert_one_line(done, "DVC", "dvc init")


# ---- the settings


@pytest.mark.parametrize("rows", [20, 99, 100, 2_000, 25_000, 200_000, 2_000_000, 50_000_000])
@pytest.mark.parametrize("classes", [2, 100])
@pytest.mark.parametrize("columns", [1, 5_000])
def test_settings_are_parameters_that_go_together(rows, classes, columns):
    values = formats.read_yaml((ROOT / "params.yaml").read_bytes(), "params.yaml")
    for name, value in settings_for(rows, classes, columns).items():
        section, field = name.split(".")
        assert field in values[section]
        values[section][field] = value
    assert params.check(values).train.patience


def test_the_work_of_large_tables_is_bounded():
    """Rows x epochs x networks of a table a hundred times as large grow far less, and width counts."""

    def work(rows, columns=20):
        setting = settings_for(rows, 2, columns)
        return rows * setting["train.epochs"] * setting["train.members"] * setting["train.replicas"]

    assert work(2_000_000) < 6 * work(200_000)
    assert work(200_000, columns=1000) <= work(200_000)


def test_the_settings_are_the_same_for_every_small_table():
    """Those that benchmarks/tables.py has tried."""
    assert settings_for(500, 2, 10) == settings_for(10_000, 3, 50)
    assert settings_for(200, 2, 10) == settings_for(500, 2, 10) | {"split.train": 1.0}  # none is left for a last look


def test_folds_are_chosen_where_they_can_be_cut_and_it_says_why(repository, added):
    said = repository.run("commands.start", "customers.csv", "churned", "--dry-run").stdout
    assert "split.folds 5: with so few rows each one judges" in said and "+  folds: 5 " in said
    repository.path("customers.csv").write_text(table() + 3 * "7,30,Rome,2021-01-03,1,maybe\n")
    said = repository.run("commands.start", "customers.csv", "churned", "--dry-run", "--group", "customer").stdout
    assert "split.folds 0: class 'maybe' of 'churned' is in no row that the network of fold" in said
    assert "+  folds: 5" not in said
