"""A comparison as a picture: one self-contained HTML page, or a Mermaid chart that GitHub draws in a comment."""

from plumbline.comparing.judging import Comparison
from plumbline.comparing.revisions import Revision
from plumbline.pages import charts, page
from plumbline.pages.charts import BLUE, GREEN, ORANGE, QUIET, RED, Interval, Line
from plumbline.pages.page import Chart, Section, Table, between, clean
from plumbline.scores.metrics import LOSSES

# Base blue, other orange; the training curve the lighter of each (ColorBrewer's Paired).
COLOURS = {
    ("base", "train"): ("light blue", "#a6cee3"),
    ("base", "test"): ("blue", "#1f78b4"),
    ("other", "train"): ("light orange", "#fdbf6f"),
    ("other", "test"): ("orange", "#ff7f00"),
}
MOST_POINTS = 40  # of a curve in a comment


def mermaid(base: Revision, other: Revision) -> list[str]:
    """Loss by epoch of network 0 on both sides, as the lines of a Mermaid block and its legend."""
    lines, legend, highest, lengths = [], [], 0.0, []
    for side, revision in (("base", base), ("other", other)):
        for part, rows in revision.curves.items():
            values = [row[f"{part}_loss"] for row in rows]
            points = min(len(values), MOST_POINTS)
            shown = [values[round(i * (len(values) - 1) / max(points - 1, 1))] for i in range(points)]
            lines.append(f"  line [{', '.join(f'{value:.4g}' for value in shown)}]")
            legend.append(f"{COLOURS[side, part][0]}: {revision.name} {part}")
            highest = max(highest, *values)
        lengths.append(len(rows))
    axis, note = f'"epoch" 1 --> {lengths[0]}', ""
    if lengths[0] != lengths[1]:  # Mermaid spreads every line over the whole axis, however many points it has
        axis, note = '"percent of the run" 0 --> 100', f" Runs of {lengths[0]} and {lengths[1]} epochs."
    palette = ", ".join(colour for _, colour in COLOURS.values())
    return [
        "```mermaid",
        f"%%{{init: {{'themeVariables': {{'xyChart': {{'plotColorPalette': '{palette}'}}}}}}}}%%",
        "xychart-beta",
        '  title "Loss of network 0"',
        f"  x-axis {axis}",
        f'  y-axis "loss" 0 --> {highest:.3g}',
        *lines,
        "```",
        "",
        f"{'; '.join(legend)}.{note}",
    ]


def write(compared: Comparison, path: str) -> None:
    """Write the page: a difference with its interval for each metric, and loss and accuracy by epoch on both sides."""
    base, other, metrics = clean(compared.base.name, 40), clean(compared.other.name, 40), len(compared.differences)
    title = f"{base} and {other}: {compared.rows} test rows, {compared.networks} networks"
    drawn, listed = [], []
    for d in compared.differences:
        lower = "lower" if d.metric in LOSSES else "higher"
        colour = {"better": GREEN, "worse": RED}.get(d.verdict, QUIET)
        says, axis = f"{d.metric}: {d.verdict}", f"{other} minus {base}, {lower} is better"
        drawn.append(Chart(says, charts.intervals([Interval("", d.difference, d.low, d.high, colour)], axis, says)))
        listed.append([d.metric, d.base, d.other, d.difference, between(d.low, d.high), d.verdict])
    head = ["metric", base, other, "difference", f"about 95 % for all {metrics} together", "verdict"]
    sections = [Section("Differences", "", drawn, []), Section("Figures", "", [], [Table(head, listed)])]
    drawn = []
    for metric in ("loss", "accuracy"):
        lines = []
        for revision, colour in ((compared.base, BLUE), (compared.other, ORANGE)):
            for part, rows in revision.curves.items():
                x, y = ([row[name] for row in rows] for name in ("epoch", f"{part}_{metric}"))
                lines.append(Line(f"{part} of {revision.name}", x, y, colour, "-" if part == "test" else "--"))
        says = f"{metric} of network 0 by epoch"
        drawn.append(Chart(says, charts.curves(lines, "epoch", metric, says)))
    page.write(path, title, [], [], [*sections, Section("Training", "", drawn, [])])
