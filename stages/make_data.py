"""First stage: the table that everything else is about.

Reads make_data.source (a file of any kind in docs/sources.md, a folder of Parquet files, or a .py file that makes a
table), holds it to make_data.expect, and writes the rows that have a target to data/dataset.parquet, columns as they
came without those of make_data.drop. The table's facts travel with it: the target, its classes, and where the stream of
random numbers stands.

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

    # Any table, as rows that are gone through where they lie; a generator draws them from the start of the stream
    generator = stream.seeded(settings.seed)
    with source.opened(make, generator, OUTPUT) as rows:
        expectations.check(make.expect, rows, make.source, make.target)

        # What is to be told apart, and how often each class comes; rows without a label are of no use
        labelled = labels.of(rows, make.source, make.target)
        classes, counts = list(labelled.counts), list(labelled.counts.values())

        # The later stages go on drawing where the generator stopped; for a table that was not drawn they begin
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
