"""Fourth stage: score validation and test rows, and say how much of every figure is luck.

Reads the model, its weights after each epoch and the two parts; writes metrics/predictions.parquet (the probabilities
that every network gives to every row), metrics/evaluate.json and the points of the plots under metrics/plots/.

    python -m stages.evaluate
"""

import math

import numpy as np
import pyarrow as pa

from stages import curves, encoding, files, kernel, model, params, scores, table
from stages.errors import UserError, run
from stages.table import ROW


def main() -> None:
    settings = params.read()
    saved = model.load("models/model.safetensors")
    card = saved.card
    parts = {}
    for part in ("validation", "test"):
        rows, facts = table.read(f"data/{part}.parquet")
        if facts.classes != card.classes:
            raise UserError(f"data/{part}.parquet and the model have different classes; run `dvc repro`")
        parts[part] = rows, encoding.encode(card.encoding, rows), table.targets(rows, facts)
    scored = {part: score(x, saved.weights, settings.evaluate.batch_size) for part, (_, x, _) in parts.items()}
    epochs = model.load("models/epochs.safetensors").weights
    _, x, target = parts["test"]
    by_epoch = score(x, epochs, settings.evaluate.batch_size)
    figures = metrics(scored["test"], target, card.train_counts)

    table.write(predictions(parts, scored, card.target), "metrics/predictions.parquet", facts)
    files.write_json(files.six_digits(figures), "metrics/evaluate.json")
    write_plots(by_epoch, scored["test"][0], target, card.classes)
    print(f"{len(target)} test rows: accuracy {figures['accuracy']:.3f}, log loss {figures['log_loss']:.4f}")


def score(x: np.ndarray, weights: dict[str, np.ndarray], batch_size: int) -> np.ndarray:
    """Probabilities from every network, `batch_size` rows at a time: float32 (R, n, k)."""
    batches = [kernel.probabilities(x[start : start + batch_size], weights) for start in range(0, len(x), batch_size)]
    return np.concatenate(batches or [kernel.probabilities(x, weights)], axis=1)


def predictions(parts: dict, scored: dict[str, np.ndarray], target: str) -> pa.Table:
    """A line per validation and test row: its number, part, label, and R x k probabilities, network by network."""
    tables = []
    for part, (rows, _, _) in parts.items():
        networks, n, k = scored[part].shape
        flat = pa.array(scored[part].transpose(1, 0, 2).ravel())
        columns = {
            ROW: rows.column(ROW),
            "part": pa.array([part] * n, pa.string()),
            "target": rows.column(target),
            "probability": pa.FixedSizeListArray.from_arrays(flat, networks * k),
        }
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def metrics(probability: np.ndarray, target: np.ndarray, train_counts: list[int]) -> dict:
    """Figures of network 0, of always answering the training shares, and of all networks: of their mean probability
    (the ensemble), and the mean of their figures with its interval (replicas).

    probability: float32 (R, n, k); target: class numbers (n,). A metric that is not defined is left out.
    """
    phi = [scores.contributions(network, target) for network in probability]
    replicas = {}
    for name in phi[0]:
        figures = scores.interval(np.stack([network[name] for network in phi]))
        if name in scores.LOSSES:
            figures = -figures[0], -figures[2], -figures[1]
        bounds = scores.RANGES.get(name, (0.0, 1.0))
        named = zip(("mean", "low", "high"), figures)
        replicas[name] = {end: float(np.clip(value, *bounds)) for end, value in named if math.isfinite(value)}
    network_0, ensemble = (
        {name: abs(float(values.mean())) for name, values in each.items()}
        for each in (phi[0], scores.contributions(scores.ensemble(probability), target))
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
    rows = []
    for epoch, p in enumerate(by_epoch, start=1):
        accuracy = float((scores.predicted(p) == target).mean())
        rows.append((epoch, float(scores.log_losses(p, target).mean()), accuracy))
    files.write_csv(("epoch", "test_loss", "test_accuracy"), rows, f"{plots}/test_epochs.csv")
    decided = curves.decisions(probability, target)
    files.write_csv(("false_positive_rate", "true_positive_rate"), curves.roc(*decided), f"{plots}/roc.csv")
    files.write_csv(("recall", "precision"), curves.precision_recall(*decided), f"{plots}/precision_recall.csv")
    columns = ("mean_probability", "share_of_positives", "rows")
    files.write_csv(columns, curves.calibration(*decided), f"{plots}/calibration.csv")
    counts = curves.confusion(scores.predicted(probability), target, len(classes))
    cells = [(classes[a], classes[p], int(counts[a, p])) for a in range(len(classes)) for p in range(len(classes))]
    files.write_csv(("actual", "predicted", "rows"), cells, f"{plots}/confusion.csv")


if __name__ == "__main__":
    run(main)
