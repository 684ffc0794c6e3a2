"""A comparison as a picture: one self-contained HTML page, or a Mermaid chart that GitHub draws in a comment."""

import numpy as np

from plumbline.basics.files import replacing
from plumbline.comparing.judging import Comparison
from plumbline.comparing.revisions import Revision
from plumbline.scores.differences import Difference
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
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams |= {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}
    matplotlib.rcParams["text.parse_math"] = False  # a branch may have dollars in its name
    base, other, metrics = compared.base, compared.other, len(compared.differences)
    figure = Figure(figsize=(9, 0.75 * metrics + 3.6), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[0.75 * metrics, 3.6])
    title = f"{base.name} and {other.name}: {compared.rows} test rows, {compared.networks} networks"
    upper.suptitle(f"{title}\nworse \N{LEFTWARDS ARROW}  {other.name} minus {base.name}  \N{RIGHTWARDS ARROW} better")
    upper.supxlabel(f"about 95 % for all {metrics} together")
    for axis, d in zip(upper.subplots(metrics, 1, squeeze=False)[:, 0], compared.differences):
        _draw_interval(axis, d)
    for axis, metric in zip(lower.subplots(1, 2), ("loss", "accuracy")):
        for side, revision in (("base", base), ("other", other)):
            for part, rows in revision.curves.items():
                x, y = ([row[name] for row in rows] for name in ("epoch", f"{part}_{metric}"))
                axis.plot(x, y, color=COLOURS[side, part][1], label=f"{part} of {revision.name}")  # no _ in front
        axis.set(xlabel="epoch", ylabel=f"{metric} of network 0")
    axis.legend(frameon=False)
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as page:
        page.write("<!DOCTYPE html>\n<meta charset='utf-8'>\n")
        figure.savefig(page, format="svg")


def _draw_interval(axis, d: Difference) -> None:
    """One metric: its difference with the interval, and 0, where there is none; right of 0 is better."""
    colour = {"better": "#33a02c", "worse": "#e31a1c"}.get(d.verdict, "#636363")
    axis.axvline(0, color="#bdbdbd", zorder=0)
    axis.plot([d.low, d.high], [0, 0], color=colour, linewidth=3)  # nothing, where they are NaN
    axis.plot([d.difference], [0], "o", color=colour, markersize=7)
    reach = 1.15 * np.nanmax(np.abs([d.low, d.high, d.difference])) or 1.0
    axis.set(yticks=[], xlim=(-reach, reach))
    if d.metric in LOSSES:  # lower is better
        axis.invert_xaxis()
    axis.spines["left"].set_visible(False)
    axis.set_ylabel(d.metric, rotation=0, ha="right", va="center")
    axis.text(1.01, 0.5, f"{d.difference:+.4f}\n{d.verdict}", transform=axis.transAxes, va="center", color=colour)
