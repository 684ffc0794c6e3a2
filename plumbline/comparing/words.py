"""A result in sentences, which text, Markdown and HTML share.

named: how the output writes a text that comes from a revision (a name, value or path), so that it can do no harm there.
"""

from collections.abc import Callable, Iterable

from plumbline.comparing.result import Changes, Entry, Figure, Judged, Result

Named = Callable[[str], str]
CLAIMS = ("better", "worse")  # verdicts that claim a difference
MOST = 15  # items of a list
UNCHANGED = "Nothing that a stage reads has changed."
CONFIDENT = "With 95 % confidence the best is among the *."


def sentences(result: Result, named: Named = str) -> list[str]:
    """The verdict, line by line: what is claimed, its number and interval, what difference could have been found."""
    return list(_of_ranking(result, named) if result.is_ranking else _of_two(result, named))


def lead(result: Result) -> Judged:
    """Of two revisions, the difference whose number the verdict gives: the first that is claimed, else the first."""
    (entry,) = result.entries
    return next((d for d in entry.judged if d.verdict in CLAIMS), entry.judged[0])


def _of_two(result: Result, named: Named) -> Iterable[str]:
    (entry,), d = result.entries, lead(result)
    base, other, found = named(result.base.name), named(entry.side.name), {d.verdict for d in entry.judged}
    if found == {"identical"}:
        yield f"{other} predicts exactly what {base} does."
        return
    claimed = [
        f"{claim} {'than ' + base + ' ' if claim == d.verdict else ''}in {listed(names)}"
        for claim in sorted(CLAIMS, key=lambda claim: claim != d.verdict)
        if (names := [each.metric for each in entry.judged if each.verdict == claim])
    ]
    if claimed:
        said = f"{other} is {listed(claimed)}"
    elif "no evidence" in found:
        said = f"No evidence that {other} differs from {base}"
    elif "no difference" in found:
        said = f"{other} does not differ from {base} on these rows"
    else:
        said = (
            f"No verdict on {other} beside {base}, for there {'is' if d.why.startswith('1 ') else 'are'} {named(d.why)}"
        )
    yield f"{said}:"
    yield f"{d.metric} {d.base:.4f} -> {d.other:.4f}, {d.difference:+.4f} ({interval(d.low, d.high)})."
    if d.seen is not None and d.verdict != "no verdict":
        yield f"A true difference of {d.seen:.4f} would be found four times in five."
    yield from _of_more_rows(entry)


def _of_more_rows(entry: Entry) -> Iterable[str]:
    """What more training rows brought, if the two revisions differ in train.fold_rows alone."""
    found, d = entry.changes, next((d for d in entry.judged if d.metric == "log_loss"), None)
    both = found.params.get("train.fold_rows", (None, None))
    if None in both or len(found.params) > 1 or found.files or found.stages or d is None or d.verdict == "no verdict":
        return
    (few, before), (many, after) = sorted([(both[0], d.base), (both[1], d.other)])
    low, high = (d.low, d.high) if both[0] == few else (-d.high, -d.low)
    helped = "more rows are likely to help" if high < 0 else "more rows did harm" if low > 0 else "more may not help"
    yield (
        f"{many / few:.3g} times the rows to train on: log_loss {before:.4f} -> {after:.4f}, {after - before:+.4f} "
        f"({interval(low, high)}); {helped}."
    )


def _of_ranking(result: Result, named: Named) -> Iterable[str]:
    best, metric, name = result.entries[0], result.metric, named(result.entries[0].side.name)
    runs = len(result.entries)
    if runs == 1:
        yield f"No experiment differs from {name}: {metric} {best.figure.value:.4f}{_around(best.figure)}."
        return
    yield f"{name} is the best of {runs} runs by {metric}: {best.figure.value:.4f}{_around(best.figure)}."
    for d in best.judged:
        claim = f"better than {named(result.base.name)}" if d.verdict in CLAIMS else ""
        claim = claim or f"without evidence that it differs from {named(result.base.name)}"
        yield f"It is {claim}: {d.difference:+.4f} ({interval(d.low, d.high)})."
    if sum(entry.is_among_best for entry in result.entries) > 1:
        luck = f" Being chosen makes such a figure look better by about {result.luck:.4f}." if result.luck else ""
        yield f"{CONFIDENT}{luck}"
    else:
        yield "With 95 % confidence no other is as good."


def _around(figure: Figure) -> str:
    return "" if figure.low is None else f", 95 % interval {figure.low:.4f} to {figure.high:.4f}"


