"""The training loop: networks side by side, an epoch at a time, with early stopping and snapshots.

A network's bits do not depend on which others train beside it, nor on whether the loop was killed and went on from a
snapshot. So networks are trained in groups that fit into memory, and workers take whole networks. Only where there is a
single network do several workers train it together, under engine torch.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np

from plumbline.basics.errors import UserError
from plumbline.basics.params import Train
from plumbline.bits import stream
from plumbline.bits.arithmetic import sincos
from plumbline.model.network import Network
from plumbline.tables.shuffled import windows
from plumbline.training import networks, progress
from plumbline.training.networks import Drawn, Trained
from plumbline.training.snapshot import Keeper, Run
from plumbline.training.workers import ALONE, Group

SHUFFLED_ROWS = 2**25  # row numbers of all networks' shuffles that are held at once, at most (128 MiB)
LOSS = 0  # the first column of sums; the second is right answers

Part = tuple[np.ndarray, np.ndarray]  # x float32 (n, c), y int32 (n,)


def with_engine(settings: Train, network: Network) -> Train:
    """The train section with `auto` replaced by an engine; a UserError where the named one cannot train the network."""
    other = f"{network.path} is not the network as shipped"
    if settings.engine == "compiled" and not network.is_shipped:
        raise UserError(
            f"train.engine is compiled, and {other}, the only one that is compiled; set it to auto, or restore the file"
        )
    if not network.is_shipped:
        without = ", without train.input_rate" if settings.input_rate else ""
        print(f"{other}: PyTorch trains and scores it as it is written{without}")
        settings = msgspec.structs.replace(settings, input_rate=0.0)
    engine = settings.engine
    if engine == "auto":
        engine = "compiled" if network.is_shipped and settings.device == "cpu" else "torch"
    if settings.device == "cuda":  # checked before the tables are read
        from plumbline.training import autograd

        autograd.check_device(settings.device)
    return msgspec.structs.replace(settings, engine=engine)


class Job(NamedTuple):
    """What stays the same throughout a training."""

    data: Part
    watch: Part
    settings: Train
    network: Network
    class_weights: np.ndarray | None  # float32 (classes,)
    group: Group | None  # workers that train the one network together


def train(
    drawn: Drawn, data: Part, watch: Part, settings: Train, network: Network, keeper: Keeper, group: Group = ALONE
) -> Trained:
    """Train all networks that have drawn; each of the group's workers trains some, and the leader returns all.

    data and watch: the training and the validation part, encoded.
    """
    if settings.patience and not settings.held_out and not len(watch[1]):
        raise UserError("the validation part has no rows, and train.patience watches them; run `dvc repro`")
    portable = True
    if settings.engine == "compiled" and drawn.first == 0:  # once, not for every fold network
        from plumbline.bits import known_answer

        portable = known_answer.is_known(len(drawn.shuffles))
    together = settings.engine == "torch" and group.size > 1 and len(drawn.shuffles) == 1
    if together:
        group.process_group()
    mine = drawn if together else group.share(drawn, arithmetic=str(portable))
    k, class_weights = max(drawn.sizes[2], 2), None
    if settings.class_weight == "balanced":
        class_weights = networks.balanced(data[1], k, settings.held_out)
    job = Job(data, watch, settings, network, class_weights, group if together else None)
    if together or settings.device == "cuda":  # without snapshots: their state is not in this process alone
        keeper = None
    runs = in_groups(job, mine, keeper)
    watched = int(networks.held_out_counts(data[1], k, settings.held_out).sum() or len(watch[1]))
    trained = Trained(
        weights=networks.joined([run.weights for run in runs]),
        by_epoch=networks.joined(runs[0].by_epoch),
        history=np.array(runs[0].history),
        portable=portable,
        losses=np.concatenate([run.loss for run in runs]),
        watched=watched if settings.patience else 0,
    )
    return group.gather(None if together and not group.leads else trained)


def in_groups(job: Job, drawn: Drawn, keeper: Keeper | None) -> list[Run]:
    """Train networks in groups, one group after the other, or go on where a snapshot has them.

    A group is as many networks as have shuffles of SHUFFLED_ROWS row numbers together.
    """
    settings, at_a_time = job.settings, max(SHUFFLED_ROWS // (len(job.data[1]) * drawn.members), 1)
    parts = [drawn.take(slice(first, first + at_a_time)) for first in range(0, len(drawn), at_a_time)]
    runs = keeper.find(drawn, len(parts)) if keeper else []
    with progress.shown(settings, drawn.shuffles.size) as advance:
        advance(sum(len(run.running) * run.epoch for run in runs), None)
        for number, part in enumerate(parts):
            if number == len(runs):
                runs.append(Run.start(part))
            if number == len(runs) - 1 and len(runs[-1].running):  # the groups before a snapshot's last have ended
                train_side_by_side(job, part, runs, keeper, advance)
    if keeper:
        keeper.ended(runs)
    return runs


def train_side_by_side(job: Job, drawn: Drawn, runs: list[Run], keeper: Keeper | None, advance: Callable) -> None:
    """Train the networks of the last run side by side until all have stopped."""
    settings, run = job.settings, runs[-1]
    trainer = trainer_for(job, drawn, run)
    for new, kept in zip(trainer.state, run.state):  # a run that begins has no state
        new[...] = kept
    own = networks.hold_out(drawn.held_out, job.data[1], settings.held_out) if settings.held_out else None
    while run.epoch < settings.epochs and len(run.running):
        run.epoch += 1
        trained = len(run.running)
        going_on, row = one_epoch(job, drawn, run, trainer, own)
        advance(trained, row)
        if 0 < len(run.running) < trained:
            trainer.select(going_on)
        if keeper and len(run.running) and run.epoch < settings.epochs and keeper.due():
            run.state = list(trainer.state)
            keeper.keep(runs)
    run.state = []


def one_epoch(job: Job, drawn: Drawn, run: Run, trainer, own) -> tuple[np.ndarray, dict | None]:
    """Train the running networks for an epoch; returns a mask of those that go on, and network 0's row if it ran."""
    settings, running, epoch = job.settings, run.running, run.epoch
    seeds, numbers = drawn.shuffles[running, epoch - 1], drawn.first + running // drawn.members
    has_network_0 = drawn.first == 0 and running[0] < drawn.members
    orders, seen = rows_of(job, own, seeds, running)
    trainer.learning_rate = settings.learning_rate * share_of_rate(settings, epoch)
    if settings.engine == "torch":
        trainer.seed(int(seeds[0]))

    def figures(step: Callable, x: np.ndarray, y: np.ndarray, rows: np.ndarray, batch_size: int) -> np.ndarray:
        """Mean loss and accuracy of each network, float64 (R, 2): `step` goes over the rows window by window."""
        sums = np.zeros((len(running), 2))
        for window in windows(x, y, rows, batch_size):
            step(*window, sums)
        check_finite(sums, epoch, numbers, job)
        return sums / rows.shape[1]

    trained, watched = figures(trainer.train, *job.data, orders, settings.batch_size), np.empty((len(running), 0))
    if settings.ema_decay:
        trainer.average(min(settings.ema_decay, (epoch - 1) / epoch))  # in the first epochs the plain mean
    if seen[2].size and (has_network_0 or settings.patience):
        watched = figures(trainer.loss_sums, *seen, 1)

    row = None
    if has_network_0:
        lines = np.concatenate([np.full((len(running), 1), float(epoch)), trained, watched], axis=1)
        row = take_down(run, trainer, lines, drawn.members, drawn.every)
    return keep_best(run, trainer, watched, settings.patience), row


