"""The sections of a report on the last run, and the page of them all, `plumbline report --html`.

Each section is made of the files that it names. One whose files have no rows is left out.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec

from plumbline.basics.errors import UserError
from plumbline.basics.formats import read_json
from plumbline.commands.last_run import NAMES, Job, best_threshold, name_of, rows_of, rule
from plumbline.pages import charts, page
from plumbline.pages.charts import BLUE, GREEN, ORANGE, QUIET, RED, Interval, Line
from plumbline.pages.page import Section, Shaded, Share, Table, between, clean, shown
from plumbline.scores import intervals, metrics

MOST_ROWS = 300  # of a table; a page is to stay small
MOST_SHOWN = 20  # columns that the model goes by
MOST_CLASSES = 12  # of a confusion matrix; with more classes the most frequent confusions are listed instead


# ---- what the table is, and what was trained on it


def facts(job: Job, named: Callable[[str, int], str] = clean) -> list[tuple[str, str]]:
    """What the table is, and what was trained on it: terms and texts.

    named: writes a text from the table, within so many columns.
    """
    total, train, folds = sum(job.classes.values()), job.settings.train, job.settings.split.folds
    parts = ", ".join(f"{rows:,} {part}" for part, rows in job.rows.items() if part != "out-of-fold")
    shares = [f"{named(label, 30)} ({shown(Share(rows / total))})" for label, rows in job.classes.items()]
    listed = ", ".join(shares[:MOST_CLASSES]) + ", ..." * (len(shares) > MOST_CLASSES)
    network = f"{train.hidden_size} hidden units, {job.train.parameters:,} parameters"
    if train.members > 1:
        network = f"{train.members} members of {network}"
    told = [("Rows", f"{total:,}: {parts}"), ("Target", f"{len(shares)} classes: {listed}")]
    if job.positive is not None:
        told.append(("Positive class", f"{named(job.positive, 40)}: precision, recall and F1 are about it"))
    told.append(("Network 0", f"the model: {network}, trained on {job.train.rows:,} rows"))
    if job.networks > 1:
        others = f"{job.networks - 1} more networks, which differ from it by their random numbers alone"
        told.append(("Replicas", f"{others}; with them intervals count two kinds of luck: rows, random numbers"))
    if folds:
        cut = "The same blocks of time for all" if job.settings.split.time else "Each draws its own"
        told.append(("Cross-fitting", f"{folds} folds. {cut}. {rule(job)}"))
    return told


# ---- tables


def warnings(job: Job) -> Section:
    """What train saw in its rows, and what only the test part shows."""
    told = [
        [row["column"], row["warning"]]
        for name in ("columns", "test_columns")
        for row in rows_of(f"metrics/{name}.csv", text=("column", "warning"))
        if row["warning"]
    ]
    return Section("Warnings", [Table(["column", "warning"], told[:MOST_ROWS])])


class Beside(msgspec.Struct, frozen=True):
    """A model in metrics/baselines.json, and the networks' difference from it."""

    accuracy: float
    log_loss: float
    verdict: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None


def baselines(job: Job) -> Section | None:
    """Other models on the same rows, and whether the network is better."""
    path = Path("metrics/baselines.json")
    told = read_json(path, dict[str, Beside | int | str]) if path.exists() else {}
    if not told:
        return None
    match told:
        case {"rows": int(rows), "trained_rows": int(trained), "part": str(part)}:
            models = {name: of for name, of in told.items() if isinstance(of, Beside)}
        case _:
            raise UserError(f"{path} does not say its rows, trained_rows and part; run `dvc repro`")
    listed = [
        [name.replace("_", " "), of.accuracy, of.log_loss, of.difference, between(of.low, of.high), of.verdict]
        for name, of in models.items()
    ]
    head = ["model", "accuracy", "log loss", "log loss: networks minus it", "about 95 %", "the network is"]
    note = (
        f"On {rows:,} {part} rows, trained on {trained:,} rows. The difference is the networks' log loss minus the "
        "other model's: below 0 the network is better."
    )
    return Section("Beside other models", [Table(head, listed)], note)


def scores(job: Job) -> Section:
    """A table for each part: each metric of network 0, the ensemble, all networks, the training shares."""
    tables = []
    for part in ("out-of-fold", "test", "validation"):
        listed = []
        for metric in dict.fromkeys(metric for of_part, metric, _ in job.figures if of_part == part):
            lower = " (lower is better)" if metric in metrics.LOSSES else ""
            network, ensemble, networks, shares = (
                job.figure(metric, of, part) for of in ("network", "ensemble", "networks", "shares")
            )
            mean = job.figures.get((part, metric, "networks"), {})
            interval = between(mean.get("low"), mean.get("high"))
            of_all = [ensemble, networks] if job.networks > 1 else []
            listed.append([name_of(metric) + lower, network, *of_all, interval, shares])
        several = ["ensemble", f"mean of {job.networks} networks", "about 95 %"]
        head = ["metric", "network 0" + "'s folds" * (part == "out-of-fold")]
        head += several if job.networks > 1 else ["about 95 %, over rows alone"]
        if listed:
            title = f"{part.capitalize()}{' part' * (part != 'out-of-fold')}, {job.rows[part]:,} rows"
            tables.append(Table([*head, "always the training shares"], listed, title))
    about = f" Precision, recall and F1 without another word: {job.about}." if job.positive is not None else ""
    note = f"{rule(job)} " * (job.part == "out-of-fold")
    note += "The ensemble answers with the mean probability of all networks." * (job.networks > 1) + about
    return Section("Figures", tables, note)


