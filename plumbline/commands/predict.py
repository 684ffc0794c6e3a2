"""Predict on new rows: the label and a probability for every class, from the model file alone.

Reads a table: a file of any kind in docs/sources.md, or a folder of Parquet files. It must have the model's columns, in
any order, and may have others. Writes a table with a line for each row, in the same order: `_row` (its number, from 0),
the columns to keep, `predicted`, `probability_...` for each class, and `warnings` (what in the row no training row
had). With --threshold the positive class of two is predicted from that probability on; metrics/thresholds.csv has the
precision and recall of each threshold.

    plumbline predict customers_new.csv --output scored.csv
    plumbline predict customers_new.csv --output scored.parquet --ensemble
    plumbline predict customers_new.csv --output scored.csv --threshold 0.3 --keep id,name
    plumbline predict folder --output scored_folder --keep all
    plumbline predict rows.csv --output scored.csv --model elsewhere/model.safetensors --network elsewhere/network.py
"""

import argparse
import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from plumbline.basics import files
from plumbline.basics.errors import UserError
from plumbline.basics.params import nearest
from plumbline.commands.classifier import Classifier
from plumbline.model.model import Card
from plumbline.sources import folder, source
from plumbline.tables import columns, duck, store, unseen
from plumbline.tables.store import ROW

FORMATS = {".csv": "FORMAT csv, HEADER", ".parquet": "FORMAT parquet, COMPRESSION uncompressed"}
EXAMPLES = 3  # new categories that are named
PREDICTED, WARNINGS = "predicted", "warnings"
FORMULA = "=+-@\t\r\n"  # spreadsheets run a cell of text that begins with one of these


def main(options: argparse.Namespace) -> None:
    given, output = Path(options.table), Path(options.output)
    check_output(output, given)
    used = Classifier(options.model, options.ensemble, options.network)
    card = used.model.card
    check_threshold(options.threshold, card)
    named, kept, counts = names(card.classes), [], Counter()

    def needed(there: list[str]) -> list[str]:  # the table's columns are known once it is opened
        kept[:] = to_keep(options.keep, there, [ROW, PREDICTED, *named, WARNINGS])
        return used.needed(there) + kept

    with files.together(), files.scratch(output.parent) as scratch:
        table = source.table(given, scratch, card.encoding.texts, needed, options.sheet)
        pieces = predictions(used, table, named, options.threshold, counts)
        with table.reading(), duck.collected(pieces) as collected:
            scored = store.counted(collected, len(table))
            if kept:
                scored += f" POSITIONAL JOIN (SELECT {', '.join(map(duck.name, kept))} FROM {table.relation})"
            scored = f"(SELECT * REPLACE (nullif({WARNINGS}::VARCHAR, '') AS {WARNINGS}) FROM {scored})"
            order = [ROW, *kept, PREDICTED, *named, WARNINGS]
            if output.suffix:
                with files.replacing(output) as partial:
                    write(scored, order, partial, output.suffix.lower(), options.raw)
            else:
                write_folder(scored, order, given, scratch, output)
        for (column, what), rows in counts.items():
            counted = "1 row" if rows == 1 else f"{rows} rows"
            examples = new_ones(card, column, table) if unseen.NEVER in what else ""
            print(f"{column}: {what} ({counted}{examples})")
    networks = f"the mean of {used.model.networks} networks" if options.ensemble else "network 0"
    decision = ""
    if options.threshold is not None:
        decision = f", {card.classes[card.positive_number]!r} from probability {options.threshold:g} on"
    print(f"{output}: {len(table)} rows, {card.target!r} by {networks}{decision}")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("table", help="a file of any kind in docs/sources.md, or a folder of .parquet files")
    parser.add_argument("--sheet", metavar="NAME", help="of an Excel file with several, or the table of a SQLite file")
    parser.add_argument("--output", required=True, help="the .csv or .parquet file to write; of a folder also a folder")
    parser.add_argument("--keep", help="columns of the table to carry over: names with commas between them, or all")
    parser.add_argument("--ensemble", action="store_true", help="the mean of all networks, not network 0 alone")
    parser.add_argument("--threshold", type=float, help="predict the positive class of two from this probability on")
    parser.add_argument("--raw", action="store_true", help="no apostrophe before text that a spreadsheet would run")
    parser.add_argument("--model", default="models/model.safetensors", help="the model file (%(default)s)")
    parser.add_argument("--network", help="the file that defines the model's network (stages/network.py if it is here)")


# ---- what is refused


def check_output(output: Path, table: Path) -> None:
    """Refuse an output of another kind, one that would overwrite the table, and a folder that is not empty."""
    if output.suffix.lower() not in FORMATS and (output.suffix or not table.is_dir()):
        raise UserError(f"--output {output} must end in .parquet or .csv, or be a folder's name where a folder is read")
    if output.resolve().is_relative_to(table.resolve()):
        raise UserError(f"--output {output} is, or is in, the table, and would overwrite it; choose another place")
    if not output.suffix and output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise UserError(f"--output {output} is there and is no empty folder; remove it, or choose another name")


