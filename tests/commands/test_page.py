"""The last run as one page: it holds what the files hold, and nothing in a file can break out of its place."""

import csv
import html.parser
import json
from pathlib import Path

import pytest
from conftest import assert_one_line

from plumbline import __main__ as plumbline
from plumbline.basics import inputs

HOSTILE = {
    "markup": "<script>alert(1)</script><b>",
    "attribute": "' onmouseover='alert(1)\" style=\"",
    "mathematics": "$\\frac{1}{2}$ & $US",
    "template": "{{ 7 * 7 }}{% raw %}",
    "control": "bell\x07, tab\there, line\nbreak, escape\x1b[31m, null\x00",
    "turned": "\u202egnirts\u202c \u2066shut\u2069 \u200f",
    "long": "name_" * 2000,
    "wide": "顧客の月次支払い履歴指標" * 3,
    "hebrew": "שם של עמודה",
    "marks": "Z" + "\u0338\u0322\u031b" * 40,
    "colour": "#000004",
    "invisible": "\u200b\u2060\u200b",
}
PLACES = [
    "Figures",
    "Warnings",
    "Beside other models",
    "What the model goes by",
    "Training",
    "Probabilities",
    "Classes",
    "Thresholds",
    "Columns",
]
MADE = {  # what stages write, by hand: a row of every kind
    "scores": """part,of,metric,value,low,high,rows
test,network,accuracy,0.87,,,200
test,ensemble,accuracy,0.88,,,200
test,networks,accuracy,0.86,0.8123,0.9077,200
test,shares,accuracy,0.63,,,200
test,network,log_loss,0.3125,,,200
test,networks,log_loss,0.3333,0.3,0.36,200
test,network,roc_auc,0.9912,,,200
test,networks,roc_auc,0.99,0.98,0.995,200
test,network,average_precision,0.9723,,,200
test,networks,average_precision,0.97,0.96,0.98,200
test,network,f1,0.81,,,200
test,network,macro_f1,0.82,,,200
""",
    "classes": "class,precision,recall,f1,support,positive\n0,0.9,0.8,0.85,126,0\n1,0.7,0.6,0.65,74,1\n",
    "thresholds": """threshold,precision,recall,f1,flagged,rows
0.5,0.7,0.9,0.7875,0.4,90
0.55,0.8,0.85,0.8242,0.3,90
""",
    "columns": """column,kind,missing,distinct,values,becomes,inputs,warning
x0,number,12,800,"0.5 to 91.2, median 33",one input,1,
x1,category,0,783,"a 1 %, b 1 %",left out: an identifier,0,an identifier by its look; drop it
y,target,0,2,"0 60.5 %, 1 39.5 %",2 classes,0,
""",
    "test_columns": "column,missing,new,outside,warning\nx0,0.031,0,0.02,\n(rows),,,,5 of 200 test rows also train\n",
    "importance": """column,drop,low,high,inputs,part,rows,networks
x0,0.31,0.25,0.37,1,validation,96,8
x1,-0.001,-0.01,0.008,1,validation,96,8
""",
}
BASELINES = {
    "shares": {"accuracy": 0.63, "log_loss": 0.66, "verdict": "better"},
    "logistic_regression": {
        "accuracy": 0.85,
        "log_loss": 0.31,
        "verdict": "better",
        "difference": -0.15,
        "low": -0.2,
        "high": -0.1,
    },
    "rows": 200,
    "trained_rows": 777,
    "part": "test",
}


