"""Second stage: one random permutation of the rows, cut into training, validation and test part, in that order.

Reads data/dataset.parquet; writes data/train.parquet, data/validation.parquet and data/test.parquet, each with `_row`,
the row's number in the dataset.

    python -m stages.split
"""

import msgspec
import numpy as np

from plumbline.basics import files, params
from plumbline.basics.errors import run
from plumbline.bits import stream
from plumbline.tables import splits, store
from plumbline.tables.splits import PARTS


def main() -> None:
    settings = params.read("seed", "split")
    split = settings.split
    dataset = store.open("data/dataset.parquet")

    # Step 2 of the notebook: torch.randperm(n), from where the table's stream stands; a user's table starts it here
    drawn = dataset.facts.stream
    generator = stream.from_text(drawn) if drawn else stream.seeded(settings.seed)
    order = stream.permutation(generator, len(dataset))
    position = stream.to_text(generator)

    # The number of each row's part: class by class, group by group, by time, or by shares of the permutation alone
    classes = dataset.classes()
    if split.stratify:
        part_of = splits.by_class(order, classes, split)
    elif split.group:
        part_of = splits.by_group(order, splits.group_numbers(dataset, split.group), split)
    else:
        if split.time:  # earliest first; rows of the same time stay in the permutation's order
            order = order[np.argsort(splits.times(dataset, split.time)[order], kind="stable")]
        part_of = splits.by_shares(order, split)
    sizes = splits.check(part_of, split)
    splits.check_classes(classes[part_of == 0], dataset.facts)

    # All three files or none. A small table keeps the permutation's order, the notebook's; a large one its own.
    # The stream goes on with the training part: it draws the initial weights and the shuffles.
    by = [name for name in (split.group, split.time) if name]
    with files.together():
        for i, part in enumerate(PARTS):
            rows = order[part_of[order] == i] if dataset.is_small else part_of == i
            at = position if part == "train" else None
            facts = msgspec.structs.replace(dataset.facts, stream=at, split_by=by)
            store.take(dataset, rows, f"data/{part}.parquet", part, facts)
    for part, size in zip(PARTS, sizes):
        print(f"{part}: {size} rows")


if __name__ == "__main__":
    run(main)
