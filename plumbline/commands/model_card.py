"""What `plumbline report --card` writes beside the model: what it is, how good, where it may fail, how it is scored.

Markdown as GitHub shows it. Whatever comes from the table stands in code spans (plumbline.pages.markdown).
"""

from pathlib import Path

from plumbline.basics import files
from plumbline.basics.errors import UserError
from plumbline.commands import last_run, sections
from plumbline.commands.last_run import MODEL, Job, rows_of
from plumbline.comparing import lock
from plumbline.model.network import SHIPPED
from plumbline.model.network import read as network
from plumbline.pages import markdown
from plumbline.pages.markdown import code
from plumbline.pages.page import Section
from plumbline.profiling.unseen import FEWEST

PATH = "models/model.md"
CELL = 200  # characters of a text in a table
OURS = ("kind", "in the test part")  # columns whose texts are ours
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
    own = "" if network().tree == SHIPPED else ", by the architecture in `stages/network.py`"
    columns = sections.columns(job)
    blocks = [
        f"# Model card: {code(job.settings.make_data.target)}",
        f"{code(MODEL)} gives a row of such a table a probability for each class{own}. "
        f"Its MD5, as dvc.lock has it, is {code(lock.md5(Path(MODEL)))}.",
        "\n".join(f"- {term}: {text}" for term, text in sections.facts(job, code)),
        f"## Data: {code(job.settings.make_data.source)}",
        *_tables(columns, foreign=True),
        *[columns.note] * bool(columns),
        "## Figures",
        f"Intervals are about 95 %; {last_run.about(job)}. Other training rows would move the figures of a training "
        "part too.",
        *_tables(sections.scores(job)),
        *_tables(sections.baselines(job), "Beside other models"),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(job)),
        *_tables(sections.classes(job), first=True, foreign=True),
        *_tables(sections.warnings(job), "Warnings", foreign=True),
        "## How to score",
        SCORING,
    ]
    with files.together(), files.replacing(path) as partial:
        partial.write_text("\n\n".join(blocks) + "\n", encoding="utf-8", newline="\n")


def _limits(job: Job) -> list[str]:
    """What a figure does not tell, by how the rows were cut."""
    split = job.settings.split
    few = [
        row["class"] for row in rows_of("metrics/classes.csv", "support", text=("class",)) if row["support"] < FEWEST
    ]
    columns = rows_of("metrics/columns.csv", text=("column", "kind", "values"))
    periods = [row for row in columns if row["kind"].startswith("date") or row["column"] == split.time]
    more = f" and {len(few) - 5} more" * (len(few) > 5)
    listed = ", ".join(map(code, few[:5])) + more
    told = [f"Fewer than {FEWEST} {job.judged} rows are of {listed}: figures of so few are mostly luck."] * bool(few)
    told += [
        f"Figures are of new {code(split.group)}: rows that share one stayed in one part."
        if split.group
        else "Rows were taken as independent. Where several are of one person or thing, figures flatter.",
        f"Figures are of the latest rows by {code(split.time)}; later ones may differ more."
        if split.time
        else "Rows were drawn without regard to time. Figures are of rows like these, not of a later time.",
    ]
    told += [f"Training rows hold {code(row['values'])} in {code(row['column'])}." for row in periods[:5]]
    told.append("Beyond the values that training rows have it guesses; `plumbline predict` counts such rows.")
    return [*told, "It classifies. What it goes by need not be a cause."]


def _tables(section: Section | None, title: str = "", foreign: bool = False, first: bool = False) -> list[str]:
    """The tables of a section of the page, or the first alone; foreign: whether their texts come from the table."""
    if not section:
        return []
    blocks = [f"### {title}"] * bool(title)
    for table in section.tables[:1] if first else section.tables:
        blocks += [f"### {table.title}"] * bool(table.title)
        ours = [not foreign or head in OURS for head in table.columns]
        rows = [[value if is_ours else _coded(value) for value, is_ours in zip(row, ours)] for row in table.rows]
        blocks.append("\n".join(markdown.table(table.columns, rows)))
    return blocks


def _coded(value):
    """A text from the table as code; a long one without backticks, for GitHub looks at no fence of very many."""
    if not isinstance(value, str) or not value:
        return value
    return code(value.replace("`", "'") if len(value) > markdown.LONGEST else value, CELL)
