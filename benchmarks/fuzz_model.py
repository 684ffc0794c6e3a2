"""Give 100,000 mutated files to the loaders of models and snapshots: each is refused or loads whole, and a training
goes on from each snapshot that is not refused.

The loaders run in a process of its own, so that a crash is seen; it has ten seconds for a file and little more memory
than it had after the first. Half of the files are sealed anew after the mutation, so that what lies behind the seal is
reached too. Prints what was counted.

    python benchmarks/fuzz_model.py [files] [seed]
"""

import contextlib
import io
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_MEMORY = 32 * 2**20  # bytes that 100,000 files of a few kilobytes may add, fragmentation and all


def main() -> None:
    files, seed = (sys.argv[1:] + ["100000", "0"][len(sys.argv) - 1 :])[:2]
    command = [sys.executable, __file__, "child", files, seed]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, cwd=ROOT)
    if done.returncode:
        sys.exit(f"error: the loader ended with {done.returncode}")


def child(files: int, seed: int) -> None:
    import numpy as np

    from stages import model, params, snapshot, stream, training
    from stages.encoding import Encoding, Number
    from stages.errors import UserError

    choices, counts = random.Random(seed), Counter()
    with tempfile.TemporaryDirectory(prefix="plumbline-fuzz-") as folder:
        path = Path(folder, "model.safetensors")
        weights = model.initial_weights([stream.seeded(r) for r in range(3)], 4, 5, 1)
        columns = [Number(f"x{i}", "number", 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, False) for i in range(4)]
        card = model.Card("y", ["no", "yes"], [3, 4], Encoding(columns))
        model.save(model.Model(weights, card), path)
        models = path.read_bytes()
        path.unlink()
        options = {"encoding": "raw", "hidden_size": 5, "learning_rate": 0.01, "schedule": "constant", "replicas": 3}
        options |= {"weight_decay": 0.0, "batch_size": 8, "epochs": 4, "patience": 2, "held_out": 0.0}
        settings = params.Train(**options, members=1, engine="compiled", device="cpu")
        x, shuffles = stream.normal(stream.seeded(9), 80).reshape(20, 4), np.arange(12, dtype=np.uint64).reshape(3, 4)
        data = x, (x[:, 0] > 0).astype(np.int32)
        training.SHUFFLED_ROWS = 40  # two networks together, then the third
        snapshot.EVERY, snapshot.SHARE = 0.0, 1e9
        passed = []

        def advance(networks, row):
            passed.append(row)
            if len(passed) == 6:  # in the second group, after an epoch of it was kept
                raise KeyboardInterrupt

        def trained(keeper, advance=lambda networks, row: None):
            return training.train(data, data, weights, shuffles, settings, advance, keeper)

        with contextlib.suppress(KeyboardInterrupt):
            trained(snapshot.Keeper(path, settings, *data, *weights.values(), shuffles), advance)
        snapshots = path.read_bytes()
        snapshot.EVERY = 1e9
        peak = None
        for number in range(files):
            kind, content = ("snapshot", snapshots) if number % 2 else ("model", models)
            mutated = mutation(content, choices)
            path.write_bytes(mutated)
            signal.alarm(10)
            try:
                with contextlib.redirect_stderr(io.StringIO()) as said:
                    if kind == "model":
                        found = model.load(path)
                        assert all(np.isfinite(array).all() for array in found.weights.values())
                        outcome = "loaded whole"
                    else:
                        trained(snapshot.Keeper(path, settings, *data, *weights.values(), shuffles))
                        lines = said.getvalue()
                        outcome = "refused" if "afresh" in lines else "loaded whole" if lines else "of another training"
            except UserError as error:
                assert str(path) in str(error) and "\n" not in str(error), error
                outcome = "refused"
            except BaseException:
                Path("fuzz_failure.safetensors").write_bytes(mutated)
                raise
            signal.alarm(0)
            counts[kind, outcome] += 1
            if number == 1000:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - (peak or 0)) * 1024
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind:<9} {outcome:<20} {count:>7}")
    print(f"{files} files, seed {seed}: none crashed, hung or ran; peak memory grew by {grown / 2**20:.1f} MiB")
    assert peak is None or grown < MOST_MEMORY


def mutation(content: bytes, choices: random.Random) -> bytes:
    """One of: a cut, altered or inserted bytes, an altered header, altered arrays or text under a new seal."""
    way = choices.randrange(6)
    place = choices.randrange(len(content))
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
        if way == 4:
            alter(seal, choices)
        else:
            alter(header, choices)
        header = resealed(header, seal, body)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def alter(tree, choices: random.Random) -> None:
    """Put something senseless at some place of a JSON tree."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else range(len(tree))
        key = choices.choice(keys)
        if not isinstance(tree[key], dict | list) or not tree[key] or choices.random() < 0.3:
            break
        tree = tree[key]
    senseless = [None, True, -1, 0, 2**31, 2**63, 2**64, 1e308, 0.5, "", "F64", "BF16", "x0", [], {}, [[[]]], [0, 0]]
    tree[key] = choices.choice(senseless)


def resealed(header: dict, seal, body: bytes) -> dict:
    """The header with a seal that matches its arrays, as far as its arrays make sense."""
    import hashlib

    import numpy as np

    kinds = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U64": "<u8"}
    text = json.dumps(seal.get("text"), separators=(",", ":")).encode()
    digest = hashlib.sha256(text)
    with contextlib.suppress(Exception):
        for name in sorted(set(header) - {"__metadata__"}):
            entry = header[name]
            start, end = entry["data_offsets"]
            array = np.frombuffer(body[start:end], kinds[entry["dtype"]]).reshape(entry["shape"])
            digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    seal = {"sha256": digest.hexdigest(), "text": seal.get("text")}
    return header | {"__metadata__": {"plumbline": json.dumps(seal, separators=(",", ":"))}}


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