def classes(job: Job) -> Section:
    """Figures of each class, and the confusion matrix, or of many classes the most frequent confusions."""
    listed = [
        [row["class"], row["precision"], row["recall"], row["f1"], int(row["support"])]
        for row in rows_of("metrics/classes.csv", "precision", "recall", "f1", "support", text=("class",))
    ]
    head = ["class", "precision", "recall", "F1", f"{job.part} rows"]
    tables = [Table(head, listed[:MOST_ROWS], "Figures by class", "narrow")] if listed else []
    cells = rows_of("metrics/plots/confusion.csv", "rows", text=("actual", "predicted"))
    labels = list(dict.fromkeys(cell["actual"] for cell in cells))
    if len(labels) > MOST_CLASSES:
        wrong = [cell for cell in cells if cell["actual"] != cell["predicted"] and cell["rows"]]
        wrong.sort(key=lambda cell: -cell["rows"])
        listed = [[cell["actual"], cell["predicted"], int(cell["rows"])] for cell in wrong[:MOST_SHOWN]]
        tables += [Table(["class", "taken for", "rows"], listed, "The most frequent confusions")] * bool(listed)
    elif labels:
        rows = {(cell["actual"], cell["predicted"]): int(cell["rows"]) for cell in cells}
        listed = []
        for label in labels:
            own = [rows.get((label, other), 0) for other in labels]
            listed.append([label, *(Shaded(count, Share(count / max(sum(own), 1))) for count in own)])
        head = ["class", *(f"taken for {clean(label, 16)}" for label in labels)]
        tables.append(Table(head, listed, "Rows by class and answer, and their share of the class", "matrix"))
    note = f"{job.scored_by}; {job.about}."
    return Section("Classes", tables, note)


def columns(job: Job) -> Section:
    """What was seen in each column of the training rows, what became of it, and what is new in the test part."""
    rows = rows_of("metrics/columns.csv", "missing", "distinct", text=("column", "kind", "values", "becomes"))
    what = {"missing": "missing", "new": "new categories", "outside": "outside the training range"}
    test = {row["column"]: row for row in rows_of("metrics/test_columns.csv", *what, text=("column",))}
    listed = []
    for row in rows[:MOST_ROWS]:
        new = test.get(row["column"], {})
        added = [f"{shown(Share(new[name]))} {words}" for name, words in what.items() if new.get(name)]
        counts = [int(row["missing"] or 0), int(row["distinct"] or 0)]
        listed.append([row["column"], row["kind"], *counts, row["values"], row["becomes"], ", ".join(added)])
    head = ["column", "kind", "missing", "distinct", "values", "becomes", "in the test part"]
    if not any(row[-1] for row in listed):
        head, listed = head[:-1], [row[:-1] for row in listed]
    note = "Missing and distinct values are counted in the training rows."
    if len(rows) > MOST_ROWS:
        note += f" The first {MOST_ROWS} of {len(rows):,} columns; metrics/columns.csv has all."
    return Section("Columns", [Table(head, listed)], note)


# ---- charts


def epochs(job: Job) -> Section:
    """Loss and accuracy by epoch, of every part that there is."""
    watched = "held out" if job.settings.train.held_out else "validation"
    parts = [("train", "train", BLUE, "-", job.train_epochs), ("validation", watched, GREEN, "--", job.train_epochs)]
    parts.append(("test", "test", ORANGE, "-.", job.test_epochs))
    drawn, kept = [], job.train.epoch
    for metric, unit in (("loss", "log loss"), ("accuracy", "accuracy")):
        lines = []
        for part, name, colour, dash, rows in parts:
            if rows and f"{part}_{metric}" in rows[0]:
                x, y = ([row[column] for row in rows] for column in ("epoch", f"{part}_{metric}"))
                lines.append(Line(name, x, y, colour, dash))
        if lines and kept:
            values = [value for line in lines for value in line.y]
            lines.append(Line(f"kept: epoch {kept}", [kept, kept], [min(values), max(values)], QUIET, ":"))
        if lines:
            drawn.append(charts.curves(lines, "epoch", unit, f"{unit.capitalize()} by epoch, network 0"))
    members = job.settings.train.members
    note = f"Train and {watched}: the mean of network 0's {members} members." if members > 1 else ""
    return Section("Training", [], note, drawn)


