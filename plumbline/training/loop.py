"""The training loop: networks in groups, side by side, an epoch at a time, with early stopping and snapshots.

Every network is an independent run. What it becomes depends neither on how many train beside it nor on when another
stops, nor on whether the loop was killed and went on from a snapshot. So workers take whole networks, and exchange
nothing until the end; the only network of a training is the one thing that several workers train together.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np

from plumbline.basics.errors import UserError
from plumbline.basics.params import Train
from plumbline.bits import scoring, stream
from plumbline.bits.arithmetic import sincos
from plumbline.model.network import Network
from plumbline.tables.shuffled import windows
from plumbline.training import networks, progress
from plumbline.training.networks import COLUMNS, Drawn, Trained, Weights
from plumbline.training.snapshot import Keeper, Run
from plumbline.training.workers import ALONE, Group

SHUFFLED_ROWS = 2**25  # most row numbers of shuffled epochs held at once (128 MiB)
LOSS = 0  # a column of sums, beside right answers

Part = tuple[np.ndarray, np.ndarray]  # x float32 (n, d), y int32 (n,)


def with_engine(settings: Train, network: Network) -> Train:
    """The train section with the engine that `auto` stands for; a UserError where the named one cannot train this."""
    other = f"{network.path} is not the network as shipped"
    if settings.engine == "compiled" and not network.is_shipped:
        raise UserError(
            f"train.engine is compiled, and {other}, the only one that is compiled; set it to auto, or restore the file"
        )
    if not network.is_shipped:
        print(f"{other}: PyTorch trains and scores it as it is written")
    engine = settings.engine
    if engine == "auto":
        engine = "compiled" if network.is_shipped and settings.device == "cpu" else "torch"
    if settings.device == "cuda":  # said before the tables are read
        from plumbline.training import autograd

        autograd.check_device(settings.device)
    return msgspec.structs.replace(settings, engine=engine)


class Job(NamedTuple):
    """What a training is made of; nothing of it changes."""

    drawn: Drawn
    data: Part
    watch: Part
    settings: Train
    network: Network
    group: Group | None  # workers that train the one network together

    @property
    def at_a_time(self) -> int:
        """Members that are trained side by side, of as many networks as have their shuffled row numbers fit."""
        members = self.drawn.members
        return max(SHUFFLED_ROWS // (len(self.data[1]) * members), 1) * members

    @property
    def columns(self) -> int:
        """Columns of the history: the last two are there if there is something to watch."""
        return len(COLUMNS) - (0 if self.settings.held_out or len(self.watch[1]) else 2)


def train(
    drawn: Drawn, data: Part, watch: Part, settings: Train, network: Network, keeper: Keeper, group: Group = ALONE
) -> Trained:
    """Train all networks that have drawn, whole ones on each of the group's workers; the leader gets all of them.

    data and watch: the training and the validation part, encoded.
    """
    if settings.patience and not settings.held_out and not len(watch[1]):
        raise UserError("the validation part has no rows, and train.patience watches them; run `dvc repro`")
    portable = settings.engine != "compiled" or answers_as_others(len(drawn.shuffles))
    together = settings.engine == "torch" and group.size > 1 and len(drawn.shuffles) == 1
    if together:
        group.process_group()
    mine = drawn if together else group.share(drawn, arithmetic=str(portable))
    job = Job(mine, data, watch, settings, network, group if together else None)
    if together or settings.device == "cuda":  # whose state is not at hand
        keeper = None
    run = (keeper and keeper.find(mine, len(drawn))) or Run.start(mine, job.columns)
    before = int(run.running[0]) // job.at_a_time * job.at_a_time if run.epoch else 0
    with progress.shown(settings.epochs, mine.shuffles.size) as advance:
        advance(before * settings.epochs + len(run.running) * run.epoch, None)
        for first in range(before, len(mine.shuffles), job.at_a_time):
            train_side_by_side(job, run, first, keeper, advance)
    check_weights(run.weights, mine)
    run.join()
    return group.gather(Trained(run.weights, *run.by_epoch, *run.history, portable))


def train_side_by_side(job: Job, run: Run, first: int, keeper: Keeper | None, advance: Callable) -> None:
    """Train the networks from `first` on that are trained together, until the last of them stops."""
    settings, drawn = job.settings, job.drawn
    numbers = np.arange(first, min(first + job.at_a_time, len(drawn.shuffles)))
    running = run.running if run.epoch else numbers
    trainer = trainer_for(job, running, run.weights)
    if run.epoch:
        for new, kept in zip(trainer.state, run.state, strict=True):
            new[...] = kept
    own = networks.hold_out(drawn.held_out[numbers], job.data[1], settings.held_out) if settings.held_out else None
    run.running = running
    while run.epoch < settings.epochs and len(run.running):
        run.epoch += 1
        trained = len(run.running)
        going_on, row = one_epoch(job, run, trainer, own, first)
        advance(trained, row)
        if 0 < len(run.running) < trained:
            trainer.select(going_on)
        last = run.epoch == settings.epochs and numbers[-1] + 1 == len(drawn.shuffles)  # nothing is left to go on with
        if keeper and len(run.running) and not last:
            run.state = list(trainer.state)
            if keeper.due(run):
                keeper.keep(run)
    run.epoch = 0


def one_epoch(job: Job, run: Run, trainer, own, first: int) -> tuple[np.ndarray, dict | None]:
    """Train the running networks for an epoch; returns which of them go on, a mask, and network 0's row if it ran.

    What has a number for every row, as the orders have, ends with it, so that no two epochs' are held at once.
    """
    settings, drawn, running, epoch = job.settings, job.drawn, run.running, run.epoch
    seeds, numbers = drawn.shuffles[running, epoch - 1], drawn.first + running // drawn.members
    has_network_0 = drawn.first == 0 and running[0] < drawn.members
    orders, (x, y, rows) = rows_of(job, own, seeds, running - first)
    trainer.learning_rate = settings.learning_rate * share_of_rate(settings, epoch)
    if settings.engine == "torch":
        trainer.seed(int(seeds[0]))

    trained = np.zeros((len(running), 2))
    for window in windows(*job.data, orders, settings.batch_size):
        trainer.train(*window, trained)
    trained /= orders.shape[1]
    check_finite(trained, epoch, numbers, settings.learning_rate)

    weights, watched = trainer.weights, None
    if rows.size and (has_network_0 or settings.patience):
        watched = np.zeros((len(running), 2))
        for window in windows(x, y, rows, 1):
            if settings.engine == "torch":
                trainer.loss_sums(*window, watched)
            else:
                scoring.loss_sums(*window, weights, watched)
        watched /= rows.shape[1]
        check_finite(watched, epoch, numbers, settings.learning_rate)

    row = None
    if has_network_0:
        figures = [np.full((len(running), 1), float(epoch)), trained, *([] if watched is None else [watched])]
        row = take_down(run, weights, np.concatenate(figures, axis=1), drawn.members)
    return keep_best(run, weights, None if watched is None else watched[:, LOSS], settings.patience), row


def rows_of(job: Job, own, seeds: np.ndarray, running: np.ndarray) -> tuple[np.ndarray, tuple]:
    """The order (R, n) in which the running networks take their rows, and what they watch: x, y and rows of these.

    own: what networks.hold_out gave those side by side, or None: all train on all rows, and watch the validation part.
    """
    if own is None:
        return stream.permutations(seeds, len(job.data[1])), (*job.watch, np.arange(len(job.watch[1]))[None])
    trained, watched = own[0][running], own[1][running]
    orders = stream.permutations(seeds, trained.shape[1])
    return np.take_along_axis(trained, orders, axis=1), (*job.data, watched)


def take_down(run: Run, weights: Weights, figures: np.ndarray, members: int) -> dict:
    """Add an epoch of network 0's members to weights and history, a stopped one as it was kept; returns their mean.

    figures: (running, columns) of this epoch.
    """
    now = {name: array[:members].copy() for name, array in run.weights.items()}
    running = run.running[run.running < members]
    for name, array in weights.items():
        now[name][running] = array[: len(running)]
    run.by_epoch.append(now)
    if len(running) < members:
        run.history = [np.concatenate(run.history)]
        row = run.history[0][np.maximum(run.kept[:members], 1) - 1, np.arange(members)]
    else:
        row = np.empty((members, figures.shape[1]))
    row[running] = figures[: len(running)]
    run.history.append(row[None])
    return networks.mean(row)


def keep_best(run: Run, weights: Weights, losses: np.ndarray | None, patience: int) -> np.ndarray:
    """Take in an epoch of the running networks, and stop those whose patience is over; returns which go on, a mask.

    weights and losses: of the running networks, in their order. Without patience the last epoch is the best.
    """
    better = losses < run.loss[run.running] if patience else np.full(len(run.running), True)
    improved = run.running[better]
    run.kept[improved] = run.epoch
    if patience:
        run.loss[improved] = losses[better]
    for name, array in weights.items():
        run.weights[name][improved] = array[better]
    going_on = run.epoch - run.kept[run.running] < max(patience, 1)
    run.running = run.running[going_on]
    return going_on


def share_of_rate(settings: Train, epoch: int) -> float:
    """What train.schedule makes of the learning rate in an epoch, as torch's CosineAnnealingLR stepped every epoch."""
    if settings.schedule == "constant":
        return 1.0
    return (1.0 + float(sincos(math.pi * (epoch - 1) / settings.epochs)[1])) / 2.0


