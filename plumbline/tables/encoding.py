"""Turn a table's columns into the network's inputs.

The encoding is fitted on training rows only, and saved with the model to encode new rows. There are three settings:

- `raw` leaves numbers as they are, as the notebook does.
- `robust` takes a number's distance from the median in interquartile ranges, clips it smoothly and standardizes it, so
  that neither an odd scale nor a heavy tail reaches the network. A missing number becomes the mean, and an input of its
  own marks it.
- `mixed` has the robust inputs and others beside them. A number's place among bins of the training rows is given as
  linear splines and as piecewise-linear inputs. Columns of many categories have target statistics
  (plumbline.tables.targets). The members of a network see these in turn.

Under every setting a column of text has one input for each category. An encoded row holds it as one number, the
category's code (plumbline.bits.rows). Columns that can teach nothing are left out.

Fitting takes order statistics, counts and fixed-point sums. Encoding takes +, -, *, / and sqrt on float64. So the bits
are the same on every machine.
"""

from collections.abc import Iterator

import msgspec
import numpy as np

from plumbline.basics import files
from plumbline.basics.errors import UserError
from plumbline.tables import columns, duck, left_out, robust, spelling, targets
from plumbline.tables.columns import Texts, kind_of
from plumbline.tables.fitted import Category, Encoding, LeftOut, Number
from plumbline.tables.robust import IN_CACHE, Numbers
from plumbline.tables.store import Table

# Categories of fewer training rows are pooled: they share an input. A category never seen gets that input, too, whose
# weights have so been trained.
FEWEST_ROWS = 4
# If more than FEW categories and more than the share POOLED of the rows would be pooled, fewer rows are enough for an
# input, down to one (docs/encoding.md).
FEW, POOLED = 100, 0.01
TRAINED_ON = {"number": "a number", "instant": "an instant", "time of day": "a time of day", "duration": "a duration"}
TRAINED_ON["category"] = "text"


def fit(table: Table, setting: str) -> Encoding:
    """Fit an encoding to a training part. setting: raw, robust or mixed. UserError if no column is left."""
    fitted, left = [], []
    numbers = robust.numbers(table)
    for name in table.features:
        if name in table.facts.split_by:
            found = "the split goes by it"
        elif name in numbers:
            found = _fit_number(table, name, numbers[name], setting)
        else:
            found = _fit_category(table, name, setting)
        if isinstance(found, str):
            left.append(LeftOut(name, found))
        else:
            fitted.append(found)
    if not fitted:
        reasons = "; ".join(f"{each.name}: {each.why}" for each in left[:10])
        raise UserError(f"no column is left to learn from ({reasons}); add one that differs between rows")
    return Encoding(sorted(fitted, key=lambda column: isinstance(column, Category)), left)


def encode(encoding: Encoding, table: Table, trained: bool = False) -> np.ndarray:
    """Encode all rows: float32 (n, c), in a mapped file if the table is large.

    trained: whether these are the rows that the encoding was fitted on. Their target statistics are then out-of-fold.
    UserError if a column is missing or of another kind, or a cell cannot be encoded.
    """
    shape, start = (len(table), len(encoding.layout)), 0
    x = np.empty(shape, np.float32) if table.is_small else files.mapped(shape, np.float32, table.path.parent)
    for piece in pieces(encoding, table):
        x[start : start + len(piece)] = piece
        start += len(piece)
    with_counts = [(c, places) for c, places in zip(encoding.columns, encoding.places) if _has_statistics(c)]
    if with_counts and trained:
        y, fold = table.classes(), targets.folds(table)
        for column, places in with_counts:
            code, statistics = x[:, places[-1]].astype(np.int64), places[: column.statistics]
            x[:, statistics] = targets.out_of_fold(code, y, fold, np.array(column.counts))
    return x


def pieces(encoding: Encoding, table: Table, rows: int | None = None) -> Iterator[np.ndarray]:
    """As `encode`, in pieces of at most `rows` rows, in order: float32 (m, c)."""
    return (x for x, _ in with_values(encoding, table, rows))


