"""The target as labels: whole numbers, booleans or text as it was written; and what can be no classes, refused."""

import math
import sys
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from stages import columns, folder
from stages.errors import UserError

MOST_CLASSES = 100
FEWEST_ROWS = 2  # of a class: one to train on and one to test on


def kind_of(pieces: Iterator[pa.ChunkedArray], kind: pa.DataType, source: str, target: str) -> pa.DataType:
    """Numbers and booleans stay what they are; all else is text, or whole numbers if all of it reads so."""
    if columns.kind_of(kind) is None:
        raise UserError(f"{source}: the target {target!r} holds {kind}, which is no label; choose another column")
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return kind
    texts = (text for piece in pieces for text in set(columns.texts_of(piece)) - {None})
    whole = all(folder.WHOLE.fullmatch(text) for text in texts)  # but 01 is a label of its own
    return pa.int64() if whole else pa.string()


def of(column: pa.ChunkedArray, kind: pa.DataType, source: str, target: str) -> pa.ChunkedArray:
    """A piece of the target as labels of that kind, null where they are missing."""
    if pa.types.is_float16(column.type):
        column = column.cast(kind)
    if column.type != kind or pa.types.is_string(kind):
        try:
            column = pa.chunked_array([pa.array(columns.texts_of(column), pa.string())]).cast(kind)
        except pa.ArrowInvalid as error:
            raise UserError(
                f"{source}: the target {target!r} is whole numbers at first, and later is not ({error}); "
                f"yield labels of one kind"
            ) from None
    elif pa.types.is_floating(kind):
        column = pc.add(column, pa.scalar(0.0, kind))  # -0.0 and 0.0 are one label
    return pc.if_else(pc.is_null(column, nan_is_null=True), None, column)


def check(counts: Counter, source: str, target: str) -> None:
    """Refuse labels, by how often each comes, that are no classes."""
    n = counts.total()
    if not 2 <= len(counts) <= MOST_CLASSES or (len(counts) == n and n > 2):
        measure = len(counts) > 2 and all(columns.is_number(str(label)) for label in counts)
        thing = "a measure; cut it into classes, or choose" if measure else "not classes; choose"
        raise UserError(
            f"{source}: the target {target!r} has {len(counts)} different values in {n} rows, and 2 to {MOST_CLASSES} "
            f"that come more than once can be classes; this is {thing} another make_data.target"
        )
    if any(isinstance(label, float) and math.isinf(label) for label in counts):
        raise UserError(f"{source}: the target {target!r} is infinite in some rows, which is no label; mend them")
    rare = [label for label in counts if counts[label] < FEWEST_ROWS]
    if rare:
        raise UserError(
            f"{source}: class {rare[0]!r} of the target {target!r} has {counts[rare[0]]} row, too few to train on and "
            f"test on; drop it or join it to another"
        )
    warn_of_likenesses(counts, source, target)


def warn_of_likenesses(counts: dict, source: str, target: str) -> None:
    """One line on stderr when labels differ in case or in spaces around them alone: often one class was meant."""
    alike = {}
    for label in counts:
        if isinstance(label, str):
            alike.setdefault(label.strip().casefold(), []).append(label)
    pairs = [" and ".join(map(repr, sorted(labels))) for labels in alike.values() if len(labels) > 1]
    if pairs:
        listed = ", ".join(f"{label!r} ({counts[label]} rows)" for label in sorted(counts))
        print(
            f"warning: {source}: labels of {target!r} differ only in case or spaces: {'; '.join(pairs)}; "
            f"they are kept apart; the classes are {listed}",
            file=sys.stderr,
        )
