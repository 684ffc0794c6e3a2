"""Is the difference real? Two revisions, or all experiments over one, judged on the same test rows and seeds.

Reads metrics/predictions.parquet, dvc.lock and the curves of each revision through DVC; writes nothing but the picture
that --plot asks for. A difference counts when its interval, over test rows and seeds together, leaves out 0.

    plumbline compare                      HEAD against the workspace
    plumbline compare main my-branch       two revisions: branches, commits, experiments
    plumbline compare --experiments        every experiment over HEAD
    plumbline compare main --md            for a pull request; --json for programs
    plumbline compare main --fail-on worse for a gate
"""

import argparse
import json
import math

from plumbline.basics.errors import UserError
from plumbline.comparing import judging, picture, revisions
from plumbline.comparing.judging import Comparison, Ranking
from plumbline.pages import page
from plumbline.scores.differences import Difference


def main(words: list[str] | None = None) -> None:
    options = arguments(words)
    base = revisions.read(options.base)
    if options.experiments:
        others = [revisions.read(name) for name in revisions.experiments(options.base)]
        ranking = judging.rank(base, others, options.metric)
        print(as_json(ranking) if options.json else ranking_text(ranking, options.md))
        return
    compared = judging.judge(base, revisions.read(options.other))
    print(as_json(compared) if options.json else comparison_text(compared, options.md))
    if options.plot:
        picture.write(compared, options.plot)
    worse = [d.metric for d in compared.differences if d.verdict == "worse"]
    if options.fail_on and worse:
        raise UserError(f"{compared.other.name} is worse than {base.name} in {', '.join(worse)}")


def arguments(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        "plumbline compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", nargs="?", default="HEAD", help="a revision as DVC takes them (default HEAD)")
    parser.add_argument("other", nargs="?", help="another (default the workspace)")
    parser.add_argument("--experiments", action="store_true", help="every experiment over the base instead")
    parser.add_argument("--metric", choices=judging.JUDGED, default="accuracy", help="what --experiments sorts by")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--md", action="store_true", help="Markdown with curves, for a pull request")
    form.add_argument("--json", action="store_true", help="JSON, for programs")
    parser.add_argument("--fail-on", choices=["worse"], help="exit 1 when a metric got worse")
    parser.add_argument("--plot", metavar="FILE.html", help="also draw the intervals and the curves into one page")
    options = parser.parse_args(words)
    if options.experiments and (options.other or options.plot or options.fail_on):
        parser.error("--experiments takes a base, --metric, --md and --json alone")
    return options


# ---- two revisions in words


def comparison_text(compared: Comparison, markdown: bool) -> str:
    """The whole comparison as text, or as Markdown for a pull request."""
    base, other, differences = compared.base.name, compared.other.name, compared.differences
    title = f"{base} -> {other}: {compared.rows} test rows, means over {compared.networks} networks"
    lines = [f"### {title}" if markdown else title, ""]
    m = len(differences)
    columns = ["metric", base, other, "difference", f"about 95 % for all {m}", f"p, times {m}", "verdict"]
    rows = [[d.metric, f"{d.base:.4f}", f"{d.other:.4f}", *judged(d)] for d in differences]
    lines += [*table_lines(columns, rows, markdown), ""]
    item = "- " if markdown else ""
    if all(d.verdict == "identical" for d in differences):
        lines.append(f"{item}identical predictions")
    uncertain = [d for d in differences if d.estimate.v_row and d.estimate.v_seed]
    if uncertain:
        columns = ["uncertainty of", "test rows", "seeds", "width at twice the rows", "at twice the replicas"]
        lines += table_lines([*columns, "more help"], [uncertainty(d) for d in uncertain], markdown)
    lines += ["", *(item + line for line in changes(compared))]
    if markdown:
        lines += ["", *picture.mermaid(compared.base, compared.other)]
    return "\n".join(lines)


