"""What `make` prints at the end: the notebook's epoch table, the final figures, and where to look next.

Reads params.yaml and what the stages wrote under metrics/; writes nothing.

    plumbline report
"""

import argparse

from plumbline.basics import params
from plumbline.basics.files import content, read_csv, read_json
from plumbline.bits.initial import outputs_for
from plumbline.comparing import revisions
from plumbline.tables.store import PLACE, Table

FIRST = 10  # test rows that the notebook shows


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "plumbline report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(words)
    settings = params.read()
    train, test = (read_json(f"metrics/{name}.json") for name in ("train", "evaluate"))
    curves = "metrics/history.csv", "metrics/plots/test_epochs.csv"
    history, test_epochs = (read_csv(content(path), path) for path in curves)
    lines = [*figures(settings, train, test, history, test_epochs), "", *first_rows(revisions.predictions())]
    print("\n".join(["", *lines, ""]))
    print("Next: dvc metrics show | dvc plots show | dvc exp run -S train.hidden_size=64 | README.md")


def figures(
    settings: params.Params, train: dict, test: dict, history: list[dict], test_epochs: list[dict]
) -> list[str]:
    """The figures that the notebook prints, in its order."""
    test_batches = -(-test["rows"] // settings.evaluate.batch_size)
    lines = [
        f"{train['rows']} training rows in {train['batches']} batches, {test['rows']} test rows in {test_batches}",
        *([f"Positive class rate: {train['positive_rate']}"] if "positive_rate" in train else []),
        f"Trainable parameters: {train['parameters']}",
        "",
        *epoch_table(history, test_epochs),
        "",
        f"Final train accuracy {train['accuracy']:.3f}, final test accuracy {test['accuracy']:.3f} "
        f"(always answering the training shares: {test['baseline']['accuracy']:.3f})",
    ]
    if "epoch" in train:
        each = "each member at its" if settings.train.members > 1 else "that of the"
        lines.append(f"Kept: epoch {train['epoch']} of {len(history)}, {each} lowest validation loss")
    networks = test["replicas"]["accuracy"]
    if "low" in networks:
        lines.append(
            f"Mean test accuracy of {settings.train.replicas} networks {networks['mean']:.3f}, "
            f"about 95 % between {networks['low']:.3f} and {networks['high']:.3f} ({test['rows']} rows)"
        )
    return lines


def epoch_table(history: list[dict], test_epochs: list[dict]) -> list[str]:
    """Training and test columns side by side: the first epoch, every fifth, and the last; about twenty of many."""
    every = max(5, len(history) // 100 * 5)
    columns = [("epoch", 0), ("train_loss", 4), ("train_accuracy", 3)]
    if "validation_loss" in history[0]:
        columns += [("validation_loss", 4), ("validation_accuracy", 3)]
    columns += [("test_loss", 4), ("test_accuracy", 3)]
    lines = ["  ".join(name.replace("_", " ") for name, _ in columns)]
    for left, right in zip(history, test_epochs):
        epoch = int(left["epoch"])
        if epoch == 1 or epoch % every == 0 or epoch == len(history):
            row = left | right
            lines.append("  ".join(f"{row[name]:>{len(name)}.{decimals}f}" for name, decimals in columns))
    return lines


def first_rows(table: Table) -> list[str]:
    """The notebook's last lines: network 0's probabilities for the first test rows, as split drew them, and labels."""
    classes = table.facts.classes
    rows = table.rows(
        f"SELECT target, probability[1:{outputs_for(len(classes))}] FROM {table.numbered} "
        f"WHERE part = 'test' ORDER BY {PLACE} LIMIT {FIRST}"
    )
    labels = [str(label) for label, _ in rows]
    if len(classes) == 2:
        probabilities = [f"{given[0]:.4e}" for _, given in rows]
        what = f"probabilities of {classes[1]}"
    else:
        probabilities = [f"{max(given):.4e} {classes[given.index(max(given))]}" for _, given in rows]
        what = "probabilities, of the most probable class"
    return [
        f"First {len(rows)} predicted {what}:",
        f"  {', '.join(probabilities)}",
        f"First {len(rows)} true labels:",
        f"  {', '.join(labels)}",
    ]
