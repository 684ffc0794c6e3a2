"""Revisions judged against each other: which rows judge, whether both were scored on them, and the verdicts.

The formulas are in scores/. `judge` compares two revisions, `rank` experiments with their base.
"""

import math
import re
from collections.abc import Callable, Sequence

import numpy as np

from plumbline.basics.errors import UserError
from plumbline.comparing import lock, revisions, words
from plumbline.comparing.result import Entry, Figure, Judged, Result
from plumbline.comparing.revisions import Revision
from plumbline.scores import differences, experiments, intervals, metrics, predictions, ranges
from plumbline.scores.differences import Difference, Rows

JUDGED = ("accuracy", "log_loss", "roc_auc", "macro_roc_auc", "brier")  # those of them that are defined


# ---- two revisions


def judge(
    base: Revision, other: Revision, metric: str | None = None, of: str = "mean", part: str | None = None
) -> Result:
    """Compare two revisions; UserError if they have not the same classes, rows and labels.

    metric: judged beside JUDGED, and named first (default accuracy). of: one of differences.OF. part: the rows that
    judge (default: `part_of` chooses).
    """
    if why := _other_classes(base, other):
        raise UserError(f"{why}; figures over different classes cannot be compared")
    part, why = part_of([base, other], part, of)
    if unlike := why_not_paired(base, other, part):
        raise UserError(f"no verdict: {unlike}")
    notes, (left, right) = _alike([base, other], part, of)
    names = [name for name in JUDGED if name in differences.defined(left, of) and name != metric]
    if metric:
        _check_defined(metric, left, of, f"the {part} part of {base.name}")
        names.insert(0, metric)
    found = [_judged(d) for d in differences.compare(left, right, names, of)]
    entry = Entry(other.side, [], found, figure(right, names[0], of), True, revisions.changes(base, other))
    return Result(base.side, [entry], False, names[0], of, part, why, *_counts(left), None, None, {}, notes)


def part_of(sides: Sequence[Revision], asked: str | None = None, of: str = "mean") -> tuple[str, str]:
    """The part that judges, and why it is that one.

    Out-of-fold rows judge where there are any; but not the model file's network, which trained on them. Else the
    validation part judges if no network stopped by it, and the test part stays for a last look. Else the test part
    does. A part by which a choice was made flatters the winner.
    """
    common = [name for name in predictions.PARTS if all(name in side.parts for side in sides)]
    without = [side.name for side in sides if (asked or "out-of-fold") not in side.parts]
    if asked and without:
        raise UserError(f"{without[0]} has no {asked} part, only {', '.join(sides[0].parts)}; choose another --part")
    trained_on = "out-of-fold" in common and of == "network"
    if trained_on and (asked == "out-of-fold" or len(common) == 1):
        raise UserError("the model file's network trained on the out-of-fold rows; choose --of mean or --part test")
    if asked:
        return asked, "as asked for"
    if "out-of-fold" in common and not trained_on:
        return "out-of-fold", "scored by networks that did not train on them"
    watching = [side.name for side in sides if side.watched is not False]
    if "validation" in common and not watching:
        return "validation", "the test part stays for a last look, --part test"
    if "test" in common:
        if trained_on:
            return "test", "the model file's network trained on the out-of-fold rows"
        if 0 < len(without) < len(sides):
            return "test", f"{without[0]} has no out-of-fold rows"
        if "validation" not in common:
            return "test", "there is no validation part"
        knows = all(side.watched is not None for side in sides)
        return "test", f"networks of {watching[0]} {'stopped' if knows else 'may have stopped'} by the validation part"
    if common:
        return common[-1], "there is no other part"
    both, why = f"{sides[0].name} and {sides[1].name}", _split(*sides[:2])
    raise UserError(f"no verdict: {both} have no part in common{why}; bring both to the same split")


def why_not_paired(base: Revision, other: Revision, part: str) -> str | None:
    """Why the rows of the two cannot be paired (other rows, labels or folds); None if they can."""
    left, right = base.parts[part], other.parts[part]
    in_one = np.setxor1d(left.row, right.row)
    if len(in_one):
        return (
            f"{base.name} and {other.name} were scored on different {part} rows{_split(base, other)} "
            f"({len(in_one)} are in one alone, row {in_one[0]} for one); bring both to the same data, seed and split"
        )
    wrong = np.flatnonzero(left.target != right.target)
    if len(wrong):
        return (
            f"{len(wrong)} of {len(left.row)} {part} rows have another label in {other.name} than in {base.name} "
            f"(row {left.row[wrong[0]]} for one); bring both to the same data"
        )
    folds = [side.parts[part].fold for side in (base, other)]
    least = min(base.side.networks, other.side.networks)
    if not np.array_equal(*(None if fold is None else fold[:least] for fold in folds)):
        last = " or judge by --part test" * all("test" in side.parts for side in (base, other))
        return f"{base.name} and {other.name} have other folds{_split(base, other)}; bring both to the same split{last}"
    return None


def _split(base: Revision, other: Revision) -> str:
    """In words, the parameters that decide which row is in which part, if some differ."""
    found = lock.unequal(*(lock.params(side.stages) for side in (base, other)))
    found = {name: both for name, both in found.items() if re.match(r"(split|make_data)\.|seed$", name)}
    said = ", ".join(f"{name}: {words.value(old)} -> {words.value(new)}" for name, (old, new) in found.items())
    return f", for {said}" if said else ""


