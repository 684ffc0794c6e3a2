"""The notebook's table: normal features and a nonlinear rule with noise, drawn from the one stream.

A table generator is any .py file with `make(params, generator)`: `params` is the make_data section of params.yaml,
`generator` a numpy.random.Generator at the start of the stream. It returns a pyarrow table or a pandas DataFrame.
"""

import numpy as np
import pyarrow as pa

from stages import stream
from stages.arithmetic import log


def make(params, generator: np.random.Generator) -> pa.Table:
    """`params.samples` rows of `params.features` standard normal columns x0, x1, ... and the class they belong to.

    The rule gives log-odds; the class is the slice of the unit interval, cut into `params.classes` equal slices, in
    which the probability lies. With two classes that is the notebook's `probability > 0.5`.
    """
    n, d = params.samples, params.features
    x = stream.normal(generator, n * d).reshape(n, d)
    f = np.float32
    signal = f(1.4) * x[:, 0] - f(1.0) * x[:, 1] + f(0.8) * x[:, 2] * x[:, 3] - f(0.5) * x[:, 4] ** 2
    log_odds = signal + f(params.noise) * stream.normal(generator, max(n, 16))[:n]
    # The slices' borders on the scale of log-odds; comparing there needs no sigmoid, whose last bit differs by CPU.
    borders = [log(c / (params.classes - c)) for c in range(1, params.classes)]
    y = np.zeros(n, np.int64)
    for border in borders:
        y += log_odds > f(border)
    columns = {f"x{i}": np.ascontiguousarray(x[:, i]) for i in range(d)}
    return pa.table(columns | {params.target: y})
