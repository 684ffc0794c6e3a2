"""What the cells of a CSV hold, in SQL: numbers, booleans, dates, times, or text.

The cells of a column are of several kinds, and the kinds make its type: whole numbers and such with a point are
DOUBLE. Digits that are no number as it is written (leading zeros, a plus) keep a column of whole numbers text.
"""

from plumbline.tables import duck
from plumbline.tables.columns import MISSING, SPACES

WHOLE, REAL, COMMA, CODE, BOOLEAN, DATE, TIME, STAMP, ZONED, TEXT = (1 << i for i in range(10))
OTHER = "a cell further down is of another kind"
CLOCK = r"\d\d:\d\d(:\d\d(\.\d+)?)?"
DAY = r"\d{4}-\d\d-\d\d"
PATTERNS = {
    TIME: (rf" *{CLOCK} *", "TIME"),
    STAMP: (rf" *{DAY}[T ]{CLOCK} *", "TIMESTAMP"),
    ZONED: (rf" *{DAY}[T ]{CLOCK} ?(Z|[+-]\d\d(:?\d\d)?) *", "TIMESTAMPTZ"),
}
WORDS = duck.texts(MISSING)
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
        kinds = {
            f"{column} IN ({WORDS})": 0,
            _reads(column, "BIGINT"): WHOLE,
            _is_real(column): REAL,
            _is_missing(column): 0,
            f"try_cast({column} AS DOUBLE) IS NOT NULL": CODE,
            _is_boolean(column): BOOLEAN,
            _reads(column, "DATE"): DATE,
        }
        if self._may_be_comma:
            kinds[_is_real(_point(column))] = COMMA
        kinds |= {_is(column, kind): kind for kind in PATTERNS}
        cases = " ".join(f"WHEN {condition} THEN {kind}" for condition, kind in kinds.items())
        return f"CASE {cases} ELSE {TEXT} END"

    def _value(self, column: str, kinds: int, real: int, as_text: bool) -> str:
        """SQL of a cell's value."""
        kind = _type(kinds, real)
        text = f"CASE WHEN {column} NOT IN ({WORDS}) THEN {column} END"
        if as_text or (kind == "VARCHAR" and not _may_be_numbers(kinds)):
            return text
        refused = f"error({duck.text(OTHER)})"
        if kind == "VARCHAR":
            return f"CASE WHEN {self._kind(column)} IN ({WHOLE}, {CODE}, 0) THEN {text} ELSE {refused} END"
        # What is slow is asked of the few cells that are no value
        missing = f"CASE WHEN {column} NOT IN ({WORDS}) AND NOT {_is_missing(column)} THEN {refused} END"
        if kind == "EMPTY":
            return f"({missing})::VARCHAR"
        if kind == "DOUBLE":
            return f"coalesce(try_cast({_point(column) if real == COMMA else column} AS DOUBLE), ({missing})::DOUBLE)"
        right = {
            "BOOLEAN": _is_boolean(column),
            "TIME": _is(column, TIME),
            "TIMESTAMP": f"{_is(column, STAMP)} OR {_reads(column, 'DATE')}",
            "TIMESTAMPTZ": _is(column, ZONED),
        }.get(kind) or _reads(column, kind)
        return f"CASE WHEN {right} THEN try_cast({column} AS {kind}) ELSE {missing} END"


def _type(kinds: int, real: int) -> str:
    """The type of a column that has cells of these kinds, REAL or COMMA being its numbers with a fraction."""
    if not kinds:
        return "EMPTY"
    if kinds & real and not kinds & ~(WHOLE | CODE | real):
        return "DOUBLE"
    return TYPES.get(kinds, "VARCHAR")


def _may_be_numbers(kinds: int) -> bool:
    """Whether a column of text would be one of numbers if a number with a fraction came further down."""
    return not kinds & ~(WHOLE | CODE)


def _is_missing(column: str) -> str:
    return f"trim({column}, {duck.text(SPACES)}) IN ({WORDS})"


def _reads(column: str, kind: str) -> str:
    """A cell that is written as DuckDB writes the value: not 01, not 1_000, not the 30th of February."""
    value = f"try_cast({column} AS {kind})::VARCHAR"
    return f"({value} = {column} OR {value} = trim({column}))"


def _is_real(number: str) -> str:
    """A number that says by a point, an exponent, or as inf, that it is no whole one."""
    return f"(try_cast({number} AS DOUBLE) IS NOT NULL AND regexp_matches({number}, '[.eEiI]'))"


def _point(column: str) -> str:
    """A number with a decimal comma as one with a point; one with a point as no number."""
    return f"replace(replace({column}, '.', '?'), ',', '.')"


def _is_boolean(column: str) -> str:
    return f"lower(trim({column})) IN ('true', 'false')"


def _is(column: str, kind: int) -> str:
    """A time of day, a timestamp, or one with its zone, as ISO 8601 writes them."""
    pattern, name = PATTERNS[kind]
    return f"(regexp_full_match({column}, {duck.text(pattern)}) AND try_cast({column} AS {name}) IS NOT NULL)"
