"""A result as Markdown for GitHub: the verdict in its first line, then what it rests on, then what is folded.

`write` gives it for a comparison made here. `of_a_run` gives the comment on a pull request, from what the pull
request's own run left. That may be anything: its types are checked, every text is shown as code, what GitHub knows
itself is taken from there, and without a `plumbline verify` that passed there is no verdict.
"""

from typing import NamedTuple

import msgspec

from plumbline.comparing import words
from plumbline.comparing.result import Entry, Judged, Result, Side
from plumbline.pages.markdown import chart, code, fitting, folded, table

MARKS = {"worse": "▼ worse", "better": "▲ better", "no evidence": "○ no evidence", "no difference": "= no difference"}
MARKS |= {"no verdict": "? no verdict", "identical": "= identical"}  # in the order in which one is told
VERIFIED = "`plumbline verify` passed: this code and data give these figures."
YOURS = "your files"  # the workspace, with what is not committed
MOST = 15  # lines of a list that is not folded
MOST_FIGURES = 300  # rows of a folded table


class Run(NamedTuple):
    """What GitHub itself says of a pull request, and of the run that compared it."""

    base: str  # branch; its commit is the one that was compared with
    other: tuple[str, str]  # branch and commit
    verified: bool | None  # how `plumbline verify` ended; None if it did not run
    judges: list[str]  # code that makes the figures and the verdict, and that the pull request changes
    url: str


def write(result: Result) -> str:
    """The Markdown of a result."""
    return fitting(_ranking(result) if result.is_ranking else _of_two(result))


def of_a_run(run: Run, found: bytes, refused: str = "", verify_said: str = "") -> str:
    """The comment on a pull request; found is the result as JSON, the texts are what `compare` and `verify` said."""
    branch, commit = run.other
    where = f"{code(run.base)} → {code(branch)} {code(commit[:7])}. [The run]({run.url}) says more."
    if not run.verified:
        how = "did not run" if run.verified is None else "failed: the figures are not those of this code and data"
        return fitting([f"**No verdict. `plumbline verify` {how}.** {where}", *_said(verify_said)])
    try:
        result = msgspec.json.decode(found, type=Result)
        (entry,) = result.entries
        at = (result.base.commit or "")[:7]
        base = msgspec.structs.replace(result.base, name="", branch=run.base, commit=at)
        other = msgspec.structs.replace(entry.side, name="", branch=branch, commit=commit[:7])
        entry = msgspec.structs.replace(entry, side=other)
        first, *rest = _of_two(msgspec.structs.replace(result, base=base, entries=[entry]))
        proven = [VERIFIED, *_judges_itself(run.judges)]
        return fitting([first, *proven, *rest] if rest else [" ".join([first, *proven])])
    except Exception:  # whatever such data make their reader do: there is no verdict then
        said = _said(refused) or ["What the run left is no result as the code of the default branch knows it."]
        return fitting([f"**No verdict. The two could not be compared.** {where}", *said])


def _said(text: str) -> list[str]:
    """The last line of what a program said, and folded those before it."""
    lines = [line for line in text.splitlines() if line.strip()][-40:]
    before = [folded("What it said before", [f"- {code(line, 200)}" for line in lines[:-1]])]
    return [code(lines[-1], 400), *before * (len(lines) > 1)] if lines else []


def _judges_itself(files: list[str]) -> list[str]:
    """A warning where a pull request changes what judges it."""
    named = ", ".join(map(code, files[:3])) + f" and {len(files) - 3} more" * (len(files) > 3)
    return [f"⚠ The code that makes these figures and this verdict is changed as well: {named}."] if files else []


# ---- two revisions


def _of_two(result: Result) -> list[str]:
    """Blocks of Markdown, the verdict first."""
    (entry,), led = result.entries, words.lead(result)
    what = words.changes(entry.changes, code)
    heads = f"{heading(result.base)} → {heading(entry.side)}"
    verdict = _marked(words.verdict(called(result), code), in_a_word(entry.judged))
    identical = all(d.verdict == "identical" for d in entry.judged)
    if identical and not (what or result.notes or result.metrics):
        return [f"{verdict} Nothing that a stage reads differs. {heads}"]
    many = f" for all {len(entry.judged)}" * (len(entry.judged) > 1)
    columns = ["metric", heading(result.base), heading(entry.side), "difference", f"95 % interval{many}", "verdict"]
    rows = [[f"`{d.metric}`", four(d.base), four(d.other), *moved(d)] for d in entry.judged]
    return [
        verdict,
        heads if identical else "\n".join(table(columns, rows)),
        f"Judged by {words.about(result, code)}.",
        *_notes(
            [f"no verdict in {d.metric}: {d.why}" for d in entry.judged if d.why and d.why != led.why] + result.notes
        ),
        "\n".join(["What changed:", "", *_shortened(what or ["nothing that a stage reads"])]),
        *_luck(entry.judged, words.scope(result)),
        *_figures(result.metrics),
        *_epochs(result.base, entry.side),
    ]


def _marked(said: str, sign: str) -> str:
    """A verdict with its sign in front, and its first words in bold."""
    opening = sign.partition(" ")[2]
    if said.startswith(opening):  # No evidence, No verdict
        return f"**{sign}**{said.removeprefix(opening)}"
    return f"**{sign}.** {said}"


def in_a_word(judged: list[Judged]) -> str:
    """The verdict in a word or two, with a sign that needs no colour."""
    found = {d.verdict for d in judged}
    if found >= {"better", "worse"}:
        return "▲▼ Better and worse"
    first = next((verdict for verdict in MARKS if verdict in found), "no verdict")
    sign, _, word = MARKS[first].partition(" ")
    return f"{sign} {word.capitalize()}"


