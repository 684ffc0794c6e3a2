"""The notebook's table, its step 1: normal features and a nonlinear rule with noise, drawn from the one stream.

A template for a table of your own. `make(params, generator)` returns a dict of NumPy arrays, one for each column, or a
table of pandas, Polars or pyarrow. If the table is larger than memory it yields such pieces one by one. `params` is the
section make_data of params.yaml, `generator` a numpy.random.Generator at the start of the stream.
"""

from collections.abc import Iterator

import numpy as np

from plumbline.bits import stream
from plumbline.bits.arithmetic import log

ROWS = 2**20  # in a piece


def make(params, generator: np.random.Generator) -> Iterator[dict[str, np.ndarray]]:
    """`params.samples` rows in pieces; a table of one piece is drawn as the notebook draws it."""
    for start in range(0, params.samples, ROWS):
        yield draw(min(ROWS, params.samples - start), params, generator)


def draw(n: int, params, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """n rows of `params.features` standard normal columns x0, x1, ... and the class that they belong to.

    The rule gives log-odds. The unit interval is cut into `params.classes` equal slices, and a row's class is the slice
    that its probability falls in. With two classes that is the notebook's `probability > 0.5`.
    """
    d, f = params.features, np.float32
    # torch draws 16 normals or more at a time
    x = stream.normal(generator, max(n * d, 16))[: n * d].reshape(n, d)
    signal = f(1.4) * x[:, 0] - f(1.0) * x[:, 1] + f(0.8) * x[:, 2] * x[:, 3] - f(0.5) * x[:, 4] ** 2
    log_odds = signal + f(params.noise) * stream.normal(generator, max(n, 16))[:n]

    # Log-odds are compared with the slices' borders as log-odds: a sigmoid's last bit would differ by CPU
    y = np.zeros(n, np.int64)
    for c in range(1, params.classes):
        y += log_odds > f(log(c / (params.classes - c)))
    return {f"x{i}": x[:, i] for i in range(d)} | {params.target: y}
