"""A result as one self-contained HTML page: the verdict on top, then the tables, with intervals and curves drawn."""

from functools import partial
from pathlib import Path

from plumbline.comparing import forms, words
from plumbline.comparing.result import Entry, Judged, Result, Side
from plumbline.pages import charts, page
from plumbline.pages.charts import BLUE, GREEN, ORANGE, QUIET, RED, Interval, Line
from plumbline.pages.page import Chart, Section, clean
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
        rows = [_interval(d, forms.name_of(entry.side)) for entry in result.entries for d in entry.judged]
        name = f"{result.metric} beside {FORM.heading(result.base)}"
        drawn = [_drawn(result.metric, rows, name)] if rows else []
        sections = [
            Section("Runs", [forms.experiments(result, FORM)], words.last_look(told, _short)),
            Section("Intervals", charts=drawn),
        ]
    else:
        (entry,) = result.entries
        title = f"{forms.in_a_word(entry.judged)}: {FORM.heading(entry.side)} beside {FORM.heading(result.base)}"
        what = words.changes(entry.changes, clean) or [words.UNCHANGED]
        drawn = [_drawn(d.metric, [_interval(d)], f"{d.metric}: {forms.MARKS[d.verdict]}") for d in entry.judged]
        sections = [
            Section("Differences", [forms.differences(result, FORM)]),
            Section("Intervals", charts=drawn),
            Section("Luck", [forms.luck(result, FORM)], forms.LUCK),
            Section("Training", charts=_epochs(result.base, entry)),
            Section("More metrics", [forms.files(result, FORM)], "As `dvc metrics diff` has them; luck is not judged."),
        ]
    facts = [
        ("Verdict", " ".join(words.sentences(told, _short))),
        ("Judged by", f"{words.about(result, clean)}. {words.scope(result)}"),
        *zip(["Changed"] + [""] * len(what), what),
        *zip(["Notes"] + [""] * len(notes), notes),
    ]
    page.write(path, title, facts, sections)


def _interval(d: Judged, name: str = "") -> Interval:
    low, high = (d.difference, d.difference) if None in (d.low, d.high) else (d.low, d.high)
    return Interval(name, d.difference, low, high, COLOURS.get(d.verdict, QUIET))


def _drawn(metric: str, rows: list[Interval], title: str) -> Chart:
    return charts.intervals(rows, f"difference, {'lower' if metric in LOSSES else 'higher'} is better", title)


def _epochs(base: Side, entry: Entry) -> list[Chart]:
    """Loss and accuracy by epoch, both sides over one axis."""
    drawn = []
    for metric in ("loss", "accuracy"):
        lines = [
            Line(f"{part} of {FORM.heading(side)}", *zip(*points), colour, dash)
            for side, colour in ((base, BLUE), (entry.side, ORANGE))
            for part, dash in (("train", "--"), ("test", "-"))
            if (points := forms.curve(side, part, metric))
        ]
        drawn += [charts.curves(lines, "epoch", metric, f"{metric} of network 0 by epoch")] if lines else []
    return drawn
