"""What the cells of a CSV hold, in SQL: numbers, booleans, dates, times, or text.

The cells of a column are of several kinds, and the kinds make its type: whole numbers and such with a point are
DOUBLE. Digits that are no number as it is written (leading zeros, a plus) keep a column of whole numbers text.
"""

from plumbline.tables import duck
from plumbline.tables.columns import MISSING, SPACES

WHOLE, REAL, COMMA, CODE, BOOLEAN, DATE, TIME, STAMP, ZONED, TEXT = (1 << i for i in range(10))
OTHER = "a cell further down is of another kind"
CLOCK = r"\d\d:\d\d(:\d\d(\.\d+)?)?"
ZONE = r"\s?(Z|[+-]\d\d(:?\d\d)?)"
DAY = r"\d{4}-\d\d-\d\d"
TYPES = {
    WHOLE: "BIGINT",
    BOOLEAN: "BOOLEAN",
    DATE: "DATE",
    TIME: "TIME",
    STAMP: "TIMESTAMP",
    DATE | STAMP: "TIMESTAMP",
    ZONED: "TIMESTAMPTZ",
}


class Cells:
    """How cells are read; where commas separate none, one may be a number's decimal point."""

    def __init__(self, decimal_comma: bool):
        self._may_be_comma = decimal_comma

    def kinds(self, relation: str, columns: dict[str, str]) -> dict[str, int]:
        """The kinds of cells that each column has, as bits; 0 where all are missing."""
        listed = ", ".join(f"coalesce(bit_or({self._kind(column)}), 0)" for column in columns)
        return dict(zip(columns, duck.rows(f"SELECT {listed} FROM {relation}")[0])) if columns else {}

    def select(self, kinds: dict[str, int], columns: dict[str, str], texts: set[str]) -> list[str]:
        """The columns under their names, with their types. A cell of a kind not seen before is an error with OTHER."""
        typed = {column: kind for column, kind in kinds.items() if columns[column] not in texts}
        readings = [REAL, COMMA] if self._may_be_comma else [REAL]
        # A table is read one way, and the better way leaves fewer columns text.
        reading = min(readings, key=lambda real: sum(_type(kind, real) == "VARCHAR" for kind in typed.values()))
        return [
            f"{self._value(column, kinds[column], reading, name in texts)} AS {duck.name(name)}"
            for column, name in columns.items()
        ]

    def _kind(self, column: str) -> str:
        """SQL of a cell's kind."""
        trimmed = f"trim({column}, {duck.text(SPACES)})"
        kinds = {
            _is_missing(column): 0,
            f"try_cast({column} AS BIGINT)::VARCHAR = {trimmed}": WHOLE,
            _is_real(column): REAL,
            f"try_cast({column} AS DOUBLE) IS NOT NULL": CODE,
            f"lower({trimmed}) IN ('true', 'false')": BOOLEAN,
            f"try_cast({column} AS DATE)::VARCHAR = {trimmed}": DATE,
        }
        if self._may_be_comma:
            kinds[_is_real(_point(column))] = COMMA
        kinds |= {_is(column, kind): kind for kind in (TIME, STAMP, ZONED)}
        cases = " ".join(f"WHEN {condition} THEN {kind}" for condition, kind in kinds.items())
        return f"CASE {cases} ELSE {TEXT} END"

    def _value(self, column: str, kinds: int, real: int, as_text: bool) -> str:
        """SQL of a cell's value."""
        refused = f"error({duck.text(OTHER)})"
        trimmed = f"trim({column}, {duck.text(SPACES)})"
        kind = _type(kinds, real)
        other = f"CASE WHEN NOT {_is_missing(column)} THEN {refused} END"
        if as_text or (kind == "VARCHAR" and not _is_code(kinds)):
            return f"CASE WHEN {column} NOT IN ({duck.texts(MISSING)}) THEN {column} END"
        if kind == "EMPTY":
            return f"({other})::VARCHAR"
        if kind == "VARCHAR":  # whole numbers would be numbers again with a point among them
            return (
                f"CASE WHEN {self._kind(column)} IN ({WHOLE}, {CODE}, 0) THEN {_or_missing(column)} ELSE {refused} END"
            )
        if kind == "DOUBLE":
            return f"coalesce(try_cast({_point(column) if real == COMMA else column} AS DOUBLE), ({other})::DOUBLE)"
        value = f"try_cast({column} AS {kind})"
        right = {
            "BIGINT": f"{value}::VARCHAR = {column} OR {value}::VARCHAR = {trimmed}",
            "BOOLEAN": f"lower({trimmed}) IN ('true', 'false')",
            "DATE": f"{value}::VARCHAR = {trimmed}",
            "TIME": _is(column, TIME),
            "TIMESTAMP": f"{value}::DATE::VARCHAR = {trimmed} OR {_is(column, STAMP)}",
            "TIMESTAMPTZ": _is(column, ZONED),
        }[kind]
        return f"CASE WHEN {right} THEN {value} ELSE {other} END"


def _type(kinds: int, real: int) -> str:
    """The type of a column that has cells of these kinds, REAL or COMMA being its numbers with a fraction."""
    if not kinds:
        return "EMPTY"
    if kinds & real and not kinds & ~(WHOLE | CODE | real):
        return "DOUBLE"
    return TYPES.get(kinds, "VARCHAR")


def _is_code(kinds: int) -> bool:
    """Whether a column of text could become one of numbers by what comes further down."""
    return not kinds & ~(WHOLE | CODE)


def _is_missing(column: str) -> str:
    return f"trim({column}, {duck.text(SPACES)}) IN ({duck.texts(MISSING)})"


def _or_missing(column: str) -> str:
    return f"CASE WHEN {column} NOT IN ({duck.texts(MISSING)}) THEN {column} END"


def _is_real(number: str) -> str:
    """A number that says by a point, an exponent, or as inf, that it is no whole one."""
    return f"(try_cast({number} AS DOUBLE) IS NOT NULL AND regexp_matches({number}, '[.eEiI]'))"


def _point(column: str) -> str:
    """A number with a decimal comma as one with a point; one with a point as no number."""
    return f"replace(replace({column}, '.', '?'), ',', '.')"


def _is(column: str, kind: int) -> str:
    """A time of day, a timestamp, or one with its zone, as ISO 8601 writes them."""
    pattern, name = {
        TIME: (CLOCK, "TIME"),
        STAMP: (f"{DAY}[T ]{CLOCK}", "TIMESTAMP"),
        ZONED: (f"{DAY}[T ]{CLOCK}{ZONE}", "TIMESTAMPTZ"),
    }[kind]
    trimmed = f"trim({column}, {duck.text(SPACES)})"
    return f"(regexp_full_match({trimmed}, {duck.text(pattern)}) AND try_cast({trimmed} AS {name}) IS NOT NULL)"
