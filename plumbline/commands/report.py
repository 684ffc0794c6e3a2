"""What `make` prints at the end: the notebook's epoch table, the final figures, and where to look next.

For a table of your own also warnings, figures by class, the best threshold, importance of columns, and other models.

Reads params.yaml and what the stages wrote under metrics/. Writes nothing but the page or card that is asked for.

    plumbline report                      figures as text
    plumbline report --html report.html   all that the stages wrote, with charts, as one page that needs no other file
    plumbline report --card               a model card in Markdown, models/model.md, beside the model
"""

import argparse

from plumbline.bits.initial import outputs_for
from plumbline.commands import last_run, model_card, sections
from plumbline.commands.last_run import Job, rule
from plumbline.pages.page import Section, aligned
from plumbline.scores import predictions
from plumbline.tables import duck, store

FIRST = 10  # test rows that the notebook shows
NOTEBOOKS = "stages/synthetic.py"  # for this table the report is what the notebook prints, and no more
MOST_ROWS = 10  # of a section's table
MOST = {sections.importance: 5, sections.thresholds: 0}  # sections with another limit


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("--html", metavar="FILE.html", help="write one page with tables and charts instead")
    parser.add_argument("--card", action="store_true", help=f"write the model's card, {model_card.PATH}, instead")


def main(options: argparse.Namespace) -> None:
    job = last_run.read()
    if options.card:
        model_card.write(job, model_card.PATH)
        print(f"{model_card.PATH}: commit it with the run")
    if options.html:
        sections.write(job, options.html)
        print(f"{options.html}: open it in a browser; it needs no other file and no network")
    if options.card or options.html:
        return
    lines = figures(job)
    own, next_steps = [], "dvc metrics show | dvc plots show | dvc exp run -S train.hidden_size=64 | README.md"
    if job.settings.make_data.source != NOTEBOOKS:
        own = [sections.warnings, sections.classes, sections.thresholds]
        next_steps = "git commit | plumbline report --html report.html | plumbline predict --help | docs/tables.md"
    for make in (*own, sections.importance, sections.baselines):
        if section := make(job):
            lines += ["", *as_text(section, MOST.get(make, MOST_ROWS))]
    lines += ["", *first_rows(predictions.table(), "test" if "test" in job.rows else job.part)]
    print("\n".join(["", *lines, ""]))
    print(f"Next: {next_steps}")


def figures(job: Job) -> list[str]:
    """The figures that the notebook prints, in its order."""
    train, rows = job.train, job.rows.get("test", 0)
    tested, final = ", no test part", ""  # what is said of the test part
    if rows:
        accuracy, always = (job.figure("accuracy", of, "test") for of in ("network", "shares"))
        tested = f", {rows} test rows in {-(-rows // job.settings.evaluate.batch_size)}"
        final = f", final test accuracy {accuracy:.3f} (always answering the training shares: {always:.3f})"
    watched, held_out = "validation", ""
    if job.settings.train.held_out:
        watched, held_out = "held-out", f" ({job.rows['train'] - train.rows} more held out)"
    lines = [
        f"{train.rows} training rows{held_out} in {train.batches} batches{tested}",
        *([f"Positive class rate: {train.positive_rate}"] if train.positive_rate is not None else []),
        f"Trainable parameters: {train.parameters}",
        "",
        *epoch_table(job.train_epochs, job.test_epochs, watched),
        "",
        f"Final train accuracy {train.accuracy:.3f}{final}",
    ]
    if rows and always >= accuracy:
        lines.append("Always answering the most frequent class is as accurate as the network.")
    if train.epoch is not None:
        ran, each = len(job.train_epochs), "each member at its" if job.settings.train.members > 1 else "that of the"
        more = "; more epochs may do better (train.epochs)" if train.epoch == job.settings.train.epochs else ""
        lines.append(f"Kept: epoch {train.epoch} of {ran}, {each} lowest {watched} loss{more}")
    for part, what in (("test", "Mean test accuracy of"), ("out-of-fold", "Out-of-fold accuracy, mean of")):
        mean = job.figures.get((part, "accuracy", "networks"), {})
        if mean.get("low") is not None:
            lines.append(
                f"{what} {job.networks} networks {mean['value']:.3f}, "
                f"about 95 % between {mean['low']:.3f} and {mean['high']:.3f} ({job.rows[part]} rows)"
            )
    return lines + [rule(job)] * (job.part == "out-of-fold")


def as_text(section: Section, most: int) -> list[str]:
    """A section of the page as lines, without its charts; the first rows of a table with more than `most`."""
    lines = [section.title]
    for table in section.tables if most else []:
        lines += [table.title] * bool(table.title) + aligned(table.columns, table.rows[:most])
        lines += [f"and {len(table.rows) - most} more"] * (len(table.rows) > most)
    return lines + [section.note] * bool(section.note)


def epoch_table(history: list[dict], test_epochs: list[dict], watched: str) -> list[str]:
    """Training and test columns side by side: the first epoch, every fifth, and the last; about twenty of many.

    watched: what the rows are that the history calls validation, "validation" or "held-out".
    """
    every = max(5, len(history) // 100 * 5)
    columns = [("epoch", 0), ("train_loss", 4), ("train_accuracy", 3)]
    if "validation_loss" in history[0]:
        columns += [("validation_loss", 4), ("validation_accuracy", 3)]
    columns += [("test_loss", 4), ("test_accuracy", 3)] * bool(test_epochs)
    heads = [name.replace("validation", watched).replace("_", " ") for name, _ in columns]
    lines = ["  ".join(heads)]
    for left, right in zip(history, test_epochs or [{}] * len(history)):
        epoch = int(left["epoch"])
        if epoch == 1 or epoch % every == 0 or epoch == len(history):
            row = left | right
            cells = (f"{row[name]:>{len(head)}.{d}f}" for head, (name, d) in zip(heads, columns))
            lines.append("  ".join(cells))
    return lines


def first_rows(table: store.Table, part: str) -> list[str]:
    """The notebook's last lines: network 0's probabilities for the first rows of a part, and their labels."""
    classes = table.facts.classes
    rows = table.rows(
        f"SELECT target, probability[1:{outputs_for(len(classes))}] FROM {table.numbered} "
        f"WHERE part = {duck.text(part)} ORDER BY {store.PLACE} LIMIT {FIRST}"
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
