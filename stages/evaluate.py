"""Fourth stage: score validation and test rows, and say how much of every figure is luck.

Reads the model, its weights after each epoch and the two parts; writes metrics/predictions.parquet (the probabilities
that every network gives to every row), metrics/evaluate.json and the points of the plots under metrics/plots/.

    python -m stages.evaluate
"""

import math

import numpy as np
import pyarrow as pa
import scipy.special  # noqa: F401  scores' t; if it is loaded when memory is short, its BLAS hangs

from stages import curves, encoding, files, kernel, model, params, resources, scores, spill, table
from stages.errors import UserError, run
from stages.table import ROW

PROBABILITIES = 2**21  # most probabilities of all epochs held at once (8 MiB)
UNIT = 2**13  # rows whose losses are added up at a time, in whatever pieces they come


def main() -> None:
    settings = params.read()
    spill.beside("metrics")
    saved, after = model.load("models/model.safetensors"), model.load("models/epochs.safetensors")
    if (saved.sizes, saved.card) != (after.sizes, after.card):
        raise UserError("models/model.safetensors and models/epochs.safetensors are of two trainings; run `dvc repro`")
    card, batch_size = saved.card, settings.evaluate.batch_size
    parts = {}
    for part in ("validation", "test"):
        parts[part], facts = table.stored(f"data/{part}.parquet")
        if facts.classes != card.classes:
            raise UserError(f"data/{part}.parquet and the model have different classes; run `dvc repro`")
    n, (networks, k) = len(parts["test"]), saved.weights["net.2.bias"].shape
    rows, row = sum(map(len, parts.values())), 4 * networks * k
    resources.check_disk("evaluate", (row + 20) * rows, "metrics", "train.replicas or the table's rows")
    wide = 3 * row + 4 * card.encoding.width + parts["test"].row_size()  # encoded, scored, and on its way to the file
    what = f"{spill.LEAST} rows of {card.encoding.width} inputs and {networks} networks"
    by_epoch = 8 * UNIT * len(after.weights["net.0.bias"]) + 3 * 4 * max(PROBABILITIES, UNIT * k)
    resources.check_piece("evaluate", wide * min(spill.LEAST, n) + parts["test"].least + by_epoch, what)
    probability, target = spill.empty((networks, n, k), np.float32), spill.empty(n, np.int32)
    by_epoch = ByEpoch(after.weights, batch_size)
    with files.together(), table.writing("metrics/predictions.parquet", facts) as writer:
        for part, rows in parts.items():
            first = 0
            for group in rows.groups(spill.rows_at_a_time(wide, table.ROWS)):
                x, here = encoding.encode(card.encoding, group, first), slice(first, first + len(group))
                scored = score(x, saved.weights, batch_size)
                writer.write(predictions(group, part, scored, card.target))
                if part == "test":
                    probability[:, here], target[here] = scored, table.targets(group, facts)
                    by_epoch.add(x, target[here])
                first += len(group)
        writer.finish()
        figures = metrics(probability, target, card.train_counts)
        files.write_json(files.six_digits(figures), "metrics/evaluate.json")
        write_plots(by_epoch.means(), probability[0], target, card.classes)
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


class ByEpoch:
    """Log loss and accuracy of network 0 as it was after each epoch, of rows that come in pieces.

    Losses are added up UNIT rows at a time, so that the bits do not depend on the pieces.
    """

    def __init__(self, weights: dict[str, np.ndarray], batch_size: int):
        self._weights, self._batch_size, self._rows = weights, batch_size, 0
        self._sums = np.zeros((len(weights["net.0.bias"]), 2))
        self._losses = np.empty((len(self._sums), UNIT))

    def add(self, x: np.ndarray, target: np.ndarray) -> None:
        """Go on with these rows: encoded (n, d), class numbers (n,)."""
        done = 0
        while done < len(x):
            filled = self._rows % UNIT
            n = min(UNIT - filled, len(x) - done)
            self._score(x[done : done + n], target[done : done + n], self._losses[:, filled : filled + n])
            done, self._rows = done + n, self._rows + n
            if filled + n == UNIT:
                self._sums[:, 0] += [losses.sum() for losses in self._losses]

    def means(self) -> np.ndarray:
        """Means over all rows: (epochs, 2)."""
        rest = [losses[: self._rows % UNIT].sum() for losses in self._losses]
        return np.column_stack([self._sums[:, 0] + rest, self._sums[:, 1]]) / self._rows

    def _score(self, x: np.ndarray, target: np.ndarray, losses: np.ndarray) -> None:
        together = max(PROBABILITIES // (len(x) * self._weights["net.2.bias"].shape[1]), 1)
        for first in range(0, len(losses), together):
            some = {name: array[first : first + together] for name, array in self._weights.items()}
            for i, p in enumerate(score(x, some, self._batch_size), start=first):
                losses[i] = scores.log_losses(p, target)
                self._sums[i, 1] += (scores.predicted(p) == target).sum()


def metrics(probability: np.ndarray, target: np.ndarray, train_counts: list[int]) -> dict:
    """Figures of network 0, of always answering the training shares, and of all networks: of their mean probability
    (the ensemble), and the mean of their figures with its interval (replicas).

    probability: float32 (R, n, k); target: class numbers (n,). A metric that is not defined is left out. Metric after
    metric, so that the contributions of one at a time are there.
    """
    networks, n, k = probability.shape
    mean = scores.ensemble(probability) if networks > 1 else None
    phi, of_mean = spill.empty((networks, n), np.float64), spill.empty(n if networks > 1 else 0, np.float64)
    network_0, ensemble, replicas = {}, {}, {}
    for name in scores.defined(target, max(k, 2)):
        for r in range(networks):
            scores.contribution(name, probability[r], target, phi[r])
        network_0[name] = ensemble[name] = abs(float(phi[0].mean()))
        if networks > 1:
            ensemble[name] = abs(float(scores.contribution(name, mean, target, of_mean).mean()))
        estimate = scores.estimate(phi)
        figures = estimate.mean, *estimate.student()[:2]
        if name in scores.LOSSES:
            figures = -figures[0], -figures[2], -figures[1]
        bounds = scores.RANGES.get(name, (0.0, 1.0))
        named = zip(("mean", "low", "high"), figures)
        replicas[name] = {end: float(np.clip(value, *bounds)) for end, value in named if math.isfinite(value)}
    shares = np.array(train_counts) / sum(train_counts)
    baseline = always(shares, target, phi[0])
    return network_0 | {"rows": n, "baseline": baseline, "ensemble": ensemble, "replicas": replicas}


def always(shares: np.ndarray, target: np.ndarray, losses: np.ndarray) -> dict[str, float]:
    """Accuracy and log loss of the same answer on every row; `losses` (n,) is scratch."""
    k = len(shares)
    answer = np.tile(shares[1:] if k == 2 else shares, (k, 1))
    by_class, right = scores.log_losses(answer, np.arange(k)), 0
    for here in spill.pieces(len(target)):
        losses[here] = by_class[target[here]]
        right += int((scores.predicted(answer[:1]) == target[here]).sum())
    return {"accuracy": right / len(target), "log_loss": float(losses.mean())}


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
    parts = spill.pieces(len(target))
    counts = sum(curves.confusion(scores.predicted(probability[i]), target[i], len(classes)) for i in parts)
    cells = [(classes[a], classes[p], int(counts[a, p])) for a in range(len(classes)) for p in range(len(classes))]
    files.write_csv(("actual", "predicted", "rows"), cells, f"{plots}/confusion.csv")


if __name__ == "__main__":
    run(main)
