"""Third stage: train the network, and its replicas, on the training part.

Reads data/train.parquet and data/validation.parquet; writes models/model.safetensors (all networks),
models/epochs.safetensors (network 0 after every epoch, for evaluate), metrics/train.json and metrics/history.csv.
Network 0 goes on from where the table's stream stands; network r > 0 has a stream of its own. Each draws its initial
weights and then three numbers an epoch, so what becomes of one depends on no other. Nothing here sees the test part.

    python -m stages.train
"""

import contextlib
import platform
import sys
from collections.abc import Callable, Iterator

import numpy as np

from stages import encoding, files, kernel, known_answer, model, params, scores, snapshot, stream, table
from stages.errors import UserError, run

SHUFFLED_ROWS = 2**25  # most row numbers of shuffled epochs held at once (128 MiB)


def main() -> None:
    settings = params.read()
    part, facts = table.read("data/train.parquet")
    watched, _ = table.read("data/validation.parquet")
    fitted = encoding.fit(part, facts.target)
    data = encoding.encode(fitted, part), table.targets(part, facts)
    watch = encoding.encode(fitted, watched), table.targets(watched, facts)

    generators = [stream.from_text(facts.stream)]
    generators += [stream.seeded(stream.seed_of_replica(settings.seed, r)) for r in range(1, settings.train.replicas)]
    sizes = len(fitted.columns), settings.train.hidden_size, model.outputs_for(len(facts.classes))
    weights = model.initial_weights(generators, *sizes)
    shuffles = np.stack([stream.shuffle_seeds(generator, settings.train.epochs) for generator in generators])
    parameters = sum(array[0].size for array in weights.values())
    print(f"{len(part)} rows, {sizes[0]} features, {parameters} parameters, {len(generators)} networks")

    keeper, portable = None, True
    if settings.train.engine == "compiled":
        portable = known_answer.found(len(generators)) == known_answer.ANSWER
        keeper = snapshot.Keeper(snapshot.PATH, settings.train, *data, *watch, *weights.values(), shuffles)
    if not portable:
        print(
            f"this machine ({platform.machine()}, {platform.platform()}) fails the known answer: its numbers are not "
            "those of other machines; the run goes on, and metrics/train.json says so",
            file=sys.stderr,
        )
    with progress(shuffles.size) as advance:
        weights, epochs, history = train(data, watch, weights, shuffles, settings.train, advance, keeper)

    counts = np.bincount(data[1], minlength=len(facts.classes)).tolist()
    card = model.Card(facts.target, facts.classes, counts, fitted)
    model.save(model.Model(weights, card), "models/model.safetensors")
    model.save(model.Model(epochs, card), "models/epochs.safetensors")
    files.write_csv(history[0], (row.values() for row in history), "metrics/history.csv")
    figures = {"loss": history[-1]["train_loss"], "accuracy": history[-1]["train_accuracy"], "parameters": parameters}
    figures |= {"rows": len(part), "batches": -(-len(part) // settings.train.batch_size)}
    figures = files.six_digits(figures)
    if len(facts.classes) == 2:  # of the whole table and in float32, as the notebook's mean is
        figures["positive_rate"] = float(np.float32(facts.class_counts[1] / sum(facts.class_counts)))
    if not portable:
        figures["portable"] = False  # for stages.verify; a machine like any other leaves no word
    files.write_json(figures, "metrics/train.json")
    if keeper:
        keeper.drop()


def train(data, watch, weights, shuffles, settings, advance: Callable[[int, str | None], None], keeper=None):
    """Train all networks; returns their weights, network 0's weights after each epoch, and its history.

    data and watch: (x, y) of the training and validation part; weights: initial, by name (R, ...);
    shuffles: seeds (R, epochs); advance(networks, line) is called after every epoch of some networks; keeper: a
    snapshot.Keeper of all this, or None.
    """
    # As many networks at a time as have their shuffled row numbers fit; with the default table that is all of them.
    together = max(SHUFFLED_ROWS // len(data[0]), 1)
    done = keeper.find() if keeper else snapshot.Progress()
    trained, epochs, history = done.trained, done.epochs, done.history
    if done.epoch:
        behind = done.first * settings.epochs + len(done.state[0]) * done.epoch
        advance(behind, f"going on after epoch {done.epoch} of network {done.first}, from {keeper.path}")
    for first in range(done.first, len(shuffles), together):
        group = slice(first, first + together)
        trainer = trainer_for(settings, data, {name: array[group] for name, array in weights.items()})
        behind = done.epoch if first == done.first else 0
        if behind:
            snapshot.restore(trainer.state, done.state)
        for epoch, seeds in enumerate(shuffles[group].T[behind:], start=behind + 1):
            orders = np.stack([stream.permutation(stream.seeded(seed), len(data[0])) for seed in seeds])
            figures = trainer.epoch(orders)
            check_finite(figures, epoch, first, settings.learning_rate)
            line = None
            if first == 0:
                now = {name: array[:1] for name, array in trainer.weights.items()}
                history.append(
                    {"epoch": epoch, "train_loss": float(figures[0, 0]), "train_accuracy": float(figures[0, 1])}
                )
                history[-1] |= watched_figures(now, watch)
                epochs.append(now)
                line = said(history[-1], settings.epochs)
            advance(len(seeds), line)
            if keeper and keeper.due():
                kept = [joined(trained)] if trained else []
                keeper.keep(snapshot.Progress(first, epoch, list(trainer.state), kept, [joined(epochs)], history))
        trained.append(trainer.weights)
    return joined(trained), joined(epochs), history


def trainer_for(settings, data, weights):
    """The engine that train.engine names; both have the same two methods."""
    if settings.engine == "torch":
        from stages import network

        return network.Trainer(*data, weights, settings.batch_size, settings.learning_rate)
    return kernel.Trainer(*data, weights, settings.batch_size, settings.learning_rate)


def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays of several groups of networks as one array each."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def watched_figures(weights, watch) -> dict[str, float]:
    """Loss and accuracy of one network on the validation part, if it has rows."""
    x, y = watch
    if not len(x):
        return {}
    probability = kernel.probabilities(x, weights)[0]
    right = scores.predicted(probability) == y
    return {
        "validation_loss": float(scores.log_losses(probability, y).mean()),
        "validation_accuracy": float(right.mean()),
    }


def check_finite(figures: np.ndarray, epoch: int, first: int, learning_rate: float) -> None:
    """Stop on a loss that is not finite: no later epoch would mend it."""
    wrong = ~np.isfinite(figures[:, 0])
    if wrong.any():
        r = int(wrong.argmax())
        raise UserError(
            f"the loss is {figures[r, 0]} in epoch {epoch} of network {first + r}; "
            f"train.learning_rate is {learning_rate}, lower it or rescale the features"
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
