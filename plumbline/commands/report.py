"""What `make` prints at the end: the notebook's epoch table, the final figures, and where to look next.

Of a table of your own also what each class gets, and the threshold of the best F1 where a validation part tells one.

Reads params.yaml and what the stages wrote under metrics/; writes nothing but the page that --html asks for.

    plumbline report                      figures as text
    plumbline report --html report.html   all that the stages wrote, with charts, as one page that needs no other file
"""

import argparse

from plumbline.bits.initial import outputs_for
from plumbline.commands import last_run, page, sections
from plumbline.commands.last_run import Job, best_threshold, rows_of
from plumbline.comparing import predictions
from plumbline.pages.page import Section, Table, aligned
from plumbline.profiling import profile
from plumbline.scores import metrics
from plumbline.tables import store

FIRST = 10  # test rows that the notebook shows
NOTEBOOKS = "stages/synthetic.py"  # the table of which the report is the notebook's alone
MOST_ROWS = 20  # of a table
MOST_COLUMNS = 5  # that the networks go by
MOST_WARNINGS = 10


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "plumbline report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--html", metavar="FILE.html", help="write one page with tables and charts instead")
    options = parser.parse_args(words)
    if options.html:
        page.write(options.html)
        print(f"{options.html}: open it in a browser; it needs no other file and no network")
        return
    job = last_run.read()
    is_notebooks = job.settings.make_data.source == NOTEBOOKS
    lines = figures(job)
    thresholds = rows_of("metrics/thresholds.csv", "threshold", *metrics.RATIOS, "rows")
    if job.positive is None:
        lines += [line for table in sections.by_class() for line in ["", *table_lines(table)]]
    elif thresholds or not is_notebooks:
        lines += of_positive(job, thresholds)
    if warned := warnings(job.settings.make_data.target):
        lines += ["", *warned]
    lines += as_text(sections.importance(job), MOST_COLUMNS) + as_text(sections.baselines(job))
    lines += ["", *first_rows(predictions.table())]
    print("\n".join(["", *lines, ""]))
    if is_notebooks:
        print("Next: dvc metrics show | dvc plots show | dvc exp run -S train.hidden_size=64 | README.md")
    else:
        print("Next: git commit | plumbline report --html report.html | plumbline predict --help | docs/tables.md")


