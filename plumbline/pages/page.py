"""One self-contained HTML page: its sections, tables and charts, and how values and texts are shown in it.

A page needs no other file and no network, and runs no script. Its template is page.html. Every value that Jinja2
inserts goes through `shown` first and is then escaped, so no name from a table or a branch can break out of its place
or turn the text around it.
"""

import itertools
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from plumbline.basics import files

LONGEST = 600  # characters of one text
JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji need them; other format characters are left out
BLANKS = "\u115f\u1160\u2800\u3164\uffa0"  # Unicode calls them letters, but they are blank


class Share(float):
    """A number between 0 and 1, shown in per cent."""


class Shaded(NamedTuple):
    """A cell of a matrix: a number of rows, and the share that decides its shade."""

    rows: int
    share: Share

    def __str__(self) -> str:
        """As text, where there is no shade."""
        return f"{self.rows:,} ({shown(self.share)})"


class Table(NamedTuple):
    """Names of columns, and rows of as many values: text, numbers, `Shaded`, or None for what is not there.

    form: how a narrow screen shows it. "stack": each row as a list of its values; "narrow" and "matrix": as a table.
    """

    columns: list[str]
    rows: list[list]
    title: str = ""
    form: str = "stack"


class Chart(NamedTuple):
    """A chart under its title. `drawn` returns SVG made by `charts`, the only text that is inserted unescaped."""

    title: str
    drawn: Callable[[], str]


class Section(NamedTuple):
    """A part of a page: its charts, then its tables."""

    title: str
    tables: Sequence[Table] = ()
    note: str = ""
    charts: Sequence[Chart] = ()

    def __bool__(self) -> bool:
        """Whether there is anything in it; an empty section is not shown."""
        return bool(self.charts or any(table.rows for table in self.tables))


def write(path: str | Path, title: str, facts: list[tuple[str, str]], sections: list[Section]) -> None:
    """Write a page, whole or not at all. facts: terms and texts for its top."""
    import jinja2  # late: text and Markdown do without

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    text = environment.get_template("page.html").render(title=title, facts=facts, sections=[*filter(None, sections)])
    with files.together(), files.replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def shown(value):
    """A value as it is shown: floats with four decimals, 1,000 for 1000, per cent, a dash for None, text by `clean`."""
    if value is None:
        return "\N{EN DASH}"
    if hasattr(value, "__html__"):  # ours, escaped already
        return value
    if isinstance(value, Share):
        return f"{value:.1%}".replace("%", "\N{NO-BREAK SPACE}%")
    if isinstance(value, float):
        return f"{round(value, 4) + 0.0:.4f}".replace("-", "\N{MINUS SIGN}")  # no minus before 0
    return f"{value:,}" if isinstance(value, int) else clean(str(value))


def aligned(columns: list[str], rows: list[list]) -> list[str]:
    """A table as lines of text, its values as `shown` has them, with ASCII for dashes and signs."""
    plain = str.maketrans({"\N{NO-BREAK SPACE}": " ", "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-"})
    cells = [[str(shown(value)).translate(plain) for value in row] for row in [columns, *rows]]
    widths = [max(map(width, column)) for column in zip(*cells)]
    return ["  ".join(text + " " * (most - width(text)) for text, most in zip(row, widths)).rstrip() for row in cells]


def between(low: float | None, high: float | None) -> str | None:
    """An interval in words, without a line break between them; None if an end is None."""
    there = None not in (low, high)
    return f"{shown(low)}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{shown(high)}" if there else None


def clean(text: str, longest: int = LONGEST) -> str:
    """`text` on one line, without control characters and those that turn text around; its middle cut out if too long.

    longest: in columns, as `width` counts them.
    """
    kept = []
    for character in text[: 4 * LONGEST] + text[4 * LONGEST :][-LONGEST:]:  # start and end of a very long text
        kind = unicodedata.category(character)
        if kind in ("Cc", "Zl", "Zp") or character in BLANKS:
            kept.append(" ")
        elif kind == "Cs":  # half of a character, which UTF-8 cannot hold
            kept.append("\N{REPLACEMENT CHARACTER}")
        elif kind == "Cf":
            if character in JOINERS and kept and not kept[-1].isascii():
                kept.append(character)
        else:
            kept.append(character)
    text = "".join(kept).strip() or "\N{OPEN BOX}" * bool(text)  # for a name of which nothing can be seen
    if width(text) <= longest:
        return text
    tail = longest // 3
    return f"{_fitting(text, longest - tail - 1)}\N{HORIZONTAL ELLIPSIS}{_fitting(text[::-1], tail)[::-1]}"


def width(text: str) -> int:
    """The columns that a text takes: two for a wide character, as Chinese has them, one for any other."""
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in text)


def _fitting(text: str, longest: int) -> str:
    """As many of a text's first characters as fit into `longest` columns."""
    ends = itertools.accumulate(map(width, text))
    return text[: sum(end <= longest for end in ends)]
