"""CSV files: .csv and .csv.gz, cells separated by commas, semicolons or tabs.

DuckDB reads every cell as text, strictly: no row is skipped, no cell is filled in. The types of columns are told by
plumbline.sources.cells, at first from the first rows alone. If a cell further down is of another kind, the reading
stops, all rows are looked at, and it starts anew. So a column's type depends on all of its cells, and most files are
still read only once.

If there is more around the table than a header, its plain rows are written to a new file first: see
plumbline.sources.frames.
"""

import csv
import itertools
from pathlib import Path

from plumbline.basics.errors import UserError
from plumbline.sources import cells, frames
from plumbline.sources.frames import Frame
from plumbline.sources.rows import STAGED, Keep, Rows, check_names, of_files, unreadable
from plumbline.sources.text import PIECE, Text, unpacked
from plumbline.tables import duck

SAMPLE = 2**16  # cells of the first rows, from which columns' types are first told
NEVER = "\x01 stands in no cell \x01"  # DuckDB's word for missing; by default it accepts an empty cell too many


def read(path: Path, folder: Path, keep: Keep, texts: set[str]) -> Rows:
    """The rows of a CSV, written as a Parquet file into `folder`.

    texts: columns that stay the text that stands there.
    """
    return of_text(frames.found(Text(unpacked(path, folder), path)), folder, keep, texts)


def of_text(frame: Frame, folder: Path, keep: Keep, texts: set[str]) -> Rows:
    """As `read`, of a file whose frame is known."""
    path, names, separator = frame.text.path, frame.names, frame.separator
    check_names(names, path)
    kept = set(keep(names))
    columns = {f"c{i}": name for i, name in enumerate(names) if name in kept}
    plain = duck.text(duck.literal(_plain(frame, folder)))

    # All columns are text, and each option is set: DuckDB is to guess nothing
    staged, types = folder / "staged.parquet", {f"c{i}": "VARCHAR" for i in range(len(names))}
    relation = (
        f"read_csv({plain}, auto_detect = false, strict_mode = true, columns = {types}, "
        f"header = {frame.is_plain and frame.skipped > 0}, delim = {duck.text(separator)}, quote = '\"', "
        f"escape = '\"', comment = '', nullstr = {duck.text(NEVER)})"
    )
    as_text = {column: cells.TEXT for column, name in columns.items() if name in texts}
    try:
        kinds = cells.kinds(relation, columns, separator != ",", SAMPLE // len(columns) + 1) | as_text
        try:
            duck.copy(cells.query(relation, columns, kinds), staged, STAGED, "")
        except duck.Error:  # a cell of another kind, or a bad line
            kinds = cells.kinds(relation, columns, separator != ",") | as_text
            duck.copy(cells.query(relation, columns, kinds), staged, STAGED, "")
    except duck.Error as error:
        _check_rows(frame)
        raise unreadable(path, error) from None

    def places(numbers: list[int]) -> list[str]:
        """The lines of rows. The numbers are from 0, in ascending order."""
        wanted, rows = set(numbers), enumerate(frame.rows())
        found = (line for i, line in rows if i in wanted)
        return [f"{frame.text.word} {line.number}" for line in itertools.islice(found, len(wanted))]

    has_point = separator == "," or any(kind & cells.REAL for kind in kinds.values())
    return of_files([staged])._replace(file=staged, places=places, has_point=has_point)


def _plain(frame: Frame, folder: Path) -> Path:
    """The file for DuckDB to read: the text file itself, or a copy in `folder` of the table's rows alone."""
    if frame.is_plain:
        return frame.text.file
    plain = folder / "framed.csv"
    with plain.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=frame.separator, lineterminator="\n")
        writer.writerows(line.cells for line in frame.rows())
    return plain


def _check_rows(frame: Frame) -> None:
    """Look for what is wrong with a file, to name its line: a byte, a quote, the number of cells, mixed line ends."""
    frame.text.check()
    for _ in frame.rows():
        pass
    with frame.text.opened() as file:
        for _ in iter(lambda: file.read(PIECE), ""):
            pass
        if isinstance(file.newlines, tuple):
            ends = " and ".join(map(repr, file.newlines))
            raise UserError(f"{frame.text.path} has lines that end in {ends}; save it anew with line ends of one kind")
