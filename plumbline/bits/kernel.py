"""The training kernel: Adam on the gradients of Linear-ReLU-Linear, compiled, with the same bits everywhere.

A batch is cut into shards by its number of rows alone; each shard's gradient is summed row after row
(plumbline.bits.layers), and the shards' gradients are added up one after the other. Threads share out shards, or whole
networks; their number changes no bit. Networks that train side by side are independent of each other.
"""

import numpy as np

from plumbline.bits import rows as encoded
from plumbline.bits.compiling import compiled, compiled_parallel, exp, prange
from plumbline.bits.layers import CORRECT, LOSS, ONE, ZERO, backward, forward, loss, pack, read, tile_for, unpack

SHARD_ROWS = 256  # a shard of fewer rows is not worth a second thread
MAX_SHARDS = 64
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # torch.optim.Adam's defaults


# ---- one shard, one step, one epoch


@compiled
def _shard(x, y, rows, batch_rows, class_weights, plan, weights, h, k, gradient, sums):
    """One shard's part of the gradient of a batch's mean weighted loss, computed tile after tile.

    Adds the shard's losses, unweighted, and right answers to `sums`. An empty class_weights means that all rows count
    the same.
    """
    inputs, places, shares, hidden, logits = tile_for(h, k, plan)
    tile, last = len(hidden), x.shape[1] - 1
    targets = np.empty(tile, np.int32)
    back = np.empty((tile, h), np.float32)
    gradient[:] = ZERO
    for start in range(0, rows.size, tile):
        some = rows[start : start + tile]
        n = some.size
        for i in range(n):  # prefetches: in so short a loop the CPU waits for many rows at once; hidden is overwritten
            targets[i], hidden[i, 0], hidden[i, h - 1] = y[some[i]], x[some[i], 0], x[some[i], last]
        read(x, some, plan, inputs, places, shares)
        forward(inputs[:n], places[:n], shares[:n], weights, h, k, hidden[:n], logits[:n])
        loss(logits[:n], targets[:n], batch_rows, sums)
        if class_weights.size:
            for i in range(n):
                for c in range(k):
                    logits[i, c] *= class_weights[targets[i]]
        backward(inputs[:n], places[:n], shares[:n], weights, h, k, hidden[:n], logits[:n], back[:n], gradient)


@compiled
def _adam(weights, gradient, first, second, step, scale, keep):
    """torch.optim.AdamW's step; `step`, `scale` and `keep` hold learning rate, bias corrections and weight decay."""
    for i in range(weights.size):
        g = gradient[i]
        first[i] += (g - first[i]) * np.float32(1.0 - BETA1)
        second[i] = second[i] * np.float32(BETA2) + g * g * np.float32(1.0 - BETA2)
        weights[i] = weights[i] * keep - step * (first[i] / (np.sqrt(second[i]) / scale + np.float32(EPSILON)))


@compiled
def _learn(weights, gradients, first, second, powers, base, scales, h, rates):
    """One step of Adam on the sum of the shards' gradients.

    powers: beta1 and beta2 to the power of the step's number. rates: learning rate, weight decay, and how many times
    faster the inputs' scales learn. A weight decay of 0 multiplies by exactly 1, which is torch.optim.Adam to the bit.
    With scales it is `base` and the scales that learn. The first layer's weights are their product.
    """
    powers[0] *= BETA1
    powers[1] *= BETA2
    step = np.float32(rates[0] / (1.0 - powers[0]))
    scale = np.float32(np.sqrt(1.0 - powers[1]))
    keep = np.float32(1.0 - rates[0] * rates[1])
    for s in range(1, gradients.shape[0]):
        for i in range(weights.size):
            gradients[0, i] += gradients[s, i]
    if not scales.size:
        _adam(weights, gradients[0], first, second, step, scale, keep)
        return
    d = scales.shape[1]
    by_weights, by_scales = gradients[0, : d * h].reshape(d, h), np.zeros(d, np.float32)
    inner, outer = base[: d * h].reshape(d, h), weights[: d * h].reshape(d, h)
    for f in range(0, d - 3, 4):  # four sums side by side: each waits for its own last term
        s0 = s1 = s2 = s3 = ZERO
        for j in range(h):
            s0 += by_weights[f, j] * inner[f, j]
            s1 += by_weights[f + 1, j] * inner[f + 1, j]
            s2 += by_weights[f + 2, j] * inner[f + 2, j]
            s3 += by_weights[f + 3, j] * inner[f + 3, j]
        by_scales[f], by_scales[f + 1], by_scales[f + 2], by_scales[f + 3] = s0, s1, s2, s3
    for f in range(d - d % 4, d):
        for j in range(h):
            by_scales[f] += by_weights[f, j] * inner[f, j]
    for f in range(d):
        for j in range(h):
            by_weights[f, j] *= scales[0, f]
    _adam(base, gradients[0], first, second, step, scale, keep)
    _adam(scales[0], by_scales, scales[1], scales[2], step * np.float32(rates[2]), scale, ONE)
    weights[d * h :] = base[d * h :]
    for f in range(d):
        for j in range(h):
            outer[f, j] = inner[f, j] * scales[0, f]


