"""What the cells of a CSV hold, in SQL: numbers, booleans, dates, times, or text.

The cells of a column are of several kinds, and the kinds make its type: whole numbers and such with a point are
DOUBLE. Digits that are no number as it is written (leading zeros, a plus) keep a column text. So do other spellings of
numbers and dates, and numbers that are thousands where a point stands between these: plumbline.sources.spellings reads
them.
"""

from collections.abc import Collection

from plumbline.tables import duck
from plumbline.tables.columns import BLANK
from plumbline.tables.columns import MISSING as MISSING_WORDS

WHOLE, REAL, THREE, CODE, BOOLEAN, DATE, TIME, STAMP, ZONED, TEXT, MISSING = (1 << i for i in range(11))
REFUSED = "error('a cell further down is of another kind')"
CLOCK = r"\d\d:\d\d(:\d\d(\.\d+)?)?"
DAY = r"\d{4}-\d\d-\d\d"
PATTERNS = {
    TIME: (rf" *{CLOCK} *", "TIME"),
    STAMP: (rf" *{DAY}[T ]{CLOCK} *", "TIMESTAMP"),
    ZONED: (rf" *{DAY}[T ]{CLOCK} ?(Z|[+-]\d\d(:?\d\d)?) *", "TIMESTAMPTZ"),
}
WORDS = duck.texts(MISSING_WORDS)
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
    """How the cells of some columns are read.

    columns: their names in the table, by those that the file is read with. texts: names of those that are to be text.
    three: whether 1.842 may be a thousand.
    """

    def __init__(self, columns: dict[str, str], texts: set[str], three: bool):
        self._columns, self._may_be_three = columns, three
        self._texts = {column for column, name in columns.items() if name in texts}

    def kinds(self, relation: str, rows: int | None = None) -> dict[str, int]:
        """The kinds of cells that each column has, as bits; of all rows, or of the first ones."""
        first = f"SELECT {', '.join(self._columns)} FROM {relation} {f'LIMIT {rows}' if rows else ''}"
        cells = f"UNPIVOT ({first}) ON COLUMNS(*) INTO NAME name VALUE cell"  # one expression for any number of columns
        found = duck.rows(f"SELECT name, bit_or({self._kind('cell')}) FROM ({cells}) GROUP BY name")
        return dict.fromkeys(self._columns, 0) | dict(found)

    def has_point(self, kinds: dict[str, int]) -> bool:
        """Whether a column surely has decimal points."""
        return any(kind & REAL for column, kind in kinds.items() if column not in self._texts)

    def query(self, kinds: dict[str, int], relation: str) -> str:
        """The columns under their names, with their types.

        A cell of a kind that is not among a column's `kinds` is an error.
        """
        named = [f"{self._value(column, kinds[column])} AS {duck.name(self._columns[column])}" for column in kinds]
        reals = [c for c, kind in kinds.items() if _type(kind) == "DOUBLE" and c not in self._texts]
        odd = " OR ".join(map(_is_code, reals)) or "false"  # a cast would take 0012 for 12
        return f"SELECT {', '.join(named)} FROM {relation} WHERE CASE WHEN {odd} THEN {REFUSED} ELSE true END"

    def _kind(self, column: str) -> str:
        """SQL of a cell's kind."""
        kinds = {
            f"{column} IN ({WORDS})": MISSING,
            _reads(column, "BIGINT"): WHOLE,
            **({_is_three(column): THREE} if self._may_be_three else {}),
            f"{_is_code(column)} AND try_cast({column} AS DOUBLE) IS NOT NULL": CODE,
            _is_real(column): REAL,
            _is_missing(column): MISSING,
            f"try_cast({column} AS DOUBLE) IS NOT NULL": CODE,
            _is_boolean(column): BOOLEAN,
            _reads(column, "DATE"): DATE,
        }
        kinds |= {_is(column, kind): kind for kind in PATTERNS}
        cases = " ".join(f"WHEN {condition} THEN {kind}" for condition, kind in kinds.items())
        return f"CASE {cases} ELSE {TEXT} END"

    def _value(self, column: str, kinds: int) -> str:
        """SQL of a cell's value."""
        kind = _type(kinds)
        if column in self._texts or kind == "VARCHAR":
            return f"CASE WHEN {column} NOT IN ({WORDS}) THEN {column} END"
        # What is slow is asked of the few cells that are no value
        missing = f"CASE WHEN {column} NOT IN ({WORDS}) AND NOT {_is_missing(column)} THEN {REFUSED} END"
        if kind == "EMPTY":
            return f"({missing})::VARCHAR"
        if kind == "DOUBLE":
            return f"coalesce(try_cast({column} AS DOUBLE), ({missing})::DOUBLE)"
        right = {
            "BOOLEAN": _is_boolean(column),
            "TIME": _is(column, TIME),
            "TIMESTAMP": f"{_is(column, STAMP)} OR {_reads(column, 'DATE')}",
            "TIMESTAMPTZ": _is(column, ZONED),
        }.get(kind) or _reads(column, kind)
        return f"CASE WHEN {right} THEN try_cast({column} AS {kind}) ELSE {missing} END"


