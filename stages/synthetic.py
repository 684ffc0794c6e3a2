"""The notebook's table: normal features and a nonlinear rule with noise, drawn from the one stream.

A table generator is any .py file with `make(params, generator)`: `params` is the make_data section of params.yaml,
`generator` a numpy.random.Generator at the start of the stream. It returns a pyarrow table or a pandas DataFrame, or
yields them: a table larger than memory, a piece at a time.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from stages import resources, spill, stream
from stages.arithmetic import log
from stages.table import ROWS

PIECE = 4096  # rows that stay in the cache on their way to columns; a multiple of the 16 normals that come at a time


def make(params, generator: np.random.Generator) -> Iterator[pa.Table]:
    """`params.samples` rows, a row group at a time; a table of one row group is drawn as the notebook draws it."""
    row = 4 * params.features + 8
    resources.check_piece("make_data", 4 * row * min(PIECE, params.samples), f"{PIECE} rows of make_data.features")
    resources.check_disk("make_data", row * params.samples, "data", "make_data.samples or make_data.features")
    for start in range(0, params.samples, ROWS):
        yield draw(min(ROWS, params.samples - start), params, generator)


def draw(n: int, params, generator: np.random.Generator) -> pa.Table:
    """n rows of `params.features` standard normal columns x0, x1, ... and the class they belong to.

    The rule gives log-odds; the class is the slice of the unit interval, cut into `params.classes` equal slices, in
    which the probability lies. With two classes that is the notebook's `probability > 0.5`.
    """
    d = params.features
    x = spill.empty((d, n), np.float32)
    most = n if spill.may_hold(4 * n * d) else PIECE
    start = 0
    while start < n:
        rows = most if n - start >= 2 * most else n - start  # never few: the last 16 normals are drawn together
        normal = stream.normal(generator, max(rows * d, 16))[: rows * d].reshape(rows, d)
        for first in range(0, rows, PIECE):
            x[:, start + first : start + first + PIECE] = normal[first : first + PIECE].T
        start += rows
    f = np.float32
    signal = f(1.4) * x[0] - f(1.0) * x[1] + f(0.8) * x[2] * x[3] - f(0.5) * x[4] ** 2
    log_odds = signal + f(params.noise) * stream.normal(generator, max(n, 16))[:n]
    # The slices' borders on the scale of log-odds; comparing there needs no sigmoid, whose last bit differs by CPU.
    borders = [log(c / (params.classes - c)) for c in range(1, params.classes)]
    y = np.zeros(n, np.int64)
    for border in borders:
        y += log_odds > f(border)
    return pa.table({f"x{i}": x[i] for i in range(d)} | {params.target: y})
