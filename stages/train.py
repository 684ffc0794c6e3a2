"""Third stage: train the network, and its replicas, on the training part.

Reads data/train.parquet and data/validation.parquet; writes models/model.safetensors (all networks),
models/epochs.safetensors (network 0 after every epoch, for evaluate), metrics/train.json and metrics/history.csv.
Network 0 goes on from where the table's stream stands; network r > 0 has a stream of its own. Each draws its initial
weights, then three numbers an epoch and three for the rows that it holds out, so what becomes of one depends on no
other. Nothing here sees the test part.

With train.members above 1 all this is said of a network's members, and they are merged when they are written: figures
are means over network 0's members. One that has stopped stands in the history and in models/epochs.safetensors as it
was kept; metrics/train.json has all of them as they were kept, and the last of these epochs.

    python -m stages.train
"""

import contextlib
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from stages import (
    alike,
    encoding,
    files,
    held_out,
    known_answer,
    members,
    model,
    params,
    parts,
    resources,
    snapshot,
    spill,
    stream,
    table,
    training,
    workers,
)
from stages.errors import UserError
from stages.table import counted

TABLES = ("data/train.parquet", "data/validation.parquet")


def main(group: workers.Group | None = None) -> None:
    settings = params.read()
    spill.beside("models")
    leads = group is None or group.rank == 0  # the one who writes files
    if group:
        networks = settings.train.replicas * settings.train.members
        read = {"seed": settings.seed, "train": settings.train}
        alike.check(group, read, TABLES, lambda: known_answer.found(networks))
    if settings.train.device == "cuda":  # said before the tables are read; importing torch is for those who use it
        from stages import batched

        batched.check_device(settings.train.device)
        if group:
            group.use_cuda()
    part, facts = table.stored(TABLES[0])
    watched, _ = table.stored(TABLES[1])
    hidden_size, outputs = settings.train.hidden_size, model.outputs_for(len(facts.classes))
    ask(part, watched, (hidden_size, outputs), settings.train)
    fitted = encoding.fit(part, facts, settings.train.encoding)
    for left in fitted.left_out:
        print(f"column {left.name!r} is left out: {left.why}")
    sizes = fitted.width, hidden_size, outputs
    parts.check_memory(len(part), sizes, settings.train, part.least)
    # Before the parts ask how much memory is left, so that what compiling takes is counted.
    compiled = settings.train.engine == "compiled"
    portable = not compiled or answers_as_others(settings.train.replicas * settings.train.members)
    data, watch = parts.encoded(part, watched, facts, fitted, settings.train, group)
    counts, rows = counted(data[1], len(facts.classes)).tolist(), len(part)
    if settings.train.held_out:
        rows -= int(held_out.counts(data[1], settings.train.held_out).sum())
        print(f"each network holds out {len(part) - rows} of the {len(part)} rows, to watch them")

    weights, shuffles, draws = drawn(settings, facts, sizes)
    each = settings.train.members
    parameters = sum(array[0].size for array in members.merged(weights, each).values())
    of = f" of {each} members" if each > 1 else ""
    print(f"{rows} rows, {sizes[0]} features, {parameters} parameters, {settings.train.replicas} networks{of}")
    units = training.units(len(part), rows, settings.train)
    if group and group.size > units:
        idle = f"{group.size - units} of {group.size} workers have nothing to do"
        print(f"{idle}: a step has {units} shards of a network's batch; raise train.batch_size, or start fewer")

    keeper = None
    if compiled and leads:
        given = *map(Path, TABLES), *weights.values(), shuffles, draws
        keeper = snapshot.Keeper(snapshot.PATH, settings.train, *given)
    given = data, watch, weights, shuffles, settings.train
    with progress(settings.train.epochs, shuffles.size) as advance:
        weights, epochs, rows_of_members, kept = training.train(*given, advance, keeper, draws, group)
    if not leads:
        return
    history, last = members.course(rows_of_members, each, settings.train.patience)

    card = model.Card(facts.target, facts.classes, counts, fitted)
    figures = {"loss": last["train_loss"], "accuracy": last["train_accuracy"], "parameters": parameters}
    if settings.train.patience:
        figures |= {"epoch": kept, "validation_loss": last["validation_loss"]}
    figures |= {"rows": rows, "batches": -(-rows // settings.train.batch_size)}
    figures = files.six_digits(figures)
    if len(facts.classes) == 2:  # of the whole table and in float32, as the notebook's mean is
        figures["positive_rate"] = float(np.float32(facts.class_counts[1] / sum(facts.class_counts)))
    if not portable:
        figures["portable"] = False  # for stages.verify; a machine like any other leaves no word
    with files.together():
        model.save(model.Model(members.merged(weights, each), card), "models/model.safetensors")
        model.save(model.Model(members.merged(epochs, each), card), "models/epochs.safetensors")
        files.write_csv(history[0], (row.values() for row in history), "metrics/history.csv")
        files.write_json(figures, "metrics/train.json")
    if keeper:
        keeper.drop()


def ask(part: table.Stored, watched: table.Stored, others: tuple[int, int], settings: params.Train) -> None:
    """Refuse what cannot be trained, before all rows are read; others: hidden units and outputs of a network."""
    if settings.patience and not settings.held_out and not len(watched):
        raise UserError(f"{TABLES[1]} has no rows, and train.patience watches them; run `dvc repro`, which splits anew")
    # raw has at least an input for every column beside the row number and the target.
    sizes = len(part.column_names) - 2 if settings.encoding == "raw" else 1, *others
    parts.check_memory(len(part), sizes, settings, parts.FITTING + part.least)
    lower = "train.hidden_size, train.replicas or train.epochs"
    resources.check_disk("train", parts.on_disk(sizes, settings), "models", lower)


def drawn(settings: params.Params, facts: table.Facts, sizes: tuple[int, int, int]) -> tuple:
    """What every member of every network draws from its stream: initial weights (R, ...) by name, the seeds of its
    shuffles (R, epochs), and that of the rows that it holds out (R,).
    """
    seeds = np.ndindex(settings.train.replicas, settings.train.members)
    generators = [stream.seeded(stream.seed_of_replica(settings.seed, *numbers)) for numbers in seeds]
    generators[0] = stream.from_text(facts.stream)
    weights = model.initial_weights(generators, *sizes)
    shuffles = np.stack([stream.shuffle_seeds(generator, settings.train.epochs) for generator in generators])
    return weights, shuffles, np.concatenate([stream.shuffle_seeds(generator, 1) for generator in generators])


def answers_as_others(networks: int) -> bool:
    """Whether this machine gives the known answer; one that does not is told so, and goes on."""
    if known_answer.found(networks) == known_answer.ANSWER:
        return True
    print(
        f"this machine ({platform.machine()}, {platform.platform()}) fails the known answer: its numbers are not "
        "those of other machines; the run goes on, and metrics/train.json says so",
        file=sys.stderr,
    )
    return False


def said(row: dict, epochs: int) -> str | None:
    """The line to print for an epoch: the first and every fifth as in the notebook, about twenty of a long run."""
    every = max(5, epochs // 20)
    if row["epoch"] != 1 and row["epoch"] % every:
        return None
    parts = [
        f"{name.replace('_', ' ')} {value:.{3 if 'acc' in name else 4}f}"
        for name, value in row.items()
        if name != "epoch"
    ]
    return f"epoch {row['epoch']:>{len(str(epochs))}}: " + ", ".join(parts)


@contextlib.contextmanager
def progress(epochs: int, total: int) -> Iterator[Callable[[int, dict | None], None]]:
    """Network 0's epoch lines and, on a terminal, a progress bar over the epochs of all networks above them."""
    bar = None
    if sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(total=total, unit=" network epochs", leave=False)

    def advance(networks: int, row: dict | None) -> None:
        line = row and said(row, epochs)
        if bar is not None:
            bar.update(networks)
        if line:
            print(line, flush=True) if bar is None else bar.write(line)

    with bar or contextlib.nullcontext():
        yield advance


if __name__ == "__main__":
    workers.run(main, "stages.train")
