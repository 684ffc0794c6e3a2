"""A table larger than memory: the four stages and predict within a limit that the operating system enforces.

Makes a scratch copy of the project (under TMPDIR) and a Parquet table three times the limit, in row groups of a million
rows: numbers, a column of text and, for the robust encoding, one with gaps. Every command runs twice, in a control
group that is killed above the limit (version 1 or 2), and without any. The bytes of all outputs are compared. What
files are in memory counts in a control group too, and is given up when it is full. Where no group can be made the
limit is told to the stages by PLUMBLINE_MEMORY, and the results say that nothing enforces it. Writes
benchmarks/results/memory.txt.

    python benchmarks/memory.py [--limit 1024] [--times 3] [--encoding robust]

The scratch folder needs about nine times the table.
"""

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import scratch
from scratch import STAGES, Copy, Taken

WANTED = 2.5  # at most this many times the time without a limit
FEATURES = 20
BYTES = 4 * FEATURES + 1  # a row
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


def main() -> None:
    parser = scratch.parser(__doc__)
    parser.add_argument("--limit", type=float, default=1024, help="memory of a command in MiB (default %(default)s)")
    parser.add_argument("--times", type=float, default=3.0, help="the table in limits (default %(default)s)")
    parser.add_argument("--encoding", default="raw", choices=("raw", "robust"), help="train.encoding")
    options = parser.parse_args()
    times = 0.0002 if options.smoke else options.times
    with tempfile.TemporaryDirectory(prefix="plumbline-memory-") as folder:
        lines = report(Path(folder, "project"), int(options.limit * 2**20), times, options.encoding)
        scratch.tell(lines, "memory.txt", options.smoke)


def report(folder: Path, limit: int, times: float, encoding: str) -> Iterator[str]:
    """The lines of the results; ends the benchmark where a byte differs."""
    project = scratch.project(folder)
    project.set(SETTING | {"train.encoding": encoding})
    rows = int(limit * times / BYTES)
    write(folder / "table.parquet", rows, gaps=encoding == "robust")
    size = (folder / "table.parquet").stat().st_size
    yield scratch.heading()
    yield f"{rows:,} rows, {FEATURES + 1} columns and the target, {size / 2**20:,.0f} MiB of Parquet"
    yield f"train.encoding {encoding}, one epoch at batch 16,384, one network"
    with limited(limit) as (enforcer, options):
        yield f"limit {limit / 2**20:,.0f} MiB, {enforcer}"
        within = all_commands(project, **options)
    hashes = digests(folder)
    for top in ("data", "models", "metrics"):
        shutil.rmtree(folder / top)
    without = all_commands(project)

    yield from ["", f"{'':12}{'within the limit':^30}{'without':^30}"]
    yield f"{'':12}" + f"{'s':>10}{'CPU s':>10}{'peak MiB':>10}" * 2 + f"{'ratio of s':>12}"
    for name, a in within.items():
        figures = "".join(f"{s:10.1f}{cpu:10.1f}{peak:10.0f}" for s, cpu, peak in (a, without[name]))
        yield f"{name:12}{figures}{a.seconds / without[name].seconds:12.2f}"
    a, b = (sum(taken.seconds for taken in side.values()) for side in (within, without))
    yield f"{'together':12}{a:10.1f}{'':20}{b:10.1f}{'':20}{a / b:12.2f} (at most {WANTED} wanted)"
    differ = sorted(name for name, digest in digests(folder).items() if hashes[name] != digest)
    yield f"{len(hashes) - len(differ)} of {len(hashes)} files have the same bytes" + (f"; not {differ}" * bool(differ))
    if differ:
        sys.exit("the limit changed what was written")


def all_commands(project: Copy, **options) -> dict[str, Taken]:
    """What each stage and then predict take."""
    taken = {}
    for name in (*STAGES, "predict"):
        arguments = ("table.parquet", "--output", "metrics/scored.parquet") if name == "predict" else ()
        taken[name] = project.stage(name, *arguments, **options)
        print(f"{name}: {taken[name]}", file=sys.stderr)
    return taken


def write(path: Path, rows: int, gaps: bool) -> None:
    """The table: columns of float32, a text, and a target that goes by three of them."""
    numbers = [f"(hash(i * {FEATURES} + {f}) % 2000003 / 5e5 - 2)::FLOAT AS x{f}" for f in range(FEATURES)]
    made = f"SELECT {', '.join(numbers)}, 'place ' || hash(-i) % 8 AS place, i FROM range({rows}) AS t(i)"
    x3 = "if(hash(i) % 10 = 0, NULL, x3)" if gaps else "x3"
    y = "(x0 - x1 * x2 + hash(i) % 1000 / 500.0 > 1)::BIGINT"
    with duckdb.connect() as connection:
        connection.sql(
            f"COPY (SELECT * EXCLUDE i REPLACE ({x3} AS x3), {y} AS y FROM ({made})) TO '{path}' "
            "(FORMAT parquet, COMPRESSION uncompressed, ROW_GROUP_SIZE 1000000)"
        )


@contextlib.contextmanager
def limited(limit: int) -> Iterator[tuple[str, dict]]:
    """What enforces the limit, and options of Copy.run that put a command under it."""
    group, version = control_group(limit)
    if group is None:
        yield "told by PLUMBLINE_MEMORY and enforced by nothing", {"PLUMBLINE_MEMORY": str(limit)}
        return

    try:
        enter = {"inside": lambda: (group / "cgroup.procs").write_text(str(os.getpid()))}
        yield f"enforced by a control group (version {version})", enter
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


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every output."""
    found = {}
    for path in (path for top in ("data", "models", "metrics") for path in (folder / top).rglob("*.*")):
        with path.open("rb") as file:
            found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


if __name__ == "__main__":
    main()
