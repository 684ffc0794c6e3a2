"""What `plumbline report --html` writes: the last run as one page, a section for each file that has rows.

Reads params.yaml, the facts of metrics/predictions.parquet, and the small files under metrics/.
"""

from collections.abc import Callable
from pathlib import Path

from plumbline.commands import sections
from plumbline.commands.last_run import Job, rule
from plumbline.pages import page
from plumbline.pages.page import Share, clean, shown

SECTIONS = (
    sections.scores,
    sections.warnings,
    sections.baselines,
    sections.importance,
    sections.epochs,
    sections.probabilities,
    sections.classes,
    sections.thresholds,
    sections.columns,
)


def write(job: Job, path: str | Path) -> None:
    """Write the page of the last run; UserError where a file is not as the stages write it."""
    found = [section for make in SECTIONS if (section := make(job))]
    of = job.settings.make_data
    page.write(path, f"{clean(of.target, 80)}, predicted from {clean(of.source, 120)}", facts(job), found)


def facts(job: Job, named: Callable[[str, int], str] = clean) -> list[tuple[str, str]]:
    """What the table is, and what was trained on it; named: how its words are written, within so many columns."""
    total, train, folds = sum(job.classes.values()), job.settings.train, job.settings.split.folds
    parts = ", ".join(f"{rows:,} {part}" for part, rows in job.rows.items() if part != "out-of-fold")
    shares = [f"{named(label, 30)} ({shown(Share(rows / total))})" for label, rows in job.classes.items()]
    listed = ", ".join(shares[: sections.MOST_CLASSES]) + ", ..." * (len(shares) > sections.MOST_CLASSES)
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