def _type(kinds: int) -> str:
    """The type of a column that has cells of these kinds."""
    kinds &= ~MISSING
    if not kinds:
        return "EMPTY"
    if kinds & REAL and not kinds & ~(WHOLE | THREE | REAL):
        return "DOUBLE"
    return TYPES.get(kinds, "VARCHAR")


def _is_missing(column: str) -> str:
    return f"regexp_full_match({column}, {duck.text(BLANK)})"


def are_all(kind: str, texts: Collection[str]) -> bool:
    """Whether there are texts and all are written as DuckDB writes values of a type: not 01, not 2021-02-30."""
    written = f"coalesce(try_cast(text AS {kind})::VARCHAR = text, false)"
    cells = f"(SELECT unnest([{duck.texts(texts)}]) AS text)"
    return bool(texts) and duck.rows(f"SELECT bool_and({written}) FROM {cells}")[0][0]


def _reads(column: str, kind: str) -> str:
    """A cell that is written as DuckDB writes the value, but for spaces around it."""
    value = f"try_cast({column} AS {kind})::VARCHAR"
    return f"({value} = {column} OR {value} = trim({column}))"


def _is_real(number: str) -> str:
    """A number that says by a point, an exponent, or as inf, that it is no whole one."""
    return f"(try_cast({number} AS DOUBLE) IS NOT NULL AND regexp_matches({number}, '[.eEiI]'))"


def _is_code(number: str) -> str:
    """Digits that are no number as programs write it: leading zeros, underscores, more than an int64 holds.

    Most numbers are told from such by a comparison or two, for a regular expression would take half of the time.
    """
    return (
        f"({number} >= '00' AND {number} < '0:' OR {number} >= '-00' AND {number} < '-0:' "
        f"OR {number} < ',' AND regexp_matches({number}, '^ *[-+]?0[0-9]') OR contains({number}, '_') "
        f"OR strlen({number}) > 18 AND regexp_full_match({number}, ' *[-+]?[0-9]{{19,}} *') "
        f"AND try_cast({number} AS BIGINT) IS NULL)"
    )


def _is_three(number: str) -> str:
    return f"regexp_full_match({number}, ' *-?[1-9][0-9]{{0,2}}\\.[0-9]{{3}} *')"


def _is_boolean(column: str) -> str:
    return f"lower(trim({column})) IN ('true', 'false')"


def _is(column: str, kind: int) -> str:
    """A time of day, a timestamp, or one with its zone, as ISO 8601 writes them."""
    pattern, name = PATTERNS[kind]
    return f"(regexp_full_match({column}, {duck.text(pattern)}) AND try_cast({column} AS {name}) IS NOT NULL)"
