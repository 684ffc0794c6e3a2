"""Whether this machine computes the pipeline's bits: two trainings of a millisecond whose answer is known.

They run what a result is made of: normal numbers, shuffles, both losses and their gradients, loops wide enough for any
CPU's lanes with a rest after each, weight decay, the losses that early stopping goes by and the probabilities that
evaluate writes; that takes 3 ms, and 25 ms to load what a training itself may not need. An answer is not the known one
on a build or a processor that does not keep IEEE 754. Compiled for Nehalem and for Haswell the answer is the same.
"""

import hashlib

import numpy as np

from stages import kernel, model, stream

ROWS, FEATURES, HIDDEN = 520, 5, 71  # two shards, and a rest after every loop of four, eight or sixteen
CLASSES = (2, 3)  # one logit and sigmoid, several and softmax
LEARNING_RATE, WEIGHT_DECAY = 0.01, 0.1
ANSWER = "25af28a034684b03"


def found(networks: int) -> str:
    """What this machine answers, trained as that many networks are: side by side, or one shard by shard."""
    digest, side_by_side = hashlib.sha256(), min(networks, 2)
    for classes in CLASSES:
        table = stream.seeded(1)
        x = stream.normal(table, ROWS * FEATURES).reshape(ROWS, FEATURES)
        y = (stream.uniform(table, ROWS) * classes).astype(np.int32)
        sizes = FEATURES, HIDDEN, model.outputs_for(classes)
        weights = model.initial_weights([stream.seeded(2) for _ in range(side_by_side)], *sizes)
        trainer = kernel.Trainer(x, y, weights, ROWS, LEARNING_RATE, WEIGHT_DECAY)
        order = stream.permutation(stream.seeded(3), ROWS)
        for _ in range(3):
            figures = trainer.epoch(np.stack([order] * side_by_side))
        last = {name: array[-1:] for name, array in trainer.weights.items()}
        scored = kernel.mean_losses(x, y, np.arange(ROWS)[None], last), kernel.probabilities(x, last)
        for array in (trainer.packed[-1], figures[-1], *scored):
            digest.update(array.tobytes())
    return digest.hexdigest()[:16]
