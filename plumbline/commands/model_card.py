"""The model card, `plumbline report --card`: what the model is, how good it is, where it may fail, how it is used.

It is Markdown as GitHub shows it. Whatever comes from the table stands in code spans (plumbline.pages.markdown).
"""

from pathlib import Path

from plumbline.basics import files
from plumbline.basics.errors import UserError
from plumbline.commands import last_run, sections
from plumbline.commands.last_run import MODEL, Job, rows_of
from plumbline.comparing import lock
from plumbline.model import network
from plumbline.pages import markdown
from plumbline.pages.markdown import code
from plumbline.pages.page import Section
from plumbline.profiling.unseen import FEWEST

PATH = "models/model.md"
CELL = 200  # columns that a text from the table may take in a cell
OURS = ("kind", "in the test part")  # columns of tables below whose texts are ours, not the table's
SCORING = """```sh
plumbline predict new.csv --output scored.csv
plumbline export model.onnx
dvc artifacts get URL-OF-THE-REPOSITORY model
```

The first gives labels and probabilities of new rows. The second writes one ONNX file, encoding and network, for other
runtimes. The third brings the model's file from elsewhere."""


def write(job: Job, path: str) -> None:
    """Write the card; UserError where the last run's figures are of another model."""
    if not last_run.is_of(MODEL):
        raise UserError(f"{last_run.SCORES} is not of {MODEL}; `dvc repro` makes both, `dvc checkout` brings both back")
    own = "" if network.read().is_shipped else ", by the architecture in `stages/network.py`"
    columns, classes = sections.columns(job), sections.classes(job)
    blocks = [
        f"# Model card: {code(job.settings.make_data.target)}",
        f"{code(MODEL)} gives a row of such a table a probability for each class{own}. "
        f"Its MD5, as dvc.lock has it, is {code(lock.md5(Path(MODEL)))}.",
        "\n".join(f"- {term}: {text}" for term, text in sections.facts(job, code)),
        f"## Data: {code(job.settings.make_data.source)}",
        *_tables(columns, foreign=True),
        *[columns.note] * bool(columns),
        "## Figures",
        f"Intervals are about 95 %; {last_run.intervals_about(job)}. "
        "Other training rows would move the figures of a training part too.",
        *_tables(sections.scores(job)),
        *_tables(sections.baselines(job), "Beside other models"),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(job)),
        *_tables(classes._replace(tables=classes.tables[:1]), foreign=True),  # without the confusion matrix
        *_tables(sections.warnings(job), "Warnings", foreign=True),
        "## How to score",
        SCORING,
    ]
    with files.together(), files.replacing(path) as partial:
        partial.write_text("\n\n".join(blocks) + "\n", encoding="utf-8", newline="\n")


def _limits(job: Job) -> list[str]:
    """What the figures do not tell: rare classes, how the rows were split, the period of the training rows."""
    split, told = job.settings.split, []
    classes = rows_of("metrics/classes.csv", "support", text=("class",))
    few = [row["class"] for row in classes if row["support"] < FEWEST]
    if few:
        listed = ", ".join(map(code, few[:5])) + f" and {len(few) - 5} more" * (len(few) > 5)
        told.append(f"Fewer than {FEWEST} {job.part} rows are of {listed}: figures of so few are mostly luck.")
    if split.group:
        told.append(f"Figures are of new {code(split.group)}: rows that share one stayed in one part.")
    else:
        told.append("Rows were taken as independent. Where several are of one person or thing, figures flatter.")
    if split.time:
        told.append(f"Figures are of the latest rows by {code(split.time)}; later ones may differ more.")
    else:
        told.append("Rows were drawn without regard to time. Figures are of rows like these, not of a later time.")
    columns = rows_of("metrics/columns.csv", text=("column", "kind", "values"))
    periods = [row for row in columns if row["kind"].startswith("date") or row["column"] == split.time]
    told += [f"Training rows hold {code(row['values'])} in {code(row['column'])}." for row in periods[:5]]
    told.append("Beyond the values that training rows have it guesses; `plumbline predict` counts such rows.")
    return [*told, "It classifies. What it goes by need not be a cause."]


def _tables(section: Section | None, title: str = "", foreign: bool = False) -> list[str]:
    """The tables of a section of the report; foreign: their texts come from the user's table."""
    if not section:
        return []
    blocks = [f"### {title}"] * bool(title)
    for table in section.tables:
        blocks += [f"### {table.title}"] * bool(table.title)
        ours = [not foreign or head in OURS for head in table.columns]
        rows = [[value if is_ours else _coded(value) for value, is_ours in zip(row, ours)] for row in table.rows]
        blocks.append("\n".join(markdown.table(table.columns, rows)))
    return blocks


def _coded(value):
    """A text from the user's table as code; a long one without backticks, which could need a fence GitHub ignores."""
    if not isinstance(value, str) or not value:
        return value
    return code(value.replace("`", "'") if len(value) > markdown.LONGEST else value, CELL)
