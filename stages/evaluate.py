"""Fourth stage: score validation and test rows, and say how much of every figure is luck.

Reads the model, its weights after each epoch and the two parts; writes metrics/predictions.parquet (the probabilities
that every network gives to every row), metrics/evaluate.json and the points of the plots under metrics/plots/.

    python -m stages.evaluate
"""

import math

import numpy as np
import pyarrow as pa

from stages import curves, encoding, files, kernel, model, params, resources, scores, table
from stages.errors import UserError, run
from stages.table import ROW

PROBABILITIES = 2**24  # most probabilities of all epochs held at once (64 MiB an output)


def main() -> None:
    settings = params.read()
    saved, after = model.load("models/model.safetensors"), model.load("models/epochs.safetensors")
    if (saved.sizes, saved.card) != (after.sizes, after.card):
        raise UserError("models/model.safetensors and models/epochs.safetensors are of two trainings; run `dvc repro`")
    epochs = after.weights
    card, batch_size = saved.card, settings.evaluate.batch_size
    parts = {}
    for part in ("validation", "test"):
        parts[part], facts = table.stored(f"data/{part}.parquet")
        if facts.classes != card.classes:
            raise UserError(f"data/{part}.parquet and the model have different classes; run `dvc repro`")
    n, (networks, k) = len(parts["test"]), saved.weights["net.2.bias"].shape
    rows, row = sum(map(len, parts.values())), 4 * networks * k
    resources.check_memory("evaluate", (row + 56 * networks + 140 * k) * n, "train.replicas or the test part's rows")
    resources.check_disk("evaluate", (row + 20) * rows, "metrics", "train.replicas or the table's rows")
    probability, target = np.empty((networks, n, k), np.float32), np.empty(n, np.int32)
    by_epoch = 0.0
    with files.together(), table.writing("metrics/predictions.parquet", facts) as writer:
        for part, rows in parts.items():
            first = 0
            for group in rows.groups():
                x, here = encoding.encode(card.encoding, group, first), slice(first, first + len(group))
                scored = score(x, saved.weights, batch_size)
                writer.write(predictions(group, part, scored, card.target))
                if part == "test":
                    probability[:, here], target[here] = scored, table.targets(group, facts)
                    by_epoch += epoch_figures(x, target[here], epochs, batch_size) / n
                first += len(group)
        writer.finish()
        figures = metrics(probability, target, card.train_counts)
        files.write_json(files.six_digits(figures), "metrics/evaluate.json")
        write_plots(by_epoch, probability[0], target, card.classes)
    print(f"{n} test rows: accuracy {figures['accuracy']:.3f}, log loss {figures['log_loss']:.4f}")


def score(x: np.ndarray, weights: dict[str, np.ndarray], batch_size: int) -> np.ndarray:
    """Probabilities from every network, `batch_size` rows at a time: float32 (R, n, k)."""
    batches = [kernel.probabilities(x[start : start + batch_size], weights) for start in range(0, len(x), batch_size)]
    return np.concatenate(batches or [kernel.probabilities(x, weights)], axis=1)


def predictions(rows: pa.Table, part: str, probability: np.ndarray, target: str) -> pa.Table:
    """A line per row: its number, part, label, and R x k probabilities, network by network."""
    networks, n, k = probability.shape
    flat = pa.array(probability.transpose(1, 0, 2).ravel())
    columns = {
        ROW: rows.column(ROW),
        "part": pa.repeat(part, n),
        "target": rows.column(target),
        "probability": pa.FixedSizeListArray.from_arrays(flat, networks * k),
    }
    return pa.table(columns)


def epoch_figures(x: np.ndarray, target: np.ndarray, epochs: dict[str, np.ndarray], batch_size: int) -> np.ndarray:
    """Sums over rows of log loss and right answers, as network 0 was after each epoch: (epochs, 2)."""
    sums = np.empty((len(epochs["net.0.bias"]), 2))
    together = max(PROBABILITIES // max(len(x), 1), 1)
    for first in range(0, len(sums), together):
        some = {name: array[first : first + together] for name, array in epochs.items()}
        for i, p in enumerate(score(x, some, batch_size), start=first):
            sums[i] = scores.log_losses(p, target).sum(), (scores.predicted(p) == target).sum()
    return sums


def metrics(probability: np.ndarray, target: np.ndarray, train_counts: list[int]) -> dict:
    """Figures of network 0, of always answering the training shares, and of all networks: of their mean probability
    (the ensemble), and the mean of their figures with its interval (replicas).

    probability: float32 (R, n, k); target: class numbers (n,). A metric that is not defined is left out.
    """
    phi = [scores.contributions(network, target) for network in probability]
    together = scores.contributions(scores.ensemble(probability), target) if len(phi) > 1 else phi[0]
    replicas = {}
    for name in phi[0]:
        figures = scores.interval(np.stack([network[name] for network in phi]))
        if name in scores.LOSSES:
            figures = -figures[0], -figures[2], -figures[1]
        bounds = scores.RANGES.get(name, (0.0, 1.0))
        named = zip(("mean", "low", "high"), figures)
        replicas[name] = {end: float(np.clip(value, *bounds)) for end, value in named if math.isfinite(value)}
    network_0, ensemble = (
        {name: abs(float(values.mean())) for name, values in each.items()} for each in (phi[0], together)
    )
    shares = np.array(train_counts) / sum(train_counts)
    always = np.tile(shares[1:] if len(shares) == 2 else shares, (len(target), 1))
    baseline = {
        "accuracy": float((scores.predicted(always) == target).mean()),
        "log_loss": float(scores.log_losses(always, target).mean()),
    }
    return network_0 | {"rows": len(target), "baseline": baseline, "ensemble": ensemble, "replicas": replicas}


def write_plots(by_epoch: np.ndarray, probability: np.ndarray, target: np.ndarray, classes: list) -> None:
    """Network 0's test columns by epoch, its curves and its confusion matrix, as CSV for `dvc plots`."""
    plots = "metrics/plots"
    rows = [(epoch, *figures) for epoch, figures in enumerate(by_epoch.tolist(), start=1)]
    files.write_csv(("epoch", "test_loss", "test_accuracy"), rows, f"{plots}/test_epochs.csv")
    decided = curves.decisions(probability, target)
    counted = curves.counts(*decided)
    files.write_csv(("false_positive_rate", "true_positive_rate"), curves.roc(*counted), f"{plots}/roc.csv")
    files.write_csv(("recall", "precision"), curves.precision_recall(*counted), f"{plots}/precision_recall.csv")
    columns = ("mean_probability", "share_of_positives", "rows")
    files.write_csv(columns, curves.calibration(*decided), f"{plots}/calibration.csv")
    counts = curves.confusion(scores.predicted(probability), target, len(classes))
    cells = [(classes[a], classes[p], int(counts[a, p])) for a in range(len(classes)) for p in range(len(classes))]
    files.write_csv(("actual", "predicted", "rows"), cells, f"{plots}/confusion.csv")


if __name__ == "__main__":
    run(main)
