"""The training kernel: forward, gradient and Adam for Linear-ReLU-Linear, compiled, with the same bits everywhere.

What fixes the bits, whatever the CPU and the number of threads:

- Only +, -, *, / and sqrt on float32 (losses and powers of beta: float64), each rounded once, none fused or reordered;
  exp and log are our own.
- Every sum runs in a written order: across a batch row after row within a shard, then shard after shard; across
  features and hidden units in index order. Loops are vectorized across hidden units, where each lane is its own sum.
- A batch is cut into shards by its number of rows alone. Threads share out shards, or whole networks; no bit of the
  result knows how many there are. Four rows and terms a pass is only how the same sums are spelled for the CPU.

Weights of a network lie in one vector: W1 transposed (d, h), b1 (h), W2 (k, h), b2 (k). k = 1 is a binary target with
sigmoid and cross-entropy, k > 2 several classes with softmax. `pack` and `unpack` translate to a PyTorch state_dict.
"""

import numpy as np

from stages.arithmetic import exp, log
from stages.compiled import compiled, compiled_apart, prange
from stages.rows import Rows, windows

SHARD_ROWS = 256  # rows from which on cutting a batch pays for handing it to a second thread
MAX_SHARDS = 64
SLICED = 2**16  # floats of gradients from which on a worker adds up a slice: a second exchange costs as much as sending
SCRATCH = 4096  # floats of hidden activations kept at a time (16 KiB: they stay in the first-level cache)
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # torch.optim.Adam's defaults

LOSS, CORRECT = 0, 1
ZERO = np.float32(0.0)


# ---- weights in and out


def pack(state: dict[str, np.ndarray]) -> np.ndarray:
    """Weights of R networks as `net.0.weight` (R, h, d) and so on, to the kernel's vectors: float32 (R, p)."""
    w1, b1 = state["net.0.weight"], state["net.0.bias"]
    w2, b2 = state["net.2.weight"], state["net.2.bias"]
    return np.concatenate([w.reshape(len(w), -1) for w in (w1.transpose(0, 2, 1), b1, w2, b2)], axis=1)


def unpack(weights: np.ndarray, d: int, h: int, k: int) -> dict[str, np.ndarray]:
    """The kernel's vectors (R, p), back to arrays that a PyTorch module takes as its state_dict."""
    w1, b1, w2, b2 = np.split(weights, [d * h, d * h + h, d * h + h + k * h], axis=1)
    arrays = {"net.0.weight": w1.reshape(-1, d, h).transpose(0, 2, 1), "net.0.bias": b1}
    arrays |= {"net.2.weight": w2.reshape(-1, k, h), "net.2.bias": b2}
    return {name: array.copy() for name, array in arrays.items()}  # never views: training goes on in place


@compiled
def _views(weights, d, h, k):
    w1 = weights[: d * h].reshape(d, h)
    b1 = weights[d * h : d * h + h]
    w2 = weights[d * h + h : d * h + h + k * h].reshape(k, h)
    return w1, b1, w2, weights[d * h + h + k * h :]


# ---- products of matrices


@compiled
def _add_product(a, b, total):
    """total += a b, for (n, m), (m, h) and (n, h): each element adds its m terms one by one in the order of m.

    Four rows and four terms a pass: each number read serves four times. `a` comes strided (as `x[:, :]`, `x.T[:, :]`),
    so that one compiled function, and one entry in its cache, takes both x and its transpose.
    """
    n, m = a.shape
    for f in range(0, m - 3, 4):
        b0, b1, b2, b3 = b[f], b[f + 1], b[f + 2], b[f + 3]
        for i in range(0, n - 3, 4):
            rows = total[i], total[i + 1], total[i + 2], total[i + 3]
            _add_four_by_four(a[i : i + 4, f : f + 4], b0, b1, b2, b3, *rows)
        for i in range(n - n % 4, n):
            a0, a1, a2, a3 = a[i, f], a[i, f + 1], a[i, f + 2], a[i, f + 3]
            row = total[i]
            for j in range(row.size):
                row[j] = (((row[j] + a0 * b0[j]) + a1 * b1[j]) + a2 * b2[j]) + a3 * b3[j]
    for f in range(m - m % 4, m):
        for i in range(n):
            for j in range(total.shape[1]):
                total[i, j] += a[i, f] * b[f, j]