def _notes(notes: list[str]) -> list[str]:
    return ["\n".join(_shortened([f"note: {code(note, 300)}" for note in notes]))] if notes else []


def _shortened(lines: list[str]) -> list[str]:
    """Items of a list, as many as are read."""
    more = [f"and {len(lines) - MOST} more"] * (len(lines) > MOST)
    return [f"- {line}" for line in [*lines[:MOST], *more]]


# ---- folded


def _luck(judged: list[Judged], scope: str) -> list[str]:
    """Where the uncertainty comes from, and what would make it smaller."""
    columns = ["metric", "from rows", "from seeds", "width at twice the rows", "at twice the networks", "rows needed"]
    rows = []
    for d in judged:
        if d.by_rows is not None:
            more = ["" if times is None else f"{times:.2f} times" for times in (d.twice_rows, d.twice_networks)]
            needed = "" if d.rows_needed is None else f"about {words.two_digits(d.rows_needed):,}"
            rows.append([f"`{d.metric}`", f"{d.by_rows:.0%}", f"{1 - d.by_rows:.0%}", *more, needed])
    lines = [*table(columns, rows), "", f"Rows needed: to tell a difference as large as this one from none. {scope}"]
    return [folded("Luck of rows and of seeds", lines)] if rows else []


def _figures(files: dict[str, dict[str, tuple]]) -> list[str]:
    """DVC's diff of metrics, cut to what differs."""
    rows = [[code(path), code(name), *map(code, both)] for path, found in files.items() for name, both in found.items()]
    more = ["", f"and {len(rows) - MOST_FIGURES} more"] * (len(rows) > MOST_FIGURES)
    lines = table(["file", "metric", "before", "after"], rows[:MOST_FIGURES]) + more
    return [folded("More metrics: what `dvc metrics diff` has, luck not judged", lines)] if rows else []


def _epochs(base: Side, other: Side) -> list[str]:
    """Loss of network 0 by epoch, both sides over one axis of epochs."""
    lines = [f"`o` is {heading(base)}, `x` is {heading(other)}; where they meet, `o` is drawn."]
    for part in ("train", "test"):
        points = {"o": curve(base, part, "loss"), "x": curve(other, part, "loss")}
        if all(points.values()):
            lines += ["", f"Loss of network 0, {part} rows:", "", *chart(points, "epoch")]
    return [folded("Loss by epoch", lines)] if len(lines) > 1 else []


def curve(side: Side, part: str, metric: str) -> list[tuple[float, float]]:
    """Points of a curve, by epoch."""
    rows = {row["epoch"]: row[f"{part}_{metric}"] for row in side.curves.get(part, [])}
    return sorted((x, y) for x, y in rows.items() if max(abs(x), abs(y)) < 1e9)


# ---- experiments


def _ranking(result: Result) -> list[str]:
    """Blocks of Markdown, the best first."""
    others = len(result.entries) - 1
    many = f" for all {others}" * (others > 1)
    columns = ["run", f"`{result.metric}`", f"to {heading(result.base)}", f"95 % interval{many}", "verdict"]
    rows = [
        [_run(entry), four(entry.figure.value), *_beside(entry), words.briefly(entry.changes, code)]
        for entry in result.entries
    ]
    first, *rest = words.sentences(called(result), code)
    left_out = [f"left out: {name}: {why}" for name, why in result.left_out.items()]
    return [
        " ".join([f"**{first}**", *rest]),
        "\n".join(table([*columns, "what changed"], rows)),
        f"Judged by {words.about(result, code)}. {words.last_look(called(result), code)}",
        *_notes(left_out + result.notes),
    ]


def _run(entry: Entry) -> str:
    return " = ".join([heading(entry.side), *map(code, entry.same)]) + " \\*" * entry.is_among_best


def _beside(entry: Entry) -> list[str]:
    return moved(entry.judged[0]) if entry.judged else ["", "", "the base"]


# ---- forms


def heading(side: Side, named: words.Named = code) -> str:
    """A revision by its branch, or else its name, and its short commit."""
    said = " ".join(dict.fromkeys(named(word) for word in (name_of(side), side.commit) if word))
    return f"{said}, {YOURS}" if side.name == "workspace" and side.branch else said


def name_of(side: Side) -> str:
    return side.branch or (YOURS if side.name == "workspace" else side.name)


def called(result: Result) -> Result:
    """The same with branches for names: HEAD and the workspace say little to who reads it elsewhere."""
    sides = [result.base, *(entry.side for entry in result.entries)]
    names = [name_of(side) for side in sides]
    if not result.is_ranking and names[0] == names[1]:
        commits = [side.commit for side in sides]
        names = commits if len({*commits}) == 2 else [names[0], YOURS]
    base, *others = (msgspec.structs.replace(side, name=name) for side, name in zip(sides, names))
    entries = [msgspec.structs.replace(entry, side=side) for entry, side in zip(result.entries, others)]
    return msgspec.structs.replace(result, base=base, entries=entries)


def moved(d: Judged) -> list[str]:
    """A difference, its interval and the verdict."""
    interval = "" if None in (d.low, d.high) else f"{d.low:+.4f} to {d.high:+.4f}"
    return [f"{d.difference:+.4f}", interval, MARKS[d.verdict]]


def four(number: float) -> str:
    """A figure with four decimals."""
    return f"{number:.4f}"
