"""Predict on new rows: the label and a probability for every class, from the model file alone.

Reads a table (.csv, .csv.gz, .parquet or a folder of Parquet files) that has the model's feature columns, in any order,
with or without others; writes a table with a line per row, in the same order: `_row` (its number, from 0), `predicted`,
and `probability of ...` for each class. Says what the new rows have that the training rows had not.

    python -m stages.predict customers_new.csv --output scored.csv [--ensemble]
"""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages import encoding, files, kernel, model, resources, scores, sources, spill, table
from stages.encoding import Category
from stages.errors import UserError, run
from stages.table import ROW

PROBABILITIES = 2**21  # of all networks at a time (8 MiB), so that those of a large table need no memory of their own


def main() -> None:
    arguments = parse()
    output = Path(arguments.output)
    if output.suffix.lower() not in (".parquet", ".csv"):
        raise UserError(f"--output {output} must end in .parquet or .csv")
    if output.exists() and Path(arguments.table).exists() and output.samefile(arguments.table):
        raise UserError(f"--output {output} is the table to predict on, and would overwrite it; choose another name")
    if Path(arguments.table).is_dir() and output.resolve().is_relative_to(Path(arguments.table).resolve()):
        raise UserError(f"--output {output} is in {arguments.table}, which is read as one table; choose another place")
    spill.beside(output.parent)
    saved = model.load(arguments.model)
    card = saved.card
    texts = [column.name for column in card.encoding.columns if isinstance(column, Category)]
    rows = sources.read(arguments.table, texts)
    for line in encoding.unseen(card.encoding, rows):
        print(line)
    weights = saved.weights if arguments.ensemble else {name: array[:1] for name, array in saved.weights.items()}
    with writing(output) as write:
        first = 0
        row = 8 * (len(card.classes) + 2) * 3 + 4 * card.encoding.width
        least = spill.LEAST * row + (rows.least if isinstance(rows, table.Stored) else 0)
        resources.check_piece("predict", least, f"{spill.LEAST} rows of {card.encoding.width} inputs")
        for group in table.groups(rows, spill.rows_at_a_time(row, table.ROWS)):
            x = encoding.encode(card.encoding, group, first)
            write(predictions(probabilities(x, weights), card.classes, first))
            first += len(x)
    networks = f"the mean of {len(weights['net.0.bias'])} networks" if arguments.ensemble else "network 0"
    print(f"{output}: {len(rows)} rows, {card.target!r} by {networks}")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m stages.predict", description=__doc__.splitlines()[0])
    parser.add_argument("table", help="a .csv, .csv.gz or .parquet file, or a folder of .parquet files")
    parser.add_argument("--output", required=True, help="the .csv or .parquet file to write")
    parser.add_argument("--ensemble", action="store_true", help="the mean of all networks, not network 0 alone")
    parser.add_argument("--model", default="models/model.safetensors", help="the model file (%(default)s)")
    return parser.parse_args()


def probabilities(x: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """The mean probability of the networks, one column a class: float64 (n, classes)."""
    rows = max(PROBABILITIES // weights["net.2.bias"].size, 1)
    starts = range(0, max(len(x), 1), rows)
    batches = [scores.ensemble(kernel.probabilities(x[i : i + rows], weights)) for i in starts]
    return scores.by_class(np.concatenate(batches))


def predictions(probability: np.ndarray, classes: list, first: int) -> pa.Table:
    """Row number, from `first` on, label and probabilities, (n, classes), as a table."""
    k = probability.shape[1]
    answer = scores.predicted(probability[:, 1:] if k == 2 else probability)
    columns = {ROW: np.arange(first, first + len(answer)), "predicted": pa.array(classes).take(pa.array(answer))}
    columns |= {f"probability of {label}": probability[:, c] for c, label in enumerate(classes)}
    return pa.table(columns)


@contextlib.contextmanager
def writing(output: Path) -> Iterator[Callable[[pa.Table], None]]:
    """A way to write tables to one file, CSV or Parquet by its name, that is there whole or not at all."""
    if output.suffix.lower() == ".parquet":
        with table.writing(output) as writer:
            yield writer.write
            writer.finish()
        return
    from pyarrow import csv

    with files.replacing(output) as partial, contextlib.ExitStack() as stack:
        writer = None

        def write(scored: pa.Table) -> None:
            nonlocal writer
            if writer is None:
                options = csv.WriteOptions(quoting_style="needed")
                writer = stack.enter_context(csv.CSVWriter(partial, scored.schema, write_options=options))
            writer.write_table(scored)

        yield write


if __name__ == "__main__":
    run(main)