def _other_classes(base: Revision, other: Revision) -> str | None:
    same = base.classes == other.classes
    return None if same else f"{base.name} has the classes {base.classes} and {other.name} {other.classes}"


def _check_defined(metric: str, rows: Rows, of: str, where: str) -> None:
    there = differences.defined(rows, of)
    if metric not in there:
        raise UserError(f"{metric} is not defined on {where}; choose a --metric of {', '.join(there)}")


def _alike(sides: Sequence[Revision], part: str, of: str) -> tuple[list[str], list[Rows]]:
    """Rows of every side, cut to as many networks as the smallest has, and a note of it. Network 0 needs no cut."""
    scored = [side.parts[part] for side in sides]
    least, most = (end(len(each.probability) for each in scored) for end in (min, max))
    if of == "network" or least == most:
        return [], scored
    note = f"{least} to {most} networks: the first {least} of each are compared"
    return [note], differences.same_networks(scored)


def _judged(d: Difference) -> Judged:
    """A difference, where its uncertainty comes from, and what would make it smaller."""
    e, half = d.estimate, (d.high - d.low) / 2
    seen = by_rows = at_twice = needed = None
    if half > 0:
        # `quantile(0.6)` is t's 80 % quantile: were `seen` the truth, 80 % of all estimates would lie beyond `half`
        seen = half + e.quantile(0.6) * math.sqrt(e.variance)
        by_rows, at_twice = e.v_row / (e.v_row + e.v_seed), intervals.width_at_twice(e)
        if d.verdict == "no evidence" and d.difference:
            # `half` is of an interval widened for several metrics or experiments, `half_width` of one at 95 %
            needed = intervals.rows_needed(e, abs(d.difference) * e.half_width / half)
    ends = (None if math.isnan(end) else end for end in (d.low, d.high))
    rows, networks = at_twice or (None, None)
    return Judged(
        d.metric, d.base, d.other, d.difference, *ends, d.verdict, d.why, seen, by_rows, rows, networks, needed
    )


def figure(scored: Rows, metric: str, of: str) -> Figure:
    """A metric of one side with its 95 % interval."""
    (scored,) = differences.same_networks([scored], of)
    phi = differences.side(scored, metric, of).phi
    return Figure(*ranges.reported(metric, phi, scored, ranges.answers_by_class(scored)), len(scored.target))


# ---- several experiments


def rank(
    base: Revision,
    others: Sequence[Revision],
    metric: str | None = None,
    of: str = "mean",
    part: str | None = None,
    unread: dict[str, str] | None = None,
) -> Result:
    """Rank experiments and their base by one metric. Experiments that cannot be compared with the base are left out.

    Runs with the same predictions are one entry. unread: experiments that could not be read, {name: why}. The other
    arguments are as in `judge`.
    """
    if not (others or unread):
        raise UserError(f"there are no experiments over {base.name}; `dvc exp run -S train.hidden_size=64` makes one")
    metric, left_out = metric or "accuracy", {**(unread or {})}

    def without(why: Callable[[Revision], str | None]) -> list[Revision]:
        """The experiments that are left when those with a reason against them go into `left_out`."""
        left_out.update({other.name: said for other in others if (said := why(other))})
        return [other for other in others if other.name not in left_out]

    others = without(lambda other: _other_classes(base, other) or _other_parts(base, other))
    part, why_part = part_of([base, *others], part, of)
    _check_defined(metric, base.parts[part], of, f"the {part} part of {base.name}")
    others = without(lambda other: why_not_paired(base, other, part) or _too_few(base, other, of))
    runs = {base.mark: [base]}
    for other in others:
        runs.setdefault(other.mark, []).append(other)

    notes, scored = _alike([same[0] for same in runs.values()], part, of)
    ranked = experiments.rank(scored[0], scored[1:], metric, of)
    judged = [[], *([_judged(difference)] for difference in ranked.to_base)]
    found = []
    for (first, *same), rows, its, star in zip(runs.values(), scored, judged, ranked.star):
        names, value = [each.name for each in same], figure(rows, metric, of)
        found.append((first, Entry(first.side, names, its, value, star, revisions.changes(base, first))))
    found.sort(key=lambda pair: pair[1].figure.value, reverse=metric not in metrics.LOSSES)
    test = found[0][0].parts.get("test") if part != "test" else None
    look = figure(test, metric, of) if test and metric in differences.defined(test, of) else None
    entries, counts = [entry for _, entry in found], _counts(scored[0])
    return Result(base.side, entries, True, metric, of, part, why_part, *counts, ranked.luck, look, left_out, notes)


def _other_parts(base: Revision, other: Revision) -> str | None:
    its, those = (", ".join(side.parts) for side in (other, base))
    return None if its == those else f"its parts are {its}, and those of {base.name} {those}"


def _too_few(base: Revision, other: Revision, of: str) -> str | None:
    few = of == "mean" and other.side.networks < differences.FEWEST_NETWORKS <= base.side.networks
    return f"{other.side.networks} of {base.side.networks} networks are too few" if few else None


def _counts(rows: Rows) -> tuple[int, int | None, int]:
    """Rows, groups and networks."""
    return len(rows.target), None if rows.group is None else int(rows.group.max()) + 1, len(rows.probability)
