"""A result as one HTML page that needs no other: the verdict on top, then what a pull request's comment has, drawn."""

from pathlib import Path

from plumbline.comparing import comment, words
from plumbline.comparing.comment import MARKS, name_of
from plumbline.comparing.result import Entry, Judged, Result, Side
from plumbline.pages import charts, page
from plumbline.pages.charts import BLUE, GREEN, ORANGE, QUIET, RED, Interval, Line
from plumbline.pages.page import Chart, Section, Share, Table, between, clean
from plumbline.scores.metrics import LOSSES

COLOURS = {"better": GREEN, "worse": RED}


def write(result: Result, path: str | Path) -> None:
    """Write the page."""
    if result.is_ranking:
        title, said, what = f"Experiments over {_named(result.base)}", words.verdict(comment.called(result), _short), []
        sections = _experiments(result)
    else:
        (entry,) = result.entries
        title = f"{comment.in_a_word(entry.judged)}: {_named(entry.side)} beside {_named(result.base)}"
        said = words.verdict(comment.called(result), _short)
        what = words.changes(entry.changes, clean) or [words.UNCHANGED]
        sections = [_differences(result, entry), _intervals(entry.judged), _luck(entry.judged)]
        sections += [_epochs(result.base, entry.side), _files(result)]
    facts = [
        ("Verdict", said),
        ("Judged by", f"{words.about(result, clean)}. {words.scope(result)}"),
        *zip(["Changed"] + [""] * len(what), what),
    ]
    facts += [("Left out", f"{clean(name)}: {clean(why)}") for name, why in result.left_out.items()]
    facts += [("Note", note) for note in result.notes]
    page.write(path, title, facts, [], [section for section in sections if section])


def _short(text: str) -> str:
    return clean(text, 60)


def _named(side: Side) -> str:
    """A revision by branch and short commit, on a page of its own without the marks of Markdown."""
    return comment.heading(side, _short)


def _interval(d: Judged, name: str = "") -> Interval:
    low, high = (d.difference, d.difference) if None in (d.low, d.high) else (d.low, d.high)
    return Interval(name, d.difference, low, high, COLOURS.get(d.verdict, QUIET))


def _differences(result: Result, entry: Entry) -> Section:
    rows = [
        [d.metric, d.base, d.other, d.difference, between(d.low, d.high), " ".join([MARKS[d.verdict], d.why])]
        for d in entry.judged
    ]
    many = f"95 % interval for all {len(rows)} together" if len(rows) > 1 else "95 % interval"
    head = ["metric", _named(result.base), _named(entry.side), "difference", many, "verdict"]
    return Section("Differences", "", [], [Table(head, rows)])


def _intervals(judged: list[Judged]) -> Section:
    drawn = []
    for d in judged:
        says = f"{d.metric}: {MARKS[d.verdict]}"
        axis = f"difference, {'lower' if d.metric in LOSSES else 'higher'} is better"
        drawn.append(Chart(says, charts.intervals([_interval(d)], axis, says)))
    return Section("Intervals", "", drawn, [])


def _luck(judged: list[Judged]) -> Section | None:
    rows = []
    for d in judged:
        if d.by_rows is not None:
            more = (None if width is None else Share(width) for width in (d.twice_rows, d.twice_networks))
            rows.append([d.metric, Share(d.by_rows), Share(1 - d.by_rows), *more, d.rows_needed])
    note = "Where the uncertainty comes from; how wide an interval would be with more, beside this one; and how many "
    note += "rows would tell a difference as large as this one from none."
    head = ["metric", "from rows", "from seeds", "width at twice the rows", "at twice the networks", "rows needed"]
    return Section("Luck", note, [], [Table(head, rows)]) if rows else None


def _epochs(base: Side, other: Side) -> Section | None:
    drawn = []
    for metric in ("loss", "accuracy"):
        lines = [
            Line(f"{part} of {_named(side)}", *zip(*points), colour, dash)
            for side, colour in ((base, BLUE), (other, ORANGE))
            for part, dash in (("train", "--"), ("test", "-"))
            if (points := comment.curve(side, part, metric))
        ]
        says = f"{metric} of network 0 by epoch"
        drawn += [Chart(says, charts.curves(lines, "epoch", metric, says))] if lines else []
    return Section("Training", "", drawn, []) if drawn else None


def _files(result: Result) -> Section | None:
    rows = [[path, name, *both] for path, found in result.metrics.items() for name, both in found.items()]
    note = "What `dvc metrics diff` has; whether such a difference is luck is not judged."
    return Section("More metrics", note, [], [Table(["file", "metric", "before", "after"], rows)]) if rows else None


def _experiments(result: Result) -> list[Section]:
    rows = []
    for entry in result.entries:
        (d,) = entry.judged or [None]
        beside = [None, None, "the base"] if d is None else [d.difference, between(d.low, d.high), MARKS[d.verdict]]
        names = " = ".join([_named(entry.side), *entry.same]) + " *" * entry.is_among_best
        rows.append([names, entry.figure.value, *beside, "; ".join(words.changes(entry.changes))])
    many = len(rows) - 1
    interval = f"95 % interval{f' for all {many} together' * (many > 1)}"
    head = ["run", result.metric, f"to {_named(result.base)}", interval, "verdict", "what changed"]
    sections = [Section("Runs", words.last_look(comment.called(result), _short), [], [Table(head, rows)])]
    drawn = [_interval(d, name_of(entry.side)) for entry in result.entries for d in entry.judged]
    says = f"{result.metric} beside {_named(result.base)}, {interval}"
    axis = f"difference, {'lower' if result.metric in LOSSES else 'higher'} is better"
    if drawn:
        sections.append(Section("Intervals", "", [Chart(says, charts.intervals(drawn, axis, says))], []))
    return sections