def answers_as_others(networks: int) -> bool:
    """Whether this machine computes the bits of others; only who compiles asks."""
    from plumbline.bits import known_answer

    return known_answer.is_known(networks)


def trainer_for(job: Job, running: np.ndarray, weights: Weights):
    """A trainer of the running networks, of the engine that train.engine names; both have the same methods."""
    settings = job.settings
    given = {name: array[running] for name, array in weights.items()}, settings.batch_size
    rates = settings.learning_rate, settings.weight_decay
    if settings.engine == "torch":
        from plumbline.training import autograd

        return autograd.Trainer(job.network, job.drawn.sizes, *given, *rates, settings.device, job.group)
    from plumbline.bits import kernel

    return kernel.Trainer(*given, *rates)


# ---- what is refused


def check_finite(figures: np.ndarray, epoch: int, numbers: np.ndarray, learning_rate: float) -> None:
    """Stop on a loss that is not finite: no later epoch would mend it. numbers: of the networks."""
    wrong = ~np.isfinite(figures[:, LOSS])
    if wrong.any():
        r = int(wrong.argmax())
        raise UserError(
            f"the loss is {figures[r, LOSS]} in epoch {epoch} of network {numbers[r]}; "
            f"train.learning_rate is {learning_rate}, lower it or rescale the features (train.encoding)"
        )


def check_weights(weights: Weights, drawn: Drawn) -> None:
    """Refuse what no model file may hold; the loss of the last epoch was still finite."""
    for name, array in weights.items():
        wrong = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        if wrong.any():
            number = drawn.first + int(wrong.argmax()) // drawn.members
            raise UserError(f"{name} of network {number} is not finite after its last epoch; lower train.learning_rate")