def last_look(result: Result, named: Named = str) -> str:
    """The winner's figure in the test part, which did not choose it; or that no part is free of the choice."""
    name, look = named(result.entries[0].side.name), result.last_look
    if look is None:
        such = (
            "a validation part (split.validation) or split.folds" if result.part == "test" else "a smaller split.train"
        )
        return (
            f"The {result.part} part chose, so no figure is free of that choice; with {such} the test part stays for "
            "a last look."
        )
    return f"{name} in the test part: {result.metric} {look.value:.4f}{_around(look)} ({look.rows:,} rows)."


def about(result: Result, named: Named = str) -> str:
    """The rows and networks that judged, and why these rows."""
    groups = "" if result.groups is None else f" in {result.groups:,} groups"
    out = result.part == "out-of-fold"
    whose, count = ("the configuration's ", "replicas") if out else ("", "networks of this training part")
    networks = {
        "mean": f"{whose}mean over {result.networks} {count}" if result.networks > 1 else "one network",
        "network": "the model file's network",
        "ensemble": f"{whose or 'the '}ensemble of {result.networks} {count}",
    }
    return f"{result.rows:,} {result.part} rows{groups} ({named(result.why)}), {networks[result.of]}"


def scope(result: Result) -> str:
    """What the intervals are about: other rows, and other seeds."""
    if result.of == "network":
        return "Intervals are about other rows, for these model files alone."
    seeds = "other seeds" if result.of == "mean" else "ensembles of other seeds"
    where = "networks of this training part; another one moves a figure about as much again"
    where = "tables of this size" if result.part == "out-of-fold" else where
    return f"Intervals are about other rows and {seeds}, for {where}."


def notes(result: Result, named: Callable[[str, int], str]) -> list[str]:
    """What is left out, why metrics have no verdict (unless `sentences` says it), and the result's own notes."""
    told = None if result.is_ranking else lead(result).why
    found = [f"left out: {name}: {why}" for name, why in result.left_out.items()]
    for entry in result.entries:
        found += [f"no verdict in {d.metric}: {d.why}" for d in entry.judged if d.why and d.why != told]
    return [f"note: {named(note, 300)}" for note in found + result.notes]


def changes(found: Changes, named: Named = str) -> list[str]:
    """What changed, a line for each; none where nothing did."""
    lines = [
        f"parameter {named(name)}: {named(value(old))} -> {named(value(new))}"
        for name, (old, new) in found.params.items()
    ]
    lines += [f"{named(path)}{', read by ' + listed(map(named, by)) if by else ''}" for path, by in found.files.items()]
    lines += [f"stage {named(name)}: another command, or it is in one alone" for name in found.stages]
    return lines + [f"{named(path)}: made anew of the same, and differs" for path in found.made]


def briefly(found: Changes, named: Named = str) -> str:
    """What changed, for a cell of a table."""
    what = [f"{named(name)}={named(value(new))}" for name, (_, new) in found.params.items()]
    what += map(named, [*found.files, *found.stages, *found.made])
    return ", ".join(cut(what))


def cut(items: list[str]) -> list[str]:
    """Items of a list: all, or the first MOST and how many more there are."""
    return items if len(items) <= MOST else [*items[:MOST], f"and {len(items) - MOST} more"]


def value(of: object) -> str:
    """A parameter's value; a dash if it is not there."""
    return "-" if of is None else str(of)


def luck(d: Judged) -> list[str]:
    """What makes an interval wide, and what would make it narrower."""
    if d.by_rows is None:
        return []
    lines = [f"luck in {d.metric}: {d.by_rows:.0%} from the rows, {1 - d.by_rows:.0%} from seeds"]
    if d.twice_rows is not None:
        lines[0] += (
            f"; twice the rows: {d.twice_rows:.2f} times the interval, twice the networks: {d.twice_networks:.2f}"
        )
    if d.rows_needed:
        lines.append(
            f"about {two_digits(d.rows_needed):,} rows would tell a difference of {abs(d.difference):.4f} from none"
        )
    return lines


def two_digits(count: int) -> int:
    """A count rounded to its first two digits."""
    return round(count, 2 - len(str(count)))


def interval(low: float | None, high: float | None) -> str:
    """An interval in words."""
    return "no interval" if low is None else f"95 % interval {low:+.4f} to {high:+.4f}"


def listed(names: Iterable[str]) -> str:
    """Names in a sentence: a, b and c."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
