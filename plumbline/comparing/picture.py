"""A comparison as a picture: one self-contained HTML page, or a Mermaid chart that GitHub draws in a comment."""

import html
import io
import math

from plumbline.basics.files import replacing
from plumbline.comparing.judging import Comparison, Difference
from plumbline.comparing.revisions import Revision
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
    # Mermaid spreads every line over the whole axis, however many points it has.
    axis = f'"epoch" 1 --> {lengths[0]}' if lengths[0] == lengths[1] else '"percent of the run" 0 --> 100'
    note = "" if lengths[0] == lengths[1] else f" Runs of {lengths[0]} and {lengths[1]} epochs."
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
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams |= {"svg.hashsalt": "plumbline", "font.size": 9, "text.parse_math": False}  # $ is a name's own
    matplotlib.rcParams |= {"axes.spines.top": False, "axes.spines.right": False}
    metrics = len(compared.differences)
    figure = Figure(figsize=(9, 0.75 * metrics + 3.6), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[0.75 * metrics, 3.6])
    axes = upper.subplots(metrics, 1, squeeze=False)[:, 0]
    for axis, d in zip(axes, compared.differences):
        _draw_interval(axis, d)
    how = "rows not paired" if compared.refused else f"about 95 % for all {metrics} together"
    upper.suptitle(
        f"worse \N{LEFTWARDS ARROW}  {compared.other.name} minus {compared.base.name}  \N{RIGHTWARDS ARROW} better"
    )
    upper.supxlabel(how)
    for axis, metric in zip(lower.subplots(1, 2), ("loss", "accuracy")):
        names = []
        for side, revision in (("base", compared.base), ("other", compared.other)):
            for part, rows in revision.curves.items():
                x, y = zip(*((row["epoch"], row[f"{part}_{metric}"]) for row in rows))
                axis.plot(x, y, color=COLOURS[side, part][1])
                names.append(f"{revision.name} {part}")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set(xlabel="epoch", ylabel=f"{metric} of network 0")
    axis.legend(axis.get_lines(), names, frameon=False, loc="lower right")  # named here: a label may begin with _
    drawing = io.StringIO()
    figure.savefig(drawing, format="svg", metadata={"Date": None})
    svg = drawing.getvalue()
    title = html.escape(
        f"{compared.base.name} and {compared.other.name}: {compared.rows} test rows, {compared.networks} networks"
    )
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font-family: sans-serif; max-width: 60em; margin: 1em auto }} svg {{ width: 100%; height: auto }}</style>
</head><body><h1>{title}</h1>
{svg[svg.index("<svg") :]}
</body></html>
"""
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _draw_interval(axis, d: Difference) -> None:
    """One metric: its difference with the interval, and 0, where there is none; right of 0 is better."""
    colour = {"better": "#33a02c", "worse": "#e31a1c"}.get(d.verdict, "#636363")
    axis.axvline(0, color="#bdbdbd", zorder=0)
    if math.isfinite(d.low):
        axis.plot([d.low, d.high], [0, 0], color=colour, linewidth=3, solid_capstyle="round")
    axis.plot([d.difference], [0], "o", color=colour, markersize=7)
    ends = [abs(end) for end in (d.low, d.high, d.difference) if math.isfinite(end)]
    reach = 1.15 * max(ends) or 1.0
    axis.set(yticks=[], xlim=(-reach, reach))
    if d.metric in LOSSES:  # lower is better
        axis.invert_xaxis()
    axis.spines["left"].set_visible(False)
    axis.set_ylabel(d.metric, rotation=0, ha="right", va="center")
    axis.text(1.01, 0.5, f"{d.difference:+.4f}\n{d.verdict}", transform=axis.transAxes, va="center", color=colour)
