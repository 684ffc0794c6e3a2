"""Markdown for GitHub: how foreign text stands in it, tables, what is folded, and what fits into a comment.

Foreign is all that a revision says: names, labels, values, messages. `code` alone decides how it is shown. GitHub takes
nothing in a code span for Markdown or HTML, and neither links nor notifies from it (docs.github.com, "Basic writing and
formatting syntax"; github.github.com/gfm, "Code spans").
"""

import re

import numpy as np

from plumbline.pages.page import clean, shown

LONGEST = 60  # columns of a foreign text; below the 80 backticks in a row that GitHub's parser (cmark-gfm) looks at
COMMENT = 65_000  # characters; GitHub takes 65,536, and a marker is added


def code(text: object, longest: int = LONGEST) -> str:
    """Foreign text as a code span on one line, cut in its middle, without characters that cannot be seen.

    Inside a table use `table`, which escapes pipes: `|` ends a cell in a code span too.
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
    """Lines under a summary that opens them; the summary is our own words, for it is HTML."""
    return "\n".join([f"<details><summary>{summary}</summary>", "", *lines, "", "</details>"])


def fitting(blocks: list[str]) -> str:
    """Blocks one below the other; the last ones are left out, and it is said, where a comment cannot hold them all."""
    for kept in range(len(blocks), 0, -1):
        left_out = len(blocks) - kept
        said = [f"_{left_out} more section{'s' * (left_out > 1)} would not fit into a comment._"] * (left_out > 0)
        text = "\n\n".join(blocks[:kept] + said) + "\n"
        if len(text.encode("utf-16-le")) // 2 <= COMMENT:
            return text
    return "_The comparison does not fit into a comment._\n"


def chart(curves: dict[str, list[tuple[float, float]]], x: str, wide: int = 61, high: int = 12) -> list[str]:
    """Curves of points (x, y) over one axis as letters in a block of code, which every program shows alike.

    Each is drawn with the letter that it stands under; where two meet, the first one's is seen.
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
