"""A result as Markdown for GitHub: the verdict in the first line, then its table, then details that are folded.

`write` is for a comparison made here. `of_a_run` is for the comment on a pull request, from the data that the pull
request's own run left. These may be forged, so their types are checked, every text is shown as code, and branch and
commit are GitHub's own. Without a `plumbline verify` that passed there is no verdict.
"""

from functools import partial
from typing import NamedTuple

import msgspec

from plumbline.comparing import forms, words
from plumbline.comparing.result import Result, Side
from plumbline.pages.markdown import chart, code, fitting, folded, table
from plumbline.pages.page import Table

VERIFIED = "`plumbline verify` passed: this code and data give these figures."
FORM = forms.Form(code, partial(forms.heading, named=code), forms.MARKS)


class Run(NamedTuple):
    """What GitHub itself says of a pull request, and of the run that compared it."""

    base: str  # branch; its commit is in the result
    other: tuple[str, str]  # branch and commit
    verified: bool | None  # how `plumbline verify` ended; None if it did not run
    judges: list[str]  # files that make the figures or the verdict, and that the pull request changes
    url: str


def write(result: Result) -> str:
    """The Markdown of a result."""
    return fitting(_ranking(result) if result.is_ranking else _of_two(result))


def of_a_run(run: Run, found: bytes, refused: str = "", verify_said: str = "") -> str:
    """The comment on a pull request.

    found: the result as JSON. refused, verify_said: what `plumbline compare` and `plumbline verify` printed.
    """
    branch, commit = run.other
    where = f"{code(run.base)} → {code(branch)} {code(commit[:7])}. [The run]({run.url}) says more."
    if not run.verified:
        how = "did not run" if run.verified is None else "failed: the figures are not those of this code and data"
        return fitting([f"**No verdict. `plumbline verify` {how}.** {where}", *_said(verify_said)])
    try:
        first, *rest = _of_two(_renamed(msgspec.json.decode(found, type=Result), run))
        proven = [VERIFIED]
        if run.judges:
            named = ", ".join(map(code, run.judges[:3])) + f" and {len(run.judges) - 3} more" * (len(run.judges) > 3)
            proven.append(f"⚠ The code that makes these figures and this verdict is changed as well: {named}.")
        return fitting([first, *proven, *rest] if rest else [" ".join([first, *proven])])
    except Exception:  # hostile data may raise anything here
        said = _said(refused) or ["What the run left is no result as the code of the default branch knows it."]
        return fitting([f"**No verdict. The two could not be compared.** {where}", *said])


def _renamed(result: Result, run: Run) -> Result:
    """The result with the branches and the commit that GitHub knows."""
    (entry,) = result.entries
    (branch, commit), replace = run.other, msgspec.structs.replace
    base = replace(result.base, name="", branch=run.base, commit=(result.base.commit or "")[:7])
    other = replace(entry.side, name="", branch=branch, commit=commit[:7])
    return replace(result, base=base, entries=[replace(entry, side=other)])


def _said(text: str) -> list[str]:
    """The last line that a program printed, and folded the lines before it."""
    *before, last = [line for line in text.splitlines() if line.strip()][-40:] or [""]
    blocks = [code(last, 400)] if last else []
    if before:
        blocks.append(folded("What it said before", [f"- {code(line, 200)}" for line in before]))
    return blocks


# ---- two revisions


def _of_two(result: Result) -> list[str]:
    """A comparison of two revisions as blocks of Markdown, the verdict first."""
    (entry,), notes = result.entries, words.notes(result, code)
    what = words.changes(entry.changes, code)
    heads = f"{FORM.heading(result.base)} → {FORM.heading(entry.side)}"
    verdict = _marked(" ".join(words.sentences(forms.called(result), code)), forms.in_a_word(entry.judged))
    identical = all(d.verdict == "identical" for d in entry.judged)
    if identical and not (what or notes or result.metrics):
        return [f"{verdict} Nothing that a stage reads differs. {heads}"]
    return [
        verdict,
        heads if identical else _table(forms.differences(result, FORM)),
        f"Judged by {words.about(result, code)}.",
        *_listed(notes),
        "What changed:",
        *_listed(what or ["nothing that a stage reads"]),
        *_folded("Luck of rows and of seeds", forms.luck(result, FORM), f"{forms.LUCK} {words.scope(result)}"),
        *_folded("More metrics: what `dvc metrics diff` has, luck not judged", forms.files(result, FORM)),
        *_epochs(result.base, entry.side),
    ]


def _marked(said: str, sign: str) -> str:
    """A verdict with its sign in front, and its first words in bold."""
    opening = sign.partition(" ")[2]
    if said.startswith(opening):  # No evidence, No verdict
        return f"**{sign}**{said.removeprefix(opening)}"
    return f"**{sign}.** {said}"


def _table(given: Table) -> str:
    return "\n".join(table(given.columns, given.rows))


def _listed(lines: list[str]) -> list[str]:
    """Lines as one list; no block where there are none."""
    return ["\n".join(f"- {line}" for line in words.cut(lines))] if lines else []


def _folded(summary: str, given: Table, *notes: str) -> list[str]:
    """A folded table, and notes below it; no block where it has no rows."""
    below = [line for note in notes for line in ("", note)]
    return [folded(summary, [*table(given.columns, given.rows), *below])] if given.rows else []


def _epochs(base: Side, other: Side) -> list[str]:
    """Folded charts of network 0's loss, both sides over one axis of epochs."""
    lines = [f"`o` is {FORM.heading(base)}, `x` is {FORM.heading(other)}; where they meet, `o` is drawn."]
    for part in ("train", "test"):
        points = {"o": forms.curve(base, part, "loss"), "x": forms.curve(other, part, "loss")}
        if all(points.values()):
            lines += ["", f"Loss of network 0, {part} rows:", "", *chart(points, "epoch")]
    return [folded("Loss by epoch", lines)] if len(lines) > 1 else []


# ---- experiments


def _ranking(result: Result) -> list[str]:
    """Experiments as blocks of Markdown, the best first."""
    first, *rest = words.sentences(forms.called(result), code)
    return [
        " ".join([f"**{first}**", *rest]),
        _table(forms.experiments(result, FORM)),
        f"Judged by {words.about(result, code)}. {words.last_look(forms.called(result), code)}",
        *_listed(words.notes(result, code)),
    ]