def with_values(
    encoding: Encoding, table: Table, rows: int | None = None
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """As `pieces`, each with the values before encoding, by column (m,): numbers, or codes of categories."""
    select = {column.name: _sql(column, table) for column in encoding.columns}
    statistics = [targets.statistics(np.array(c.counts)) if _has_statistics(c) else None for c in encoding.columns]
    plan = [*zip(encoding.columns, encoding.places, statistics)]
    width, start = len(encoding.layout), 0
    for piece in table.pieces(select, rows):
        x = np.empty((len(next(iter(piece.values()))), width), np.float32)
        _encode_piece(plan, piece, x, start)
        start += len(x)
        yield x, piece


def _has_statistics(column: Number | Category) -> bool:
    return isinstance(column, Category) and bool(column.counts)


def pooled(encoding: Encoding, table: Table) -> dict[str, tuple[int, int]]:
    """By column, how many categories of the training part share an input, and the number of their rows."""
    found = {}
    for column in encoding.columns:
        if isinstance(column, Category) and column.pools_others:
            texts = columns.all_texts(table, column.name)
            found[column.name] = texts.distinct - len(column.values), _pooled_rows(texts, column.values)
    return found


def beyond(column: Number, table: Table) -> tuple[int, int]:
    """The numbers of rows in which a column is missing, and in which it is outside the training rows' range."""
    low, high = duck.value(column.low), duck.value(column.high)
    return table.rows(
        f"SELECT count(*) FILTER (isnan(v)), count(*) FILTER (NOT isnan(v) AND (v < {low} OR v > {high})) "
        f"FROM (SELECT ({_sql(column, table)})::DOUBLE AS v FROM {table.holding(column.name)})"
    )[0]


# ---- a new table's columns


def _sql(column: Number | Category, table: Table) -> str:
    """SQL of a column's value: a number as DOUBLE or FLOAT, nan for missing; or a category's code.

    The code is the number of the category's input. It is `column.codes` or more if there is no such input. UserError if
    the table lacks the column, or has one of another kind.
    """
    kind = table.columns.get(column.name)
    if kind is None:
        raise UserError(f"column {column.name!r} is missing, and the model was trained with it; add it to the table")
    wanted = "category" if isinstance(column, Category) else column.kind
    if wanted == "category" and kind_of(kind):
        code, is_missing = columns.code(column.name, kind, column.values), f"{columns.text(column.name)} IS NULL"
        return f"coalesce({code}, CASE WHEN {is_missing} THEN {column.missing} ELSE {column.other} END)"
    if kind_of(kind) == "category":
        return spelling.number(table, column.name, column.kind, column.spelling)
    if kind_of(kind) != wanted:
        raise UserError(
            f"column {column.name!r} holds {columns.in_words(kind)}, and the model was trained on {TRAINED_ON[wanted]} "
            "there; mend the column, or train anew"
        )
    if column.spelling and column.spelling.unit == "%" and column.name not in table.facts.spellings:
        raise UserError(
            f"column {column.name!r} holds numbers, and the model was trained on {column.spelling.example!r} there; "
            "write percentages with their sign, or train anew"
        )
    return columns.number_or_nan(column.name, kind)


def _encode_piece(plan: list[tuple], piece: dict[str, np.ndarray], x: np.ndarray, first: int) -> None:
    """Fill x (m, c) with the encoded values of a piece.

    plan: each column, its places in x, and the target statistics of its codes, or None. first: the number of the
    piece's first row, for messages.
    """
    for start in range(0, len(x), IN_CACHE):
        rows = slice(start, start + IN_CACHE)
        for column, places, statistics in plan:
            values = np.ma.getdata(piece[column.name])[rows]
            if isinstance(column, Category):
                codes = np.minimum(values, column.codes)
                for place in places[column.statistics :]:
                    x[rows, place] = codes
                if statistics is not None:
                    x[rows, places[: column.statistics]] = statistics[codes]
            elif column.scale == 0.0:
                x[rows, places[0]] = robust.finite_float32(values, column.name, first + start) + np.float32(0.0)
            else:
                values, missing = values.astype(np.float64) + 0.0, np.isnan(values)
                z = (robust.smooth_clip(values, column.centre, column.scale) - column.mean) / column.deviation
                x[rows, places[0]] = np.where(missing, 0.0, z)
                if column.marks_missing:
                    x[rows, places[1]] = missing
                if column.edges:
                    values = np.where(missing, column.centre, values)
                    for place, ends in zip(places[-2:], (column.edges, column.knots)):
                        x[rows, place] = robust.position(values, ends)


# ---- fitting


def _fit_number(table: Table, name: str, seen: Numbers, setting: str) -> Number | str:
    """Fit a column of numbers, or say why it is left out."""
    kind, boolean = kind_of(table.columns[name]), table.columns[name] == "BOOLEAN"
    if why := left_out.of_numbers(table, name, seen):
        return why
    written = table.facts.spellings.get(name)
    if setting == "raw" and kind == "number":
        as_it_is = robust.Statistics(float(seen.low), float(seen.high), centre=0.0, scale=0.0, mean=0.0, deviation=1.0)
        return Number(name, kind, *as_it_is, marks_missing=False, boolean=boolean, spelling=written)
    edges, knots = (seen.edges, seen.knots) if setting == "mixed" else ([], [])
    return Number(name, kind, *seen.robust, seen.present < len(table), edges, knots, boolean, written)


def _fit_category(table: Table, name: str, setting: str) -> Category | str:
    """Fit a column of text, or say why it is left out."""
    texts = columns.all_texts(table, name)
    if why := left_out.of_text(texts):
        return why
    for fewest in range(FEWEST_ROWS, 0, -1):
        values = sorted(text for text, count in texts.frequent if count >= fewest)
        if texts.distinct - len(values) <= FEW or _pooled_rows(texts, values) <= POOLED * texts.present:
            break
    column = Category(name, values, len(values) < texts.distinct, texts.missing > 0)
    frequent = {text for text, count in texts.frequent if count >= targets.FREQUENT}
    many_are_rare = texts.distinct - len(frequent) > targets.MANY_CATEGORIES
    if setting != "mixed" or not many_are_rare or not table.facts.classes:
        return column
    frequent_first = sorted(values, key=lambda text: text not in frequent)
    column = msgspec.structs.replace(column, values=frequent_first)
    code = table.values(_sql(column, table))
    counts = targets.counted(code, table.classes(), column.codes, len(table.facts.classes))
    return msgspec.structs.replace(column, counts=counts.tolist())


def _pooled_rows(texts: Texts, values: list[str]) -> int:
    own = set(values)
    return texts.present - sum(count for text, count in texts.frequent if text in own)
