"""Expectations: a small YAML file that says what a table must be like. A table that breaks a rule is refused.

    rows: [1000, null]              # at least, at most
    columns:
      age:
        kind: number                # as metrics/columns.csv names it
        range: [0, 120]             # of numbers, dates and times; null: no end
        gaps: 0.05                  # share of rows without a value, at most
      port:
        categories: [C, Q, S]

Every rule may be left out. Columns that are not named may be anything.
"""

import math
from typing import Annotated, Any, Literal

import msgspec

from plumbline.basics import formats, inputs
from plumbline.basics.errors import UserError
from plumbline.basics.params import nearest
from plumbline.sources.rows import Rows
from plumbline.tables import columns, duck

SHOWN = 3  # rows of a column that are named
MOST = 20  # different texts of a column that are written as its categories
BROKEN = 5  # rules in one message
HEADER = """\
# What the table must be like; one that is not is refused (docs/sources.md). `plumbline start --expect` writes this.
"""


class Expected(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is expected of a column."""

    kind: Literal["number", "boolean", "category", "date", "date and time", "time of day", "duration"] | None = None
    range: tuple[Any, Any] | None = None
    categories: list[Any] | None = None
    gaps: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class Expectations(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is expected of a table."""

    rows: tuple[int | None, int | None] | None = None
    columns: dict[str, Expected] = {}


def check(path: str, rows: Rows, source: str, target: str) -> None:
    """Refuse a table that is not as the file says. The error says where the first rows stand that break a rule."""
    expected, broken = _read(path), []
    least, most = expected.rows or (None, None)
    if rows.count < (least or 0) or (most is not None and rows.count > most):
        broken.append(f"it has {rows.count} rows, and {_between(least, most)} are expected")
    for name, column in expected.columns.items():
        if name not in rows.types:
            broken.append(f"it has no column {name!r}{nearest(name, rows.types).removesuffix('?')}")
        else:
            broken += _broken(rows, name, column, name == target, path)
    if broken:
        more = f"; and {len(broken) - BROKEN} more" if len(broken) > BROKEN else ""
        raise UserError(
            f"{source} is not as {path} says: {'; '.join(broken[:BROKEN])}{more}; mend the table, or the file "
            "(`plumbline start --expect` writes it anew)"
        )


def written(rows: Rows, target: str) -> str:
    """The text of a file of expectations that the table meets."""
    found = Expectations(columns={name: _found(rows, name, name == target) for name in rows.types})
    return HEADER + formats.as_yaml(msgspec.to_builtins(found))


def _read(path: str) -> Expectations:
    inputs.watch(path)
    said = formats.read_yaml(formats.content(path), path) or {}
    if isinstance(said, dict) and isinstance(said.get("columns"), dict):
        said["columns"] = {str(name): column or {} for name, column in said["columns"].items()}
    try:
        return msgspec.convert(said, Expectations)
    except msgspec.ValidationError as error:
        raise UserError(f"{path} is no list of what columns must be like: {error}; mend it") from None


# ---- a column as it is


def _cells(rows: Rows, name: str) -> str:
    """What stands behind FROM: the row and the value v of each cell of a column; v is NULL for a gap."""
    kind = rows.types[name]
    value = columns.text("cell") if columns.kind_of(kind) == "category" else "cell"
    value = "nullif(cell, 'nan')" if kind in columns.FLOATS else value
    return f"(SELECT row, {value} AS v FROM {rows.cells(name)})"


def _found(rows: Rows, name: str, is_target: bool) -> Expected:
    """What holds of a column."""
    kind, cells = columns.described(rows.types[name]), _cells(rows, name)
    present, different = duck.rows(f"SELECT count(v), count(DISTINCT v) FROM {cells}")[0]
    found = Expected(kind=None if is_target else kind, gaps=math.ceil(100 - 100 * present / max(rows.count, 1)) / 100)
    if kind == "category" or is_target:
        if 0 < different <= MOST:
            texts = duck.rows(f"SELECT DISTINCT v FROM {cells} WHERE v IS NOT NULL ORDER BY v")
            found.categories = [_plain(text) for (text,) in texts]
    elif present and kind != "boolean":
        end = "::VARCHAR" if rows.types[name].endswith("_NS") else ""  # Python's times have no nanoseconds
        found.range = tuple(map(_plain, duck.rows(f"SELECT min(v){end}, max(v){end} FROM {cells}")[0]))
    return found


def _plain(value: object) -> bool | int | float | str:
    """A value as YAML has it."""
    if isinstance(value, bool | int | float | str):
        return value
    return float(value) if hasattr(value, "as_tuple") else str(value)  # a decimal; a date, a time


# ---- and as it should be


def _broken(rows: Rows, name: str, expected: Expected, is_target: bool, path: str) -> list[str]:
    """The rules that a column breaks, each in words with its first rows."""
    kind, cells, rules = rows.types[name], _cells(rows, name), {}
    known, what = columns.described(kind), f"column {name!r}"
    if expected.kind and not is_target and known != expected.kind:
        is_word = "v IS NOT NULL AND try_cast(v AS DOUBLE) IS NULL"
        of = _where(rows, cells, is_word) if (known, expected.kind) == ("category", "number") else ""
        return [f"{what} is of kind {known!r} and not {expected.kind!r}" + (f": {of}" if of else "")]
    if expected.range:
        low, high = (_literal(end, kind, f"{path}: range of {what}") for end in expected.range)
        rules[f"is not within {_between(*expected.range)}"] = f"v < {low} OR v > {high}"
    if expected.categories is not None:
        listed = ", ".join(_literal(each, kind, f"{path}: categories of {what}") for each in expected.categories)
        is_other = f"NOT coalesce(v IN ({listed or 'NULL'}), v IS NULL)"
        rules[f"has what is none of its {len(expected.categories)} categories"] = is_other
    if expected.gaps is not None:
        gaps = duck.rows(f"SELECT count(*) - count(v) FROM {cells}")[0][0]
        if gaps and gaps / rows.count > expected.gaps:  # 0.29 * 100 is below 29
            share = f"{100 * gaps / rows.count:.3g} % of the rows, and at most {100 * expected.gaps:.3g} % are expected"
            rules[f"has gaps in {share}"] = "v IS NULL"
    found = {words: _where(rows, cells, condition) for words, condition in rules.items()}
    return [f"{what} {words}: {of}" for words, of in found.items() if of]


def _where(rows: Rows, cells: str, condition: str) -> str:
    """In words, the first rows that meet a condition and how many do; empty if none does."""
    found = duck.rows(
        f"SELECT row, v::VARCHAR, count(*) OVER () FROM {cells} WHERE {condition} ORDER BY row LIMIT {SHOWN}"
    )
    if not found:
        return ""
    places = rows.placed([row for row, _, _ in found])
    shown = ", ".join(place if v is None else f"{v[:40]!r} in {place}" for place, (_, v, _) in zip(places, found))
    count = found[0][2]
    return f"{shown} ({count} row{'s' if count > 1 else ''} in all)"


def _literal(value: object, kind: str, what: str) -> str:
    """SQL of a value that stands in the file, as the column's type; UserError if it cannot be one."""
    if value is None:
        return "NULL"
    wide = {"category": "VARCHAR", "number": "DOUBLE"}.get(columns.kind_of(kind), kind)
    literal = f"try_cast({duck.text(value)} AS {kind if kind == 'BOOLEAN' else wide})"
    if isinstance(value, list | dict) or duck.rows(f"SELECT {literal}")[0][0] is None:
        raise UserError(f"{what} has {value!r}, which is no {columns.described(kind)}; mend it")
    return literal


def _between(low: object, high: object) -> str:
    if None in (low, high):
        return f"at least {low}" if high is None else f"at most {high}"
    return f"{low} to {high}"
