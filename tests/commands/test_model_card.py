"""The model's card: what a reader must know of it, in Markdown that no name from a table breaks out of."""

import re

import numpy as np
import pandas as pd
import pytest
from conftest import assert_one_line
from markdown_it import MarkdownIt

HOSTILE = "a|b<img src=x>`*_[x](http://e.org)"
LABEL = "![no](http://e.org/1.png)|\n# no"


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    made = pd.DataFrame(
        {HOSTILE: rng.normal(size=300), "plan": rng.choice(["a|<b>", "`" * 150 + "<b>", "@someone"], 300)}
    )
    made["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(300), "D")
    made["who"] = rng.integers(0, 60, 300)
    made["target|`"] = np.where(made[HOSTILE] + rng.normal(size=300) > 0, LABEL, "yes")
    return made


def card(workspace, frame, **parameters):
    frame.to_csv("rows.csv", index=False)
    workspace.set(make_data__source="rows.csv", make_data__target="target|`", train__encoding="robust")
    workspace.set(train__epochs=2, train__replicas=2, **parameters)
    workspace.repro()
    assert "models/model.md" in workspace.run("commands.report", "--card").stdout
    return workspace.read("models/model.md")


def test_it_says_what_the_model_is_and_where_it_may_fail(workspace, frame):
    text = card(workspace, frame, split__group="who")
    for heading in ("# Model card: ", "## Data", "## Figures", "## Limits", "## How to score"):
        assert text.count(heading) >= 1
    assert "Figures are of new `who`: rows that share one stayed in one part." in text
    rows = pd.read_csv("metrics/scores.csv")
    mean = rows.query("part == 'test' and of == 'networks' and metric == 'accuracy'").iloc[0]
    assert f"| {mean['low']:.4f}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{mean['high']:.4f} |" in text
    assert f"test: networks of this training part, the luck of {int(mean['rows'])} rows and random numbers" in text


def test_no_name_breaks_out_of_its_place(workspace, frame):
    text = card(workspace, frame)
    html = MarkdownIt("gfm-like", {"linkify": False}).render(text)
    for token in ("<img", "<a ", "<em>", "<h1>no", "<b>"):
        assert token not in html, token
    assert html.count("<h1>") == 1
    assert max(map(len, re.findall("`+", text))) < 80  # GitHub's parser looks at no longer fence
    tables = [line.count("|") - 2 * line.count("\\|") for line in text.splitlines() if line.startswith("| `day`")]
    assert len(tables) == 1


def test_a_split_by_time_and_rare_classes_are_limits(workspace, frame):
    frame = frame.assign(**{"target|`": np.where(frame["who"] == 0, "rare", frame["target|`"])})
    text = card(workspace, frame, split__time="day")
    assert "Figures are of the latest rows by `day`" in text
    assert re.search(r"Training rows hold `2020-01-01 to 2020-\d\d-\d\d` in `day`\.", text)
    assert "Fewer than 10 test rows are of `rare`: figures of so few are mostly luck." in text


def test_out_of_fold_figures_are_of_the_configuration(workspace, frame):
    text = card(workspace, frame, split__folds=3, split__train=1.0)
    assert "out-of-fold: this configuration, the luck of 300 rows and random numbers." in text


def test_figures_of_another_model_are_refused(default, tmp_path):
    project = default.copy(tmp_path / "project")
    scores = project.path("metrics/scores.csv")
    scores.write_text(scores.read_text().replace("0.945", "0.999"))
    assert_one_line(project.plumbline("report", "--card", fails=True), "metrics/scores.csv is not of models/model.saf")
