"""Columns to numbers: fitted on training rows only, and saved with the model so that it can meet new rows.

`raw` leaves numbers as they are, as the notebook does, and encodes what is no number. `robust` centres every column on
its median, divides it by its interquartile range, clips it smoothly and standardizes it, so that neither an odd scale
nor a heavy tail reaches the network; what is missing becomes the mean and is marked in an input of its own. `mixed` has
beside that each number's place among bins of the training rows, as linear splines and as piecewise-linear inputs, and
target statistics where categories are many (plumbline.tables.targets): members of a network see these in turn. Text is
one number of a row and one input a category (plumbline.bits.rows). Columns that can teach nothing are left out.

What is fitted are order statistics, counts and fixed-point sums, and encoding is +, -, *, / and sqrt on float64: the
same bits on every machine.
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

FEWEST_ROWS = 4  # a category of fewer training rows is pooled with those never seen, which so have been trained
# Where more than so many categories, and of more than this share of the rows, would be pooled, fewer rows are enough,
# if need be one (docs/encoding.md).
FEW, POOLED = 100, 0.01
TRAINED_ON = {"number": "a number", "instant": "an instant", "time of day": "a time of day", "duration": "a duration"}
TRAINED_ON["category"] = "text"


def fit(table: Table, setting: str) -> Encoding:
    """The encoding of a training part, `raw`, `robust` or `mixed`; UserError when no column is left."""
    fitted, left = [], []
    numbers = robust.numbers(table)
    for name in table.features:
        if name in table.facts.split_by:
            column = "the split goes by it"
        elif name in numbers:
            column = _fit_number(table, name, numbers[name], setting)
        else:
            column = _fit_category(table, name, setting)
        if isinstance(column, str):
            left.append(LeftOut(name, column))
        else:
            fitted.append(column)
    if not fitted:
        reasons = "; ".join(f"{each.name}: {each.why}" for each in left[:10])
        raise UserError(f"no column is left to learn from ({reasons}); add one that differs between rows")
    return Encoding(sorted(fitted, key=lambda column: isinstance(column, Category)), left)


def encode(encoding: Encoding, table: Table, trained: bool = False) -> np.ndarray:
    """The columns that the encoding knows, in its order: float32 (n, c); in a mapped file if the table is large.

    trained: whether the encoding was fitted on these rows, which are now to train on; else they are new to it.
    """
    shape, start = (len(table), len(encoding.layout)), 0
    x = np.empty(shape, np.float32) if table.is_small else files.mapped(shape, np.float32, table.path.parent)
    for piece in pieces(encoding, table):
        x[start : start + len(piece)] = piece
        start += len(piece)
    counted = [each for each in zip(encoding.columns, encoding.places) if getattr(each[0], "counts", None)]
    if counted and trained:
        y, fold = table.classes(), targets.folds(table)
        for column, places in counted:
            code, statistics = x[:, places[-1]].astype(np.int64), places[: column.statistics]
            x[:, statistics] = targets.out_of_fold(code, y, fold, np.array(column.counts))
    return x


def pieces(encoding: Encoding, table: Table, rows: int | None = None) -> Iterator[np.ndarray]:
    """As `encode`, at most so many rows at a time, in order: float32 (m, c)."""
    return (x for x, _ in with_values(encoding, table, rows))


def with_values(
    encoding: Encoding, table: Table, rows: int | None = None
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Pieces, each with the values that it was made of by column (m,): numbers, or what stands for categories."""
    start, select = 0, {column.name: _sql(column, table) for column in encoding.columns}
    stored, places = len(encoding.layout), encoding.places
    known = [targets.numbers(np.array(c.counts)) if getattr(c, "counts", None) else None for c in encoding.columns]
    for piece in table.pieces(select, rows):
        x = np.empty((len(next(iter(piece.values()))), stored), np.float32)
        _encode_piece([*zip(encoding.columns, places, known)], piece, x, start)
        start += len(x)
        yield x, piece


def pooled(encoding: Encoding, table: Table) -> dict[str, tuple[int, int]]:
    """By column how many categories of its training part share an input, and how many rows these have."""
    found = {}
    for column in encoding.columns:
        if isinstance(column, Category) and column.pools_others:
            texts = columns.all_texts(table, column.name)
            found[column.name] = texts.distinct - len(column.values), _pooled_rows(texts, column.values)
    return found


