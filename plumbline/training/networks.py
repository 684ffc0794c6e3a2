"""The networks of a training: what each draws before it, and what becomes of them after it.

Network 0 goes on with the table's stream of random numbers, as the notebook does. Any other network has a stream of its
own. Each draws its initial weights, then three numbers an epoch for the shuffles, then three for the rows that it holds
out.

A network may have several members (train.members), which are trained like networks. Arrays have a line for each member:
those of network 0, then those of network 1, and so on. After the training the members of the shipped network are merged
into one network.
"""

import itertools
import math
from typing import NamedTuple

import msgspec
import numpy as np

from plumbline.basics import formats
from plumbline.basics.errors import UserError
from plumbline.basics.params import Params, Train
from plumbline.bits import initial, stream
from plumbline.bits import rows as encoded
from plumbline.model import network as module
from plumbline.model.network import Network
from plumbline.tables.fitted import Encoding
from plumbline.tables.store import Facts

PIECE = 2**20  # rows at a time
KEPT = 2**27  # most bytes of network 0's weights after its epochs
FEW = 500  # with so many watched rows, a view's loss counts half and the mean of all views half (docs/settings.md)

Weights = dict[str, np.ndarray]  # by name, the networks in front: (R, ...)


class Drawn(msgspec.Struct, frozen=True):
    """What some networks have drawn before their training."""

    sizes: tuple[int, int, int]  # features, hidden units, outputs
    parameters: int  # of a network, with all its members
    members: int  # of each network
    first: int  # the number of the first of these networks; 0 is the notebook's, fold networks have others
    weights: Weights  # initial ones, (R x members, ...)
    shuffles: np.ndarray  # seeds of the shuffles, uint64 (R x members, epochs)
    held_out: np.ndarray  # seeds of the draws of held-out rows, uint64 (R x members,)
    layout: np.ndarray  # of the encoded rows
    views: list[np.ndarray]  # sets of stored columns; member m sees views[m % len(views)]

    def view_of(self, lines: np.ndarray) -> np.ndarray:
        """The numbers of the views that these lines have."""
        return lines % self.members % len(self.views)

    @property
    def every(self) -> int:
        """Network 0's weights are kept after every so many epochs, which take KEPT bytes together at most."""
        d, h, k = self.sizes
        numbers = max(self.parameters, self.members * h * (d + 1 + k))  # includes zeros for inputs that are not seen
        return -(-4 * numbers * self.shuffles.shape[1] // KEPT)

    def __len__(self) -> int:
        """How many networks, each with all its members."""
        return len(self.shuffles) // self.members

    def take(self, part: slice) -> "Drawn":
        """Some of the networks, each with all its members."""
        start, stop, _ = part.indices(len(self))
        lines = slice(start * self.members, stop * self.members)
        weights = {name: array[lines] for name, array in self.weights.items()}
        first, shuffles, held_out = self.first + start, self.shuffles[lines], self.held_out[lines]
        return msgspec.structs.replace(self, first=first, weights=weights, shuffles=shuffles, held_out=held_out)


class Trained(msgspec.Struct, frozen=True):
    """What became of some networks."""

    weights: Weights  # of the kept epochs, (R x members, ...)
    by_epoch: Weights  # network 0's members after epochs 1, 1 + every, ...; empty where it was not trained here
    history: np.ndarray  # float64 (epochs, members, columns), network 0's figures; see COLUMNS
    portable: bool  # whether this machine computes the known bits (plumbline.bits.known_answer)
    losses: np.ndarray = np.empty(0)  # float64 (R x members,), of the watched rows at the kept epoch
    watched: int = 0  # how many rows each member watched

    @staticmethod
    def joined(parts: list["Trained"]) -> "Trained":
        """All networks, of parts in the order of the networks."""
        losses = np.concatenate([part.losses for part in parts])
        return msgspec.structs.replace(parts[0], weights=joined([part.weights for part in parts]), losses=losses)


# Of the history; the last two where rows are watched
COLUMNS = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


def joined(parts: list[Weights]) -> Weights:
    """The weights of several groups of networks, concatenated."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


# ---- before the training


def draw(settings: Params, facts: Facts, fitted: Encoding, network: Network) -> Drawn:
    """What all networks draw."""
    train = settings.train
    own = [generator for r in range(train.replicas) for generator in generators((settings.seed, r), train.members)]
    own[0] = stream.from_text(facts.stream)  # network 0's, or its first member's
    return draw_from(own, facts, fitted, train, network)


def generators(path: tuple, members: int) -> list[np.random.Generator]:
    """The streams of a network's members. path: that of the network's seed, which is the first member's own.

    Another member's path has the member's number as well (plumbline.bits.stream.seed_of).
    """
    seeds = [stream.seed_of(*path), *(stream.seed_of(*path, member) for member in range(1, members))]
    return [stream.seeded(seed) for seed in seeds]


def draw_from(
    generators: list[np.random.Generator], facts: Facts, fitted: Encoding, train: Train, network: Network, first=0
) -> Drawn:
    """What networks draw, whose members have these generators, network by network. first: the first one's number.

    Only members of the shipped network have views; an edited module sees all inputs.
    """
    sizes = d, h, k = fitted.width, train.hidden_size, initial.outputs_for(len(facts.classes))
    if network.is_shipped:
        views = fitted.views
        of_views = [encoded.inputs_of(fitted.layout, columns) for columns in views]
        inputs = [of_views[member % len(of_views)] for member in range(train.members)]
        given = zip(generators, itertools.cycle(inputs))
        weights = joined([spread(initial.weights([own], len(its), h, k), its, d) for own, its in given])
        # The merged network has one bias for each logit, not one for each member's.
        parameters = sum(h * (len(its) + 1 + k) for its in inputs) + k
    else:
        views = [np.arange(len(fitted.layout))]
        parameters = train.members * module.try_out(network, sizes)
        weights = joined([_drawn_by_torch(network, sizes, own) for own in generators])
    shuffles = np.stack([stream.shuffle_seeds(own, train.epochs) for own in generators])
    held_out = np.concatenate([stream.shuffle_seeds(own, 1) for own in generators])
    return Drawn(sizes, parameters, train.members, first, weights, shuffles, held_out, fitted.layout, views)


def spread(weights: Weights, inputs: np.ndarray, d: int) -> Weights:
    """Widen weights of networks that see some of the d inputs to all of them, with 0 for the others."""
    narrow = weights["net.0.weight"]
    wide = np.zeros((*narrow.shape[:2], d), np.float32)
    wide[:, :, inputs] = narrow
    return weights | {"net.0.weight": wide}


def seen(drawn: Drawn) -> np.ndarray:
    """1 for the inputs that a view contains, 0 for the others: float32 (views, d)."""
    all_inputs = np.arange(drawn.sizes[0])
    inputs = [encoded.inputs_of(drawn.layout, columns) for columns in drawn.views]
    return np.stack([np.isin(all_inputs, each) for each in inputs]).astype(np.float32)


def _drawn_by_torch(network: Network, sizes: tuple[int, int, int], generator: np.random.Generator) -> Weights:
    """The initial weights (1, ...) of a module that draws from the stream, which then stands behind what it drew.

    torch's generator is MT19937 too, so its state is set to the stream's and read back. Its bytes are: the seed; from 8
    on how many words are left of the block of 624; from 16 on the place of the next word; from 24 on the block, uint64.
    """
    import torch

    state = generator.bit_generator.state
    words, position = state["state"]["key"], state["state"]["pos"]
    with torch.random.fork_rng(devices=[]):
        theirs = torch.manual_seed(0).get_state()
        bits = theirs.numpy()
        bits[8:12].view(np.uint32)[:] = 625 - position
        bits[16:24].view(np.uint64)[:] = position
        bits[24 : 24 + 8 * 624].view(np.uint64)[:] = words
        torch.set_rng_state(theirs)
        tensors = module.state(module.blank(network, sizes))
        bits = torch.get_rng_state().numpy()
    state["state"]["key"] = bits[24 : 24 + 8 * 624].view(np.uint64).astype(np.uint32)
    state["state"]["pos"] = 625 - int(bits[8:12].view(np.uint32)[0])
    generator.bit_generator.state = state
    return {name: tensor.detach().numpy()[None].copy() for name, tensor in tensors.items()}


def class_counts(classes: np.ndarray, k: int) -> np.ndarray:
    """How many rows each of k classes has, int64 (k,). Counted piece by piece, for np.bincount copies its input."""
    pieces = (classes[start : start + PIECE] for start in range(0, max(len(classes), 1), PIECE))
    return sum(np.bincount(piece, minlength=k) for piece in pieces)


def held_out_counts(classes: np.ndarray, k: int, share: float) -> np.ndarray:
    """How many rows of each of k classes a network holds out, int64 (k,): the share, rounded, but never all of them."""
    rows = class_counts(classes, k)
    counts = np.minimum(np.floor(rows * share + 0.5), np.maximum(rows - 1, 0)).astype(np.int64)
    if share and not counts.any():
        raise UserError(
            f"train.held_out {share} of {len(classes)} training rows is no row to watch; raise it, or set it to 0"
        )
    return counts


def rows_trained(classes: np.ndarray, k: int, share: float) -> int:
    """How many rows each network trains on. A line is printed if it holds some out."""
    watched = int(held_out_counts(classes, k, share).sum())
    if watched:
        print(f"each network holds out {watched} of the {len(classes)} rows, to watch them")
    return len(classes) - watched


def balanced(classes: np.ndarray, k: int, share: float) -> np.ndarray:
    """scikit-learn's "balanced" weights of k classes, float32 (k,): rows / (classes x the class's rows).

    Counted are the rows that a network trains on. A class without rows has weight 0, and is not counted as a class.
    """
    counts = class_counts(classes, k) - held_out_counts(classes, k, share)
    weights = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts, weights, 0.0).astype(np.float32)


def hold_out(seeds: np.ndarray, classes: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the rows that each network trains on, (R, n - m), and of those that it holds out, (R, m).

    Every network draws its own rows, so no row is lost to all. seeds: (R,), each that of a fresh generator.
    """
    counts = held_out_counts(classes, int(classes.max()) + 1, share)
    orders = stream.permutations(seeds, len(classes))
    watched = np.zeros(orders.shape, bool)
    for order, mask in zip(orders, watched):
        for c, count in enumerate(counts):
            mask[np.flatnonzero(classes[order] == c)[:count]] = True
    return orders[~watched].reshape(len(orders), -1), orders[watched].reshape(len(orders), -1)


