"""The one stream of random numbers that the whole pipeline draws from, with torch's numbers and without torch.

torch's CPU generator is MT19937, seeded as NumPy's legacy seeding does; its integers are the same everywhere, while
what it makes of them (randn above all) depends on the CPU. So the integers are NumPy's, and what is made of them is
made here. Tests hold every function against torch's own: manual_seed, rand, randn, randperm, DataLoader's shuffles.

Where the stream stands travels with the data, as text in the metadata of a Parquet file.
"""

import base64
import hashlib

import numpy as np

from stages.arithmetic import box_muller, swap_down

WORDS_PER_EPOCH = 6  # three int64 of two words: the loader's base seed, the shuffle's seed, the test loader's base seed
SHUFFLE_WORD = 3  # the low half of the second int64: a generator is seeded with 32 bits only
MANY = 2**32 // 20  # from this length on torch.randperm takes 64 bits for each swap


# Seeded anew for every shuffle: making a generator takes longer than shuffling a thousand rows with it.
_seeded_anew = np.random.Generator(np.random.MT19937(0))


def seeded(seed: int) -> np.random.Generator:
    """A generator at the start of the stream of `torch.manual_seed(seed)`, 0 <= seed < 2^32."""
    bits = np.random.MT19937(0)
    bits._legacy_seeding(seed)
    return np.random.Generator(bits)


def seed_of_replica(seed: int, replica: int) -> int:
    """The seed of replica > 0: hashed, so that neighbouring seeds share no networks."""
    return int(hashlib.sha256(f"{seed}/{replica}".encode()).hexdigest(), 16) & 0xFFFFFFFF


def words(generator: np.random.Generator, count: int) -> np.ndarray:
    """The stream's next `count` words of 32 bits, uint64 (count,)."""
    return generator.bit_generator.random_raw(count)


def uniform(generator: np.random.Generator, count: int) -> np.ndarray:
    """`torch.rand(count)`: float32 (count,), the low 24 bits of a word times 2^-24."""
    return ((words(generator, count) & 0xFFFFFF) * 2.0**-24).astype(np.float32)


def normal(generator: np.random.Generator, count: int) -> np.ndarray:
    """`torch.randn(count)` to 1e-6, with the same bits on every machine: float32 (count,), count >= 16."""
    if count < 16:
        raise ValueError(f"torch draws fewer than 16 normals another way; count is {count}")
    source = uniform(generator, count)
    out = np.empty(count, np.float32)
    whole = count - count % 16
    box_muller(source[:whole], out[:whole])
    if count % 16:  # torch draws the last 16 values once more when the blocks do not come out even
        box_muller(uniform(generator, 16), out[-16:])
    return out


def permutation(generator: np.random.Generator, count: int) -> np.ndarray:
    """`torch.randperm(count)`: a shuffle of 0 .. count - 1, int32 while that suffices, else int64."""
    order = np.arange(count, dtype=np.int32 if count <= 2**31 else np.int64)
    draws = max(count - 1, 0)
    if count < MANY:
        swap_down(words(generator, draws), order)
    else:
        high, low = words(generator, 2 * draws).reshape(-1, 2).T
        swap_down((high << np.uint64(32)) | low, order)
    return order


def permutations(seeds: np.ndarray, count: int) -> np.ndarray:
    """For each seed the permutation of a fresh generator: (R, count)."""
    generator = _seeded_anew
    orders = np.empty((len(seeds), count), np.int32 if count <= 2**31 else np.int64)
    for order, seed in zip(orders, seeds):
        generator.bit_generator._legacy_seeding(int(seed))
        order[:] = permutation(generator, count)
    return orders


def shuffle_seeds(generator: np.random.Generator, epochs: int) -> np.ndarray:
    """The seeds of the shuffles of the next `epochs` epochs, as the notebook's two DataLoaders draw them: (epochs,)."""
    return words(generator, WORDS_PER_EPOCH * epochs).reshape(epochs, WORDS_PER_EPOCH)[:, SHUFFLE_WORD]


def to_text(generator: np.random.Generator) -> str:
    """Where the stream stands, as ASCII text."""
    state = generator.bit_generator.state["state"]
    return f"{state['pos']}:{base64.b85encode(state['key'].astype('<u4').tobytes()).decode()}"


def from_text(text: str) -> np.random.Generator:
    """The generator that `to_text` wrote down."""
    position, _, key = text.partition(":")
    bits = np.random.MT19937(0)
    bits.state = {
        "bit_generator": "MT19937",
        "state": {"key": np.frombuffer(base64.b85decode(key), "<u4"), "pos": int(position)},
    }
    return np.random.Generator(bits)
