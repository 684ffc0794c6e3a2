"""Fourth stage: score validation and test rows, and say how much of every figure is luck.

Reads the model, its weights after each epoch and the two parts; writes metrics/predictions.parquet (the probabilities
that every network gives to every row) and the figures: metrics/evaluate.json has the few that matter, scores.csv all,
classes.csv those of each class, thresholds.csv those of each threshold, and metrics/plots/ the points of the plots.

    python -m stages.evaluate
"""

import numpy as np

from plumbline.basics import files, params
from plumbline.basics.errors import UserError, run
from plumbline.explaining import baselines, importance
from plumbline.model import model
from plumbline.profiling import belonging, unseen
from plumbline.scores import curves, figures, metrics, predictions, thresholds
from plumbline.scores.differences import Rows
from plumbline.tables import encoding, store


def main() -> None:
    asked = params.read("evaluate", "split")
    settings, split = asked.evaluate, asked.split
    saved, by_epoch = model.load("models/model.safetensors"), model.load("models/epochs.safetensors")
    parts = {part: store.open(f"data/{part}.parquet") for part in ("validation", "test")}
    check(parts, saved, by_epoch)
    together = {part: belonging.of_part(table, split) for part, table in parts.items()}
    card, networks = saved.card, saved.networks
    train, test = store.open("data/train.parquet"), parts["test"]
    target, k = {part: table.classes() for part, table in parts.items()}, card.sizes[2]  # of a part (n,)

    with files.together(), files.scratch("metrics") as scratch:
        # Every network gives every row its probability; of several networks their mean, the ensemble, is one more
        shapes = {part: (networks + (networks > 1), len(table), k) for part, table in parts.items()}
        probability = {part: files.mapped(shape, np.float32, scratch) for part, shape in shapes.items()}
        sums = np.zeros((by_epoch.networks, 2))  # network 0 after each epoch: log loss and right answers
        most = store.rows_of(max(len(card.encoding.layout), networks * k, by_epoch.networks * k))
        for part, table in parts.items():
            for here, x in zip(metrics.pieces(len(table), most), encoding.pieces(card.encoding, table, most)):
                scored = saved.probabilities(x, settings.batch_size)  # (R, m, k)
                probability[part][:networks, here], probability[part][-1, here] = scored, metrics.ensemble(scored)
                if part == "test":
                    sums += metrics.loss_and_right(by_epoch.probabilities(x, settings.batch_size), target[part][here])
        about = {part: (card.positive_number, together[part].number) for part in parts}
        rows = {part: Rows(probability[part], target[part], *about[part]) for part in parts}
        predictions.write("metrics/predictions.parquet", parts, rows, networks)

        # Step 6 of the notebook: metrics of network 0, of the ensemble, and of all networks with an interval
        scores = [figure for part in parts for figure in figures.of_part(part, rows[part], card.train_counts, scratch)]
        few = figures.few(scores)
        files.write_json(files.six_digits(few), "metrics/evaluate.json")
        files.write_csv(figures.Figure._fields, scores, "metrics/scores.csv")

        # Network 0, the model: class by class, threshold by threshold, epoch by epoch, and the curves of `dvc plots`
        first = {part: (probability[part][0], target[part], card.classes, card.positive_number) for part in parts}
        tables = {"classes": figures.by_class(*first["test"]), "thresholds": thresholds.table(*first["validation"])}
        tables |= {"plots/test_epochs": figures.by_epoch(sums / len(test), card.every), **curves.drawn(*first["test"])}
        for name, (columns, lines) in tables.items():
            files.write_csv(columns, lines, f"metrics/{name}.csv")

        # What only the test part shows of the columns, what the networks go by, and whether simpler models are as good
        unseen.write("metrics/test_columns.csv", test, train, card.encoding)
        importance.write("metrics/importance.csv", settings.importance, saved, parts)
        baselines.write("metrics/baselines.json", settings.baselines, saved, train, test, rows["test"])
    tested = f"{len(target['test'])} test rows{together['test'].says}"
    print(f"{tested}: accuracy {few['accuracy']:.3f}, log loss {few['log_loss']:.4f}")


def check(parts: dict[str, store.Table], saved: model.Model, by_epoch: model.Model) -> None:
    """What stands in the files must be of one training; a UserError names what is not."""
    if by_epoch.card != saved.card:
        raise UserError("models/model.safetensors and models/epochs.safetensors are of two trainings; run `dvc repro`")
    for table in parts.values():
        if table.facts.classes != saved.card.classes:
            raise UserError(f"{table.path} and the model have different classes; run `dvc repro`")


if __name__ == "__main__":
    run(main)