# ---- after it


class Whole(NamedTuple):
    """Trained networks as a model file has them."""

    weights: Weights
    by_epoch: Weights
    hidden_size: int
    members: int


def whole(trained: Trained, drawn: Drawn, network: Network) -> Whole:
    """Merge the members of the shipped network into one network, of all their hidden units; leave others' apart."""
    _, hidden_size, _ = drawn.sizes
    if network.is_shipped:
        shares = shares_of(trained, drawn)
        weights, by_epoch = merged(trained.weights, shares), merged(trained.by_epoch, shares[:1])
        return Whole(weights, by_epoch, drawn.members * hidden_size, 1)
    if drawn.members == 1:
        return Whole(trained.weights, trained.by_epoch, hidden_size, 1)
    weights, by_epoch = (by_network(each, drawn.members) for each in (trained.weights, trained.by_epoch))
    return Whole(weights, by_epoch, hidden_size, drawn.members)


def shares_of(trained: Trained, drawn: Drawn) -> np.ndarray:
    """The weight of each member in its network's mean logit, float32 (R, members), with sum 1.

    Members with the same view have the same weight, by the inverse square of their mean loss on the rows that they
    watched. Few rows tell little, so FEW rows with the mean loss of all members are added to them.
    """
    views, members = len(drawn.views), drawn.members
    if not trained.watched or views == 1:
        return np.full((len(drawn), members), 1 / members, np.float32)
    losses = trained.losses.reshape(-1, members)
    of_all, shares = losses.cumsum(axis=1)[:, -1] / members, np.empty_like(losses)
    for view in range(min(views, members)):
        own = losses[:, view::views]
        rows = own.shape[1] * trained.watched
        lost = (own.cumsum(axis=1)[:, -1] * trained.watched + FEW * of_all) / (rows + FEW)
        shares[:, view::views] = 1 / np.maximum(lost * lost, 1e-12)[:, None]
    return (shares / shares.cumsum(axis=1)[:, -1:]).astype(np.float32)