class Parsed(html.parser.HTMLParser):
    """A page's elements with their attributes, and its text by element."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.open[-1] != "style":
            self.texts.append((self.open[-1], data.strip().replace("\N{NO-BREAK SPACE}", " ")))

    def of(self, *tags: str) -> list[str]:
        return [text for tag, text in self.texts if tag in tags]


@pytest.fixture
def job(default, tmp_path, monkeypatch):
    """A copy of the reproduced project, the files of this test written by hand."""
    project = default.copy(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    for name, text in MADE.items():
        write(project, name, text)
    write(project, "baselines", json.dumps(BASELINES), "json")
    return project


def write(project, name: str, text: str, ending: str = "csv"):
    path = project.path(f"metrics/{name}.{ending}")
    path.unlink(missing_ok=True)  # a link into DVC's cache, maybe
    path.write_text(text, encoding="utf-8", newline="")


def page(name: str = "report.html") -> str:
    inputs.forget()  # a process a command, as a user has it
    plumbline.command(["report", "--html", name])
    return Path(name).read_bytes().decode()


def test_it_says_what_the_files_say(job):
    parsed = Parsed(page())
    assert parsed.of("h2") == parsed.of("a") == PLACES
    assert parsed.of("h1") == ["y, predicted from stages/synthetic.py"]
    assert "1,000: 800 train, 200 test" in parsed.of("dd")
    assert "2 classes: 0 (60.5 %), 1 (39.5 %)" in parsed.of("dd")
    cells = parsed.of("td", "th")
    for text in (
        "0.9723",
        "0.6300",
        "0.8123 to 0.9077",
        "F1, macro average",
        "\N{MINUS SIGN}0.2000 to \N{MINUS SIGN}0.1000",
        "an identifier by its look; drop it",
        "5 of 200 test rows also train",
        "0.5 to 91.2, median 33",
        "3.1 % missing, 2.0 % outside the training range",
        "0.2500 to 0.3700",
        "783",
        "117",
        "40.0 %",
    ):
        assert text in cells, text
    notes = " ".join(parsed.of("p"))
    assert "trained on 777 rows" in notes
    assert "positive class: 1" in notes
    assert "Mean over 8 networks, 96 validation rows." in notes
    assert "F1 is best at 0.55: `plumbline predict NEW.csv --threshold 0.55`" in notes
    assert [tag for tag, _ in parsed.elements].count("svg") == 2 + 3 + 1 + 1
    assert parsed.of("figcaption")[1:4] == [
        "Log loss by epoch, network 0",
        "Accuracy by epoch, network 0",
        "ROC curve, ROC AUC 0.9912",
    ]
    labels = parsed.of("text")
    for text in ("epoch", "train", "test", "false positive rate", "mean probability given", "by chance: 0.370", "x1"):
        assert text in labels, text
    for count in csv.DictReader(job.read("metrics/plots/calibration.csv").splitlines()):
        assert count["rows"] in labels


def test_it_needs_nothing_else(job):
    text = page()
    parsed = Parsed(text)
    assert len(text) < 500_000
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text.replace("url(#", "")
    assert "@import" not in text
    assert not {tag for tag, _ in parsed.elements} & {"script", "link", "img", "iframe", "object", "embed", "base"}
    for _, attributes in parsed.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset")]
        assert attributes.get("href", "#").startswith("#")
    sections = [attributes["id"] for tag, attributes in parsed.elements if tag == "section"]
    assert [target["href"] for tag, target in parsed.elements if tag == "a"] == [f"#{name}" for name in sections]


def test_its_bytes_depend_on_the_files_alone(job):
    first = page()
    assert page("again.html") == first
    for year in "2024", "2025", "2026", "2027":  # no date
        assert f"{year}-" not in first


def test_charts_are_drawn_in_the_pages_colours(job):
    parsed = Parsed(page())
    drawn = [attributes for tag, attributes in parsed.elements if tag in ("path", "use", "text", "rect", "line")]
    styles = " ".join(attributes.get("style", "") for attributes in drawn)
    assert "#" not in styles
    assert "DejaVu" not in styles
    style = page().split("<style>")[1].split("</style>")[0]
    light, dark = style.split("prefers-color-scheme: dark")[0], style.split("prefers-color-scheme: dark")[1]
    for name in ("ink", "quiet", "grid", "blue", "orange", "green", "red"):
        assert f"--{name}: #" in light
        assert f"--{name}: #" in dark


ELEMENTS = []  # of the page with a tame name, which is drawn once


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_name_breaks_out_of_its_place(job, kind):
    """A hostile name as column, label, value, warning and target: the page has the same elements as with a tame one."""
    tame = ELEMENTS or [tag for tag, _ in Parsed(hostile_page(job, "tame")).elements]
    ELEMENTS[:] = tame
    text = hostile_page(job, HOSTILE[kind])
    parsed = Parsed(text)
    assert [tag for tag, _ in parsed.elements] == tame
    assert not parsed.open
    for _, attributes in parsed.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "src"]
    characters = set(text)
    assert not {c for c in characters if ord(c) < 32 and c != "\n"} | (
        characters & set("\u202e\u202c\u2066\u2069\u200f")
    )
    assert max(map(len, parsed.of("th", "text", "dd", "h1", "figcaption", "p"))) < 700
    shown = parsed.of("th")
    if kind in ("markup", "attribute", "mathematics", "template", "colour", "hebrew"):
        assert HOSTILE[kind] in shown
    if kind == "long":
        assert any(name.startswith("name_name_") and "…" in name and name.endswith("_name_") for name in shown)
    if kind == "invisible":
        assert "\N{OPEN BOX}" in shown
    if kind == "wide":
        assert "顧客の月次支払い履歴指標" * 3 in shown


def hostile_page(job, name: str) -> str:
    """The page of files that have `name` wherever a table's words may stand."""
    files = {
        "columns": [
            "column,kind,missing,distinct,values,becomes,inputs,warning",
            (name, name, 0, 2, name, name, 1, name),
        ],
        "importance": [
            "column,drop,low,high,inputs,part,rows,networks",
            (name, 0.1, 0.05, 0.15, 1, "test", 9, 8),
            ("other", 0.05, 0.02, 0.08, 1, "test", 9, 8),
        ],
        "classes": [
            "class,precision,recall,f1,support,positive",
            (name, 0.9, 0.8, 0.85, 126, 0),
            ("o", 0.7, 0.6, 0.65, 74, 1),
        ],
        "plots/confusion": [
            "actual,predicted,rows",
            *((actual, predicted, 50) for actual in (name, "o") for predicted in (name, "o")),
        ],
    }
    for path, (head, *rows) in files.items():
        job.path(f"metrics/{path}.csv").unlink()
        with job.path(f"metrics/{path}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([head.split(","), *rows])
    if name.isprintable():  # YAML takes no other
        job.set(make_data__target=name, make_data__source=f"{name}.csv")
    return page()


def test_sections_without_rows_are_left_out(job):
    for name, text in MADE.items():
        if name != "scores":  # without whose rows there is no page
            write(job, name, text.splitlines()[0] + "\n")
    write(job, "baselines", "{}", "json")
    parsed = Parsed(page())
    assert parsed.of("a") == ["Figures", "Training", "Probabilities", "Classes"]
    assert "nan" not in " ".join(text for _, text in parsed.texts).lower()
    for name in MADE:
        if name != "scores":
            job.path(f"metrics/{name}.csv").unlink()
    job.path("metrics/baselines.json").unlink()
    assert Parsed(page()).of("a") == ["Figures", "Training", "Probabilities", "Classes"]


def test_several_classes_are_taken_against_the_rest(workspace):
    workspace.set(make_data__classes=14, split__train=0.7, split__validation=0.1, train__replicas=2, train__epochs=2)
    workspace.set(train__patience=1)
    workspace.repro()
    workspace.run("commands.report", "--html", "page.html")
    parsed = Parsed(workspace.read("page.html"))
    notes = " ".join(parsed.of("p"))
    assert "each class against the rest" in notes
    assert "positive class" not in notes
    assert "by chance: 0.071" in parsed.of("text")
    assert "validation" in parsed.of("text")
    assert any(text.startswith("kept: epoch ") for text in parsed.of("text"))
    assert "taken for" in parsed.of("th")  # the most frequent confusions: 14 x 14 cells are no table to read
    assert any(text.startswith("14 classes: 0 ") and text.endswith(", ...") for text in parsed.of("dd"))


def test_the_positive_class_and_a_network_alone(workspace):
    workspace.set(make_data__positive=0, train__replicas=1, train__epochs=2, split__validation=0.1, split__train=0.7)
    workspace.repro()
    workspace.run("commands.report", "--html", "page.html")
    parsed = Parsed(workspace.read("page.html"))
    notes = " ".join(parsed.of("p"))
    assert "positive class: 0" in notes
    assert "share of 0" in parsed.of("text")
    zeros = next(
        row for row in csv.DictReader(workspace.read("metrics/classes.csv").splitlines()) if row["class"] == "0"
    )
    assert f"by chance: {int(zeros['support']) / 200:.3f}" in parsed.of("text")
    assert "mean of" not in " ".join(text for _, text in parsed.texts)
    assert "about 95 %, over rows alone" in parsed.of("th")


@pytest.mark.parametrize("name", ["columns", "importance", "thresholds", "plots/confusion"])
@pytest.mark.parametrize("text", ["<<<<<<< HEAD\na,b\n1,2\n=======\n", 'column,drop\n"x,1\n'])
def test_a_file_that_no_stage_wrote_is_one_line(job, name, text):
    write(job, name, text)
    done = job.plumbline("report", "--html", "report.html", fails=True)
    assert_one_line(done, f"metrics/{name}.csv is not as the stages write it", "`dvc repro`")
    assert not job.path("report.html").exists()
