"""Charts as SVG inside a page, in one style: their colours are the page's CSS variables, their letters the page's.

matplotlib draws with colours that stand for a variable each; the SVG then names the variable, and is light or dark as
the page is. A line differs from its neighbours by its dashes too, not by colour alone.
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
WIDTH = 4.2  # inches, of 72 units each: drawn 350 to 450 pixels wide its letters are 12 to 15 pixels high
NAME = 22  # most letters of a name beside a row of a chart
LEGEND = 50  # letters that a line of the legend has room for
STYLE = {
    "svg.fonttype": "none",  # text stays text: small, to be searched, in the page's letters
    "svg.hashsalt": "plumbline",  # the same bytes each time
    "text.parse_math": False,  # a column may have dollars in its name
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


# ---- kinds of charts, drawn when a page asks for them


def curves(lines: list[Line], x: str, y: str, title: str, height: float = 3.1, **limits) -> Chart:
    """Curves over one another; x and y name the axes; limits are of `Axes.set`, such as ylim=(0, 1)."""

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


def calibration(
    given: list[float], shares: list[Interval], counts: list[int], x: str, of: str, y: str, title: str
) -> Chart:
    """Shares with their band over the probability given, and below how many each stands for.

    x, of and y name the axes: of the probability, the counts and the shares.
    """
    ideal, low, high = [0, 1], [share.low for share in shares], [share.high for share in shares]

    def draw(figure) -> None:
        from matplotlib.ticker import EngFormatter

        short = EngFormatter(sep="", places=0)  # 950, 10k, 95k
        axis, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        axis.plot(ideal, ideal, ":", color=QUIET)
        axis.fill_between(given, low, high, color=BLUE, alpha=0.15, linewidth=0)
        axis.vlines(given, low, high, color=BLUE, linewidth=0.9, alpha=0.6)
        axis.plot(given, [share.middle for share in shares], "o", color=BLUE, markersize=4.5)
        axis.set(ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        middles = [min(int(p * 10), 9) / 10 + 0.05 for p in given]
        below.bar(middles, counts, width=0.085, color=BLUE, alpha=0.55, linewidth=0)
        for middle, count in zip(middles, counts):
            below.annotate(short(count), (middle, count), (0, 2), textcoords="offset points", ha="center", fontsize=8)
        below.set(xlabel=x, ylabel=of, ylim=(0, 1.25 * max(counts)))
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
    """The curves' names above the axes, as many beside one another as there is room for."""
    names = [clean(name, LEGEND - 5) for name in names]
    columns = len(names)
    if sum(map(width, names)) + 5 * columns > LEGEND:  # not on one line: in columns of the widest
        columns = max(1, min((columns + 1) // 2, LEGEND // (max(map(width, names)) + 5)))
    figure.legend(axis.get_lines()[: len(names)], names, loc="outside upper left", ncols=columns, columnspacing=1.2)


def _name(name: str) -> str:
    """A name beside a row. Spaces in front, which a page leaves out, make room for letters that matplotlib lacks."""
    name = clean(name, NAME)
    return "  " * (width(name) - len(name)) + name


# ---- from matplotlib into the page


def svg(draw: Callable, height: float, says: str) -> str:
    """What `draw` draws into a figure of so many inches, as SVG for a template; `says` is read to who cannot see it."""
    import matplotlib
    from matplotlib.figure import Figure

    drawn = io.StringIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # the reader's browser has it
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure)
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(drawn.getvalue(), clean(says))


def _inline(text: str, says: str) -> str:
    """matplotlib's SVG without what a page must not have twice: names of its groups, its style, its fixed size."""
    root = ElementTree.fromstring(text)
    for parent in root.iter():
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.partition("}")[2]
        element.attrib = {name.partition("}")[2] or name: value for name, value in element.attrib.items()}
        if re.fullmatch(r"\w+_\d+", element.get("id", "")):  # groups; clips and markers have a hash
            del element.attrib["id"]
        if "style" in element.attrib:
            style = re.sub(r"font-family:[^;]*;\s*", "", element.get("style"))
            element.set("style", re.sub("#[0-9a-f]{6}", lambda colour: f"var(--{VARIABLES[colour[0]]})", style))
        element.tail = None
        if element.tag != "text":
            element.text = None
    root.attrib = {"viewBox": root.get("viewBox"), "role": "img", "aria-label": says}
    return ElementTree.tostring(root, encoding="unicode")
