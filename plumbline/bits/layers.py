"""Linear-ReLU-Linear for a tile of rows, compiled: forward, loss and gradient, with the same bits everywhere.

Whatever the CPU and the number of threads, the bits are fixed by two rules:

- Only +, -, *, / and sqrt on float32 (losses and powers of beta: float64), each rounded once, none fused or reordered;
  exp and log are our own.
- Every sum runs in a written order: across a batch row after row; across features and hidden units in index order.
  Loops are vectorized across hidden units, where each lane is a sum of its own. Taking four rows and four terms at a
  time makes the loops faster and leaves every sum's order as it is.

Weights of a network lie in one vector: W1 transposed (d, h), b1 (h), W2 (k, h), b2 (k). k = 1 is a binary target with
sigmoid and cross-entropy, k > 2 several classes with softmax. `pack` and `unpack` convert from and to a state_dict.

A tile is a few rows whose hidden activations stay in the CPU's first cache. Its inputs are of two kinds
(plumbline.bits.rows). Dense ones, of numbers and positions, are multiplied as a matrix. Of splines and categories only
those that are not 0 are stored: `places` has their numbers, -1 for none, and `shares` their values.
"""

import numpy as np

from plumbline.bits.compiling import compiled, compiled_apart, exp, log
from plumbline.bits.rows import NUMBER, POSITION, SPLINE

LOSS, CORRECT = 0, 1  # columns of sums
SCRATCH = 4096  # floats of a tile's hidden activations (16 KiB: they stay in the first-level cache)
ZERO, ONE = np.float32(0.0), np.float32(1.0)


# ---- weights in and out


def pack(state: dict[str, np.ndarray]) -> np.ndarray:
    """The kernel's vectors, float32 (R, p), of R networks' weights: `net.0.weight` (R, h, d) and so on."""
    w1, b1 = state["net.0.weight"], state["net.0.bias"]
    w2, b2 = state["net.2.weight"], state["net.2.bias"]
    return np.concatenate([w.reshape(len(w), -1) for w in (w1.transpose(0, 2, 1), b1, w2, b2)], axis=1)


def unpack(weights: np.ndarray, d: int, h: int, k: int) -> dict[str, np.ndarray]:
    """The weights (R, ...) by their names in the state_dict, of the kernel's vectors (R, p)."""
    w1, b1, w2, b2 = np.split(weights, [d * h, d * h + h, d * h + h + k * h], axis=1)
    arrays = {"net.0.weight": w1.reshape(-1, d, h).transpose(0, 2, 1), "net.0.bias": b1}
    arrays |= {"net.2.weight": w2.reshape(-1, k, h), "net.2.bias": b2}
    return {name: array.copy() for name, array in arrays.items()}  # no views, for training changes the vectors in place


@compiled
def views(weights, h, k):
    """W1' (d, h), b1 (h,), W2 (k, h) and b2 (k,) of a network's vector."""
    d = (weights.size - k) // h - 1 - k
    w1 = weights[: d * h].reshape(d, h)
    b1 = weights[d * h : d * h + h]
    w2 = weights[d * h + h : d * h + h + k * h].reshape(k, h)
    return w1, b1, w2, weights[d * h + h + k * h :]


# ---- products of matrices


@compiled
def _add_product(a, b, total):
    """total += a b, for (n, m), (m, h) and (n, h): each element adds its m terms one by one in the order of m.

    Four rows and four terms are taken at a time, so each number that is read serves four times. Callers pass `a` as
    `x[:, :]` or `x.T[:, :]`. Numba then sees one type of array, and compiles one function for x and its transpose.
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
def tile_for(h, k, plan):
    """Room for a tile of rows: inputs (t, dense), places and shares (t, m), hidden (t, h), logits (t, k)."""
    rows, dense, sparse = max(4, SCRATCH // h // 4 * 4), 0, 0
    for line in range(len(plan)):
        if plan[line, 1] <= POSITION:
            dense += plan[line, 3]
        else:
            sparse += 2 if plan[line, 1] == SPLINE else 1
    inputs, places = np.empty((rows, dense), np.float32), np.empty((rows, sparse), np.int64)
    shares = np.ones((rows, sparse), np.float32)
    return inputs, places, shares, np.empty((rows, h), np.float32), np.empty((rows, k), np.float32)


@compiled
def read(x, rows, plan, inputs, places, shares):
    """Fill a tile with some rows of x (plumbline.bits.rows): inputs (n, dense), places and shares (n, m).

    `tile_for` has set all shares to 1, which is what a category's remains.
    """
    n, m = rows.size, 0
    for line in range(len(plan)):
        source, kind, first, width = plan[line]
        if kind == NUMBER:
            for i in range(n):
                for f in range(width):
                    inputs[i, first + f] = x[rows[i], source + f]
        elif kind == POSITION:
            for i in range(n):
                position = x[rows[i], source]
                for b in range(width):
                    full = position - np.float32(b)
                    inputs[i, first + b] = ZERO if full < ZERO else (ONE if full > ONE else full)
        elif kind == SPLINE:
            for i in range(n):
                position = x[rows[i], source]
                b = np.floor(position)
                share = ONE - (position - b)
                shares[i, m], shares[i, m + 1] = share, ONE - share
                places[i, m] = first + np.int64(b) if b >= 0 and b < width else -1
                places[i, m + 1] = first + np.int64(b) + 1 if share < ONE and b >= -1 and b + 1 < width else -1
            m += 2
        else:
            for i in range(n):
                value = x[rows[i], source]
                places[i, m] = first + np.int64(value) if value >= 0 and value < width else -1
            m += 1


@compiled
def forward(inputs, places, shares, weights, h, k, hidden, logits):
    """hidden = relu(x W1 + b1), logits = hidden W2' + b2 for the rows of a tile."""
    n, dense = inputs.shape
    w1, b1, w2, b2 = views(weights, h, k)
    for i in range(n):
        hidden[i, :] = b1
    _add_product(inputs[:, :], w1[:dense], hidden)
    for i in range(n):
        for m in range(places.shape[1]):
            if places[i, m] >= 0:
                _add(w1[places[i, m]], shares[i, m], hidden[i])
    for i in range(n):
        for j in range(h):
            if hidden[i, j] < ZERO:  # a nan is not below zero: it reaches the loss, and is found there
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
    """`loss` for one logit a row. The first loop is vectorized over rows; the second adds the losses row after row."""
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
def loss(logits, targets, batch_rows, sums):
    """Add losses and right answers to `sums`, and replace the logits by the gradient of the batch's mean loss.

    That gradient is (probability - target) / batch_rows, for sigmoid and softmax alike.
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


@compiled_apart
def _add(row, share, total):
    for j in range(total.size):
        total[j] += share * row[j]


@compiled
def backward(inputs, places, shares, weights, h, k, hidden, error, back, gradient):
    """Add the tile's gradient to `gradient`. error (n, k): the gradient by the logits. back (n, h): scratch."""
    n, dense = inputs.shape
    _, _, w2, _ = views(weights, h, k)
    gw1, gb1, gw2, gb2 = views(gradient, h, k)
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
    _add_product(inputs.T[:, :], back, gw1[:dense])
    for i in range(n):
        for m in range(places.shape[1]):
            if places[i, m] >= 0:
                _add(back[i], shares[i, m], gw1[places[i, m]])


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
