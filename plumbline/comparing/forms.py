"""What text, Markdown and HTML share of a result: its tables and curves, and the names of sides and verdicts."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from plumbline.comparing import words
from plumbline.comparing.result import Judged, Result, Side
from plumbline.pages.page import Share, Table

MARKS = {"worse": "▼ worse", "better": "▲ better", "no evidence": "○ no evidence", "no difference": "= no difference"}
MARKS |= {"no verdict": "? no verdict", "identical": "= identical"}  # of several verdicts the first here is told
YOURS = "your files"  # the workspace, with what is not committed
LUCK = "Widths are beside the interval as it is. Rows needed: to tell a difference as large as this one from none."
MOST = 300  # rows of `files`


class Form(NamedTuple):
    """How an output (text, Markdown, HTML) writes a foreign text, a side at the head of a column, and each verdict."""

    named: words.Named
    heading: Callable[[Side], str]
    marks: Mapping[str, str]


def differences(result: Result, form: Form) -> Table:
    """Two revisions side by side: a row for each metric."""
    (entry,) = result.entries
    rows = [[form.named(d.metric), d.base, d.other, *_beside(d, form)] for d in entry.judged]
    sides = [form.heading(result.base), form.heading(entry.side)]
    return Table(["metric", *sides, "difference", _interval(len(rows)), "verdict"], rows)


def experiments(result: Result, form: Form) -> Table:
    """Experiments, a row for each, the best first. Those that may be the best have a star."""
    rows = []
    for entry in result.entries:
        name = " = ".join([form.heading(entry.side), *map(form.named, entry.same)]) + " *" * entry.is_among_best
        beside = _beside(entry.judged[0], form) if entry.judged else ["", "", "the base"]
        rows.append([name, entry.figure.value, *beside, words.briefly(entry.changes, form.named)])
    columns = ["run", result.metric, f"to {form.heading(result.base)}", _interval(len(rows) - 1), "verdict"]
    return Table([*columns, "what changed"], rows)


def _beside(d: Judged, form: Form) -> list[str]:
    """A difference, its interval and the verdict."""
    interval = "-" if None in (d.low, d.high) else f"{d.low:+.4f} to {d.high:+.4f}"
    return [f"{d.difference:+.4f}", interval, form.marks[d.verdict]]


def _interval(count: int) -> str:
    return f"95 % interval{f' (all {count})' * (count > 1)}"


def luck(result: Result, form: Form) -> Table:
    """Where the uncertainty comes from, and what would make it smaller."""
    (entry,), rows = result.entries, []
    for d in entry.judged:
        if d.by_rows is not None:
            wide = (None if times is None else Share(times) for times in (d.twice_rows, d.twice_networks))
            needed = None if d.rows_needed is None else words.two_digits(d.rows_needed)
            rows.append([form.named(d.metric), Share(d.by_rows), Share(1 - d.by_rows), *wide, needed])
    columns = ["metric", "from rows", "from seeds", "width at twice the rows", "at twice the networks", "rows needed"]
    return Table(columns, rows)


def files(result: Result, form: Form) -> Table:
    """DVC's diff of metrics, cut to what differs."""
    rows = [
        [form.named(path), form.named(name), *(form.named(words.value(each)) for each in both)]
        for path, found in result.metrics.items()
        for name, both in found.items()
    ]
    if len(rows) > MOST:
        rows = [*rows[:MOST], [f"and {len(rows) - MOST} more", "", "", ""]]
    return Table(["file", "metric", "before", "after"], rows)


def curve(side: Side, part: str, metric: str) -> list[tuple[float, float]]:
    """Points of a curve, by epoch."""
    rows = {row["epoch"]: row[f"{part}_{metric}"] for row in side.curves.get(part, [])}
    return sorted((x, y) for x, y in rows.items() if max(abs(x), abs(y)) < 1e9)


# ---- what they are called


def in_a_word(judged: list[Judged]) -> str:
    """The verdict in a word or two, with a sign that needs no colour."""
    found = {d.verdict for d in judged}
    if found >= {"better", "worse"}:
        return "▲▼ Better and worse"
    sign, _, word = next(MARKS[verdict] for verdict in MARKS if verdict in found).partition(" ")
    return f"{sign} {word.capitalize()}"


def heading(side: Side, named: words.Named) -> str:
    """A revision by its branch, else by its name, and its short commit."""
    said = " ".join(dict.fromkeys(named(word) for word in (name_of(side), side.commit) if word))
    return f"{said}, {YOURS}" if side.name == "workspace" and side.branch else said


def name_of(side: Side) -> str:
    """A revision by its branch, else by its name: HEAD and workspace mean little to whoever reads it elsewhere."""
    return side.branch or (YOURS if side.name == "workspace" else side.name)


def called(result: Result) -> Result:
    """The same result with sides named by `name_of`; by commits, if both of two sides would have one name."""
    sides = [result.base, *(entry.side for entry in result.entries)]
    names = [name_of(side) for side in sides]
    if not result.is_ranking and names[0] == names[1]:
        commits = [side.commit for side in sides]
        names = commits if len({*commits}) == 2 else [names[0], YOURS]
    base, *others = (msgspec.structs.replace(side, name=name) for side, name in zip(sides, names))
    entries = [msgspec.structs.replace(entry, side=side) for entry, side in zip(result.entries, others)]
    return msgspec.structs.replace(result, base=base, entries=entries)