@compiled_apart
def _add_four_by_four(a, b0, b1, b2, b3, t0, t1, t2, t3):
    a00, a01, a02, a03 = a[0, 0], a[0, 1], a[0, 2], a[0, 3]
    a10, a11, a12, a13 = a[1, 0], a[1, 1], a[1, 2], a[1, 3]
    a20, a21, a22, a23 = a[2, 0], a[2, 1], a[2, 2], a[2, 3]
    a30, a31, a32, a33 = a[3, 0], a[3, 1], a[3, 2], a[3, 3]
    for j in range(t0.size):
        u0, u1, u2, u3 = b0[j], b1[j], b2[j], b3[j]
        t0[j] = (((t0[j] + a00 * u0) + a01 * u1) + a02 * u2) + a03 * u3
        t1[j] = (((t1[j] + a10 * u0) + a11 * u1) + a12 * u2) + a13 * u3
        t2[j] = (((t2[j] + a20 * u0) + a21 * u1) + a22 * u2) + a23 * u3
        t3[j] = (((t3[j] + a30 * u0) + a31 * u1) + a32 * u2) + a33 * u3


# ---- one tile of rows


@compiled
def _forward(x, weights, h, k, hidden, logits):
    """hidden = relu(x W1 + b1), logits = hidden W2' + b2 for the rows of x."""
    n, d = x.shape
    w1, b1, w2, b2 = _views(weights, d, h, k)
    for i in range(n):
        hidden[i, :] = b1
    _add_product(x[:, :], w1, hidden)
    for i in range(n):
        for j in range(h):
            if hidden[i, j] < ZERO:  # a nan is not below zero, so it goes on to the loss and is found there
                hidden[i, j] = ZERO
    for c in range(k):
        for i in range(0, n - 3, 4):
            z0 = z1 = z2 = z3 = b2[c]
            for j in range(h):
                z0 += hidden[i, j] * w2[c, j]
                z1 += hidden[i + 1, j] * w2[c, j]
                z2 += hidden[i + 2, j] * w2[c, j]
                z3 += hidden[i + 3, j] * w2[c, j]
            logits[i, c], logits[i + 1, c], logits[i + 2, c], logits[i + 3, c] = z0, z1, z2, z3
        for i in range(n - n % 4, n):
            z0 = b2[c]
            for j in range(h):
                z0 += hidden[i, j] * w2[c, j]
            logits[i, c] = z0


@compiled
def _binary_loss(logits, targets, batch_rows, sums):
    """`_loss` for one logit a row: rows side by side in the CPU's lanes, then their losses added row after row."""
    n = targets.size
    losses = np.empty(n)
    right = 0
    for i in range(n):
        z = np.float64(logits[i, 0])
        target = np.float64(targets[i])
        small = exp(-abs(z))
        right += (z >= 0.0) == (target == 1.0)
        probability = (1.0 if z >= 0.0 else small) / (1.0 + small)
        losses[i] = ((z if z > 0.0 else 0.0) - z * target) + log(1.0 + small)
        logits[i, 0] = np.float32((probability - target) / batch_rows)
    for i in range(n):
        sums[LOSS] += losses[i]
    sums[CORRECT] += right


