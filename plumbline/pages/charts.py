"""Charts of a page, drawn by matplotlib as SVG. They have the page's font and colours, and are light or dark as it is.

matplotlib draws each line in a colour that stands for one of the page's CSS variables. In the SVG the variable's name
takes the colour's place. Lines differ by their dashes too, not by colour alone.
"""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple
from xml.etree import ElementTree

from plumbline.pages.page import Chart, clean, width

INK, QUIET, GRID, BLUE, ORANGE, GREEN, RED = (f"#00000{number}" for number in range(1, 8))
VARIABLES = {INK: "ink", QUIET: "quiet", GRID: "grid", BLUE: "blue", ORANGE: "orange", GREEN: "green", RED: "red"}
WIDTH = 4.2  # inches: a page shows it 350 to 450 pixels wide, and its letters are then 12 to 15 pixels high
NAME = 22  # characters of a name beside a row of a chart
LEGEND = 50  # characters on a line of the legend
STYLE = {
    "svg.fonttype": "none",  # text stays text: it is small, can be searched, and is in the page's font
    "svg.hashsalt": "plumbline",  # the same bytes each time
    "text.parse_math": False,  # a column may have dollar signs in its name
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.linewidth": 1.6,
    "legend.frameon": False,
}


class Line(NamedTuple):
    """A curve with its name in the legend; `dash` is matplotlib's, such as "--"."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    dash: str = "-"


class Interval(NamedTuple):
    """A row of a chart of intervals."""

    name: str
    middle: float
    low: float
    high: float
    colour: str = BLUE


# ---- kinds of charts; each is drawn when the page is written


def curves(lines: list[Line], x: str, y: str, title: str, height: float = 3.1, **limits) -> Chart:
    """Curves in one chart. x and y name the axes; limits are arguments of `Axes.set`, such as ylim=(0, 1)."""

    def draw(figure) -> None:
        axis = figure.subplots()
        for line in lines:
            marker = "o" if len(line.x) == 1 else ""  # one point is no line
            axis.plot(line.x, line.y, line.dash, marker=marker, color=line.colour)
        axis.set(xlabel=x, ylabel=y, **limits)
        if x == "epoch":
            axis.xaxis.get_major_locator().set_params(integer=True)
        _legend(figure, axis, [line.name for line in lines])

    return Chart(title, partial(svg, draw, height, title))


def square(lines: list[Line], x: str, y: str, title: str) -> Chart:
    """Curves between 0 and 1 on both axes."""
    return curves(lines, x, y, title, 4.2, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")


def calibration(given: list[float], shares: list[Interval], counts: list[int], counted: str, share: str) -> Chart:
    """For each bin the share that came true, over the mean probability given; below it how many are in the bin.

    counted and share name what is counted and what the share is of.
    """
    title = "Calibration, about 95 % for each bin"
    ideal, low, high = [0, 1], [each.low for each in shares], [each.high for each in shares]

    def draw(figure) -> None:
        from matplotlib.ticker import EngFormatter

        short = EngFormatter(sep="", places=0)  # 950, 10k, 95k
        axis, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        axis.plot(ideal, ideal, ":", color=QUIET)
        axis.fill_between(given, low, high, color=BLUE, alpha=0.15, linewidth=0)
        axis.vlines(given, low, high, color=BLUE, linewidth=0.9, alpha=0.6)
        axis.plot(given, [each.middle for each in shares], "o", color=BLUE, markersize=4.5)
        axis.set(ylabel=share, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        middles = [min(int(p * 10), 9) / 10 + 0.05 for p in given]
        below.bar(middles, counts, width=0.085, color=BLUE, alpha=0.55, linewidth=0)
        for middle, count in zip(middles, counts):
            below.annotate(short(count), (middle, count), (0, 2), textcoords="offset points", ha="center", fontsize=8)
        below.set(xlabel="mean probability given", ylabel=counted, ylim=(0, 1.25 * max(counts)))
        below.grid(axis="x", visible=False)
        _legend(figure, axis, ["perfect", "share, about 95 %"])

    return Chart(title, partial(svg, draw, 4.2, title))


def intervals(rows: list[Interval], x: str, title: str) -> Chart:
    """Intervals one below the other, the first on top, and a line at 0."""

    def draw(figure) -> None:
        axis = figure.subplots()
        axis.axvline(0, color=QUIET, linewidth=1)
        for place, row in enumerate(rows):
            axis.plot([row.low, row.high], [place, place], color=row.colour, linewidth=2.2, solid_capstyle="round")
            axis.plot([row.middle], [place], "o", color=row.colour, markersize=5)
        axis.set_yticks(range(len(rows)), [_name(row.name) for row in rows])
        axis.set(xlabel=x, ylim=(len(rows) - 0.4, -0.6))
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="y", visible=False)
        axis.spines["left"].set_visible(False)
        axis.locator_params(axis="x", nbins=5)

    return Chart(title, partial(svg, draw, 0.7 + 0.25 * len(rows), title))


def _legend(figure, axis, names: list[str]) -> None:
    """The curves' names above the axes, in as many columns as there is room for."""
    names = [clean(name, LEGEND - 5) for name in names]
    columns = len(names)
    if sum(map(width, names)) + 5 * columns > LEGEND:  # more than a line: all columns are as wide as the widest name
        columns = max(1, min((columns + 1) // 2, LEGEND // (max(map(width, names)) + 5)))
    figure.legend(axis.get_lines()[: len(names)], names, loc="outside upper left", ncols=columns, columnspacing=1.2)


def _name(name: str) -> str:
    """A name beside a row. matplotlib has no wide characters (Chinese) and leaves too little room for them.

    Two spaces in front of each make the room; a browser leaves spaces in front out.
    """
    name = clean(name, NAME)
    return "  " * (width(name) - len(name)) + name


# ---- from matplotlib into the page


def svg(draw: Callable, height: float, says: str) -> str:
    """What `draw` draws into a figure, as SVG for a template. height: in inches. says: the text for a screen reader."""
    import matplotlib
    from matplotlib.figure import Figure

    drawn = io.StringIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # the browser has what is missing
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure)
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(drawn.getvalue(), clean(says))


def _inline(text: str, says: str) -> str:
    """matplotlib's SVG as an element of a page: without its style and size, and without ids that two charts share."""
    root = ElementTree.fromstring(text)
    for parent in root.iter():
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.partition("}")[2]
        element.attrib = {name.partition("}")[2] or name: value for name, value in element.attrib.items()}
        if re.fullmatch(r"\w+_\d+", element.get("id", "")):  # of groups; ids of clips and markers are hashes
            del element.attrib["id"]
        if "style" in element.attrib:
            style = re.sub(r"font-family:[^;]*;\s*", "", element.get("style"))
            element.set("style", re.sub("#[0-9a-f]{6}", lambda colour: f"var(--{VARIABLES[colour[0]]})", style))
        element.tail = None
        if element.tag != "text":
            element.text = None
    root.attrib = {"viewBox": root.get("viewBox"), "role": "img", "aria-label": says}
    return ElementTree.tostring(root, encoding="unicode")
