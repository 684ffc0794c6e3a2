"""Fourth stage: score validation and test rows, and say how much of every figure is luck.

Reads the model, its weights after each epoch and the two parts; writes metrics/predictions.parquet (the probabilities
that every network gives to every row), metrics/evaluate.json and the points of the plots under metrics/plots/.

    python -m stages.evaluate
"""

import numpy as np

from plumbline.basics import files, params
from plumbline.basics.errors import UserError, run
from plumbline.explaining import baselines, importance
from plumbline.model import model
from plumbline.scores import curves, intervals, metrics, predictions
from plumbline.tables import encoding, store

PLOTS = "metrics/plots"


def main() -> None:
    settings = params.read("evaluate").evaluate
    saved, by_epoch = model.load("models/model.safetensors"), model.load("models/epochs.safetensors")
    parts = {part: store.open(f"data/{part}.parquet") for part in ("validation", "test")}
    check(parts, saved, by_epoch)
    card, networks, test = saved.card, saved.networks, parts["test"]
    target, (d, _, k) = test.classes(), card.sizes  # class numbers (n,); features and outputs

    with files.together(), files.scratch("metrics") as scratch:
        # Every network gives every row its probability; of several networks their mean, the ensemble, is one more
        shapes = {part: (networks + (networks > 1), len(table), k) for part, table in parts.items()}
        probability = {part: files.mapped(shape, np.float32, scratch) for part, shape in shapes.items()}
        sums = np.zeros((by_epoch.networks, 2))  # network 0 after each epoch: log loss and right answers
        most = store.rows_of(max(d, networks * k, by_epoch.networks * k))
        for part, table in parts.items():
            for here, x in zip(metrics.pieces(len(table), most), encoding.pieces(card.encoding, table, most)):
                scored = saved.probabilities(x, settings.batch_size)  # (R, m, k)
                probability[part][:networks, here], probability[part][-1, here] = scored, metrics.ensemble(scored)
                if table is test:
                    sums += metrics.loss_and_right(by_epoch.probabilities(x, settings.batch_size), target[here])
        predictions.write("metrics/predictions.parquet", parts, probability, networks)

        # Step 6 of the notebook: every metric is a mean over test rows, of network 0, of the ensemble, and of the
        # replicas with an interval
        figures, ensemble, replicas = {}, {}, {}
        phi = files.mapped(shapes["test"][:2], np.float64, scratch)  # (R + 1, n), more is better
        for name in metrics.defined(target, len(card.classes)):
            metrics.contributions(name, probability["test"], target, out=phi)
            figures[name], ensemble[name] = metrics.reported(name, phi[0]), metrics.reported(name, phi[-1])
            replicas[name] = intervals.reported(name, phi[:networks])
        baseline = metrics.always(card.train_counts, target)
        figures |= {"rows": len(target), "baseline": baseline, "ensemble": ensemble, "replicas": replicas}
        files.write_json(files.six_digits(figures), "metrics/evaluate.json")

        # What `dvc plots` draws of network 0: the notebook's test column by epoch, and its curves
        epochs = [(epoch, *mean) for epoch, mean in enumerate((sums / len(target)).tolist(), start=1)]
        files.write_csv(("epoch", "test_loss", "test_accuracy"), epochs, f"{PLOTS}/test_epochs.csv")
        for name, (columns, points) in curves.drawn(probability["test"][0], target, card.classes).items():
            files.write_csv(columns, points, f"{PLOTS}/{name}.csv")

        # What the networks go by, and whether simpler models are as good
        importance.write("metrics/importance.csv", settings.importance, saved, parts)
        baselines.write("metrics/baselines.json", settings.baselines, saved, test, probability["test"][:networks])
    print(f"{len(target)} test rows: accuracy {figures['accuracy']:.3f}, log loss {figures['log_loss']:.4f}")


def check(parts: dict[str, store.Table], saved: model.Model, by_epoch: model.Model) -> None:
    """What stands in the files must be of one training; a UserError names what is not."""
    if by_epoch.card != saved.card:
        raise UserError("models/model.safetensors and models/epochs.safetensors are of two trainings; run `dvc repro`")
    for table in parts.values():
        if table.facts.classes != saved.card.classes:
            raise UserError(f"{table.path} and the model have different classes; run `dvc repro`")


if __name__ == "__main__":
    run(main)
