"""Is the difference real? Two revisions, or all experiments over one, judged on the same rows and seeds.

Reads the predictions, dvc.lock and the curves of each revision through DVC; writes nothing but the page that --html
asks for. A difference counts when its interval, over rows and seeds together, leaves out 0.

    plumbline compare                         HEAD against the workspace
    plumbline compare main my-branch          two revisions: branches, commits, experiments
    plumbline compare --experiments           every experiment over HEAD
    plumbline compare main --part test        a last look at the test part
    plumbline compare main --md               for a pull request; --json for programs
    plumbline compare main --fail-on worse    for a gate
    plumbline compare --predictions PATH      in any repository: docs/comparisons.md has the columns
"""

import argparse
from typing import get_args

import msgspec

from plumbline.basics.errors import UserError
from plumbline.comparing import comment, judging, one_page, predictions, revisions, words
from plumbline.comparing.comment import four
from plumbline.comparing.result import Judged, Metric, Result
from plumbline.pages import page
from plumbline.scores import differences


def main(options: argparse.Namespace) -> None:
    if options.experiments and (options.other or options.fail_on):
        raise UserError("--experiments takes a base and no other, and no --fail-on")
    base, about = revisions.read(options.base, options.predictions), (options.metric, options.of, options.part)
    if options.experiments:
        others, unread = [], {}
        for name in revisions.experiments(options.base):
            try:
                others.append(revisions.read(name, options.predictions))
            except UserError as error:  # one that was not finished, say, keeps nobody from judging the others
                unread[name] = str(error)
        result = judging.rank(base, others, *about, unread)
    else:
        result = judging.judge(base, revisions.read(options.other, options.predictions), *about)
        if options.json or options.md or options.html:
            result = msgspec.structs.replace(result, metrics=revisions.changed_metrics(options.base, options.other))
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(result)).decode())
    else:
        print(comment.write(result) if options.md else as_text(result))
    if options.html:
        one_page.write(result, options.html)
    worse = [d.metric for entry in result.entries for d in entry.judged if d.verdict == "worse"]
    if options.fail_on and worse:
        raise UserError(f"{result.entries[0].side.name} is worse than {base.name} in {', '.join(worse)}")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("base", nargs="?", default="HEAD", help="a revision as DVC takes them (default HEAD)")
    parser.add_argument("other", nargs="?", help="another (default the workspace)")
    parser.add_argument("--experiments", action="store_true", help="every experiment over the base instead")
    parser.add_argument(
        "--metric", choices=get_args(Metric), help="what --experiments sorts by (default accuracy)", metavar="M"
    )
    parser.add_argument(
        "--of", choices=differences.OF, default="mean", help="whose figures (default: mean of networks)"
    )
    parser.add_argument(
        "--part", choices=predictions.PARTS, help="the rows that judge (default: what no choice has seen)"
    )
    parser.add_argument("--predictions", default=predictions.PATH, metavar="PATH", help=f"default {predictions.PATH}")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--md", action="store_true", help="Markdown with curves, for a pull request")
    form.add_argument("--json", action="store_true", help="JSON, for programs")
    parser.add_argument("--fail-on", choices=["worse"], help="exit 1 when a metric got worse")
    parser.add_argument("--html", metavar="FILE", help="also write one page: the same, with intervals and curves drawn")


# ---- in words


def as_text(result: Result) -> str:
    """A result as text: the verdict, a table, what changed, and where the luck lies."""
    judged_by = ["", f"{words.about(result, page.clean)}:", ""]
    if result.is_ranking:
        table = [*judged_by, *page.aligned(*ranking(result)), ""]
        rest = [words.last_look(result, page.clean)]
        rest += [page.clean(f"left out: {name}: {why}") for name, why in result.left_out.items()]
    else:
        (entry,) = result.entries
        is_same = entry.judged[0].verdict == "identical"
        table = [] if is_same else [*judged_by, *page.aligned(*differences_of(result)), ""]
        rest = [f"changed: {line}" for line in words.changes(entry.changes, page.clean)] or [words.UNCHANGED]
        rest += [] if is_same else words.luck(words.lead(result))
        rest += [f"no verdict in {d.metric}: {page.clean(d.why)}" for d in entry.judged if d.why]
    return "\n".join(
        [*words.sentences(result, page.clean), *table, *rest, *(f"note: {page.clean(note)}" for note in result.notes)]
    )


def differences_of(result: Result) -> tuple[list[str], list[list[str]]]:
    """Two revisions, a row a metric."""
    (entry,) = result.entries
    many = f" (all {len(entry.judged)})" * (len(entry.judged) > 1)
    columns = ["metric", result.base.name, entry.side.name, "difference", f"95 % interval{many}", "verdict"]
    return columns, [[d.metric, four(d.base), four(d.other), *judged(d)] for d in entry.judged]


def ranking(result: Result) -> tuple[list[str], list[list[str]]]:
    """Experiments, a row each."""
    others = len(result.entries) - 1
    many = f" (all {others})" * (others > 1)
    columns = ["", "run", result.metric, f"to {result.base.name}", f"95 % interval{many}", "verdict", "what changed"]
    rows = []
    for entry in result.entries:
        said = [cell for d in entry.judged for cell in judged(d)] or ["", "", ""]
        name = " = ".join([entry.side.name, *entry.same])
        rows.append(["*" * entry.is_among_best, name, four(entry.figure.value), *said, words.briefly(entry.changes)])
    return columns, rows


# ---- forms


def judged(d: Judged) -> list[str]:
    """A difference, its interval and the verdict."""
    interval = "-" if d.low is None else f"{d.low:+.4f} to {d.high:+.4f}"
    return [f"{d.difference:+.4f}", interval, d.verdict]