def check_threshold(threshold: float | None, card: Card) -> None:
    """Refuse a threshold that is no probability, and any threshold for more than two classes."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise UserError(f"--threshold must be a probability, from 0 to 1, not {threshold:g}")
    if threshold is not None and len(card.classes) > 2:
        raise UserError(f"--threshold {threshold:g} is for two classes, and the model has {len(card.classes)}")


# ---- columns


def to_keep(keep: str | None, there: list[str], own: list[str]) -> list[str]:
    """The columns that --keep names, in its order; a name with a comma in it must be in double quotes.

    there: the table's columns. own: those that predict writes. UserError for a name that the table does not have, and
    for one that is also predict's own. DuckDB takes names that differ in case for the same.
    """
    named = there if keep == "all" else next(csv.reader([keep or ""], skipinitialspace=True), [])
    for name in named:
        if name not in there:
            raise UserError(f"the table has no column {name!r} to keep (--keep){nearest(name, there)}")
        if name.casefold() in map(str.casefold, own):
            raise UserError(f"column {name!r} cannot be kept, for predict writes one of that name; rename it")
    return list(dict.fromkeys(named))


def names(classes: list) -> list[str]:
    """A column name for each class, without spaces; an underscore is added to a name that was given already."""
    found = {}
    for label in classes:
        name = "probability_" + "_".join(str(label).split())
        while name.casefold() in found:
            name += "_"
        found[name.casefold()] = name
    return list(found.values())


def predictions(
    used: Classifier, table: store.Table, named: list[str], threshold: float | None, counts: Counter
) -> Iterator[dict[str, np.ndarray]]:
    """The columns to write, some rows at a time; rows with what training never saw are counted in `counts`."""
    classes, positive = np.array(used.model.card.classes), used.model.card.positive_number
    for piece in used.scored(table):
        answer = piece.predicted
        if threshold is not None:
            answer = np.where(piece.probability[:, positive] >= threshold, positive, 1 - positive)
        counts.update(piece.unseen)
        own = {ROW: piece.row, PREDICTED: classes[answer], WARNINGS: piece.warning}
        yield own | dict(zip(named, piece.probability.T))


def new_ones(card: Card, column: str, table: store.Table) -> str:
    """The most frequent of the categories that have no input of their own, as a text that begins with a colon."""
    (fitted,) = (each for each in card.encoding.columns if each.name == column)
    new = [repr(text) for text, _ in columns.all_texts(table, column).frequent if text not in fitted.values]
    return f": {', '.join(new[:EXAMPLES])}" if new else ""


# ---- files


def write(scored: str, order: list[str], path: Path, suffix: str, raw: bool) -> None:
    """Write the named columns of a DuckDB relation. raw: text that a spreadsheet would run stays as it is in a CSV."""
    kinds = duck.columns(scored)
    listed = [duck.name(name) if suffix != ".csv" or raw else _harmless(name, kinds[name]) for name in order]
    duck.run(f"COPY (SELECT {', '.join(listed)} FROM {scored}) TO {duck.text(path)} ({FORMATS[suffix]})")


def _harmless(name: str, kind: str) -> str:
    """SQL of a column with an apostrophe before each text, and before a name, that a spreadsheet would run."""
    column, shown = duck.name(name), duck.name(f"'{name}" if name[:1] in FORMULA else name)
    if columns.kind_of(kind) not in (None, "category"):
        return f"{column} AS {shown}"
    cell = f"{column}::VARCHAR"
    return f"CASE WHEN left({cell}, 1) IN ({duck.texts(FORMULA)}) THEN '''' || {cell} ELSE {cell} END AS {shown}"


def write_folder(scored: str, order: list[str], given: Path, scratch: Path, output: Path) -> None:
    """Write a Parquet file for each file of a folder, under the same name; they appear together."""
    made, start = scratch / "scored", 0
    duck.run(f"CREATE OR REPLACE TEMP TABLE _scored AS FROM {scored}")  # each file's rows are looked up in it
    for path in folder.files(given):
        rows = duck.rows(f"SELECT num_rows FROM parquet_file_metadata({duck.text(duck.literal(path))})")[0][0]
        place = made / path.relative_to(given)
        place.parent.mkdir(parents=True, exist_ok=True)
        some = f"(FROM _scored WHERE {ROW} BETWEEN {start} AND {start + rows - 1})"
        write(f"(FROM {store.counted(some, rows)})", order, place, ".parquet", True)
        start += rows
    duck.run("DROP TABLE _scored")
    made.replace(output)
