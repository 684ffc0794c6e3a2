"""The types of a CSV's columns, told from their cells in SQL: numbers, booleans, dates, times, or text.

Each cell is of a kind, a bit below, and the kinds of all cells of a column make its type. So WHOLE with REAL is DOUBLE,
and WHOLE with CODE (leading zeros, a plus) is text. Numbers and dates in other spellings, 1,234 or 31.12.2021, are text
here; plumbline.sources.spellings reads such columns afterwards.

Regular expressions would take half of the time. So most cells are told by a comparison or two.
"""

from collections.abc import Collection, Iterable

from plumbline.tables import duck
from plumbline.tables.columns import BLANK
from plumbline.tables.columns import MISSING as MISSING_WORDS

# THREE: a point and three digits, such as 1.842; CODE: digits that are no number as programs write it
WHOLE, REAL, THREE, CODE, BOOLEAN, DATE, TIME, STAMP, ZONED, TEXT, MISSING = (1 << i for i in range(11))
REFUSED = "error('a cell further down is of another kind')"
CLOCK = r"\d\d:\d\d(:\d\d(\.\d+)?)?"
DAY = r"\d{4}-\d\d-\d\d"
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


def kinds(relation: str, columns: Iterable[str], three: bool, rows: int | None = None) -> dict[str, int]:
    """The kinds of cells that each column has, as bits.

    three: whether 1.842 is of the kind THREE, else it is REAL. rows: how many of the first rows to look at; None: all.
    """
    first = f"SELECT {', '.join(columns)} FROM {relation} {f'LIMIT {rows}' if rows else ''}"
    cells = f"UNPIVOT ({first}) ON COLUMNS(*) INTO NAME name VALUE cell"  # one expression for any number of columns
    is_number = "try_cast(cell AS DOUBLE) IS NOT NULL"
    is_three = f"{three} AND regexp_full_match(cell, ' *-?[1-9][0-9]{{0,2}}\\.[0-9]{{3}} *')"
    cases = [  # the first test that holds tells the kind
        (f"cell IN ({WORDS})", MISSING),
        (_reads("cell", "BIGINT"), WHOLE),
        (is_three, THREE),
        (f"{_is_code('cell')} AND {is_number}", CODE),
        (f"{is_number} AND regexp_matches(cell, '[.eEiI]')", REAL),
        (_is_missing("cell"), MISSING),
        (is_number, CODE),
        *((test, kind) for kind, test in _tests("cell").items()),
    ]
    kind = " ".join(f"WHEN {test} THEN {kind}" for test, kind in cases)
    found = duck.rows(f"SELECT name, bit_or(CASE {kind} ELSE {TEXT} END) FROM ({cells}) GROUP BY name")
    return dict.fromkeys(columns, 0) | dict(found)


def query(relation: str, columns: dict[str, str], kinds: dict[str, int]) -> str:
    """The query for all rows, each column with the type that its kinds make.

    columns: the table's name for each column of the relation. kinds: as the function `kinds` finds them. A cell of
    another kind makes the query fail, with a duck.Error.
    """
    named = [f"{_value(column, kinds[column])} AS {duck.name(name)}" for column, name in columns.items()]
    tests = {"DOUBLE": _is_code, "VARCHAR": _has_zero_byte}  # a cast would take 0012 for 12
    types = {column: _type(kinds[column]) for column in columns}
    odd = " OR ".join(tests[kind](column) for column, kind in types.items() if kind in tests) or "false"
    return f"SELECT {', '.join(named)} FROM {relation} WHERE CASE WHEN {odd} THEN {REFUSED} ELSE true END"


def are_all(kind: str, texts: Collection[str]) -> bool:
    """Whether all texts are written as DuckDB writes values of a type; false if there are none.

    For BIGINT 01 is not, for DATE 2021-02-30 is not.
    """
    written = f"coalesce(try_cast(text AS {kind})::VARCHAR = text, false)"
    cells = f"(SELECT unnest([{duck.texts(texts)}]) AS text)"
    return bool(texts) and duck.rows(f"SELECT bool_and({written}) FROM {cells}")[0][0]


def _type(kinds: int) -> str:
    """The type of a column that has cells of these kinds."""
    kinds &= ~MISSING
    if kinds & REAL and not kinds & ~(WHOLE | THREE | REAL):
        return "DOUBLE"
    return TYPES.get(kinds, "VARCHAR")


def _value(column: str, kinds: int) -> str:
    """SQL of a cell's value."""
    kind = _type(kinds)
    if kind == "VARCHAR" and kinds & ~MISSING:
        return f"CASE WHEN {column} NOT IN ({WORDS}) THEN {column} END"
    # The regular expression for missing cells is slow: only cells that are no value come to it
    missing = f"CASE WHEN {column} NOT IN ({WORDS}) AND NOT {_is_missing(column)} THEN {REFUSED} END"
    if kind == "DOUBLE":
        return f"coalesce(try_cast({column} AS DOUBLE), ({missing})::DOUBLE)"
    tests = {WHOLE: _reads(column, "BIGINT")} | _tests(column)
    is_one = " OR ".join(test for bit, test in tests.items() if kinds & bit) or "false"
    return f"CASE WHEN {is_one} THEN try_cast({column} AS {kind}) ELSE {missing} END"


def _tests(cell: str) -> dict[int, str]:
    """For each kind below, SQL of whether a cell is of it. Times and timestamps are as ISO 8601 writes them."""
    tests = {BOOLEAN: f"lower(trim({cell})) IN ('true', 'false')", DATE: _reads(cell, "DATE")}
    for kind, pattern in (
        (TIME, f" *{CLOCK} *"),
        (STAMP, f" *{DAY}[T ]{CLOCK} *"),
        (ZONED, rf" *{DAY}[T ]{CLOCK} ?(Z|[+-]\d\d(:?\d\d)?) *"),
    ):
        is_such = f"regexp_full_match({cell}, {duck.text(pattern)})"
        tests[kind] = f"({is_such} AND try_cast({cell} AS {TYPES[kind]}) IS NOT NULL)"
    return tests


def _is_missing(cell: str) -> str:
    return f"regexp_full_match({cell}, {duck.text(BLANK)})"


def _has_zero_byte(text: str) -> str:
    """DuckDB takes a zero byte for a letter; here it is refused."""
    return f"contains({text}, chr(0))"


def _reads(cell: str, kind: str) -> str:
    """Whether a cell is written as DuckDB writes a value of a type; spaces around it are allowed."""
    value = f"try_cast({cell} AS {kind})::VARCHAR"
    return f"({value} = {cell} OR {value} = trim({cell}))"


def _is_code(number: str) -> str:
    """Digits that are no number as programs write it: leading zeros, underscores, more than an int64 holds."""
    return (
        f"({number} >= '00' AND {number} < '0:' OR {number} >= '-00' AND {number} < '-0:' "
        f"OR {number} < ',' AND regexp_matches({number}, '^ *[-+]?0[0-9]') OR contains({number}, '_') "
        f"OR strlen({number}) > 18 AND regexp_full_match({number}, ' *[-+]?[0-9]{{19,}} *') "
        f"AND try_cast({number} AS BIGINT) IS NULL)"
    )