@compiled
def shards_of(rows):
    """How many shards a batch of so many rows is cut into. This is part of the definition of the bits."""
    return min(max(rows // SHARD_ROWS, 1), MAX_SHARDS)


def _epoch(
    x, y, order, batch_size, class_weights, plan, h, k, weights, first, second, powers, base, scales, rates, sums
):
    """Train one network on the rows in `order`, batch by batch. Adds losses and right answers to `sums` (2,)."""
    most = shards_of(min(batch_size, order.size))
    gradients = np.empty((most, weights.size), np.float32)
    parts = np.empty((most, 2))
    for start in range(0, order.size, batch_size):
        batch = order[start : start + batch_size]
        shards = shards_of(batch.size)
        for s in prange(shards):
            parts[s] = 0.0
            rows = batch[batch.size * s // shards : batch.size * (s + 1) // shards]
            _shard(x, y, rows, batch.size, class_weights, plan, weights, h, k, gradients[s], parts[s])
        _learn(weights, gradients[:shards], first, second, powers, base, scales, h, rates)
        for s in range(shards):
            sums[LOSS] += parts[s, LOSS]
            sums[CORRECT] += parts[s, CORRECT]


_epoch_serial = compiled(_epoch)
_epoch_by_shard = compiled_parallel(_epoch)


@compiled_parallel
def _epoch_by_network(
    x, y, orders, batch_size, class_weights, plan, h, k, weights, first, second, powers, base, scales, rates, sums
):
    for r in prange(len(weights)):
        state = weights[r], first[r], second[r], powers[r], base[r], scales[r]
        _epoch_serial(x, y, orders[r], batch_size, class_weights, plan, h, k, *state, rates, sums[r])


class Trainer:
    """R networks and their Adam moments, trained in place, each in its own order of the same rows.

    weights: by name, (R, ...) each. They are copied.
    learning_rate: may be set anew between calls, as an attribute.
    class_weights: float32 (classes,), the factor of a row's loss by its class. None: 1 each.
    layout: that of the rows (plumbline.bits.rows). None: all columns are numbers.
    columns: the numbers of the stored columns that the networks see; `weights` has their inputs alone. None: all.
    input_rate: above 0 the weights of each input are multiplied by a scale, which learns so many times faster than
    they do.
    averages: whether `average` is called after each epoch. Scored and returned are then the averaged weights.
    """

    def __init__(
        self,
        weights,
        batch_size,
        learning_rate,
        weight_decay=0.0,
        class_weights=None,
        layout=None,
        columns=None,
        input_rate=0.0,
        averages=False,
    ):
        _, h, d = weights["net.0.weight"].shape
        self.sizes = d, h, weights["net.2.weight"].shape[1]
        self.batch_size, self.learning_rate, self.weight_decay = batch_size, learning_rate, weight_decay
        self.class_weights = np.empty(0, np.float32) if class_weights is None else class_weights
        self.plan = encoded.plan(encoded.numbers(d) if layout is None else layout, columns)
        self.input_rate = input_rate
        packed = pack(weights)
        r, p = packed.shape
        moments = np.zeros_like(packed), np.zeros_like(packed)
        powers = np.ones((r, 2))  # of beta1 and beta2
        base = packed[:, : p if input_rate else 0].copy()
        scales = np.zeros((r, 3, d if input_rate else 0), np.float32)  # scales and their two moments
        scales[:, 0] = ONE
        averaged = packed[:, : p if averages else 0].copy()
        self.state = packed, *moments, powers, base, scales, averaged

    def train(self, x: np.ndarray, y: np.ndarray, orders: np.ndarray, sums: np.ndarray) -> None:
        """Train every network on the rows that its line of `orders` (R, n) names, in that order, batch by batch.

        Batches are whole, but for the last of an epoch. x: float32 (rows, c), C-contiguous. y: int32 (rows,), classes
        from 0. sums: float64 (R, 2); each batch's losses and right answers before its step are added.
        """
        _, h, k = self.sizes
        batch_size = min(self.batch_size, orders.shape[1])
        if len(orders) > 1:
            epoch, state = _epoch_by_network, self.state[:-1]
        else:
            epoch = _epoch_by_shard if shards_of(batch_size) > 1 else _epoch_serial
            orders, state, sums = orders[0], [array[0] for array in self.state[:-1]], sums[0]
        rates = float(self.learning_rate), float(self.weight_decay), float(self.input_rate)
        epoch(x, y, orders, batch_size, self.class_weights, self.plan, h, k, *state, rates, sums)

    def average(self, decay: float) -> None:
        """Update the averaged weights: `decay` times the average so far plus (1 - decay) times the weights."""
        averaged = self.state[-1]
        averaged[:] = np.float32(decay) * averaged + np.float32(1.0 - decay) * self.packed

    def loss_sums(self, x: np.ndarray, y: np.ndarray, rows: np.ndarray, sums: np.ndarray) -> None:
        """Add the networks' losses and right answers on some rows to `sums`, float64 (R, 2).

        rows: numbers of n >= 1 rows of x and y, the same for all networks (1, n) or for each its own (R, n).
        """
        _, h, k = self.sizes
        loss_sums(x, y, rows, self.plan, self._given_out, h, k, sums)

    def select(self, networks: np.ndarray) -> None:
        """Keep only some of the networks. networks: their indices, or a mask."""
        self.state = tuple(array[networks] for array in self.state)

    def weights(self, networks: slice | np.ndarray = slice(None)) -> dict[str, np.ndarray]:
        """The weights of some networks by their names in the state_dict, (R, ...) each. networks: a slice or a mask."""
        return unpack(self._given_out[networks], *self.sizes)

    @property
    def packed(self) -> np.ndarray:
        """The weights in training, as `pack` lays them out: float32 (R, p)."""
        return self.state[0]

    @property
    def _given_out(self) -> np.ndarray:
        averaged = self.state[-1]
        return averaged if averaged.size else self.packed


# ---- scoring (plumbline.bits.scoring is what others call)


@compiled_parallel
def probabilities(x, plan, weights, h, k, out):
    for r in prange(len(weights)):
        inputs, places, shares, hidden, logits = tile_for(h, k, plan)
        every = np.arange(len(hidden))
        for start in range(0, len(x), every.size):
            some = x[start : start + every.size]
            n = len(some)
            read(some, every[:n], plan, inputs, places, shares)
            forward(inputs[:n], places[:n], shares[:n], weights[r], h, k, hidden[:n], logits[:n])
            for i in range(n):
                _probability(logits[i], out[r, start + i])


@compiled
def _probability(logits, out):
    """Sigmoid of the one logit, or softmax of several, in float64 and then rounded."""
    if logits.size == 1:
        z = np.float64(logits[0])
        small = exp(-abs(z))
        out[0] = np.float32((1.0 if z >= 0.0 else small) / (1.0 + small))
        return
    top = np.float64(np.max(logits))
    total = 0.0
    for c in range(logits.size):
        total += exp(np.float64(logits[c]) - top)
    for c in range(logits.size):
        out[c] = np.float32(exp(np.float64(logits[c]) - top) / total)


@compiled_parallel
def loss_sums(x, y, rows, plan, weights, h, k, sums):
    for r in prange(len(weights)):
        own = rows[r] if len(rows) > 1 else rows[0]
        inputs, places, shares, hidden, logits = tile_for(h, k, plan)
        for start in range(0, own.size, len(hidden)):
            some = own[start : start + len(hidden)]
            n = len(some)
            read(x, some, plan, inputs, places, shares)
            forward(inputs[:n], places[:n], shares[:n], weights[r], h, k, hidden[:n], logits[:n])
            loss(logits[:n], y[some], own.size, sums[r])
