"""A folder of Parquet files against one file with the same rows: time and peak memory of make_data and predict.

Makes, in a scratch folder (under TMPDIR), a table of 10 numbers, a text and a target, once as one file and once cut
into many in partitions, and runs both stages on each, three times in turns; medians. Both must make the same dataset.
Writes benchmarks/results/folder.txt.

    python benchmarks/folder.py [--rows 1e6,1e7] [--files 1000]
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
REPEATS = 3
COLUMNS = [f"x{i}" for i in range(10)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="1e6,1e7", help="sizes, separated by commas (default %(default)s)")
    parser.add_argument("--files", type=int, default=1000, help="files of the folder (default %(default)s)")
    arguments = parser.parse_args()
    lines = [f"{os.cpu_count()} cores, pyarrow {pa.__version__}; medians of {REPEATS}", ""]
    lines.append("      rows   source      stage       seconds  peak MiB")
    for rows in (int(float(size)) for size in arguments.rows.split(",")):
        with tempfile.TemporaryDirectory(prefix="plumbline-folder-") as scratch:
            project = Path(scratch)
            for name in ("stages", "params.yaml"):
                copy = shutil.copytree if (HERE.parent / name).is_dir() else shutil.copy
                copy(HERE.parent / name, project / name)
            write(project, rows, arguments.files)
            lines += measured(project, rows, arguments.files)
    text = "\n".join(lines) + "\n"
    (HERE / "results" / "folder.txt").write_text(text, encoding="utf-8")
    print(text, end="")


def write(project: Path, rows: int, files: int) -> None:
    """The same rows as one.parquet and as the folder many; a file of the folder at a time is in memory."""
    names = [f"many/year={2000 + i // 100}/part-{i:05}.parquet" for i in range(files)]
    with pq.ParquetWriter(project / "one.parquet", part(0, 1, 2000).schema) as one:
        for i, name in enumerate(names):
            piece = part(i, rows // files, 2000 + i // 100)
            one.write_table(piece)
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(piece.drop_columns(["year"]), project / name)


def part(seed: int, rows: int, year: int) -> pa.Table:
    """Rows of one file, their target by the first column, and the partition's column last."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(10, rows)).astype(np.float32)
    text = pa.array(rng.choice(["red", "green", "blue"], rows))
    return pa.table(dict(zip(COLUMNS, x)) | {"kind": text, "y": x[0] > 0, "year": np.full(rows, year)})


def measured(project: Path, rows: int, files: int) -> list[str]:
    """Lines of the table, and the proof that both sources make the same dataset."""
    sources, taken, made = {"one file": "one.parquet", f"{files} files": "many"}, {}, []
    text = (project / "params.yaml").read_text()
    text = text.replace("epochs: 20 ", "epochs: 1 ").replace("replicas: 32", "replicas: 1")
    for _ in range(REPEATS):
        for name, source in sources.items():
            (project / "params.yaml").write_text(text.replace("stages/synthetic.py ", f"{source} "))
            for stage in ("make_data", "predict"):
                extra = [source, "--output", "scored.parquet"] if stage == "predict" else []
                taken.setdefault((name, stage), []).append(run(project, stage, *extra))
                if stage == "make_data":
                    with (project / "data/dataset.parquet").open("rb") as file:  # a hash: a child starts with this
                        made.append(hashlib.file_digest(file, "sha256").hexdigest())  # process's peak memory
                    if len(made) == 1:  # a model to predict with
                        run(project, "split")
                        run(project, "train")
            if made[-1] != made[0]:
                sys.exit(f"{rows} rows: {name} makes another dataset than one file")
            del made[1:]
    medians = {key: [median(column) for column in zip(*values)] for key, values in taken.items()}
    return [f"{rows:10,}   {name:10}  {stage:10}{s:9.2f}{m:10.0f}" for (name, stage), (s, m) in medians.items()]


def run(project: Path, stage: str, *arguments: str) -> tuple[float, float]:
    """Seconds and peak memory in MiB of one stage."""
    before = time.perf_counter()
    command = [sys.executable, "-m", f"stages.{stage}", *arguments]
    child = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{stage} ended with status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - before, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
