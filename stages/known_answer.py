"""Whether this machine computes the kernel's bits: a training of a millisecond whose answer is known.

It runs the functions that the training at hand has loaded, so it costs nothing to speak of. Its answer was the same on
every CPU of benchmarks/cpu_matrix.py; another one comes from a build or a processor that does not keep IEEE 754.
"""

import hashlib

import numpy as np

from stages import kernel, model, stream

ROWS, FEATURES, HIDDEN, CLASSES = 520, 5, 9, 3  # two shards, a tail after every loop of four
ANSWER = "3238bdb0de65c426"


def found(networks: int) -> str:
    """What this machine answers, trained as that many networks are: side by side, or one shard by shard."""
    table = stream.seeded(1)
    x = (stream.uniform(table, ROWS * FEATURES) - np.float32(0.5)).reshape(ROWS, FEATURES)
    y = (stream.uniform(table, ROWS) * CLASSES).astype(np.int32)
    side_by_side = min(networks, 2)
    weights = model.initial_weights([stream.seeded(2) for _ in range(side_by_side)], FEATURES, HIDDEN, CLASSES)
    trainer = kernel.Trainer(x, y, weights, ROWS, 0.01)
    order = stream.permutation(stream.seeded(3), ROWS)
    for _ in range(3):
        figures = trainer.epoch(np.stack([order] * side_by_side))
    return hashlib.sha256(trainer.packed[-1].tobytes() + figures[-1].tobytes()).hexdigest()[:16]
