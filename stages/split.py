"""Second stage: one random permutation of the rows, cut into training, validation and test part, in that order.

Reads data/dataset.parquet; writes data/train.parquet, data/validation.parquet and data/test.parquet, each with `_row`,
the row's number in the dataset. The stream's position goes on with the training part alone.

    python -m stages.split
"""

import msgspec
import pyarrow as pa

from stages import params, stream, table
from stages.errors import UserError, run
from stages.table import ROW


def main() -> None:
    settings = params.read()
    dataset, facts = table.read("data/dataset.parquet")
    generator = stream.from_text(facts.stream) if facts.stream else stream.seeded(settings.seed)
    order = stream.permutation(generator, len(dataset))
    position = stream.to_text(generator)
    for part, rows in cut(order, settings.split).items():
        taken = dataset.take(rows).add_column(0, ROW, pa.array(rows, pa.int64()))
        part_facts = msgspec.structs.replace(facts, stream=position if part == "train" else None)
        table.write(taken, f"data/{part}.parquet", part_facts)
        print(f"{part}: {len(taken)} rows")


def cut(order, split) -> dict:
    """The permutation's three parts; like the notebook's, sizes are rounded down and the rest is test."""
    n = len(order)
    first = int(n * split.train)
    second = first + int(n * split.validation)
    parts = {"train": order[:first], "validation": order[first:second], "test": order[second:]}
    wanted = {"train": split.train, "validation": split.validation, "test": 1 - split.train - split.validation}
    for part, rows in parts.items():
        if not len(rows) and wanted[part] > 0:
            raise UserError(f"the {part} part has no rows: a share of {wanted[part]:g} of {n} rows; use a larger table")
    return parts


if __name__ == "__main__":
    run(main)