def uncertainty(d: Difference) -> list[str]:
    """Where a difference's uncertainty comes from, and how much narrower twice the rows or replicas would make it."""
    e = d.estimate
    rows = e.v_row / (e.v_row + e.v_seed)
    more_rows = e._replace(v_row=e.v_row / 2, v_seed=e.v_seed - e.v_both / 2, v_both=e.v_both / 2)
    more_seeds = e._replace(v_row=e.v_row - e.v_both / 2, v_seed=e.v_seed / 2, v_both=e.v_both / 2)
    width = [math.sqrt(then.variance / e.variance) for then in (more_rows, more_seeds)]
    help_ = "rows" if width[0] < width[1] else "replicas"
    return [d.metric, f"{rows:.0%}", f"{1 - rows:.0%}", *(f"{w:.0%}" for w in width), help_]


def changes(compared: Comparison) -> list[str]:
    """What changed between the two, a line each: parameters, code, data; then notes."""
    lines = [f"parameter {name}: {old} -> {new}" for name, (old, new) in compared.params.items()]
    lines += [f"code {path}: changes {', '.join(stages)}" for path, stages in compared.code.items()]
    lines += ["data/dataset.parquet: another dataset"] * compared.data
    return [*(lines or ["no parameter, code or data changed"]), *(f"note: {note}" for note in compared.notes)]


# ---- several experiments in words


def ranking_text(ranking: Ranking, markdown: bool) -> str:
    """Experiments as a table, best first, and what may be concluded from it."""
    base, metric, part = ranking.base.name, ranking.metric, ranking.part
    count, pairs = len(ranking.entries), ranking.pairs
    title = f"{count} experiment{'s' * (count != 1)} over {base}, by {part} {metric}"
    several = [f"about 95 % for all {pairs} pairs", f"p, times {pairs}"]
    columns = ["experiment", metric, f"to {base}", *(several if pairs > 1 else ["about 95 %", "p"])]
    columns += ["verdict", *(["test part"] if part != "test" else []), "what changed"]
    rows = []
    for entry in ranking.entries:
        name = entry.name + " *" * entry.like_best
        tested = [f"{entry.test.other:.4f}"] if part != "test" else []
        what = [f"{name}={new}" for name, (_, new) in entry.params.items()] + list(entry.code)
        row = [name, f"{entry.chosen.other:.4f}", *judged(entry.chosen), *tested, ", ".join(what) or "nothing"]
        rows.append(row)
    lines = [f"### {title}" if markdown else title, "", *table_lines(columns, rows, markdown), ""]
    if rows:
        best = "is the best" if ranking.best == base else f"has {ranking.entries[0].chosen.base:.4f}"
        like_best = f" * cannot be told from the best, {ranking.best}."
        lines.append(f"{base} {best}.{like_best * any(entry.like_best for entry in ranking.entries)}")
    if part == "test":
        lines.append("There is no validation part to choose by; choosing by the test part flatters the winner.")
        lines.append("Set split.validation, and the test part is only reported.")
    return "\n".join(lines + [f"left out: {name}: {why}" for name, why in ranking.left_out.items()])


# ---- forms


def judged(d: Difference) -> list[str]:
    """A difference, its interval, p with two digits, and the verdict."""
    interval, p = f"{d.low:+.4f} to {d.high:+.4f}", "< 0.0001" if d.p < 1e-4 else f"{d.p:.2g}"
    return [f"{d.difference:+.4f}", *([interval, p] if math.isfinite(d.low) else ["-", "-"]), d.verdict]


def table_lines(columns: list[str], rows: list[list[str]], markdown: bool) -> list[str]:
    """A table in aligned columns, or in Markdown."""
    if markdown:
        cells = [columns, ["---"] * len(columns), *rows]
        return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return page.aligned(columns, rows)


def as_json(compared: Comparison | Ranking) -> str:
    """A comparison or ranking as JSON: revisions by name, numbers finite or null."""
    return json.dumps(plain(compared), indent=2, ensure_ascii=False)


def plain(value):
    """A value in types that JSON has."""
    if isinstance(value, revisions.Revision):
        return value.name
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
