"""What a Parquet file's columns were in Arrow, where Parquet has no word for it: categories, durations.

Arrow's writers (pyarrow, pandas, Polars) leave their schema in the file's metadata: a FlatBuffers message in base64.
Only the few bytes that are asked for are looked at, so nothing of Arrow is imported.
https://arrow.apache.org/docs/format/Columnar.html and https://flatbuffers.dev/internals
"""

import base64
import struct
from pathlib import Path

from plumbline.sources.rows import literal
from plumbline.tables import duck

DURATION = 18  # in the union Type of Arrow's Schema.fbs
PER_SECOND = (1, 1_000, 1_000_000, 1_000_000_000)  # SECOND, MILLISECOND, MICROSECOND, NANOSECOND
CATEGORY = "category"


def declared(paths: list[Path]) -> dict[str, str | int]:
    """Of the columns that all files say it of: CATEGORY, or of a duration its units in a second."""
    files = f"[{duck.texts(map(literal, paths))}]"
    found = duck.rows(
        f"SELECT value, count(*) FROM parquet_kv_metadata({files}) WHERE decode(key) = 'ARROW:schema' GROUP BY value"
    )
    if sum(count for _, count in found) < len(paths):
        return {}
    first, *others = (_columns(base64.b64decode(text)) for text, _ in found)
    return {name: what for name, what in first.items() if all(other.get(name) == what for other in others)}


def _columns(message: bytes) -> dict[str, str | int]:
    start = 8 if message[:4] == b"\xff\xff\xff\xff" else 4  # a mark and the length; old writers have the length alone
    buffer = message[start:]
    schema = _field(buffer, _offset(buffer, 0), 2)
    fields = _field(buffer, schema, 1)
    columns = {}
    for i in range(_unsigned(buffer, fields)):
        column = _offset(buffer, fields + 4 + 4 * i)
        name = _field(buffer, column, 0)
        text = buffer[name + 4 : name + 4 + _unsigned(buffer, name)].decode()
        kind = _place(buffer, column, 2)
        if _place(buffer, column, 4):
            columns[text] = CATEGORY
        elif kind and buffer[kind] == DURATION:
            unit = _place(buffer, _field(buffer, column, 3), 0)
            columns[text] = PER_SECOND[struct.unpack_from("<h", buffer, unit)[0] if unit else 1]
    return columns


def _unsigned(buffer: bytes, place: int) -> int:
    return struct.unpack_from("<I", buffer, place)[0]


def _offset(buffer: bytes, place: int) -> int:
    """Where an offset leads to: it counts from where it stands."""
    return place + _unsigned(buffer, place)


def _place(buffer: bytes, table: int, number: int) -> int:
    """Where a table's field stands, 0 if it is left at its default."""
    sizes = table - struct.unpack_from("<i", buffer, table)[0]
    if 4 + 2 * number >= struct.unpack_from("<H", buffer, sizes)[0]:
        return 0
    place = struct.unpack_from("<H", buffer, sizes + 4 + 2 * number)[0]
    return table + place if place else 0


def _field(buffer: bytes, table: int, number: int) -> int:
    """Where what a table's field refers to begins."""
    return _offset(buffer, _place(buffer, table, number))
