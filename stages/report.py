"""What `make` prints at the end: the notebook's epoch table, the final figures, and where to look next.

Reads params.yaml and what the stages wrote under metrics/; writes nothing.

    python -m stages.report
"""

import json
from pathlib import Path

from stages import params
from stages.errors import UserError, run
from stages.files import read_csv


def main() -> None:
    settings = params.read()
    train, test = (read_json(f"metrics/{name}.json") for name in ("train", "evaluate"))
    curves = "metrics/history.csv", "metrics/plots/test_epochs.csv"
    history, test_epochs = (read_csv(content(path), path) for path in curves)
    test_batches = -(-test["rows"] // settings.evaluate.batch_size)
    print(f"\n{train['rows']} training rows in {train['batches']} batches, {test['rows']} test rows in {test_batches}")
    if "positive_rate" in train:
        print(f"Positive class rate: {train['positive_rate']}")
    print(f"Trainable parameters: {train['parameters']}\n")
    print(epoch_table(history, test_epochs))
    print(f"\nFinal train accuracy {train['accuracy']:.3f}, final test accuracy {test['accuracy']:.3f}", end=" ")
    print(f"(always answering the training shares: {test['baseline']['accuracy']:.3f})")
    if "epoch" in train:
        each = "each member at its" if settings.train.members > 1 else "that of the"
        print(f"Kept: epoch {train['epoch']} of {len(history)}, {each} lowest validation loss")
    networks = test["replicas"]["accuracy"]
    if "low" in networks:
        print(f"Mean test accuracy of {settings.train.replicas} networks {networks['mean']:.3f}", end=", ")
        print(f"about 95 % between {networks['low']:.3f} and {networks['high']:.3f} ({test['rows']} rows)")
    print("\nNext: dvc metrics show | dvc plots show | dvc exp run -S train.hidden_size=64 | README.md")


def epoch_table(history: list[dict], test_epochs: list[dict]) -> str:
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
    return "\n".join(lines)


def read_json(path: str) -> dict:
    try:
        return json.loads(content(path))
    except ValueError as error:
        raise UserError(f"{path} is not as the stages write it ({error}); run `dvc repro`") from None


def content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is not there; `dvc repro` makes it, `git restore metrics` brings it back") from None


if __name__ == "__main__":
    run(main)
