"""The training loop: networks in groups, side by side, an epoch at a time, with early stopping and snapshots.

Every network is an independent run. What it becomes depends neither on how many train beside it nor on when another
stops, nor on whether the loop was killed and went on from a snapshot.
"""

import math

import numpy as np

from stages import held_out, kernel, members, snapshot, stream
from stages.arithmetic import sincos
from stages.early_stopping import Best
from stages.errors import UserError
from stages.snapshot import Progress

SHUFFLED_ROWS = 2**25  # most row numbers of shuffled epochs held at once (128 MiB)


def train(data, watch, weights, shuffles, settings, advance, keeper=None, draws=(), group=None):
    """Train all networks; returns their weights, network 0's weights after each epoch, its history and kept epoch.

    With settings.members above 1 these are the members of the networks, network by network: R of weights and shuffles
    counts them all, weights after an epoch and history hold network 0's one after the other, and the kept epoch is
    their last.

    data and watch: (x, y) of the training and validation part, x an array or rows.Rows; weights: initial, by name
    (R, ...); shuffles: seeds (R, epochs); settings: the train section; advance(networks, row) is called after every
    epoch of some networks, with network 0's new row of the history; keeper: a snapshot.Keeper of all this, or None;
    draws: seeds (R,) of the rows that each network watches instead of the validation part, when train.held_out is above
    0; group: a workers.Group, all of whose workers call this alike (but the first alone has a keeper), or None.
    """
    together = at_a_time(len(data[1]), settings)
    run = keeper.find(lambda run: run.fits(weights, settings, together)) if keeper else Progress()
    run = group.broadcast(run) if group else run
    if run.epoch:
        advance(run.first * settings.epochs + len(run.state[0]) * run.epoch, None)
    for first in range(run.first, len(shuffles), together):
        run.first, some = first, slice(first, first + together)
        trainer = trainer_for(settings, data, {name: array[some] for name, array in weights.items()}, group)
        if run.epoch:
            trainer.select(run.best.running)
            snapshot.restore(trainer.state, run.state)
        else:
            run.best = Best.start(settings.patience, trainer.weights)
        own = held_out.draw(draws[some], data[1], settings.held_out) if settings.held_out else None
        for epoch in range(run.epoch + 1, settings.epochs + 1):
            run.epoch = epoch
            networks = len(run.best.running)
            going_on, row = one_epoch(trainer, own, data, watch, shuffles[some][:, epoch - 1], settings, run)
            advance(networks, row)
            if not going_on.any():
                break
            if not going_on.all():
                trainer.select(going_on)
            last = epoch == settings.epochs and first + together >= len(shuffles)  # nothing is left to go on with
            if keeper and not last:
                run.state = list(trainer.state)
                if keeper.due(run):
                    run.epochs = [joined(run.epochs)]
                    keeper.keep(run)
        run.trained.append(run.best.weights)
        run.kept = run.kept or int(run.best.epoch[: settings.members].max())
        run.epoch = 0
    return joined(run.trained), joined(run.epochs), run.history, run.kept


def units(rows: int, trained: int, settings) -> int:
    """Into how many pieces the work of a step can be cut: what more workers there are have nothing to do.

    trained: the rows that a network does not hold out.
    """
    batch = min(settings.batch_size, trained)
    return batch if settings.engine == "torch" else at_a_time(rows, settings) * kernel.shards_of(batch)


def at_a_time(rows: int, settings) -> int:
    """As many networks as have their shuffled row numbers fit; with the default table that is all of them."""
    groups = max(SHUFFLED_ROWS // (rows * settings.members), 1)
    return min(groups, settings.replicas) * settings.members


def rows_of(own, data, watch, seeds: np.ndarray, running: np.ndarray) -> tuple[np.ndarray, tuple]:
    """The order (R, n) in which the running networks take their rows, and what they watch: x, y and rows of these.

    own: what held_out.draw gave the group's networks, or None: all train on all rows, and watch the validation part.
    """
    if own is None:
        return stream.permutations(seeds[running], len(data[1])), (*watch, np.arange(len(watch[1]))[None])
    trained, watched = own[0][running], own[1][running]
    orders = stream.permutations(seeds[running], trained.shape[1])
    return np.take_along_axis(trained, orders, axis=1), (*data, watched)


def one_epoch(trainer, own, data, watch, seeds, settings, run: Progress) -> tuple[np.ndarray, dict | None]:
    """Train the running networks for an epoch; returns which of them go on, a mask, and network 0's row if it ran.

    What has a number for every row, as the orders have, ends with it, so that no two epochs' are held at once.
    """
    orders, watch = rows_of(own, data, watch, seeds, run.best.running)
    running = run.first + run.best.running
    trainer.learning_rate = settings.learning_rate * share_of_rate(settings, run.epoch)
    trained = trainer.epoch(orders)
    check_finite(trained, run.epoch, running // settings.members, settings.learning_rate)
    weights, watched, row = trainer.weights, None, None
    if watch[2].size and (running[0] < settings.members or settings.patience):
        watched = kernel.mean_losses(*watch, weights)
        check_finite(watched, run.epoch, running // settings.members, settings.learning_rate)
    if running[0] < settings.members:
        row = take_down(run, weights, trained, watched, settings.members)
    return run.best.update(run.epoch, weights, None if watched is None else watched[:, kernel.LOSS]), row


def take_down(run: Progress, weights, trained, watched, count: int) -> dict:
    """Add an epoch of network 0's members to weights and history, a stopped one as it was kept; returns their mean."""
    running = run.best.running[run.best.running < count]
    now = {name: array[:count].copy() for name, array in run.best.weights.items()}
    for name, array in weights.items():
        now[name][running] = array[: len(running)]
    run.epochs.append(now)
    rows = {m: row_of(run.epoch, trained[i], None if watched is None else watched[i]) for i, m in enumerate(running)}
    kept = run.best.epoch
    run.history += [rows[m] if m in rows else run.history[(kept[m] - 1) * count + m] for m in range(count)]
    return members.mean(run.history[-count:])


def share_of_rate(settings, epoch: int) -> float:
    """What train.schedule makes of the learning rate in an epoch, as torch's CosineAnnealingLR stepped every epoch."""
    if settings.schedule == "constant":
        return 1.0
    return (1.0 + sincos(math.pi * (epoch - 1) / settings.epochs)[1]) / 2.0


def trainer_for(settings, data, weights, group=None):
    """The engine that train.engine and train.device name; all have the same methods."""
    given = *data, weights, settings.batch_size, settings.learning_rate, settings.weight_decay
    if settings.device == "cuda":
        from stages import batched

        return batched.Trainer(*given, str(group.device) if group else settings.device, group)  # a GPU a worker
    if settings.engine == "torch":
        from stages import network

        return network.Trainer(*given, group)
    return kernel.Trainer(*given, group)


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
