"""A result as one HTML page that needs no other: the verdict on top, then what a pull request's comment has, drawn."""

from functools import partial
from pathlib import Path

from plumbline.comparing import forms, words
from plumbline.comparing.result import Entry, Result, Side
from plumbline.pages import charts, page
from plumbline.pages.charts import BLUE, GREEN, ORANGE, QUIET, RED, Interval, Line
from plumbline.pages.page import Section, Table, clean
from plumbline.scores.metrics import LOSSES

COLOURS = {"better": GREEN, "worse": RED}


def _short(text: str) -> str:
    return clean(text, 60)


FORM = forms.Form(_short, partial(forms.heading, named=_short), forms.MARKS)


def write(result: Result, path: str | Path) -> None:
    """Write the page."""
    told, what, notes = forms.called(result), [], words.notes(result, clean)
    if result.is_ranking:
        title = f"Experiments over {FORM.heading(result.base)}"
        sections = [_section("Runs", forms.experiments(result, FORM), words.last_look(told, _short))]
        sections.append(_intervals(result, [f"{result.metric} beside {FORM.heading(result.base)}"]))
    else:
        (entry,) = result.entries
        title = f"{forms.in_a_word(entry.judged)}: {FORM.heading(entry.side)} beside {FORM.heading(result.base)}"
        what = words.changes(entry.changes, clean) or [words.UNCHANGED]
        sections = [
            _section("Differences", forms.differences(result, FORM)),
            _intervals(result, [f"{d.metric}: {forms.MARKS[d.verdict]}" for d in entry.judged]),
            _section("Luck", forms.luck(result, FORM), forms.LUCK),
            _epochs(result.base, entry),
            _section("More metrics", forms.files(result, FORM), "As `dvc metrics diff` has them; luck is not judged."),
        ]
    facts = [
        ("Verdict", " ".join(words.sentences(told, _short))),
        ("Judged by", f"{words.about(result, clean)}. {words.scope(result)}"),
        *zip(["Changed"] + [""] * len(what), what),
        *zip(["Notes"] + [""] * len(notes), notes),
    ]
    page.write(path, title, facts, [section for section in sections if section])


def _section(title: str, table: Table | None, note: str = "") -> Section | None:
    return Section(title, note, [], [table]) if table else None


def _intervals(result: Result, says: list[str]) -> Section | None:
    """Every difference with its interval: a chart a metric, or one of all experiments."""
    rows = []
    for entry in result.entries:
        for d in entry.judged:
            low, high = (d.difference, d.difference) if None in (d.low, d.high) else (d.low, d.high)
            name = forms.name_of(entry.side) * result.is_ranking
            rows.append((d.metric, Interval(name, d.difference, low, high, COLOURS.get(d.verdict, QUIET))))
    drawn = []
    for title, some in zip(says, [rows] if result.is_ranking else [[row] for row in rows]):
        if some:
            axis = f"difference, {'lower' if some[0][0] in LOSSES else 'higher'} is better"
            drawn.append(charts.intervals([interval for _, interval in some], axis, title))
    return Section("Intervals", "", drawn, []) if drawn else None


def _epochs(base: Side, entry: Entry) -> Section | None:
    drawn = []
    for metric in ("loss", "accuracy"):
        lines = [
            Line(f"{part} of {FORM.heading(side)}", *zip(*points), colour, dash)
            for side, colour in ((base, BLUE), (entry.side, ORANGE))
            for part, dash in (("train", "--"), ("test", "-"))
            if (points := forms.curve(side, part, metric))
        ]
        drawn += [charts.curves(lines, "epoch", metric, f"{metric} of network 0 by epoch")] if lines else []
    return Section("Training", "", drawn, []) if drawn else None
