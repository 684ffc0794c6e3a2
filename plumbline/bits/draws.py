"""The compiled loops of plumbline.bits.stream, for tables that are not small: normal numbers and shuffles."""

import numpy as np

from plumbline.bits.compiling import compiled, compiled_parallel, log, prange, sincos


@compiled_parallel
def box_muller(uniform, out):
    """plumbline.bits.stream._box_muller with the same bits; threads share out the blocks."""
    for block in prange(uniform.size // 16):
        for i in range(16 * block, 16 * block + 8):
            radius = np.float32(np.sqrt(-2.0 * log(1.0 - np.float64(uniform[i]))))
            angle = np.float32(2.0 * np.pi) * uniform[i + 8]
            sine, cosine = sincos(np.float64(angle))
            out[i] = radius * np.float32(cosine)
            out[i + 8] = radius * np.float32(sine)


@compiled
def swap_down(words, order):
    """The Fisher-Yates shuffle in place, by random words of at least 32 bits, as torch.randperm does it.

    Word i settles place i. With fewer words than places, a later call shuffles the rest of `order`.
    """
    for i in range(words.size):
        j = i + np.int64(words[i] % np.uint64(order.size - i))
        order[i], order[j] = order[j], order[i]
