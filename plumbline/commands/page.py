"""What `plumbline report --html` writes: the last run as one page, a section for each file that has rows.

Reads params.yaml, the facts of metrics/predictions.parquet, and the small files under metrics/.
"""

from pathlib import Path

from plumbline.basics.files import read_json
from plumbline.commands import last_run, sections
from plumbline.commands.last_run import Job, name_of
from plumbline.pages import page
from plumbline.pages.page import Share, Tile, between, clean, shown

SECTIONS = (
    sections.warnings,
    sections.scores,
    sections.baselines,
    sections.importance,
    sections.epochs,
    sections.probabilities,
    sections.confusion,
    sections.thresholds,
    sections.columns,
)


def write(path: str | Path) -> None:
    """Write the page of the last run; UserError where a file is not as the stages write it."""
    job = last_run.read()
    found = [section for make in SECTIONS if (section := make(job))]
    of = job.settings.make_data
    title = f"{clean(of.target, 80)}, predicted from {clean(of.source, 120)}"
    page.write(path, title, facts(job), tiles(job), found)


def facts(job: Job) -> list[tuple[str, str]]:
    """What the table is, and what was trained on it."""
    total, train = sum(job.rows.values()), job.settings.train
    parts = ", ".join(f"{rows:,} {part}" for part, rows in job.rows.items())
    shares = [f"{clean(label, 30)} ({shown(Share(rows / total))})" for label, rows in job.classes.items()]
    listed = ", ".join(shares[: sections.MOST_CLASSES]) + ", ..." * (len(shares) > sections.MOST_CLASSES)
    network = f"{train.hidden_size} hidden units, {job.train['parameters']:,} parameters"
    if train.members > 1:
        network = f"{train.members} members of {network}"
    told = [("Rows", f"{total:,}: {parts}"), ("Target", f"{len(shares)} classes: {listed}")]
    if job.positive is not None:
        told.append(("Positive class", f"{clean(job.positive, 40)}: precision, recall and F1 are about it"))
    told.append(("Network 0", f"the model: {network}, trained on {job.train['rows']:,} rows"))
    if job.networks > 1:
        others = f"{job.networks - 1} more networks, which differ from it by their random numbers alone"
        told.append(("Replicas", f"{others}; with them intervals count two kinds of luck: test rows, random numbers"))
    return told


def tiles(job: Job) -> list[Tile]:
    """The figures to be seen first: network 0's, with the mean of all networks and its interval."""
    test = read_json("metrics/evaluate.json")
    means = {metric: test["replicas"][metric] for metric in ("accuracy", "log_loss")}
    values = {metric: test[metric] for metric in means}
    for metric in ("roc_auc", "macro_roc_auc", "average_precision", "macro_f1"):
        value, mean = job.figure(metric), job.figures.get(("test", metric, "networks"))
        if value is not None and len(values) < 4:
            values[metric], means[metric] = value, {"mean": mean["value"], **mean} if mean else {}
    made = []
    for metric, value in values.items():
        mean, always = means[metric], job.figure(metric, "shares")
        notes = [f"network 0, {job.rows['test']:,} test rows"]
        interval = between(mean.get("low"), mean.get("high"))
        if job.networks > 1 and mean:
            about = f" (about 95 %: {interval})" if interval else ""
            notes.append(f"mean of {job.networks} networks {mean['mean']:.4f}{about}")
        elif interval:
            notes.append(f"about 95 %, over rows alone: {interval}")
        if always is not None:
            notes.append(f"always answering the training shares: {always:.4f}")
        made.append(Tile(name_of(metric), value, notes))
    return made
