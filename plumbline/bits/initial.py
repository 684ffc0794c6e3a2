"""Initial weights of the shipped network, drawn from the stream as `nn.Linear` draws them."""

import math

import numpy as np

from plumbline.bits import stream


def weights(generators: list[np.random.Generator], d: int, h: int, k: int) -> dict[str, np.ndarray]:
    """What `nn.Linear(d, h)` and then `nn.Linear(h, k)` draw from each of R generators: arrays (R, ...) by name."""
    shapes = {"net.0.weight": (h, d), "net.0.bias": (h,), "net.2.weight": (k, h), "net.2.bias": (k,)}
    return {name: np.stack(draws) for name, draws in zip(shapes, zip(*(_draws(g, shapes) for g in generators)))}


def _draws(generator: np.random.Generator, shapes: dict[str, tuple[int, ...]]) -> list[np.ndarray]:
    drawn = []
    for name, shape in shapes.items():
        if name.endswith("weight"):  # torch.nn.init.kaiming_uniform_ with a = sqrt(5), operation by operation
            fan_in = shape[1]
            bound = math.sqrt(3.0) * (math.sqrt(2.0 / (1.0 + math.sqrt(5.0) ** 2)) / math.sqrt(fan_in))
        else:
            bound = 1.0 / math.sqrt(fan_in)
        # u (b - -b) - b with b a float32, rounded once: the product and all but the last bits of the sum are exact.
        bound = np.float64(np.float32(bound))
        u = stream.uniform(generator, math.prod(shape)).astype(np.float64)
        drawn.append((u * (2.0 * bound) - bound).astype(np.float32).reshape(shape))
    return drawn


def outputs_for(classes: int) -> int:
    """How many logits a network has: one for two classes, else one per class."""
    return 1 if classes == 2 else classes
