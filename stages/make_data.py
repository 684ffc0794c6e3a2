"""First stage: the table that everything else is about.

Reads make_data.source: a file of any kind in docs/sources.md, a folder of Parquet files, or a .py file that makes a
table. Checks it against make_data.expect. Writes the rows that have a target to data/dataset.parquet, without the
columns of make_data.drop. The file's metadata are the table's facts: the target, its classes, and the state of the
stream of random numbers.

    python -m stages.make_data
"""

from plumbline.basics import files, params
from plumbline.basics.errors import run
from plumbline.bits import stream
from plumbline.sources import expectations, labels, source
from plumbline.tables import columns, store

OUTPUT = "data/dataset.parquet"


def main() -> None:
    settings = params.read("seed", "make_data")
    make = settings.make_data

    # Step 1 of the notebook, or any table; its rows are streamed. A .py file draws them from the start of the stream
    generator = stream.seeded(settings.seed)
    with source.opened(make, generator, OUTPUT) as rows:
        expectations.check(make.expect, rows, make.source, make.target)

        # The classes, and how many rows each has; rows without a label are dropped
        labelled = labels.of(rows, make.source, make.target)
        classes, counts = list(labelled.counts), list(labelled.counts.values())

        # The later stages go on with the generator's state; for a table that was not drawn they start the stream
        drawn = stream.to_text(generator) if make.source.endswith(".py") else None
        positive = labels.positive(classes, make.positive)
        facts = store.Facts(make.target, classes, counts, drawn, positive=positive, spellings=dict(rows.spellings))
        with files.together():
            with source.copying(rows, labelled, OUTPUT, facts) as dataset:
                columns.check(dataset)
                features = len(dataset.features)
            shares = ", ".join(f"{label}: {count}" for label, count in zip(classes[:10], counts))
            print(f"{make.source}: {sum(counts)} rows, {features} features, {make.target} {{{shares}}}")


if __name__ == "__main__":
    run(main)
