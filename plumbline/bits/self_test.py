"""Self-tests of the functions that draw normal numbers, shuffle rows and compute probabilities.

Each of them has two forms, NumPy's and a compiled one. Before a form is used for the first time it computes a small
known answer. A wrong answer means a damaged compiled function, or a machine that does not keep IEEE 754. This takes
less than 1 ms. Training has a longer test (plumbline.bits.known_answer).
"""

import functools
import hashlib
import sys
from collections.abc import Callable

import numpy as np

from plumbline.bits import rows

NUMBERS = (np.arange(1000.0) * 0.6180339887 % 1.0).astype(np.float32)  # in [0, 1)
LAYOUT = rows.layout_of([(rows.NUMBER, 1)] * 5 + [(rows.POSITION, 3), (rows.SPLINE, 4), (rows.CODE, 4), (rows.CODE, 3)])


@functools.cache
def tested(form: Callable, what: str) -> Callable:
    """Test a form, once in a process, and return it. what: "normal", "shuffle" or "probabilities"."""
    answer = hashlib.sha256(QUESTIONS[what](form).tobytes()).hexdigest()[:16]
    if answer != ANSWERS[what]:
        complain()
    return form


def complain() -> None:
    """Print a warning that this machine computes other bits than the known ones."""
    said = "this machine fails the known answer: its numbers are not those of other machines; the run goes on"
    print(f"{said}, and metrics/train.json says so of a training", file=sys.stderr)


def _normal(form: Callable) -> np.ndarray:
    out = np.empty(64, np.float32)
    form(NUMBERS[: len(out)], out)
    return out


def _shuffle(form: Callable) -> np.ndarray:
    order = np.arange(100, dtype=np.int32)
    form((NUMBERS[: len(order) - 1].astype(np.float64) * 2**32).astype(np.uint64), order)
    return order


def _probabilities(form: Callable) -> np.ndarray:
    (r, n, h, k), d = (2, 20, 9, 3), int(LAYOUT[:, 2].sum())
    drawn, out = NUMBERS - np.float32(0.5), np.empty((r, n, k), np.float32)
    shapes = {"net.0.weight": (r, h, d), "net.0.bias": (r, h), "net.2.weight": (r, k, h), "net.2.bias": (r, k)}
    weights = {name: np.resize(drawn[i:], shape) for i, (name, shape) in enumerate(shapes.items())}
    x = np.resize(drawn * 4, (n, len(LAYOUT)))
    x[:, 7:] = np.floor(x[:, 7:])  # codes
    form(x, LAYOUT, weights, out)
    return out


QUESTIONS = {"normal": _normal, "shuffle": _shuffle, "probabilities": _probabilities}
ANSWERS = {"normal": "d1f87ed5710e64dd", "shuffle": "9cb40710bb6624b8", "probabilities": "19b5531af21b1ddc"}
