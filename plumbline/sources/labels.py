"""The classes of a table: the labels in its target column. A target whose values are no classes is refused.

Labels are whole numbers, booleans, or text as it was written.
"""

import math
import sys
from typing import NamedTuple

from plumbline.basics.errors import UserError
from plumbline.sources.cells import are_all
from plumbline.sources.rows import Rows
from plumbline.tables import columns, duck

MOST_CLASSES = 100
FEWEST_ROWS = 2  # of a class: one to train on and one to test on
PLAIN = columns.INTEGERS | columns.FLOATS | {"BOOLEAN"}  # types whose values are labels as they are


class Labels(NamedTuple):
    """The labels of a table."""

    counts: dict[bool | int | float | str, int]  # rows of each label, in the order of the labels
    select: str  # SQL of a row's label, NULL if it has none
    missing: int  # rows without a label


def of(rows: Rows, source: str, target: str) -> Labels:
    """The labels of a table; UserError for a target whose values are no classes."""
    kind, select = rows.types[target], rows.select[target]
    if columns.kind_of(kind) is None:
        raise UserError(f"{source}: the target {target!r} holds {kind}, which is no label; choose another column")
    values = f"SELECT {select} AS value, count(*) AS rows FROM {rows.relation} GROUP BY value"
    counted = f"SELECT {_label('value', kind)} AS label, sum(rows)::BIGINT FROM ({values}) GROUP BY label"
    counts = dict(duck.rows(f"{counted} ORDER BY label NULLS FIRST LIMIT {MOST_CLASSES + 2}"))
    if not counts:
        raise UserError(f"{source} has no rows below its header; a model needs some of at least two classes")
    missing = counts.pop(None, 0)
    if not counts:
        raise UserError(f"{source}: the target {target!r} is missing in every row; choose another make_data.target")
    different = len(counts)
    if different > MOST_CLASSES:
        different = duck.rows(f"SELECT count(label) FROM ({counted})")[0][0]
    if kind in PLAIN:
        select = _label(select, kind)
    elif are_all("BIGINT", counts):  # whole numbers, which a CSV has as text
        select, counts = f"try_cast(({select})::VARCHAR AS BIGINT)", {int(label): n for label, n in counts.items()}
    else:
        text = f"({select})::VARCHAR"
        select = f"CASE WHEN {text} IN ({duck.texts(counts)}) THEN {text} END"
    _check(counts, different, rows.count - missing, f"{source}: the target {target!r}")
    if missing:
        print(f"{source}: {missing} rows of {rows.count} are left out, their {target!r} is missing")
    if pairs := columns.alike({label: n for label, n in counts.items() if isinstance(label, str)}):
        print(
            f"warning: {source}: labels of {target!r} differ only in {columns.ALIKE}: {'; '.join(pairs)}; "
            f"they are kept apart: write them alike if one is meant",
            file=sys.stderr,
        )
    return Labels({label: counts[label] for label in sorted(counts)}, select, missing)


def positive(classes: list, asked: bool | int | float | str | None) -> bool | int | float | str | None:
    """The positive class: the one that make_data.positive names, by default the second of two. None for more classes.

    It may be written in another way than in the table: 1 also means the text '1' or '1.0', and true means 'True'.
    """
    if asked is None:
        return classes[1] if len(classes) == 2 else None
    if len(classes) > 2:
        raise UserError(f"make_data.positive is for two classes, not {len(classes)}; set it to null, not {asked!r}")
    text = (lambda label: str(label).casefold()) if isinstance(asked, bool) else str
    alike = [label for label in classes if label == asked or text(label) == text(asked)]
    alike = alike or [label for label in classes if _number(label) == _number(asked) is not None]
    if not alike:
        raise UserError(f"make_data.positive must be a class, {classes[0]!r} or {classes[1]!r}, not {asked!r}")
    return alike[0]


def _number(label: bool | int | float | str) -> float | None:
    try:
        return None if isinstance(label, bool) else float(label)
    except ValueError:
        return None


def _label(value: str, kind: str) -> str:
    """SQL of a value as a label, NULL if it is missing. Numbers and booleans stay as they are, all else is text."""
    if kind in columns.FLOATS:  # -0.0 and 0.0 are one label
        return f"CASE WHEN NOT isnan({value}) THEN {value} + 0.0::{kind} END"
    if kind in PLAIN:
        return value
    text = f"({value})::VARCHAR"
    return f"CASE WHEN NOT regexp_full_match({text}, {duck.text(columns.BLANK)}) THEN {text} END"


def _check(counts: dict, different: int, n: int, what: str) -> None:
    """Refuse labels that are no classes: too many or too few, a measure, infinite, or of a single row."""
    numbers = all(_number(label) is not None for label in counts)
    if not 2 <= different <= MOST_CLASSES or (different == n and n > 2):
        first = "cut this measure into classes, or " if different > 2 and numbers else ""
        raise UserError(
            f"{what} has {different} different values in {n} rows, and a target has 2 to {MOST_CLASSES} that come more "
            f"than once; {first}choose another make_data.target"
        )
    if any(isinstance(label, float) and math.isinf(label) for label in counts):
        raise UserError(f"{what} is infinite in some rows, which is no label; mend them")
    rare = sorted(label for label in counts if counts[label] < FEWEST_ROWS)
    if rare and numbers and columns.is_measure(counts):
        raise UserError(
            f"{what} has {different} different numbers, from {min(counts, key=float)} to {max(counts, key=float)}, and "
            f"{len(rare)} of them come once: a measure; cut it into classes, or choose another make_data.target"
        )
    if rare:
        raise UserError(
            f"{what.replace('the target', f'class {rare[0]!r} of the target')} has {counts[rare[0]]} row, too few to "
            f"train on and test on; drop it or join it to another"
        )