def rows_of(job: Job, own, seeds: np.ndarray, running: np.ndarray) -> tuple[np.ndarray, tuple]:
    """The order (R, n) in which each running network takes its rows; and what they watch: x, y and numbers of its rows.

    own: what networks.hold_out gave. None: all train on all rows, and watch the validation part.
    """
    if own is None:
        orders = stream.permutations(seeds, len(job.data[1]))
        return orders, (*job.watch, np.arange(len(job.watch[1]))[None])
    trained, watched = own[0][running], own[1][running]
    orders = stream.permutations(seeds, trained.shape[1])
    return np.take_along_axis(trained, orders, axis=1), (*job.data, watched)


def take_down(run: Run, trainer, figures: np.ndarray, members: int, every: int) -> dict:
    """Record an epoch of network 0: its members' figures and, every so many epochs, their weights.

    A member that has stopped is recorded with its kept epoch. Returns the mean figures of the members. figures: of this
    epoch, (running, columns), in the order of the running networks.
    """
    running = run.running[run.running < members]
    lines = dict(zip(running.tolist(), figures))
    own = [lines[m] if m in lines else run.history[run.kept[m] - 1][m] for m in range(members)]
    if (run.epoch - 1) % every == 0:
        now = {name: array[:members].copy() for name, array in run.weights.items()}
        for name, array in trainer.weights(slice(len(running))).items():
            now[name][running] = array
        run.by_epoch.append(now)
    run.history.append(np.array(own))
    return networks.mean(run.history[-1])


