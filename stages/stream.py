"""The one stream of random numbers that the whole pipeline draws from, with torch's numbers and without torch.

torch's CPU generator is MT19937, seeded as NumPy's legacy seeding does; its integers are the same everywhere, while
what it makes of them (randn above all) depends on the CPU. So the integers are NumPy's, and what is made of them is
made here. Tests hold every function against torch's own: manual_seed, rand, randn, randperm, DataLoader's shuffles.

Where the stream stands travels with the data, as text in the metadata of a Parquet file.
"""

import base64
import contextlib
import hashlib
from collections.abc import Callable, Iterator

import numpy as np

from stages.arithmetic import box_muller, swap_down
from stages.compiled import numba

WORDS_PER_EPOCH = 6  # three int64 of two words: the loader's base seed, the shuffle's seed, the test loader's base seed
SHUFFLE_WORD = 3  # the low half of the second int64: a generator is seeded with 32 bits only
PIECE = 2**16  # numbers drawn at a time; a multiple of Box and Muller's 16
MANY = 2**32 // 20  # from this length on torch.randperm takes 64 bits for each swap


# Seeded anew for every shuffle: making a generator takes longer than shuffling a thousand rows with it.
_seeded_anew = np.random.Generator(np.random.MT19937(0))


def seeded(seed: int) -> np.random.Generator:
    """A generator at the start of the stream of `torch.manual_seed(seed)`, 0 <= seed < 2^32."""
    bits = np.random.MT19937(0)
    bits._legacy_seeding(seed)
    return np.random.Generator(bits)


def seed_of_replica(seed: int, replica: int, member: int = 0) -> int:
    """The seed of a replica, or of one of its members, but the very first: hashed, so that neighbours share none."""
    text = f"{seed}/{replica}/{member}" if member else f"{seed}/{replica}"
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) & 0xFFFFFFFF


def words(generator: np.random.Generator, count: int) -> np.ndarray:
    """The stream's next `count` words of 32 bits, uint64 (count,)."""
    return generator.bit_generator.random_raw(count)


def uniform(generator: np.random.Generator, count: int) -> np.ndarray:
    """`torch.rand(count)`: float32 (count,), the low 24 bits of a word times 2^-24."""
    out = np.empty(count, np.float32)
    for piece in _pieces(out):
        np.multiply(words(generator, len(piece)) & 0xFFFFFF, 2.0**-24, out=piece, casting="same_kind")
    return out


def normal(generator: np.random.Generator, count: int) -> np.ndarray:
    """`torch.randn(count)` to 1e-6, with the same bits on every machine: float32 (count,), count >= 16."""
    if count < 16:
        raise ValueError(f"torch draws fewer than 16 normals another way; count is {count}")
    out = np.empty(count, np.float32)
    with _pool(count) as run:  # the numbers come one after the other, what is made of them does not
        for piece in _pieces(out[: count - count % 16]):
            run(box_muller, uniform(generator, len(piece)), piece)
    if count % 16:  # torch draws the last 16 values once more when the blocks do not come out even
        uniform(generator, count % 16)
        box_muller(uniform(generator, 16), out[-16:])
    return out


@contextlib.contextmanager
def _pool(count: int) -> Iterator[Callable]:
    """A way to call functions: at once, or on as many threads as Numba has when there are many numbers."""
    threads = numba.config.NUMBA_NUM_THREADS
    if threads < 2 or count <= PIECE:
        yield lambda function, *arguments: function(*arguments)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        calls = []
        yield lambda *call: calls.append(pool.submit(*call))
        for call in calls:
            call.result()  # raises what it raised


def _pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    """Views of so many numbers as stay in the cache."""
    return (array[start : start + PIECE] for start in range(0, len(array), PIECE))


def permutation(generator: np.random.Generator, count: int, out: np.ndarray | None = None) -> np.ndarray:
    """`torch.randperm(count)`: a shuffle of 0 .. count - 1, int32 while that suffices, else int64; into `out`."""
    order = np.empty(count, np.int32 if count <= 2**31 else np.int64) if out is None else out
    for start in range(0, count, PIECE):
        order[start : start + PIECE] = np.arange(start, min(start + PIECE, count), dtype=order.dtype)
    for start in range(0, count - 1, PIECE):
        draws = min(PIECE, count - 1 - start)
        if count < MANY:
            drawn = words(generator, draws)
        else:
            high, low = words(generator, 2 * draws).reshape(-1, 2).T
            drawn = (high << np.uint64(32)) | low
        swap_down(drawn, order[start:])
    return order


def permutations(seeds: np.ndarray, count: int) -> np.ndarray:
    """For each seed the permutation of a fresh generator: (R, count)."""
    generator = _seeded_anew
    orders = np.empty((len(seeds), count), np.int32 if count <= 2**31 else np.int64)
    for order, seed in zip(orders, seeds):
        generator.bit_generator._legacy_seeding(int(seed))
        permutation(generator, count, order)
    return orders


def shuffle_seeds(generator: np.random.Generator, epochs: int) -> np.ndarray:
    """The seeds of the shuffles of the next `epochs` epochs, as the notebook's two DataLoaders draw them: (epochs,)."""
    return words(generator, WORDS_PER_EPOCH * epochs).reshape(epochs, WORDS_PER_EPOCH)[:, SHUFFLE_WORD].copy()


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