def figures(job: Job) -> list[str]:
    """The figures that the notebook prints, in its order."""
    train, rows, always = job.train, job.rows["test"], job.figure("accuracy", "shares")
    accuracy, mean = job.figure("accuracy"), job.figures["test", "accuracy", "networks"]
    test_batches = -(-rows // job.settings.evaluate.batch_size)
    watched = "held-out" if job.settings.train.held_out else "validation"
    lines = [
        f"{train['rows']} training rows in {train['batches']} batches, {rows} test rows in {test_batches}",
        *([f"Positive class rate: {train['positive_rate']}"] if "positive_rate" in train else []),
        f"Trainable parameters: {train['parameters']}",
        "",
        *epoch_table(job.train_epochs, job.test_epochs, watched),
        "",
        f"Final train accuracy {train['accuracy']:.3f}, final test accuracy {accuracy:.3f} "
        f"(always answering the training shares: {always:.3f})",
    ]
    if always >= accuracy:
        lines.append("Always answering the most frequent class is as accurate as the network.")
    if "epoch" in train:
        each = "each member at its" if job.settings.train.members > 1 else "that of the"
        lines.append(f"Kept: epoch {train['epoch']} of {len(job.train_epochs)}, {each} lowest {watched} loss")
    if mean["low"] is not None:
        lines.append(
            f"Mean test accuracy of {job.networks} networks {mean['value']:.3f}, "
            f"about 95 % between {mean['low']:.3f} and {mean['high']:.3f} ({rows} rows)"
        )
    return lines


def of_positive(job: Job, thresholds: list[dict]) -> list[str]:
    """What network 0 makes of the positive class of two, and what the rows of thresholds.csv bring at their best F1."""
    classes = rows_of("metrics/classes.csv", text=("support", "positive"))
    (support,) = [row["support"] for row in classes if row["positive"] == "1"]
    own = {name: job.figure(name) for name in metrics.RATIOS}
    lines = [f"Positive class {job.positive} ({support} test rows): {ratios(own)}"]
    if thresholds:
        best = best_threshold(thresholds)
        rows = int(best["rows"])
        lines.append(f"Threshold of the best F1 on {rows} validation rows: {best['threshold']:g} ({ratios(best)})")
    return lines


def ratios(of: dict) -> str:
    """Precision, recall and F1 in words."""
    return f"precision {of['precision']:.3f}, recall {of['recall']:.3f}, F1 {of['f1']:.3f}"


def warnings(target: str) -> list[str]:
    """What train and evaluate warned of, a line each."""
    said = [
        profile.line(row["column"], row["warning"], row["column"] == target)
        for name in ("columns", "test_columns")
        for row in rows_of(f"metrics/{name}.csv", text=("column", "warning"))
        if row["warning"]
    ]
    more = [f"warning: and {len(said) - MOST_WARNINGS} more, in metrics/columns.csv and metrics/test_columns.csv"]
    return said[:MOST_WARNINGS] + (more if len(said) > MOST_WARNINGS else [])


def as_text(section: Section | None, most: int = MOST_ROWS) -> list[str]:
    """A section of the page as lines, without its charts."""
    if section is None:
        return []
    return ["", section.title, *(line for table in section.tables for line in table_lines(table, most)), section.note]


def table_lines(table: Table, most: int = MOST_ROWS) -> list[str]:
    """A table in aligned columns; of a long one the first rows."""
    more = len(table.rows) - most
    return aligned(table.columns, table.rows[:most]) + [f"and {more} more"] * (more > 0)


def epoch_table(history: list[dict], test_epochs: list[dict], watched: str) -> list[str]:
    """Training and test columns side by side: the first epoch, every fifth, and the last; about twenty of many.

    watched: what the rows are that stand in the history as validation, "validation" or "held-out".
    """
    every = max(5, len(history) // 100 * 5)
    columns = [("epoch", 0), ("train_loss", 4), ("train_accuracy", 3)]
    if "validation_loss" in history[0]:
        columns += [("validation_loss", 4), ("validation_accuracy", 3)]
    columns += [("test_loss", 4), ("test_accuracy", 3)]
    heads = [name.replace("validation", watched).replace("_", " ") for name, _ in columns]
    lines = ["  ".join(heads)]
    for left, right in zip(history, test_epochs):
        epoch = int(left["epoch"])
        if epoch == 1 or epoch % every == 0 or epoch == len(history):
            row = left | right
            cells = (f"{row[name]:>{len(head)}.{d}f}" for head, (name, d) in zip(heads, columns))
            lines.append("  ".join(cells))
    return lines


def first_rows(table: store.Table) -> list[str]:
    """The notebook's last lines: network 0's probabilities for the first test rows, as split drew them, and labels."""
    classes = table.facts.classes
    rows = table.rows(
        f"SELECT target, probability[1:{outputs_for(len(classes))}] FROM {table.numbered} "
        f"WHERE part = 'test' ORDER BY {store.PLACE} LIMIT {FIRST}"
    )
    labels = [str(label) for label, _ in rows]
    if len(classes) == 2:
        probabilities = [f"{given[0]:.4e}" for _, given in rows]
        what = f"probabilities of {classes[1]}"
    else:
        probabilities = [f"{max(given):.4e} {classes[given.index(max(given))]}" for _, given in rows]
        what = "probabilities, of the most probable class"
    return [
        f"First {len(rows)} predicted {what}:",
        f"  {', '.join(probabilities)}",
        f"First {len(rows)} true labels:",
        f"  {', '.join(labels)}",
    ]