@compiled
def _loss(logits, targets, batch_rows, sums):
    """Add loss and right answers to `sums`, and turn the logits into the mean loss's gradient by them, in place.

    That gradient is (probability - target) / batch_rows for sigmoid and softmax alike.
    """
    k = logits.shape[1]
    if k == 1:
        _binary_loss(logits, targets, batch_rows, sums)
        return
    for i in range(targets.size):
        target = targets[i]
        best = 0
        for c in range(1, k):
            if logits[i, c] > logits[i, best]:
                best = c
        top = np.float64(logits[i, best])
        total = 0.0
        for c in range(k):
            total += exp(np.float64(logits[i, c]) - top)
        sums[LOSS] += (top - np.float64(logits[i, target])) + log(total)
        sums[CORRECT] += best == target
        for c in range(k):
            probability = exp(np.float64(logits[i, c]) - top) / total
            logits[i, c] = np.float32((probability - (1.0 if c == target else 0.0)) / batch_rows)


@compiled
def _backward(x, weights, h, k, hidden, error, back, gradient):
    """Add the tile's gradient to `gradient`; `error` (n, k) is the loss's by the logits, `back` (n, h) is scratch."""
    n, d = x.shape
    _, _, w2, _ = _views(weights, d, h, k)
    gw1, gb1, gw2, gb2 = _views(gradient, d, h, k)
    for i in range(n):
        for c in range(k):
            gb2[c] += error[i, c]
    if k == 1:
        for i in range(n):
            _back_one(error[i, 0], w2[0], hidden[i], back[i], gw2[0], gb1)
    else:
        _add_product(error.T[:, :], hidden, gw2)
        back[:] = ZERO
        _add_product(error[:, :], w2, back)
        for i in range(n):
            _mask(hidden[i], back[i], gb1)
    _add_product(x.T[:, :], back, gw1)


@compiled_apart
def _back_one(e, w2, hidden, back, gw2, gb1):
    for j in range(hidden.size):
        gw2[j] += e * hidden[j]
        back[j] = e * w2[j] if hidden[j] > ZERO else ZERO
        gb1[j] += back[j]


@compiled_apart
def _mask(hidden, back, gb1):
    for j in range(hidden.size):
        if not hidden[j] > ZERO:
            back[j] = ZERO
        gb1[j] += back[j]


# ---- one shard, one step, one epoch


