"""Fourth stage: score validation, test and out-of-fold rows, and say how much of every figure is luck.

Reads the models and the three parts; writes metrics/predictions.parquet (the probabilities that every network gives to
every row) and the figures: metrics/evaluate.json has the few that matter, scores.csv all, classes.csv those of each
class, thresholds.csv those of each threshold, and metrics/plots/ the points of the plots.

    python -m stages.evaluate
"""

import itertools

from plumbline.basics import files, formats, params
from plumbline.basics.errors import run
from plumbline.explaining import answers, baselines, importance
from plumbline.model import folds, model
from plumbline.profiling import unseen
from plumbline.scores import curves, figures, predictions
from plumbline.tables import store

MODEL = "models/model.safetensors"


def main() -> None:
    asked = params.read("evaluate", "split")
    settings = asked.evaluate
    saved = model.load(MODEL)
    by_epoch = model.load("models/epochs.safetensors", beside=MODEL)
    judges = folds.load("models/folds.safetensors", beside=MODEL)
    train, validation, test = (store.open(f"data/{part}.parquet") for part in ("train", "validation", "test"))
    answers.check((train, validation, test), saved)
    card = saved.card

    with files.together(), files.scratch("metrics") as scratch:
        # Every network gives every row its probability; with split.folds also those that did not train on it
        how = asked.split, settings.batch_size, scratch
        scored = {"validation": answers.of_part(saved, validation, *how), "test": answers.of_part(saved, test, *how)}
        if judges.replicas:
            scored["out-of-fold"] = answers.out_of_fold(judges, saved, train, *how)
        parts, rows = ({part: getattr(each, name) for part, each in scored.items()} for name in ("table", "rows"))
        predictions.write("metrics/predictions.parquet", parts, rows, saved.networks)

        # Step 6 of the notebook: metrics of network 0, of the ensemble, and of all networks with an interval
        of = [figures.of_part(part, each.rows, each.counts, scratch) for part, each in scored.items()]
        scores = list(itertools.chain(*of))
        few = figures.few(scores)
        formats.write_json(formats.six_digits(few), "metrics/evaluate.json")
        formats.write_csv(figures.Figure._fields, scores, "metrics/scores.csv")

        # Network 0: class by class, threshold by threshold, epoch by epoch, and the curves of `dvc plots`
        first = {
            part: (its.probability[0], its.target, card.classes, card.positive_number) for part, its in rows.items()
        }
        judged, chosen = (first.get("out-of-fold", first[part]) for part in ("test", "validation"))
        tables = {
            "classes": figures.by_class(*judged),
            "thresholds": curves.by_threshold(*chosen),
            **curves.drawn(*judged),
        }
        by_epoch = answers.by_epoch(by_epoch, test, settings.batch_size)
        tables["plots/test_epochs"] = figures.by_epoch(by_epoch, card.every)
        for name, (columns, lines) in tables.items():
            formats.write_csv(columns, lines, f"metrics/{name}.csv")

        # What only the test part shows of the columns, what the networks go by, and whether simpler models are as good
        unseen.write("metrics/test_columns.csv", test, train, card.encoding)
        importance.write("metrics/importance.csv", settings.importance, saved, judges, scored)
        baselines.write("metrics/baselines.json", settings.baselines, saved, judges, train, scored)
        for line in figures.told(scores, {part: each.together.says for part, each in scored.items()}):
            print(line)


if __name__ == "__main__":
    run(main)
