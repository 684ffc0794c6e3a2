"""Predict on new rows: the label and a probability for every class, from the model file alone.

Reads a table (.csv, .csv.gz, .parquet or a folder of Parquet files) that has the model's feature columns, in any order,
with or without others; writes a table with a line per row, in the same order: `_row` (its number, from 0), `predicted`,
and `probability of ...` for each class. Says what the new rows have that the training rows had not. With a threshold
the positive class of two is predicted from that probability on; metrics/thresholds.csv says what each would bring.

    plumbline predict customers_new.csv --output scored.csv
    plumbline predict customers_new.csv --output scored.parquet --ensemble
    plumbline predict customers_new.csv --output scored.csv --threshold 0.3
    plumbline predict rows.csv --output scored.csv --model elsewhere/model.safetensors --network elsewhere/network.py
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from plumbline.basics import files
from plumbline.basics.errors import UserError
from plumbline.model import model
from plumbline.scores import metrics
from plumbline.sources import source
from plumbline.tables import duck, encoding, store
from plumbline.tables.encoding import Category

FORMATS = {".csv": "FORMAT csv, HEADER", ".parquet": "FORMAT parquet, COMPRESSION uncompressed"}
VALUES = 2**22  # numbers of encoded rows, or probabilities of all networks, at a time


def main(words: list[str] | None = None) -> None:
    options = arguments(words)
    output = Path(options.output)
    check_output(output, Path(options.table))
    saved = model.load(options.model, options.network)
    check_threshold(options.threshold, saved.card)
    used = saved if options.ensemble else saved.first()
    texts = [column.name for column in saved.card.encoding.columns if isinstance(column, Category)]
    with files.scratch(output.parent) as folder:
        table = source.table(options.table, folder, texts)
        for line in encoding.unseen(saved.card.encoding, table):
            print(line)
        with duck.collected(predictions(used, table, options.threshold)) as scored, files.replacing(output) as partial:
            duck.run(f"COPY {scored} TO {duck.text(partial)} ({FORMATS[output.suffix.lower()]})")
    networks = f"the mean of {used.networks} networks" if options.ensemble else "network 0"
    positive = saved.card.classes[saved.card.positive_number]
    answered = "" if options.threshold is None else f", {positive!r} from probability {options.threshold:g} on"
    print(f"{output}: {len(table)} rows, {saved.card.target!r} by {networks}{answered}")


def arguments(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        "plumbline predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", help="a .csv, .csv.gz or .parquet file, or a folder of .parquet files")
    parser.add_argument("--output", required=True, help="the .csv or .parquet file to write")
    parser.add_argument("--ensemble", action="store_true", help="the mean of all networks, not network 0 alone")
    parser.add_argument("--threshold", type=float, help="predict the positive class of two from this probability on")
    parser.add_argument("--model", default="models/model.safetensors", help="the model file (%(default)s)")
    parser.add_argument("--network", help="the file that defines the model's network (stages/network.py if it is here)")
    return parser.parse_args(words)


def check_output(output: Path, table: Path) -> None:
    """Refuse a file of another kind, and one that would overwrite what is read."""
    if output.suffix.lower() not in FORMATS:
        raise UserError(f"--output {output} must end in .parquet or .csv")
    if output.resolve() == table.resolve():
        raise UserError(f"--output {output} is the table to predict on, and would overwrite it; choose another name")
    if table.is_dir() and output.resolve().is_relative_to(table.resolve()):
        raise UserError(f"--output {output} is in {table}, which is read as one table; choose another place")


def check_threshold(threshold: float | None, card: model.Card) -> None:
    """Refuse a threshold that is no probability, or where no class is the positive one."""
    if threshold is None:
        return
    if not 0 <= threshold <= 1:
        raise UserError(f"--threshold must be a probability, from 0 to 1, not {threshold:g}")
    if len(card.classes) > 2:
        raise UserError(
            f"--threshold {threshold:g} is for two classes, and the model has {len(card.classes)}; leave it away, "
            "and the most probable class is predicted"
        )


def predictions(used: model.Model, table: store.Table, threshold: float | None) -> Iterator[dict[str, np.ndarray]]:
    """Row numbers, labels and the mean probabilities of the networks, piece by piece."""
    k, values = used.card.sizes[2], len(used.card.encoding.layout)
    classes, start = np.array(used.card.classes), 0
    for x in encoding.pieces(used.card.encoding, table, max(VALUES // max(values, used.networks * k), 1)):
        mean = metrics.ensemble(used.probabilities(x))  # (n, k)
        row = np.arange(start, start + len(x))
        check_finite(mean, row)
        probability, answer = metrics.by_class(mean), metrics.predicted(mean)  # (n, classes), (n,)
        if threshold is not None:
            positive = used.card.positive_number
            answer = np.where(probability[:, positive] >= threshold, positive, 1 - positive)
        named = {f"probability of {label}": p for label, p in zip(classes, probability.T)}
        yield {store.ROW: row, "predicted": classes[answer]} | named
        start += len(x)


def check_finite(probability: np.ndarray, row: np.ndarray) -> None:
    """Refuse rows whose values, or weights, leave what float32 can hold."""
    bad = row[~np.isfinite(probability).all(axis=1)]
    if len(bad):
        raise UserError(
            f"row {bad[0]}: it gets no finite probability ({len(bad)} such rows here), for its values or the "
            "weights leave what float32 can hold; mend the row, or train with train.encoding robust"
        )
