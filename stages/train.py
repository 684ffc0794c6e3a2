"""Third stage: train the network, and its replicas, on the training part.

Reads data/train.parquet and data/validation.parquet; writes models/model.safetensors (all networks),
models/epochs.safetensors (network 0 after every epoch, for evaluate), metrics/train.json and metrics/history.csv.
Network 0 goes on from where the table's stream stands; network r > 0 has a stream of its own. Each draws its initial
weights and then three numbers an epoch, so what becomes of one depends on no other. Nothing here sees the test part.

    python -m stages.train
"""

import contextlib
import math
import sys
from collections.abc import Callable, Iterator

import numpy as np

from stages import encoding, files, kernel, model, params, stream, table
from stages.arithmetic import sincos
from stages.early_stopping import Best
from stages.errors import UserError, run

SHUFFLED_ROWS = 2**25  # most row numbers of shuffled epochs held at once (128 MiB)


def main() -> None:
    settings = params.read()
    part, facts = table.read("data/train.parquet")
    watched, _ = table.read("data/validation.parquet")
    fitted = encoding.fit(part, facts, settings.train.encoding)
    for left in fitted.left_out:
        print(f"column {left.name!r} is left out: {left.why}")
    data = encoding.encode(fitted, part), table.targets(part, facts)
    watch = encoding.encode(fitted, watched), table.targets(watched, facts)

    generators = [stream.from_text(facts.stream)]
    generators += [stream.seeded(stream.seed_of_replica(settings.seed, r)) for r in range(1, settings.train.replicas)]
    sizes = fitted.width, settings.train.hidden_size, model.outputs_for(len(facts.classes))
    weights = model.initial_weights(generators, *sizes)
    shuffles = np.stack([stream.shuffle_seeds(generator, settings.train.epochs) for generator in generators])
    parameters = sum(array[0].size for array in weights.values())
    print(f"{len(part)} rows, {sizes[0]} features, {parameters} parameters, {len(generators)} networks")

    with progress(shuffles.size) as advance:
        weights, epochs, history, kept = train(data, watch, weights, shuffles, settings.train, advance)

    counts = np.bincount(data[1], minlength=len(facts.classes)).tolist()
    card = model.Card(facts.target, facts.classes, counts, fitted)
    model.save(model.Model(weights, card), "models/model.safetensors")
    model.save(model.Model(epochs, card), "models/epochs.safetensors")
    files.write_csv(history[0], (row.values() for row in history), "metrics/history.csv")
    last = history[kept - 1]
    figures = {"loss": last["train_loss"], "accuracy": last["train_accuracy"], "parameters": parameters}
    if settings.train.patience:
        figures |= {"epoch": kept, "validation_loss": last["validation_loss"]}
    figures |= {"rows": len(part), "batches": -(-len(part) // settings.train.batch_size)}
    figures = files.six_digits(figures)
    if len(facts.classes) == 2:  # of the whole table and in float32, as the notebook's mean is
        figures["positive_rate"] = float(np.float32(facts.class_counts[1] / sum(facts.class_counts)))
    files.write_json(figures, "metrics/train.json")


def train(data, watch, weights, shuffles, settings, advance: Callable[[int, str | None], None]):
    """Train all networks; returns their weights, network 0's weights after each epoch, its history and kept epoch.

    data and watch: (x, y) of the training and validation part; weights: initial, by name (R, ...);
    shuffles: seeds (R, epochs); advance(networks, line) is called after every epoch of some networks.
    """
    # As many networks at a time as have their shuffled row numbers fit; with the default table that is all of them.
    together = max(SHUFFLED_ROWS // len(data[0]), 1)
    trained, epochs, history, kept = [], [], [], 0
    for first in range(0, len(shuffles), together):
        group = slice(first, first + together)
        trainer = trainer_for(settings, data, {name: array[group] for name, array in weights.items()})
        best = Best(settings.patience, trainer.weights)
        for epoch, seeds in enumerate(shuffles[group].T, start=1):
            seeds = seeds[best.running]
            orders = np.stack([stream.permutation(stream.seeded(seed), len(data[0])) for seed in seeds])
            trainer.learning_rate = settings.learning_rate * share_of_rate(settings, epoch)
            figures = trainer.epoch(orders)
            check_finite(figures, epoch, first + best.running, settings.learning_rate)
            now = trainer.weights
            watched = kernel.mean_losses(*watch, now) if len(watch[0]) and (first == 0 or settings.patience) else None
            if watched is not None:
                check_finite(watched, epoch, first + best.running, settings.learning_rate)
            line = None
            if first == 0 and best.running[0] == 0:
                history.append(row_of(epoch, figures[0], None if watched is None else watched[0]))
                epochs.append({name: array[:1] for name, array in now.items()})
                line = said(history[-1], settings.epochs)
            going_on = best.update(epoch, now, None if watched is None else watched[:, kernel.LOSS])
            advance(len(seeds), line)
            if not going_on.any():
                break
            if not going_on.all():
                trainer.select(going_on)
        trained.append(best.weights)
        kept = kept or int(best.epoch[0])
    return joined(trained), joined(epochs), history, kept


def share_of_rate(settings, epoch: int) -> float:
    """What train.schedule makes of the learning rate in an epoch, as torch's CosineAnnealingLR stepped every epoch."""
    if settings.schedule == "constant":
        return 1.0
    return (1.0 + sincos(math.pi * (epoch - 1) / settings.epochs)[1]) / 2.0


def trainer_for(settings, data, weights):
    """The engine that train.engine names; both have the same two methods."""
    if settings.engine == "torch":
        from stages import network

        return network.Trainer(*data, weights, settings.batch_size, settings.learning_rate, settings.weight_decay)
    return kernel.Trainer(*data, weights, settings.batch_size, settings.learning_rate, settings.weight_decay)


def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays of several groups of networks as one array each."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def row_of(epoch: int, trained: np.ndarray, watched: np.ndarray | None) -> dict:
    """A line of the history: loss and accuracy of the training rows and, if it has any, of the validation part."""
    row = {"epoch": epoch, "train_loss": float(trained[0]), "train_accuracy": float(trained[1])}
    if watched is not None:
        row |= {"validation_loss": float(watched[0]), "validation_accuracy": float(watched[1])}
    return row


def check_finite(figures: np.ndarray, epoch: int, networks: np.ndarray, learning_rate: float) -> None:
    """Stop on a loss that is not finite: no later epoch would mend it."""
    wrong = ~np.isfinite(figures[:, 0])
    if wrong.any():
        r = int(wrong.argmax())
        raise UserError(
            f"the loss is {figures[r, 0]} in epoch {epoch} of network {networks[r]}; "
            f"train.learning_rate is {learning_rate}, lower it or rescale the features (train.encoding)"
        )


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
def progress(total: int) -> Iterator[Callable[[int, str | None], None]]:
    """Epoch lines, and above them a progress bar over all networks' epochs where there is a terminal."""
    if not sys.stderr.isatty():
        yield lambda networks, line: line and print(line, flush=True)
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="epoch", leave=False) as bar:

        def advance(networks, line):
            bar.update(networks)
            if line:
                bar.write(line)

        yield advance


if __name__ == "__main__":
    run(main)
