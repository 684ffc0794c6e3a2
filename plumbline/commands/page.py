"""What `plumbline report --html` writes: the last run as one page, a section for each file that has rows.

Reads params.yaml, the facts of metrics/predictions.parquet, and the small files under metrics/.
"""

from pathlib import Path

from plumbline.commands import sections
from plumbline.commands.last_run import Job, name_of, rule
from plumbline.pages import page
from plumbline.pages.page import Share, Tile, between, clean, shown

SECTIONS = (
    sections.warnings,
    sections.scores,
    sections.baselines,
    sections.importance,
    sections.epochs,
    sections.probabilities,
    sections.classes,
    sections.thresholds,
    sections.columns,
)
TILES = ("accuracy", "log_loss", "roc_auc", "macro_roc_auc", "average_precision", "macro_f1")  # the first four


def write(job: Job, path: str | Path) -> None:
    """Write the page of the last run; UserError where a file is not as the stages write it."""
    found = [section for make in SECTIONS if (section := make(job))]
    of = job.settings.make_data
    title = f"{clean(of.target, 80)}, predicted from {clean(of.source, 120)}"
    page.write(path, title, facts(job), tiles(job), found)


def facts(job: Job) -> list[tuple[str, str]]:
    """What the table is, and what was trained on it."""
    total, train, folds = sum(job.classes.values()), job.settings.train, job.settings.split.folds
    parts = ", ".join(f"{rows:,} {part}" for part, rows in job.rows.items() if part != "out-of-fold")
    shares = [f"{clean(label, 30)} ({shown(Share(rows / total))})" for label, rows in job.classes.items()]
    listed = ", ".join(shares[: sections.MOST_CLASSES]) + ", ..." * (len(shares) > sections.MOST_CLASSES)
    network = f"{train.hidden_size} hidden units, {job.train.parameters:,} parameters"
    if train.members > 1:
        network = f"{train.members} members of {network}"
    told = [("Rows", f"{total:,}: {parts}"), ("Target", f"{len(shares)} classes: {listed}")]
    if job.positive is not None:
        told.append(("Positive class", f"{clean(job.positive, 40)}: precision, recall and F1 are about it"))
    told.append(("Network 0", f"the model: {network}, trained on {job.train.rows:,} rows"))
    if job.networks > 1:
        others = f"{job.networks - 1} more networks, which differ from it by their random numbers alone"
        told.append(("Replicas", f"{others}; with them intervals count two kinds of luck: rows, random numbers"))
    if folds:
        cut = "The same blocks of time for all" if job.settings.split.time else "Each draws its own"
        told.append(("Cross-fitting", f"{folds} folds. {cut}. {rule(job)}"))
    return told


def tiles(job: Job) -> list[Tile]:
    """The figures to be seen first: network 0's, with the mean of all networks and its interval.

    Of out-of-fold rows that mean, and beside it what the model file's network has on the test part.
    """
    made = []
    for metric in [metric for metric in TILES if job.figure(metric) is not None][:4]:
        mean, always = job.figures[job.judged, metric, "networks"], job.figure(metric, "shares")
        interval, value = between(mean["low"], mean["high"]), job.figure(metric)
        notes = [f"network 0, {job.rows[job.judged]:,} {job.judged} rows"]
        if job.judged == "out-of-fold":
            own, value = job.figure(metric, part="test"), mean["value"]
            notes = [f"the configuration, {job.rows[job.judged]:,} {job.judged} rows"]
            notes += [f"about 95 %: {interval}"] * bool(interval)
            notes += [f"the model file: {own:.4f}, {job.rows['test']:,} test rows"] if own is not None else []
        elif job.networks > 1:
            about = f" (about 95 %: {interval})" if interval else ""
            notes.append(f"mean of {job.networks} networks {mean['value']:.4f}{about}")
        elif interval:
            notes.append(f"about 95 %, over rows alone: {interval}")
        if always is not None:
            notes.append(f"always answering the training shares: {always:.4f}")
        made.append(Tile(name_of(metric), value, notes))
    return made
