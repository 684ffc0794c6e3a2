"""Markdown for GitHub: foreign text, tables, folded sections, charts of letters, and the limit of a comment.

Foreign text is whatever comes from a revision: names, labels, values, messages. It is always shown by `code`, as a code
span. GitHub takes nothing in a code span for Markdown or HTML, and makes no links or mentions of it (docs.github.com,
"Basic writing and formatting syntax"; github.github.com/gfm, "Code spans").
"""

import re

import numpy as np

from plumbline.pages.page import clean, shown

LONGEST = 60  # columns of a foreign text: GitHub's parser (cmark-gfm) reads no fence of 80 backticks or more
COMMENT = 65_000  # characters of a comment: GitHub takes 65,536, and a marker is added


def code(text: object, longest: int = LONGEST) -> str:
    """Foreign text as a code span: on one line, without invisible characters, its middle cut out if it is too long.

    A table of such cells is made by `table`, which escapes pipes: `|` ends a cell in a code span too.
    """
    shown = clean(str(text), longest) or "(empty)"
    longest_run = max(map(len, re.findall("`+", shown)), default=0)
    fence = "`" * (longest_run + 1)
    space = " " if longest_run else ""
    return f"{fence}{space}{shown}{space}{fence}"


def table(columns: list[str], rows: list[list]) -> list[str]:
    """Lines of a table whose cells are Markdown, or numbers as a page shows them."""
    cells = [columns, ["---"] * len(columns), *rows]
    texts = [[cell if isinstance(cell, str) else str(shown(cell)) for cell in row] for row in cells]
    return ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in texts]


def folded(summary: str, lines: list[str]) -> str:
    """Lines that a click on the summary shows. The summary is HTML, so it must be our own words."""
    return "\n".join([f"<details><summary>{summary}</summary>", "", *lines, "", "</details>"])


def fitting(blocks: list[str]) -> str:
    """Blocks one below the other; the last are left out, with a line that says so, if a comment cannot hold all."""
    for kept in range(len(blocks), 0, -1):
        left_out = len(blocks) - kept
        said = [f"_{left_out} more section{'s' * (left_out > 1)} would not fit into a comment._"] * (left_out > 0)
        text = "\n\n".join(blocks[:kept] + said) + "\n"
        if len(text.encode("utf-16-le")) // 2 <= COMMENT:
            return text
    return "_The comparison does not fit into a comment._\n"


def chart(curves: dict[str, list[tuple[float, float]]], x: str, wide: int = 61, high: int = 12) -> list[str]:
    """Curves of points (x, y) over one axis, drawn in letters in a block of code, which every program shows alike.

    curves: the points by the letter that draws them. Where two curves meet, the letter of the first is seen.
    """
    xs, ys = zip(*[point for points in curves.values() for point in points])
    left, right, bottom, top = min(xs), max(xs), min(ys), max(ys)
    cells = [[" "] * wide for _ in range(high)]
    at = np.linspace(left, right, wide if right > left else 1)
    for letter, points in reversed(curves.items()):
        y = np.interp(at, *zip(*points), left=np.nan, right=np.nan)
        for column in np.flatnonzero(~np.isnan(y)):
            up = (y[column] - bottom) / ((top - bottom) or 1)
            cells[round((1 - up) * (high - 1))][column] = letter
    labels = [f"{top:.4g}", *[""] * (high - 2), f"{bottom:.4g}"]
    margin = max(map(len, labels))
    lines = [f"{label:>{margin}} |{''.join(row).rstrip()}" for label, row in zip(labels, cells)]
    scale = f"{left:<{wide // 2}g}{right:>{wide - wide // 2}g}"
    return ["```text", *lines, f"{'':>{margin}} +{'-' * wide}", f"{'':>{margin}}  {scale}  {x}", "```"]
