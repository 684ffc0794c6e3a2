"""A table larger than memory: the four stages and predict within a limit that the operating system enforces.

Makes a scratch folder (under TMPDIR) with a copy of the stages and a Parquet table three times the limit, in row groups
of a million rows: numbers, a column of text and one with gaps. Every command runs twice, in a control group that
is killed above the limit (version 1 or 2; where none can be made with `ulimit -d`, which counts private memory) and
without any. The bytes of all outputs are compared. Private memory is sampled from outside, every twentieth of a second;
the file cache counts in a control group too, and is given up when it is full. Writes benchmarks/results/memory.txt.

    python benchmarks/memory.py [--limit 1GiB] [--times 3]

The scratch folder needs about nine times the table.
"""

import argparse
import contextlib
import hashlib
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
FEATURES = 20
GROUP = 1_000_000  # rows; not the stages' own size
SETTING = {
    "make_data.source": "table.parquet",
    "make_data.target": "y",
    "split.train": 0.7,
    "split.validation": 0.1,
    "train.batch_size": 16384,
    "train.epochs": 1,
    "train.replicas": 1,
    "evaluate.batch_size": 65536,
}
PREDICT = ("predict", "table.parquet", "--output", "metrics/scored.parquet")
COMMANDS = (("make_data",), ("split",), ("train",), ("evaluate",), PREDICT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", default="1GiB", help="memory of a command (default %(default)s)")
    parser.add_argument("--times", type=float, default=3.0, help="the table in limits (default %(default)s)")
    parser.add_argument("--encoding", default="raw", choices=("raw", "robust"), help="train.encoding")
    arguments = parser.parse_args()
    limit = size(arguments.limit)
    with tempfile.TemporaryDirectory(prefix="plumbline-memory-") as scratch:
        folder = Path(scratch, "limited")
        rows = prepare(folder, limit * arguments.times, arguments.encoding)
        table = (folder / "table.parquet").stat().st_size
        lines = [
            heading(),
            f"{rows:,} rows, {FEATURES + 1} columns and the target, train.encoding {arguments.encoding}: ",
        ]
        lines[-1] += f"{table / 2**30:.2f} GiB of Parquet; one epoch at batch 16,384, one network"
        with limits(limit) as (enforcer, enter):
            lines += [f"limit {limit / 2**30:.2f} GiB, enforced by {enforcer}", ""]
            within = [measured(folder, command, enter) for command in COMMANDS]
        outputs = [path for part in ("data", "models", "metrics") for path in Path(folder, part).rglob("*")]
        hashes = {path.relative_to(folder): digest(path) for path in outputs if path.is_file()}
        for part in ("data", "models", "metrics"):
            shutil.rmtree(folder / part)
        without = [measured(folder, command, lambda: None) for command in COMMANDS]
        lines += side_by_side(within, without)
        differ = [name for name, old in hashes.items() if digest(folder / name) != old]
        same = f"{len(hashes) - len(differ)} of {len(hashes)} files have the same bytes"
        lines.append(same + (f"; not {', '.join(map(str, differ))}" if differ else ""))
    text = "\n".join(lines) + "\n"
    (HERE / "results" / "memory.txt").write_text(text, encoding="utf-8")
    print(text, end="")
    sys.exit(bool(differ))


def size(text: str) -> int:
    number, unit = re.fullmatch(r"([\d.]+)(GiB|MiB)", text).groups()
    return int(float(number) * {"GiB": 2**30, "MiB": 2**20}[unit])


def heading() -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout
    return f"{commit.strip()}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def prepare(folder: Path, needed: float, encoding: str) -> int:
    """The stages, params.yaml and the table; returns its rows."""
    shutil.copytree(HERE.parent / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    text = (HERE.parent / "params.yaml").read_text(encoding="utf-8")
    for name, value in (SETTING | {"train.encoding": encoding}).items():
        section, key = name.split(".")
        start = text.index(f"{section}:")
        text = text[:start] + re.sub(rf"(\b{key}:) \S+", rf"\1 {value}", text[start:], count=1)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    rows = int(needed // (4 * FEATURES + 1))
    random = np.random.default_rng(0)
    with contextlib.ExitStack() as stack:
        writer = None
        for start in range(0, rows, GROUP):
            piece = draw(min(GROUP, rows - start), random, encoding == "robust")
            if writer is None:
                options = {"compression": "none", "use_dictionary": ["place", "y"]}
                writer = stack.enter_context(pq.ParquetWriter(folder / "table.parquet", piece.schema, **options))
            writer.write_table(piece)
    return rows


def draw(n: int, random: np.random.Generator, gaps: bool) -> pa.Table:
    x = random.standard_normal((FEATURES, n), np.float32)
    y = x[0] - x[1] * x[2] + random.standard_normal(n, np.float32) > 0
    columns = {f"x{i}": x[i] for i in range(FEATURES)}
    if gaps:
        columns["x3"] = pa.array(x[3], mask=random.random(n) < 0.1)
    place = pa.DictionaryArray.from_arrays(random.integers(0, 8, n, np.int8), [f"place {i}" for i in range(8)])
    return pa.table(columns | {"place": place.cast(pa.string()), "y": y.astype(np.int64)})


@contextlib.contextmanager
def limits(limit: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """What enforces the limit, and a function that puts the calling process under it."""
    group, version = control_group(limit)
    if group is None:
        yield "ulimit -d", lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        return
    try:
        yield f"a control group (version {version})", lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        group.rmdir()


def control_group(limit: int) -> tuple[Path | None, int]:
    """A new control group with that limit, and the version; none where none can be made."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
            _, controllers, path = line.split(":", 2)
            version = 1 if controllers == "memory" else 2 if not controllers else 0
            group = Path("/sys/fs/cgroup", controllers, path.lstrip("/"), f"plumbline-{os.getpid()}")
            file = group / ("memory.limit_in_bytes" if version == 1 else "memory.max")
            if not version:
                continue
            with contextlib.suppress(OSError):
                group.mkdir()
                try:
                    file.write_text(str(limit))
                except OSError:
                    group.rmdir()
                    continue
                return group, version
    return None, 0


def measured(folder: Path, command: tuple[str, ...], enter: Callable[[], None]) -> tuple[float, float, int]:
    """Seconds, CPU seconds and the most private memory of a command; ends the benchmark if it fails."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", f"stages.{command[0]}", *command[1:]],
            cwd=folder, stdout=said, stderr=subprocess.STDOUT, text=True, preexec_fn=enter,
        )  # fmt: skip
        most = 0
        while process.poll() is None:
            most = max(most, private(process.pid))
            time.sleep(0.05)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        said.seek(0)
        text = said.read()
    if process.returncode:
        sys.exit(f"{command[0]} ended with {process.returncode}:\n{text}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{command[0]}: {seconds:.1f} s, CPU {cpu:.1f} s, {most / 2**20:.0f} MiB", file=sys.stderr)
    return seconds, cpu, most


def private(process: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def side_by_side(within: list, without: list) -> list[str]:
    lines = [f"{'':12}{'within the limit':^36}{'without':^36}"]
    lines.append(f"{'':12}" + f"{'s':>10}{'CPU s':>10}{'private MiB':>16}" * 2 + f"{'ratio of s':>14}")
    for (name, *_), a, b in zip(COMMANDS, within, without):
        figures = "".join(f"{s:10.1f}{cpu:10.1f}{most / 2**20:16.0f}" for s, cpu, most in (a, b))
        lines.append(f"{name:12}{figures}{a[0] / b[0]:14.2f}")
    a, b = (sum(side[0] for side in sides) for sides in (within, without))
    return [*lines, f"{'together':12}{a:10.1f}{'':26}{b:10.1f}{'':26}{a / b:14.2f}", ""]


if __name__ == "__main__":
    main()
