"""What `make` prints at the end: the notebook's epoch table, the final figures, and where to look next.

Of a table of your own also what each class gets, and the threshold of the best F1 where a validation part tells one.

Reads params.yaml and what the stages wrote under metrics/; writes nothing but the page that --html asks for.

    plumbline report                      figures as text
    plumbline report --html report.html   all that the stages wrote, with charts, as one page that needs no other file
"""

import argparse

from plumbline.basics import params
from plumbline.basics.files import content, read_cells, read_csv, read_json
from plumbline.bits.initial import outputs_for
from plumbline.commands import page
from plumbline.commands.last_run import best_threshold
from plumbline.comparing import revisions
from plumbline.explaining import baselines, importance
from plumbline.tables import profile
from plumbline.tables.store import PLACE, Table

FIRST = 10  # test rows that the notebook shows
NOTEBOOKS = "stages/synthetic.py"  # the table of which the report is the notebook's alone
MOST_CLASSES = 20  # in the table of classes
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
    settings = params.read()
    train, test = (read_json(f"metrics/{name}.json") for name in ("train", "evaluate"))
    curves = "metrics/history.csv", "metrics/plots/test_epochs.csv"
    history, test_epochs = (read_csv(content(path), path) for path in curves)
    scores = {(row["of"], row["metric"]): row for row in read_cells("metrics/scores.csv") if row["part"] == "test"}
    classes, thresholds = (read_cells(f"metrics/{name}.csv") for name in ("classes", "thresholds"))
    lines = figures(settings, train, test, scores, history, test_epochs)
    is_notebooks = settings.make_data.source == NOTEBOOKS
    if thresholds or len(classes) > 2 or not is_notebooks:
        lines += by_class(classes, thresholds)
    for block in (
        warnings(settings.make_data.target),
        importance.lines("metrics/importance.csv"),
        baselines.lines("metrics/baselines.json"),
    ):
        lines += ["", *block] if block else []
    lines += ["", *first_rows(revisions.predictions())]
    print("\n".join(["", *lines, ""]))
    if is_notebooks:
        print("Next: dvc metrics show | dvc plots show | dvc exp run -S train.hidden_size=64 | README.md")
    else:
        print("Next: git commit | plumbline report --html report.html | plumbline predict --help | docs/tables.md")


def figures(
    settings: params.Params, train: dict, test: dict, scores: dict, history: list[dict], test_epochs: list[dict]
) -> list[str]:
    """The figures that the notebook prints, in its order; scores: the rows of scores.csv by (of, metric)."""
    shares = scores["shares", "accuracy"]
    rows, always = int(shares["rows"]), float(shares["value"])
    test_batches = -(-rows // settings.evaluate.batch_size)
    watched = "held-out" if settings.train.held_out else "validation"
    lines = [
        f"{train['rows']} training rows in {train['batches']} batches, {rows} test rows in {test_batches}",
        *([f"Positive class rate: {train['positive_rate']}"] if "positive_rate" in train else []),
        f"Trainable parameters: {train['parameters']}",
        "",
        *epoch_table(history, test_epochs, watched),
        "",
        f"Final train accuracy {train['accuracy']:.3f}, final test accuracy {test['accuracy']:.3f} "
        f"(always answering the training shares: {always:.3f})",
    ]
    if always >= test["accuracy"]:
        lines.append("Always answering the most frequent class is as accurate as the network.")
    if "epoch" in train:
        each = "each member at its" if settings.train.members > 1 else "that of the"
        lines.append(f"Kept: epoch {train['epoch']} of {len(history)}, {each} lowest {watched} loss")
    networks = test["replicas"]["accuracy"]
    if "low" in networks:
        lines.append(
            f"Mean test accuracy of {settings.train.replicas} networks {networks['mean']:.3f}, "
            f"about 95 % between {networks['low']:.3f} and {networks['high']:.3f} ({rows} rows)"
        )
    return lines


def by_class(classes: list[dict], thresholds: list[dict]) -> list[str]:
    """What network 0 makes of the positive class, or of each of several; the rows of classes.csv and thresholds.csv."""
    ratios = ("precision", "recall", "f1")
    if len(classes) > 2:
        width = max(len("class"), *(len(row["class"]) for row in classes))
        lines = ["", "  ".join([f"{'class':<{width}}", *(f"{name:>9}" for name in ratios), "test rows"])]
        for row in classes[:MOST_CLASSES]:
            cells = [
                f"{row['class']:<{width}}",
                *(f"{float(row[name]):9.3f}" for name in ratios),
                f"{row['support']:>9}",
            ]
            lines.append("  ".join(cells))
        more = len(classes) - MOST_CLASSES
        return lines + ([f"and {more} more classes in metrics/classes.csv"] if more > 0 else [])

    (positive,) = [row for row in classes if row["positive"] == "1"]
    precision, recall, f1 = (float(positive[name]) for name in ratios)
    lines = [
        f"Positive class {positive['class']} ({positive['support']} test rows): "
        f"precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}"
    ]
    if thresholds:
        best = best_threshold(thresholds)
        precision, recall, f1 = (float(best[name]) for name in ratios)
        lines.append(
            f"Threshold of the best F1 on {best['rows']} validation rows: {best['threshold']} "
            f"(precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f})"
        )
    return lines


def warnings(target: str) -> list[str]:
    """What train and evaluate warned of, a line each."""
    said = [
        profile.line(row["column"], row["warning"], row["column"] == target)
        for name in ("columns", "test_columns")
        for row in read_cells(f"metrics/{name}.csv")
        if row["warning"]
    ]
    more = [f"warning: and {len(said) - MOST_WARNINGS} more, in metrics/columns.csv and metrics/test_columns.csv"]
    return said[:MOST_WARNINGS] + (more if len(said) > MOST_WARNINGS else [])


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


def first_rows(table: Table) -> list[str]:
    """The notebook's last lines: network 0's probabilities for the first test rows, as split drew them, and labels."""
    classes = table.facts.classes
    rows = table.rows(
        f"SELECT target, probability[1:{outputs_for(len(classes))}] FROM {table.numbered} "
        f"WHERE part = 'test' ORDER BY {PLACE} LIMIT {FIRST}"
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
