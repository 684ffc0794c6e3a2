"""A file that is whole and another's: each is refused in one line where it is read, and nothing is written."""

import random
import shutil

import pytest
from conftest import Workspace, assert_one_line

from plumbline.basics import inputs, params
from plumbline.basics.errors import UserError
from plumbline.commands import last_run, report, sections
from plumbline.explaining import answers
from plumbline.model import folds, model
from plumbline.scores import predictions
from plumbline.tables import encoding, store
from plumbline.tables.splits import PARTS

SMALL = {"train__replicas": 2, "train__epochs": 3, "split__train": 0.7, "split__validation": 0.1}
RUN = ("data", "models", "metrics")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs that differ by the seed alone, and one of another table."""
    made = {}
    for name, changes in {"this": {}, "seed": {"seed": 7}, "table": {"make_data__classes": 3}}.items():
        made[name] = workspace = Workspace(tmp_path_factory.mktemp(name) / "workspace")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(workspace.folder)
            workspace.set(**SMALL | changes)
            workspace.repro()
    return made


@pytest.fixture
def this(runs, tmp_path, monkeypatch):
    """A copy of the first run, which is the current folder."""
    copy = object.__new__(Workspace)
    copy.folder = shutil.copytree(runs["this"].folder, tmp_path / "copy")
    monkeypatch.chdir(copy.folder)
    return copy


@pytest.mark.parametrize(
    "source, name, words",
    [
        ("this/data/dataset.parquet", "data/train.parquet", "holds the dataset rows"),
        ("this/data/train.parquet", "data/test.parquet", "holds the train rows"),
        ("this/metrics/predictions.parquet", "data/validation.parquet", "holds the predictions rows"),
        ("seed/data/test.parquet", "data/test.parquet", "are not of one split"),
        ("seed/data/train.parquet", "data/train.parquet", "are not of one split"),
        ("table/data/validation.parquet", "data/validation.parquet", "have different classes"),
        ("this/models/epochs.safetensors", "models/model.safetensors", "it goes with a model, and is none"),
        ("this/models/folds.safetensors", "models/model.safetensors", "not a model that train wrote"),
        ("this/models/model.safetensors", "models/epochs.safetensors", "are of two trainings"),
        ("this/models/model.safetensors", "models/folds.safetensors", "not a file that train wrote"),
        ("seed/models/epochs.safetensors", "models/epochs.safetensors", "are of two trainings"),
        ("seed/models/folds.safetensors", "models/folds.safetensors", "are of two trainings"),
    ],
)
def test_a_table_or_model_under_anothers_name_is_scored_by_no_stage(runs, this, source, name, words):
    run, path = source.split("/", 1)
    shutil.copy(runs[run].path(path), name)
    before = {file: file.read_bytes() for file in this.path("metrics").rglob("*") if file.is_file()}
    assert_one_line(this.run("evaluate", fails=True), name, words)
    assert before == {file: file.read_bytes() for file in this.path("metrics").rglob("*") if file.is_file()}


def test_data_of_another_split_is_told_by_its_rows_even_where_every_count_is_the_same(runs, this):
    for part in ("train", "validation", "test"):
        shutil.copy(runs["seed"].path(f"data/{part}.parquet"), "data")
    this.run("evaluate")  # one split, and as many rows as the model saw: which rows they were no file says


JSON = [
    "{}",
    "[]",
    "3",
    "null",
    '"x"',
    '{"rows": "x"}',
    '{"loss": {"a": [1]}}',
    '{"rows": NaN}',
    "{",
    "[" * 10**6,
    "\udcff",
]


@pytest.mark.parametrize("name", ["train", "baselines"])
def test_json_that_is_not_as_a_stage_writes_it_is_one_line_in_the_report(this, name):
    for text in JSON:
        this.path(f"metrics/{name}.json").write_text(text, encoding="utf-8", errors="surrogateescape")
        is_fine = name == "baselines" and text == "{}"
        done = this.run("commands.report", fails=not is_fine)
        assert is_fine or f"metrics/{name}.json" in done.stderr
        assert done.stderr.count("\n") == (not is_fine), text


TABLES = ["columns", "classes", "importance", "scores", "thresholds", "test_columns", "history"]
TABLES += [f"plots/{name}" for name in ("test_epochs", "roc", "calibration", "confusion", "precision_recall")]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_figures_that_is_anothers_is_one_line_in_the_report(runs, this, name):
    own, path = this.path(f"metrics/{name}.csv").read_text(), this.path(f"metrics/{name}.csv")
    other = this.read("metrics/plots/roc.csv" if name != "plots/roc" else "metrics/classes.csv")
    first, _, rest = own.partition("\n")
    cells = own.splitlines()[1].split(",") if rest else []
    spoilt = [
        ",".join([*cells[:i], word, *cells[i + 1 :]])
        for i in range(len(cells))
        for word in ("x", "nan", "", "-9", "1e9")
    ]
    names = [own.replace(each, "xxx", 1) for each in first.split(",")]  # a column of another name
    for text in [other, first + "\n", "", *names, *(f"{first}\n{row}\n" for row in spoilt)]:
        path.write_text(text)
        try:
            job = last_run.read()
            found = [*sections.facts(job), *filter(None, (make(job) for make in sections.SECTIONS))]
            assert found
            assert report.figures(job)
        except UserError as error:
            assert name in str(error), text
    path.write_text(other)
    assert_one_line(this.run("commands.report", "--html", "r.html", fails=True), name)


@pytest.mark.parametrize(
    "name",
    ["metrics/scores.csv", "metrics/history.csv", "metrics/plots/test_epochs.csv", "metrics/predictions.parquet"],
)
def test_figures_of_another_run_are_reported_by_none(this, name):
    alone = this.path(name).read_bytes()
    this.set(split__train=0.6, train__epochs=2)
    this.repro()
    this.path(name).write_bytes(alone)
    assert_one_line(this.run("commands.report", fails=True), "are of two runs", "dvc repro")


def part(path):
    found = store.open(path)
    answers.check(
        [found if name in path else store.open(f"data/{name}.parquet") for name in PARTS], model.load(last_run.MODEL)
    )
    return found.classes(), encoding.encode(model.load(last_run.MODEL).card.encoding, found)


def told(_):
    job = last_run.read()
    return sections.facts(job), [make(job) for make in sections.SECTIONS], report.figures(job)


READERS = {
    "models/model.safetensors": model.load,
    "models/epochs.safetensors": lambda path: model.load(path, beside=last_run.MODEL),
    "models/folds.safetensors": lambda path: folds.load(path, beside=last_run.MODEL),
    "metrics/predictions.parquet": lambda path: predictions.read(path, path),
    "params.yaml": lambda path: params.read(),
    **{f"data/{name}.parquet": part for name in PARTS},
    **{f"metrics/{name}.csv": told for name in TABLES},
    **{f"metrics/{name}.json": told for name in ("train", "baselines")},
}


def mutated(content, choices):
    place, other = sorted(choices.randrange(len(content)) for _ in range(2))
    return choices.choice(
        [
            content[:place],
            content[:place]
            + choices.choice([b"", b"nan", b"-1", b"1e999", b"[]", b"\xff", b"\n"])
            + content[place + 3 :],
            content[:place] + choices.randbytes(1) + content[place + 1 :],
            content[:-place] + choices.randbytes(1) + content[1 - place :],
            content[:place] + content[place : place + 50] + content[place:other] + content[other + 1 :],
        ]
    )


def test_any_mutated_file_is_read_or_refused_in_one_line(this):
    choices = random.Random(0)
    for name, read in [(name, read) for name, read in READERS.items() for _ in range(8)]:
        whole = this.path(name).read_bytes()
        this.path(name).write_bytes(mutated(whole, choices))
        inputs.forget()
        try:
            read(name)
        except UserError as error:
            assert "\n" not in str(error)
        this.path(name).write_bytes(whole)