def merged(weights: Weights, shares: np.ndarray) -> Weights:
    """Networks (R, ...) of members x h hidden units, made of their members (R x members, ...).

    A weighted mean of the logits of two-layer networks is the logit of one two-layer network. Its hidden units are all
    members' hidden units. Its second layer has the members' weights, times their shares. shares: (R, members), or
    (1, members) for all networks.
    """
    if not weights:
        return {}
    members = shares.shape[1]
    apart = by_network(weights, members)
    r, _, h, d = apart["net.0.weight"].shape
    second = apart["net.2.weight"] * shares[:, :, None, None]
    return {
        "net.0.weight": apart["net.0.weight"].reshape(r, members * h, d),
        "net.0.bias": apart["net.0.bias"].reshape(r, members * h),
        "net.2.weight": second.transpose(0, 2, 1, 3).reshape(r, -1, members * h),
        # cumsum adds in a fixed order; np.sum's depends on the CPU
        "net.2.bias": (apart["net.2.bias"] * shares[:, :, None]).cumsum(axis=1)[:, -1],
    }


def by_network(weights: Weights, members: int) -> Weights:
    """Weights (R x members, ...) as (R, members, ...)."""
    return {name: array.reshape(-1, members, *array.shape[1:]) for name, array in weights.items()}


