"""Give 100,000 mutated files to the loader of models: each is refused or loads whole.

The loader runs in a process of its own, so that a crash is seen; it has ten seconds for a file and little more memory
than it had after the first. Half of the files are sealed anew after the mutation, so that what lies behind the seal is
reached too. Writes what was counted to benchmarks/results/fuzz_model.txt.

    python benchmarks/fuzz_model.py [--files 100000] [--seed 0]
"""

import contextlib
import hashlib
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import scratch

from plumbline.basics import inputs
from plumbline.basics.errors import UserError
from plumbline.bits import initial, stream
from plumbline.model import model, network
from plumbline.tables.fitted import Encoding, Number

MOST_MEMORY = 32 * 2**20  # bytes that 100,000 files of a few kilobytes may add, fragmentation and all
MODEL = Path("models/model.safetensors")
SENSELESS = [None, True, -1, 0, 2**31, 2**63, 2**64, 1e308, 0.5, "", "F64", "BF16", "x0", [], {}, [[[]]], [0, 0]]


def main() -> None:
    parser = scratch.parser(__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", action="store_true", help="load them in this process")
    options = parser.parse_args()
    if options.child:
        return child(options.files, options.seed)
    files = 200 if options.smoke else options.files
    command = [sys.executable, __file__, "--child", f"--files={files}", f"--seed={options.seed}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"the loader ended with {done.returncode}:\n{done.stdout}")
    scratch.tell([scratch.heading(), *done.stdout.splitlines()], "fuzz_model.txt", options.smoke)


def child(files: int, seed: int) -> None:
    """Make the file, mutate it and count what becomes of it."""
    choices, counts, before = random.Random(seed), Counter(), None
    with tempfile.TemporaryDirectory(prefix="plumbline-fuzz-") as folder, contextlib.chdir(folder):
        MODEL.parent.mkdir()
        whole = a_model()
        for number in range(files):
            mutated = mutation(whole, choices)
            MODEL.write_bytes(mutated)
            signal.alarm(10)
            try:
                counts[outcome()] += 1
            except BaseException:
                Path(tempfile.gettempdir(), "fuzz_failure.safetensors").write_bytes(mutated)
                raise
            signal.alarm(0)
            if number == 1000:
                before = memory()
    for what, count in sorted(counts.items()):
        print(f"{what:<20} {count:>7}")
    grown = memory() - (before or memory())
    print(f"{files} files, seed {seed}: none crashed, hung or ran; peak memory grew by {grown / 2**20:.1f} MiB")
    assert grown < MOST_MEMORY


def memory() -> int:
    """This process's peak so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def outcome() -> str:
    """What the loader makes of the file that is there now."""
    inputs.forget()
    try:
        found = model.load(MODEL)
    except UserError as error:
        assert str(MODEL) in str(error) and "\n" not in str(error), error
        return "refused"
    assert all(np.isfinite(array).all() for array in found.weights.values())
    return "loaded whole"


# ---- the file


def a_model() -> bytes:
    """Three networks of 4 features and 5 hidden units."""
    weights = initial.weights([stream.seeded(r) for r in range(3)], 4, 5, 1)
    columns = [Number(f"x{i}", "number", 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, False) for i in range(4)]
    model.save(weights, model.Card("y", ["no", "yes"], [3, 4], Encoding(columns), network.SHIPPED, 5), MODEL)
    return MODEL.read_bytes()


# ---- mutations


def mutation(content: bytes, choices: random.Random) -> bytes:
    """One of: a cut, altered or inserted bytes, an altered header, altered arrays or text under a new seal."""
    way, place = choices.randrange(6), choices.randrange(len(content))
    if way == 0:
        return content[:place]
    if way == 1:
        altered = bytearray(content)
        for _ in range(choices.randint(1, 8)):
            altered[choices.randrange(len(content))] = choices.randrange(256)
        return bytes(altered)
    if way == 2:
        return content[:place] + choices.randbytes(choices.randint(1, 64)) + content[place + choices.randint(0, 64) :]
    size = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    if way == 3:  # the header's JSON, its seal as it was
        alter(header, choices)
    else:  # the text under the seal, or the arrays' kinds and shapes; then sealed anew
        seal = json.loads(header["__metadata__"]["plumbline"])
        alter(seal if way == 4 else header, choices)
        header = resealed(header, seal, body)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def alter(tree, choices: random.Random) -> None:
    """Put something senseless at some place of a JSON tree."""
    while True:
        key = choices.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
        if not isinstance(tree[key], dict | list) or not tree[key] or choices.random() < 0.3:
            break
        tree = tree[key]
    tree[key] = choices.choice(SENSELESS)


def resealed(header: dict, seal: dict, body: bytes) -> dict:
    """The header with a seal that matches its arrays, as far as its arrays make sense."""
    kinds = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U64": "<u8"}
    digest = hashlib.sha256(json.dumps(seal.get("text"), separators=(",", ":")).encode())
    with contextlib.suppress(Exception):
        for name in sorted(set(header) - {"__metadata__"}):
            start, end = header[name]["data_offsets"]
            array = np.frombuffer(body[start:end], kinds[header[name]["dtype"]]).reshape(header[name]["shape"])
            digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    seal = {"sha256": digest.hexdigest(), "text": seal.get("text")}
    return header | {"__metadata__": {"plumbline": json.dumps(seal, separators=(",", ":"))}}


if __name__ == "__main__":
    main()