@compiled
def _shard(x, y, rows, batch_rows, weights, h, k, gradient, sums):
    """Gradient of the mean loss over a batch, the part of it that comes from this shard's rows, tile after tile."""
    tile, d = max(4, SCRATCH // h // 4 * 4), x.shape[1]
    inputs = np.empty((tile, d), np.float32)
    targets = np.empty(tile, np.int32)
    hidden = np.empty((tile, h), np.float32)
    back = np.empty((tile, h), np.float32)
    logits = np.empty((tile, k), np.float32)
    gradient[:] = ZERO
    for start in range(0, rows.size, tile):
        n = min(tile, rows.size - start)
        for i in range(n):  # a short loop, so that the memory of many rows is awaited at once
            row = rows[start + i]
            targets[i], inputs[i, 0], inputs[i, d - 1] = y[row], x[row, 0], x[row, d - 1]
        for i in range(n):
            for f in range(d):
                inputs[i, f] = x[rows[start + i], f]
        _forward(inputs[:n], weights, h, k, hidden[:n], logits[:n])
        _loss(logits[:n], targets[:n], batch_rows, sums)
        _backward(inputs[:n], weights, h, k, hidden[:n], logits[:n], back[:n], gradient)


@compiled
def _adam(weights, gradients, first, second, powers, learning_rate, weight_decay):
    """One step of torch.optim.AdamW on the sum of the shards' gradients; the powers of beta are running products.

    A weight decay of 0 multiplies by exactly 1: that is torch.optim.Adam, to the bit.
    """
    powers[0] *= BETA1
    powers[1] *= BETA2
    step = np.float32(learning_rate / (1.0 - powers[0]))
    scale = np.float32(np.sqrt(1.0 - powers[1]))
    keep = np.float32(1.0 - learning_rate * weight_decay)
    for s in range(1, gradients.shape[0]):
        for i in range(weights.size):
            gradients[0, i] += gradients[s, i]
    for i in range(weights.size):
        g = gradients[0, i]
        first[i] += (g - first[i]) * np.float32(1.0 - BETA1)
        second[i] = second[i] * np.float32(BETA2) + g * g * np.float32(1.0 - BETA2)
        weights[i] = weights[i] * keep - step * (first[i] / (np.sqrt(second[i]) / scale + np.float32(EPSILON)))


@compiled
def shards_of(rows):
    """How many shards a batch of so many rows is cut into: part of the definition of the bits."""
    return min(max(rows // SHARD_ROWS, 1), MAX_SHARDS)


def _epoch(x, y, order, batch_size, h, k, weights, first, second, powers, learning_rate, weight_decay, sums):
    """Train one network for one epoch; adds total loss and right answers over the epoch to `sums` (2,)."""
    most = shards_of(min(batch_size, order.size))
    gradients = np.empty((most, weights.size), np.float32)
    parts = np.empty((most, 2))
    for start in range(0, order.size, batch_size):
        batch = order[start : start + batch_size]
        shards = shards_of(batch.size)
        for s in prange(shards):
            parts[s] = 0.0
            rows = batch[batch.size * s // shards : batch.size * (s + 1) // shards]
            _shard(x, y, rows, batch.size, weights, h, k, gradients[s], parts[s])
        _adam(weights, gradients[:shards], first, second, powers, learning_rate, weight_decay)
        for s in range(shards):
            sums[LOSS] += parts[s, LOSS]
            sums[CORRECT] += parts[s, CORRECT]


_epoch_serial = compiled(_epoch)
_epoch_by_shard = compiled(_epoch, parallel=True)


def _epoch_by_network(
    x, y, orders, batch_size, h, k, weights, first, second, powers, learning_rate, weight_decay, sums
):
    for r in prange(len(weights)):
        state = weights[r], first[r], second[r], powers[r]
        _epoch_serial(x, y, orders[r], batch_size, h, k, *state, learning_rate, weight_decay, sums[r])


_epoch_by_network = compiled(_epoch_by_network, parallel=True)


def _share(x, y, orders, start, stop, h, k, weights, first, gradients, parts):
    """Gradients and sums of some units of the batch from `start` to `stop`, those from unit `first` on.

    Unit u is shard u % shards of network u // shards.
    """
    rows = stop - start
    shards = shards_of(rows)
    for i in prange(len(gradients)):
        r, s = (first + i) // shards, (first + i) % shards
        own = orders[r, start + rows * s // shards : start + rows * (s + 1) // shards]
        parts[i] = 0.0
        _shard(x, y, own, rows, weights[r], h, k, gradients[i], parts[i])


_share_serial = compiled(_share)
_share = compiled(_share, parallel=True)


def _step(gradients, weights, first, second, powers, learning_rate, weight_decay):
    """Adam's step for every network, out of the gradient of its whole batch."""
    for r in prange(len(weights)):
        _adam(weights[r], gradients[r : r + 1], first[r], second[r], powers[r], learning_rate, weight_decay)


_step_serial = compiled(_step)
_step = compiled(_step, parallel=True)


def shared_out(units: int, size: int) -> np.ndarray:
    """The first unit of each of `size` workers, and the end: contiguous runs, as equal as can be; int64 (size + 1,)."""
    return units * np.arange(size + 1) // size


def _summed(gradients: np.ndarray) -> np.ndarray:
    """The gradients of some networks' shards (R, shards, n), shard after shard: (R, n)."""
    total = gradients[:, 0]
    for s in range(1, gradients.shape[1]):
        total += gradients[:, s]
    return total


class Trainer:
    """R networks and their Adam moments, trained in place an epoch at a time on the same rows.

    x: float32 (n, d), C-contiguous, or Rows; y: int32 (n,), classes from 0; weights by name, (R, ...) each.
    group: a workers.Group to share the work with, or None. The unit of it is a shard of a network's batch: a worker
    computes its units' gradients, and all add them up in the same order, to the bits of one who works alone.
    `learning_rate` may change between epochs.
    """

    def __init__(self, x, y, weights, batch_size, learning_rate, weight_decay=0.0, group=None):
        _, h, d = weights["net.0.weight"].shape
        self.sizes = d, h, weights["net.2.weight"].shape[1]
        self.x, self.y, self.batch_size = x, y, min(batch_size, len(y))
        self.learning_rate, self.weight_decay, self.group = learning_rate, weight_decay, group
        self.packed = pack(weights)
        moments = np.zeros_like(self.packed), np.zeros_like(self.packed)
        self.state = self.packed, *moments, np.ones((len(self.packed), 2))  # and the powers of beta1 and beta2

    def epoch(self, orders: np.ndarray) -> np.ndarray:
        """One epoch of every network in its order of rows, int32 or int64 (R, n), all rows or its own.

        Returns mean loss and accuracy over the epoch, each row as it was when its batch came: float64 (R, 2).
        """
        networks, rows = orders.shape
        sums = np.zeros((networks, 2))
        train, own = (self._train_shared, self._own) if self.group else (self._train, None)
        for window in windows(self.x, self.y, orders, self.batch_size, own):
            train(*window, sums)
        return sums / rows

    def _train(self, x: np.ndarray, y: np.ndarray, orders: np.ndarray, sums: np.ndarray) -> None:
        """Go through some batches, and add up their losses and right answers."""
        _, h, k = self.sizes
        if len(orders) > 1:
            epoch, state = _epoch_by_network, self.state
        else:
            epoch = _epoch_by_shard if shards_of(self.batch_size) > 1 else _epoch_serial
            orders, state, sums = orders[0], [array[0] for array in self.state], sums[0]
        epoch(x, y, orders, self.batch_size, h, k, *state, self.learning_rate, self.weight_decay, sums)

    def _train_shared(self, x: np.ndarray, y: np.ndarray, orders: np.ndarray, sums: np.ndarray) -> None:
        """Go through some batches with the group, a batch of all networks at a time."""
        (networks, rows), (_, h, k), group = orders.shape, self.sizes, self.group
        for start in range(0, rows, self.batch_size):
            stop = min(start + self.batch_size, rows)
            bounds = shared_out(networks * shards_of(stop - start), group.size)
            first, end = bounds[group.rank :][:2]
            gradients, parts = np.empty((end - first, self.packed.shape[1]), np.float32), np.empty((end - first, 2))
            share = _share if len(parts) > 1 else _share_serial
            share(x, y, orders, start, stop, h, k, self.packed, first, gradients, parts)
            gradients, parts = self._added_up(gradients, parts, bounds)
            for s in range(parts.shape[1]):
                sums += parts[:, s]
            step = _step if networks > 1 else _step_serial
            step(gradients, *self.state, self.learning_rate, self.weight_decay)

    def _added_up(self, gradients: np.ndarray, parts: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every network's gradient (R, p) and the sums of its shards (R, shards, 2), out of what workers have of them.

        Small gradients everyone tells everyone, and adds up all. Of large ones each worker adds up a slice of the
        parameters, over all units, and tells the sum: the more workers there are the less each has to receive.
        """
        group, networks, (own, p), units = self.group, len(self.packed), gradients.shape, np.diff(bounds)
        most, widths = units.max(), np.diff(shared_out(p, group.size))
        width, by_slice = widths[group.rank], most * p > SLICED
        if by_slice:
            ends = np.cumsum(widths)
            sent = np.concatenate([gradients[:, end - w : end].ravel() for w, end in zip(widths, ends)])
            slices = group.exchange(sent, own * widths, units * width)
            gradients = _summed(slices.reshape(networks, -1, width))
        told = np.zeros(4 * most + (networks * widths.max() if by_slice else most * p), np.float32)  # of equal length
        told[: 4 * own] = parts.reshape(-1).view(np.float32)
        told[4 * most :][: gradients.size] = gradients.reshape(-1)
        every = group.gather(told)
        parts = np.concatenate([one[: 4 * n].view(np.float64) for one, n in zip(every, units)])
        if by_slice:
            sums = [one[4 * most :][: networks * w].reshape(networks, w) for one, w in zip(every, widths)]
            total = np.concatenate(sums, axis=1)
        else:
            gradients = np.concatenate([one[4 * most :][: n * p] for one, n in zip(every, units)])
            total = _summed(gradients.reshape(networks, -1, p))
        return total, parts.reshape(networks, -1, 2)

    def _own(self, networks: int, rows: int) -> np.ndarray:
        """Which rows of some batches are this worker's, a mask (networks, rows)."""
        mask = np.zeros((networks, rows), bool)
        for start in range(0, rows, self.batch_size):
            size = min(self.batch_size, rows - start)
            shards, batch = shards_of(size), np.zeros(networks * size, bool)
            bounds = shared_out(networks * shards, self.group.size)[self.group.rank :][:2].tolist()
            first, end = (unit // shards * size + size * (unit % shards) // shards for unit in bounds)
            batch[first:end] = True
            mask[:, start : start + size] = batch.reshape(networks, size)
        return mask

    def select(self, networks: np.ndarray) -> None:
        """Go on with some of the networks only: their indices, or a mask."""
        self.state = tuple(array[networks] for array in self.state)
        self.packed = self.state[0]

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """The weights of all networks as arrays (R, ...), by their names in the state_dict."""
        return unpack(self.packed, *self.sizes)


# ---- scoring


def _probabilities(x, weights, h, k, out):
    for r in prange(len(weights)):
        tile = max(4, SCRATCH // h // 4 * 4)
        hidden = np.empty((tile, h), np.float32)
        logits = np.empty((tile, k), np.float32)
        for start in range(0, len(x), tile):
            rows = x[start : start + tile]
            n = len(rows)
            _forward(rows, weights[r], h, k, hidden[:n], logits[:n])
            for i in range(n):
                _probability(logits[i], out[r, start + i])


_probabilities = compiled(_probabilities, parallel=True)


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


def _mean_losses(x, y, rows, weights, h, k, sums):
    for r in prange(len(weights)):
        own = rows[r] if len(rows) > 1 else rows[0]
        tile = max(4, SCRATCH // h // 4 * 4)
        hidden = np.empty((tile, h), np.float32)
        logits = np.empty((tile, k), np.float32)
        for start in range(0, own.size, tile):
            some = own[start : start + tile]
            n = len(some)
            _forward(x[some], weights[r], h, k, hidden[:n], logits[:n])
            _loss(logits[:n], y[some], own.size, sums[r])


_mean_losses = compiled(_mean_losses, parallel=True)


def mean_losses(x: np.ndarray | Rows, y: np.ndarray, rows: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """Mean loss and accuracy of R networks, in bits that early stopping may go by: float64 (R, 2).

    rows: numbers of n >= 1 rows of x and y, one line for all networks (1, n) or one each (R, n).
    """
    _, h, _ = weights["net.0.weight"].shape
    r, k = weights["net.2.bias"].shape
    sums, packed = np.zeros((r, 2)), pack(weights)
    for window in windows(x, y, rows, 1):
        _mean_losses(*window, packed, h, k, sums)
    return sums / rows.shape[1]


def probabilities(x: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """Probabilities that R networks give to n rows: float32 (R, n, k); k = 1 is the second of two classes."""
    _, h, _ = weights["net.0.weight"].shape
    r, k = weights["net.2.bias"].shape
    out = np.empty((r, len(x), k), np.float32)
    _probabilities(x, pack(weights), h, k, out)
    return out