def figures(trained: Trained, drawn: Drawn, rows: int, facts: Facts, settings: Train) -> dict:
    """The content of metrics/train.json: network 0's figures at its kept epoch. rows: that it was trained on."""
    line = kept(trained, settings.patience)
    told = {"loss": line["train_loss"], "accuracy": line["train_accuracy"], "parameters": drawn.parameters}
    if settings.patience:
        told |= {"epoch": line["epoch"], "validation_loss": line["validation_loss"]}
    told |= {"rows": rows, "batches": -(-rows // settings.batch_size)}
    told = formats.six_digits(told)
    if len(facts.classes) == 2:  # the share in the whole table, in float32 as the notebook's mean is
        positive = facts.class_counts[int(facts.positive != facts.classes[0])]
        told["positive_rate"] = float(np.float32(positive / sum(facts.class_counts)))
    if not trained.portable:
        told["portable"] = False  # read by `plumbline verify`; absent otherwise
    return told


def mean(members: np.ndarray) -> dict[str, float]:
    """A network's figures: the means of its members' (members, columns), and the latest of their epochs."""
    figures = {name: math.fsum(column) / len(members) for name, column in zip(COLUMNS, members.T.tolist())}
    return figures | {"epoch": int(members[:, 0].max())}


def history(trained: Trained) -> list[dict]:
    """Network 0's figures by epoch, the lines of metrics/history.csv. A stopped member has those of its kept epoch."""
    return [mean(members) for members in trained.history]


def kept(trained: Trained, patience: int) -> dict[str, float]:
    """Network 0's figures with every member at its kept epoch."""
    if not patience:
        return mean(trained.history[-1])
    best = trained.history[:, :, COLUMNS.index("validation_loss")].argmin(axis=0)
    return mean(trained.history[best, np.arange(len(best))])