def probabilities(job: Job) -> Section:
    """ROC curve, precision and recall, calibration; each beside the line of chance, or of a perfect network."""
    drawn = []
    x, y = "false_positive_rate", "true_positive_rate"
    if rows := rows_of("metrics/plots/roc.csv", x, y):
        chance = Line("by chance", [0, 1], [0, 1], QUIET, ":")
        curve = Line("network 0", [row[x] for row in rows], [row[y] for row in rows], BLUE)
        title = _with_area("ROC curve", job, "roc_auc")
        drawn.append(charts.square([chance, curve], "false positive rate", "true positive rate", title))
    if rows := rows_of("metrics/plots/precision_recall.csv", "recall", "precision"):
        share = rows[-1]["precision"]  # where every row is flagged
        chance = Line(f"by chance: {share:.3f}", [0, 1], [share, share], QUIET, ":")
        curve = Line("network 0", [row["recall"] for row in rows], [row["precision"] for row in rows], BLUE)
        title = _with_area("Precision and recall", job, "average_precision")
        drawn.append(charts.square([chance, curve], "recall", "precision", title))
    if rows := rows_of("metrics/plots/calibration.csv", "mean_probability", "share_of_positives", "rows"):
        given, counts = [row["mean_probability"] for row in rows], [int(row["rows"]) for row in rows]
        shares = [row["share_of_positives"] for row in rows]
        if not all(0 <= share <= 1 <= count for share, count in zip(shares, counts)):
            raise UserError("metrics/plots/calibration.csv has a share beyond 0 to 1, or no rows; run `dvc repro`")
        bands = [Interval("", share, *intervals.wilson(share, count)) for share, count in zip(shares, counts)]
        what = ("decisions", "share right") if job.positive is None else ("rows", f"share of {clean(job.positive, 20)}")
        drawn.append(charts.calibration(given, bands, counts, *what))
    note = f"{job.scored_by}; {job.about}."
    return Section("Probabilities", [], note, drawn)


def _with_area(title: str, job: Job, metric: str) -> str:
    """A curve's title with the metric that is its area, if there is one."""
    area = job.figure(metric)
    return title if area is None else f"{title}, {name_of(metric)} {area:.4f}"


def thresholds(job: Job) -> Section | None:
    """Precision, recall, F1 and the share flagged by threshold, as curves and as a table."""
    names = ("threshold", "precision", "recall", "f1", "flagged", "rows")
    rows = rows_of("metrics/thresholds.csv", *names)
    if not rows:
        return None
    styles = [("precision", BLUE, "-"), ("recall", ORANGE, "--"), ("f1", GREEN, "-."), ("flagged", RED, ":")]
    x = [row["threshold"] for row in rows]
    lines = [Line(NAMES.get(name, name), x, [row[name] for row in rows], *style) for name, *style in styles]
    limits = {"xlim": (0, 1), "ylim": (-0.02, 1.02)}
    drawn = charts.curves(lines, "threshold", "share", "Figures by threshold", **limits)
    best = best_threshold(rows)["threshold"]
    said_by = job.scored_by if job.part == "out-of-fold" else f"Network 0, {int(rows[0]['rows']):,} validation rows"
    note = (
        f"{said_by}; {job.about}. Flagged is every row whose probability "
        f"reaches the threshold. F1 is best at {best:g}: `plumbline predict NEW.csv --threshold {best:g}`."
    )
    head = ["threshold", "precision", "recall", "F1", "flagged"]
    listed = [[f"{row[names[0]]:g}", *(row[name] for name in names[1:4]), Share(row["flagged"])] for row in rows]
    return Section("Thresholds", [Table(head, listed, "", "narrow")], note, [drawn])


def importance(job: Job) -> Section | None:
    """By how much the log loss rises when a column is shuffled, the largest on top."""
    numbers = ("drop", "low", "high", "inputs", "rows", "networks")
    rows = rows_of("metrics/importance.csv", *numbers, text=("column", "part"))
    if not rows:
        return None
    first = rows[:MOST_SHOWN]
    bars = [Interval(row["column"], row["drop"], row["low"], row["high"]) for row in first]
    title = "Rise of the log loss when a column is shuffled"
    drawn = charts.intervals(bars, "rise of the log loss, about 95 %", title)
    listed = [[row["column"], row["drop"], between(row["low"], row["high"]), int(row["inputs"])] for row in first]
    head = ["column", "rise", "about 95 %", "inputs"]
    networks, count, part = int(rows[0]["networks"]), int(rows[0]["rows"]), rows[0]["part"]
    note = f"Mean over {networks} networks, {count:,} {part} rows. A column at 0 is one that the networks do without."
    if len(rows) > MOST_SHOWN:
        note += f" The first {MOST_SHOWN} of {len(rows):,} columns; metrics/importance.csv has all."
    return Section("What the model goes by", [Table(head, listed)], note, [drawn])


# ---- the page


SECTIONS = (scores, warnings, baselines, importance, epochs, probabilities, classes, thresholds, columns)


def write(job: Job, path: str | Path) -> None:
    """Write the page of the last run; UserError where a file is not as the stages write it."""
    of = job.settings.make_data
    title = f"{clean(of.target, 80)}, predicted from {clean(of.source, 120)}"
    page.write(path, title, facts(job), [make(job) for make in SECTIONS])
