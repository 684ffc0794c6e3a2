"""Fourth stage: score validation, test and out-of-fold rows, and say how much of every figure is luck.

Reads the models and the three parts. Writes metrics/predictions.parquet, the probabilities that every network gives to
every row. Writes the figures: the few that matter to metrics/evaluate.json, all to scores.csv, those of each class to
classes.csv, those of each threshold to thresholds.csv, and the points of the plots to metrics/plots/.

    python -m stages.evaluate
"""

from plumbline.basics import files, formats, params
from plumbline.basics.errors import run
from plumbline.explaining import answers, baselines, importance
from plumbline.model import folds, model
from plumbline.profiling import unseen
from plumbline.scores import curves, figures, predictions
from plumbline.tables import store

MODEL = "models/model.safetensors"


def main() -> None:
    settings = params.read("evaluate", "split")
    batch_size = settings.evaluate.batch_size
    saved = model.load(MODEL)
    card = saved.card
    epochs = model.load("models/epochs.safetensors", beside=MODEL)
    judges = folds.load("models/folds.safetensors", beside=MODEL)
    train, validation, test = (store.open(f"data/{part}.parquet") for part in ("train", "validation", "test"))
    answers.check((train, validation, test), saved)

    with files.together(), files.scratch("metrics") as scratch:
        # Every network scores every row. With split.folds training rows are scored too, by networks that never saw them
        how = settings.split, batch_size, scratch
        scored = {"validation": answers.of_part(saved, validation, *how), "test": answers.of_part(saved, test, *how)}
        if judges.replicas:
            scored["out-of-fold"] = answers.out_of_fold(judges, saved, train, *how)
        parts = {part: each.table for part, each in scored.items()}
        rows = {part: each.rows for part, each in scored.items()}
        predictions.write("metrics/predictions.parquet", parts, rows, saved.networks)

        # Step 6 of the notebook: metrics of network 0, of the ensemble, and of all networks with an interval
        scores = []
        for part, each in scored.items():
            scores += figures.of_part(part, each.rows, each.counts, scratch)
        formats.write_json(formats.six_digits(figures.few(scores)), "metrics/evaluate.json")
        formats.write_csv(figures.Figure._fields, scores, "metrics/scores.csv")

        # Network 0: class by class, threshold by threshold, epoch by epoch, and the curves of `dvc plots`
        def of_network_0(part: str) -> tuple:
            part = "out-of-fold" if judges.replicas else part
            return rows[part].probability[0], rows[part].target, card.classes, card.positive_number

        tables = {
            "classes": figures.by_class(*of_network_0("test")),
            "thresholds": curves.by_threshold(*of_network_0("validation")),
            **curves.drawn(*of_network_0("test")),
            "plots/test_epochs": figures.by_epoch(answers.by_epoch(epochs, test, batch_size), card.every),
        }
        for name, (columns, lines) in tables.items():
            formats.write_csv(columns, lines, f"metrics/{name}.csv")

        # What only the test part shows of the columns, what the networks go by, and whether simpler models are as good
        unseen.write("metrics/test_columns.csv", test, train, card.encoding)
        importance.write("metrics/importance.csv", settings.evaluate.importance, saved, judges, scored)
        baselines.write("metrics/baselines.json", settings.evaluate.baselines, saved, judges, train, scored)
        for line in figures.told(scores, {part: each.together.says for part, each in scored.items()}):
            print(line)


if __name__ == "__main__":
    run(main)
