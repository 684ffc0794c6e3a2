"""Tables from a CSV, a Parquet file and a folder of them, and their robust encoding, beside the first version.

Makes in a scratch folder (under TMPDIR) a table of 10 numbers, a text, a year and a target: as a CSV, as a Parquet file
and as a folder of Parquet files in partitions. Reads each with make_data and predict, fits and applies the encoding of
the training part, and takes turns with the first version of this project (from git; without it only this one is
measured). Medians of three turns; a ratio is of one turn. All three sources must make the same dataset, to the byte.
Writes benchmarks/results/sources.txt.

    python benchmarks/sources.py [--rows 1e7] [--files 1000]

At ten million rows the CSV has 1.4 GB, the training part 8 million rows, and the scratch folder needs 15 GB.
"""

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import duckdb
import scratch
from scratch import Copy, Taken

TURNS = 3
FEW = 2_000  # rows of the table that predict's model is trained on
SOURCES = ("table.csv", "table.parquet", "folder")
WANTED = {  # at most this share of the first version's time, and of its memory
    "make_data table.csv": "time 0.50, memory 0.20",
    "make_data table.parquet": "time 1.00",
    "make_data folder": "time 1.00",
    "fit": "time 0.33",
}
FITTING = {  # both versions' way to the encoding of the training part
    "ours": "from plumbline.tables import encoding, store\npart = store.open('data/train.parquet')\n"
    "fitted = encoding.fit(part, 'robust')\n",
    "first": "from stages import encoding, table\npart, facts = table.stored('data/train.parquet')\n"
    "fitted = encoding.fit(part, facts, 'robust')\n",
}


def main() -> None:
    parser = scratch.parser(__doc__)
    parser.add_argument("--rows", type=float, default=1e7, help="rows of the table (default %(default)g)")
    parser.add_argument("--files", type=int, default=1000, help="files of the folder (default %(default)s)")
    options = parser.parse_args()
    rows, files, turns = (3_000, 3, 1) if options.smoke else (int(options.rows), options.files, TURNS)
    with tempfile.TemporaryDirectory(prefix="plumbline-sources-") as folder:
        scratch.tell(report(Path(folder), rows, files, turns, options.smoke), "sources.txt", options.smoke)


def report(folder: Path, rows: int, files: int, turns: int, smoke: bool) -> Iterator[str]:
    """The lines of the results; ends the benchmark where two sources make two datasets."""
    write(folder, rows, files)
    versions = {
        "ours": scratch.project(folder / "ours"),
        "first": None if smoke else scratch.first_version(folder / "v1"),
    }
    versions = {name: copy for name, copy in versions.items() if copy}
    size = (folder / "table.csv").stat().st_size
    yield f"{scratch.heading()}; {rows:,} rows, {size / 1e9:.2f} GB of CSV, a folder of {files} files; {turns} turns"
    for name, copy in versions.items():
        prepare(copy, folder, name)
    taken = [{name: measure(copy, folder) for name, copy in versions.items()} for _ in range(turns)]

    head = "".join(f"{unit:>20}" for unit in ("s", "CPU s", "peak MiB"))
    yield f"{'this version, the first, ratio':<28}{head}"
    for job in taken[0]["ours"]:
        cells = ""
        for i, digits in enumerate((2, 2, 0)):
            ours, first = ([turn[name][job][i] if name in turn else None for turn in taken] for name in FITTING)
            cells += f"{median(ours):8.{digits}f}"
            if None in first:
                cells += " " * 12
            else:
                cells += f"{median(first):7.{digits}f}{median(a / b for a, b in zip(ours, first)):5.2f}"
        wanted = f"  at most {WANTED[job]} wanted" if job in WANTED and len(versions) > 1 else ""
        yield f"{job:<28}{cells}{wanted}".rstrip()


def write(folder: Path, rows: int, files: int) -> None:
    """The table three times, and its first rows as few.parquet."""
    numbers = [f"((hash(i * 16 + {f}) % 4000000007)::BIGINT - 2000000000) / 1e9" for f in range(10)]
    columns = ", ".join(f"{number} AS x{f}" for f, number in enumerate(numbers))
    y = f"({numbers[0]} + hash(-i) % 1000 / 1e3 > 0.5)::BIGINT"
    table = f"SELECT {columns}, 'kind ' || hash(-i) % 5 AS kind, {y} AS y, 2000 + i * {files} // {rows} // 100 AS year"
    with duckdb.connect() as connection:
        connection.sql(f"COPY ({table} FROM range({rows}) AS t(i)) TO '{folder}/table.parquet' (FORMAT parquet)")
        connection.sql(f"COPY (FROM '{folder}/table.parquet') TO '{folder}/table.csv' (HEADER)")
        connection.sql(f"COPY (FROM '{folder}/table.parquet' LIMIT {FEW}) TO '{folder}/few.parquet' (FORMAT parquet)")
        for number in range(files):
            path = folder / f"folder/year={2000 + number // 100}/part-{number:05}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            start, stop = -(-number * rows // files), -(-(number + 1) * rows // files)
            part = f"SELECT * EXCLUDE year FROM ({table} FROM range({start}, {stop}) AS t(i))"
            connection.sql(f"COPY ({part}) TO '{path}' (FORMAT parquet)")


def prepare(copy: Copy, folder: Path, version: str) -> None:
    """A model for predict, and programs that fit, and apply, an encoding."""
    copy.set({"make_data.source": f"{folder}/few.parquet", "train.epochs": 1, "train.replicas": 1})
    for stage in ("make_data", "split", "train"):
        copy.stage(stage)
    (copy.folder / "fit.py").write_text(FITTING[version])
    (copy.folder / "encode.py").write_text(FITTING[version] + "encoding.encode(fitted, part)\n")


def measure(copy: Copy, folder: Path) -> dict[str, Taken]:
    """One turn of a version: what each job takes."""
    taken, made = {}, {}
    for source in SOURCES:
        copy.set({"make_data.source": f"{folder}/{source}"})
        taken[f"make_data {source}"] = copy.stage("make_data")
        with (copy.folder / "data/dataset.parquet").open("rb") as file:
            made.setdefault(hashlib.file_digest(file, "sha256").hexdigest(), []).append(source)
    if len(made) > 1 and (copy.folder / "plumbline").exists():
        sys.exit(f"the sources make different datasets: {list(made.values())}")
    for source in SOURCES:
        taken[f"predict {source}"] = copy.stage("predict", f"{folder}/{source}", "--output", "scored.parquet")
    copy.stage("split")
    for name in ("fit", "encode"):
        taken[name] = copy.taken("python", f"{name}.py")[name]
    return taken


if __name__ == "__main__":
    main()
