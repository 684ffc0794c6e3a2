"""Is the difference real? Two revisions, or all experiments over one, judged on the same rows and seeds.

Reads the predictions, dvc.lock and the curves of each revision through DVC. Writes nothing but the page that --html
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
from plumbline.comparing import comment, forms, judging, one_page, revisions, words
from plumbline.comparing.result import Metric, Result
from plumbline.pages import page
from plumbline.scores import differences, predictions

FORM = forms.Form(page.clean, lambda side: page.clean(side.name), {verdict: verdict for verdict in forms.MARKS})


def main(options: argparse.Namespace) -> None:
    if options.experiments and (options.other or options.fail_on):
        raise UserError("--experiments takes a base and no other, and no --fail-on")
    base, about = revisions.read(options.base, options.predictions), (options.metric, options.of, options.part)
    if options.experiments:
        others, unread = [], {}
        for name in revisions.experiments(options.base):
            try:
                others.append(revisions.read(name, options.predictions))
            except UserError as error:  # such as one that was not finished: the others are judged all the same
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


def as_text(result: Result) -> str:
    """A result as text: the verdict, a table, what changed, and how much of the luck is of rows and of seeds."""
    made = forms.experiments(result, FORM) if result.is_ranking else forms.differences(result, FORM)
    table = ["", f"{words.about(result, page.clean)}:", "", *page.aligned(made.columns, made.rows), ""]
    if result.is_ranking:
        rest = [words.last_look(result, page.clean)]
    else:
        (entry,) = result.entries
        rest = [f"changed: {line}" for line in words.changes(entry.changes, page.clean)] or [words.UNCHANGED]
        if entry.judged[0].verdict == "identical":
            table = []
        else:
            rest += words.luck(words.lead(result))
    return "\n".join([*words.sentences(result, page.clean), *table, *rest, *words.notes(result, page.clean)])