def beyond(column: Number, table: Table) -> tuple[int, int]:
    """A table's rows in which a column is missing, and those in which it is beyond the training rows' range."""
    low, high = duck.value(column.low), duck.value(column.high)
    return table.rows(
        f"SELECT count(*) FILTER (isnan(v)), count(*) FILTER (NOT isnan(v) AND (v < {low} OR v > {high})) "
        f"FROM (SELECT ({_sql(column, table)})::DOUBLE AS v FROM {table.holding(column.name)})"
    )[0]


# ---- a new table's columns


def _sql(column: Number | Category, table: Table) -> str:
    """A number as DOUBLE or FLOAT, nan for missing, or the input that a category switches on, `codes` or more for none.

    UserError when the table lacks the column, or has one of another kind.
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


def _encode_piece(every: list[tuple], piece: dict[str, np.ndarray], x: np.ndarray, first: int) -> None:
    """Fill x (m, c) from what was fetched; `first` is the first row's number in messages.

    every: each column, its places in x, and its target statistics by code, if it has any.
    """
    for row in range(0, len(x), IN_CACHE):
        for column, places, known in every:
            own = x[row : row + IN_CACHE, places[0] : places[-1] + 1]  # of a category with statistics more than its own
            values = np.ma.getdata(piece[column.name])[row : row + IN_CACHE]
            if isinstance(column, Category):
                values = np.minimum(values, column.codes)
                own[:, -1] = values
                if known is not None:
                    own[:, : column.statistics] = known[values]
                    own[:, column.statistics - len(places) :] = values[:, None]
            elif column.scale == 0.0:
                own[:, 0] = robust.finite_float32(values, column.name, first + row) + np.float32(0.0)
            else:
                values, missing = values.astype(np.float64) + 0.0, np.isnan(values)
                z = (robust.smooth_clip(values, column.centre, column.scale) - column.mean) / column.deviation
                own[:, 0] = np.where(missing, 0.0, z)
                if column.marks_missing:
                    own[:, 1] = missing
                if column.edges:
                    values = np.where(missing, column.centre, values)
                    for place, ends in zip(places[-2:], (column.edges, column.knots)):
                        x[row : row + IN_CACHE, place] = robust.position(values, ends)


# ---- fitting


def _fit_number(table: Table, name: str, seen: Numbers, setting: str) -> Number | str:
    """A column of numbers as it is fitted, or why it is left out."""
    kind, boolean = kind_of(table.columns[name]), table.columns[name] == "BOOLEAN"
    if why := left_out.of_numbers(table, name, seen):
        return why
    by = table.facts.spellings.get(name)
    if setting == "raw" and kind == "number":
        return Number(name, kind, float(seen.low), float(seen.high), 0.0, 0.0, 0.0, 1.0, False, [], [], boolean, by)
    ends = (seen.edges, seen.knots) if setting == "mixed" else ([], [])
    return Number(name, kind, *seen.robust, seen.present < len(table), *ends, boolean, by)


def _fit_category(table: Table, name: str, setting: str) -> Category | str:
    """A column of text as it is fitted, or why it is left out."""
    texts = columns.all_texts(table, name)
    if why := left_out.of_text(texts):
        return why
    for fewest in range(FEWEST_ROWS, 0, -1):
        values = sorted(text for text, count in texts.frequent if count >= fewest)
        if texts.distinct - len(values) <= FEW or _pooled_rows(texts, values) <= POOLED * texts.present:
            break
    frequent = {text for text, count in texts.frequent if count >= targets.FREQUENT}
    has_statistics = setting == "mixed" and texts.distinct - len(frequent) > targets.MANY and table.facts.classes
    values = sorted(values, key=lambda text: text not in frequent) if has_statistics else values
    column = Category(name, values, len(values) < texts.distinct, texts.missing > 0)
    if not has_statistics:
        return column
    code = table.values(_sql(column, table))
    counts = targets.counted(code, table.classes(), column.codes, len(table.facts.classes))
    return msgspec.structs.replace(column, counts=counts.tolist())


def _pooled_rows(texts: Texts, values: list[str]) -> int:
    own = set(values)
    return texts.present - sum(count for text, count in texts.frequent if text in own)