def keep_best(run: Run, trainer, watched: np.ndarray, patience: int) -> np.ndarray:
    """Early stopping: keep the weights of networks that improved, stop those whose patience is over.

    Returns a mask of the running networks that go on. Without patience every epoch improves, so the last is kept.
    watched: loss and accuracy of this epoch, (running, 2).
    """
    better = watched[:, LOSS] < run.loss[run.running] if patience else np.full(len(run.running), True)
    improved = run.running[better]
    run.kept[improved] = run.epoch
    if patience:
        run.loss[improved] = watched[better, LOSS]
    for name, array in trainer.weights(better).items():
        run.weights[name][improved] = array
    going_on = run.epoch - run.kept[run.running] < max(patience, 1)
    run.running = run.running[going_on]
    return going_on


def share_of_rate(settings: Train, epoch: int) -> float:
    """The factor of the learning rate in an epoch, by train.schedule: 1, or that of torch's CosineAnnealingLR."""
    if settings.schedule == "constant":
        return 1.0
    return (1.0 + float(sincos(math.pi * (epoch - 1) / settings.epochs)[1])) / 2.0


def trainer_for(job: Job, drawn: Drawn, run: Run):
    """The running networks' trainer, of the engine that train.engine names. All trainers have the same methods."""
    settings, has_views = job.settings, len(drawn.views) > 1
    weights, view_of = {name: array[run.running] for name, array in run.weights.items()}, drawn.view_of(run.running)
    options = {name: getattr(settings, name) for name in ("batch_size", "learning_rate", "weight_decay", "input_rate")}
    options |= {"class_weights": job.class_weights, "layout": drawn.layout, "averages": settings.ema_decay > 0}
    if settings.engine == "torch":
        from plumbline.training import autograd

        scales = networks.seen(drawn)[view_of] if has_views or settings.input_rate else None
        own = {"device": settings.device, "group": job.group, "scales": scales}
        return autograd.Trainer(job.network, drawn.sizes, weights, **options, **own)
    if has_views:
        from plumbline.training import views

        return views.Trainer(weights, view_of, drawn.views, **options)
    from plumbline.bits import kernel

    return kernel.Trainer(weights, **options)


def check_finite(sums: np.ndarray, epoch: int, numbers: np.ndarray, job: Job) -> None:
    """A UserError for a loss that is not finite: no later epoch would mend it. numbers: the networks' own."""
    wrong = ~np.isfinite(sums[:, LOSS])
    if wrong.any():
        r, others = int(wrong.argmax()), "" if job.network.is_shipped else f", or mend {job.network.path}"
        raise UserError(
            f"the loss is {sums[r, LOSS]} in epoch {epoch} of network {numbers[r]}; "
            f"train.learning_rate is {job.settings.learning_rate}, lower it or rescale the features (train.encoding)"
            f"{others}"
        )
