"""Second stage: one random permutation of the rows, cut into training, validation and test part, in that order.

Reads data/dataset.parquet; writes data/train.parquet, data/validation.parquet and data/test.parquet, each with `_row`,
the row's number in the dataset.

    python -m stages.split
"""

import msgspec

from plumbline.basics import files, params
from plumbline.basics.errors import run
from plumbline.bits import stream
from plumbline.tables import splits, store
from plumbline.tables.splits import PARTS


def main() -> None:
    settings = params.read("seed", "split")
    split = settings.split
    dataset = store.open("data/dataset.parquet")

    # Step 2 of the notebook: torch.randperm(n), drawn from the table's stream; for a user's table it starts here
    drawn = dataset.facts.stream
    generator = stream.from_text(drawn) if drawn else stream.seeded(settings.seed)
    order = stream.permutation(generator, len(dataset))
    position = stream.to_text(generator)

    # Each row's part: by shares of the permutation alone, class by class, group by group, or by time
    order, part_of = splits.cut(dataset, order, split)

    # All three files or none. A small table's rows are written in the permutation's order, as in the notebook, a large
    # table's in their own. The stream travels with the training part, to draw the initial weights and the shuffles.
    by = [name for name in (split.group, split.time) if name]
    with files.together():
        for i, part in enumerate(PARTS):
            rows = order[part_of[order] == i] if dataset.is_small else part_of == i
            facts = msgspec.structs.replace(dataset.facts, stream=None, split_by=by)
            if part == "train":
                facts = msgspec.structs.replace(facts, stream=position, folds=split if split.folds else None)
            store.take(dataset, rows, f"data/{part}.parquet", part, facts)
            print(f"{part}: {(part_of == i).sum()} rows")


if __name__ == "__main__":
    run(main)
