"""The one stream of random numbers that the whole pipeline draws from: torch's numbers without torch.

torch's CPU generator is MT19937, seeded as NumPy's legacy generator is. Its integers are the same on every machine.
What torch makes of them, randn above all, depends on the CPU. So NumPy draws the integers here, and this file makes
uniform numbers, normal numbers and shuffles of them. The generator's state travels with the data from stage to stage,
as text in the metadata of a Parquet file.
"""

import base64
import hashlib
import sys
from collections.abc import Callable, Iterator

import numpy as np

from plumbline.bits import self_test
from plumbline.bits.arithmetic import log, sincos

WORDS_PER_EPOCH = 6  # three int64 of two words: the loader's base seed, the shuffle's seed, the test loader's base seed
SHUFFLE_WORD = 3  # the low half of the second int64, for a generator is seeded with 32 bits only
PIECE = 2**16  # numbers drawn at a time; a multiple of Box and Muller's 16
WORTH_COMPILING = 2**20  # normal numbers that NumPy computes in the time that importing Numba takes
FEW = 2**16  # rows that plain Python shuffles in a tenth of a second
MANY = 2**32 // 20  # from this length on torch.randperm takes 64 bits for each swap


def seeded(seed: int) -> np.random.Generator:
    """A generator at the start of the stream of `torch.manual_seed(seed)`, 0 <= seed < 2^32."""
    bits = np.random.MT19937(0)
    bits._legacy_seeding(seed)
    return np.random.Generator(bits)


def seed_of(*path: int | str) -> int:
    """A seed derived from a path such as (42, 3): the low 32 bits of SHA-256 of "42/3".

    It is hashed so that replica 2 of seed 42 and replica 1 of seed 43 have different streams.
    """
    text = "/".join(map(str, path))
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
    box_muller = self_test.tested(_form(_box_muller, count > WORTH_COMPILING), "normal")
    for piece in _pieces(out[: count - count % 16]):
        box_muller(uniform(generator, len(piece)), piece)
    if count % 16:  # torch then draws the last 16 values anew
        uniform(generator, count % 16)
        _box_muller(uniform(generator, 16), out[-16:])
    return out


def _box_muller(uniform: np.ndarray, out: np.ndarray) -> None:
    """Fill `out` with standard normal float32 values by the Box-Muller transform, in torch.randn's blocks of 16.

    A block's first eight uniform numbers give the radius, the other eight the angle. The angle is rounded to float32 as
    torch rounds it, which is most of the difference to exact arithmetic.
    """
    u1, u2 = uniform.reshape(-1, 2, 8).swapaxes(0, 1)
    radius = np.sqrt(-2.0 * log(1.0 - u1.astype(np.float64))).astype(np.float32)
    sine, cosine = sincos((np.float32(2.0 * np.pi) * u2).astype(np.float64))
    blocks = out.reshape(-1, 2, 8)
    blocks[:, 0] = radius * cosine.astype(np.float32)
    blocks[:, 1] = radius * sine.astype(np.float32)


def _form(plain: Callable, is_compiled: bool) -> Callable:
    """A function of this file, or its compiled form."""
    if not is_compiled:
        return plain
    from plumbline.bits import draws

    return {_box_muller: draws.box_muller, _swap_down: draws.swap_down}[plain]


def _pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    """Views of an array, each small enough to stay in the CPU's cache."""
    return (array[start : start + PIECE] for start in range(0, len(array), PIECE))


def permutation(generator: np.random.Generator, count: int, out: np.ndarray | None = None) -> np.ndarray:
    """`torch.randperm(count)`: a shuffle of 0 to count - 1, int32 while that suffices, else int64; into `out`."""
    order = np.empty(count, np.int32 if count <= 2**31 else np.int64) if out is None else out
    is_many = count > FEW or "plumbline.bits.compiling" in sys.modules
    swap_down = self_test.tested(_form(_swap_down, is_many), "shuffle")
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


def _swap_down(words: np.ndarray, order: np.ndarray) -> None:
    """plumbline.bits.draws.swap_down in plain Python, for small tables."""
    rows = order.tolist()
    for i, word in enumerate(words.tolist()):
        j = i + word % (len(rows) - i)
        rows[i], rows[j] = rows[j], rows[i]
    order[:] = rows


def permutations(seeds: np.ndarray, count: int) -> np.ndarray:
    """For each of R seeds the permutation that a fresh generator draws: (R, count)."""
    generator = np.random.Generator(np.random.MT19937(0))  # one, seeded anew each time, for a new one takes longer
    orders = np.empty((len(seeds), count), np.int32 if count <= 2**31 else np.int64)
    for order, seed in zip(orders, seeds):
        generator.bit_generator._legacy_seeding(int(seed))
        permutation(generator, count, order)
    return orders


def shuffle_seeds(generator: np.random.Generator, epochs: int) -> np.ndarray:
    """Seeds of the shuffles of the next epochs, (epochs,), as the notebook's two DataLoaders draw them."""
    return words(generator, WORDS_PER_EPOCH * epochs).reshape(epochs, WORDS_PER_EPOCH)[:, SHUFFLE_WORD].copy()


def to_text(generator: np.random.Generator) -> str:
    """The generator's state as ASCII text."""
    state = generator.bit_generator.state["state"]
    return f"{state['pos']}:{base64.b85encode(state['key'].astype('<u4').tobytes()).decode()}"


def from_text(text: str) -> np.random.Generator:
    """A generator in the state that `to_text` wrote."""
    position, _, key = text.partition(":")
    bits = np.random.MT19937(0)
    bits.state = {
        "bit_generator": "MT19937",
        "state": {"key": np.frombuffer(base64.b85decode(key), "<u4"), "pos": int(position)},
    }
    return np.random.Generator(bits)
