"""Renew what README.md and docs/ quote from files: results of benchmarks, and where the notebook's steps are.

A quoted part stands between `<!-- quote: NAME -->` and `<!-- end -->`; NAME is a function below. A test holds every
part to what its function gives. After a benchmark, or an edit that moves a step, run

    python docs/refresh.py
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MISSING = "is not there yet; run its benchmark"
N = r"[\d.]+"
PART = re.compile(r"(<!-- quote: (\w+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)

# A step of the notebook: its name, the file, and how its first line there begins.
STEPS = [
    ("Setup: the seed", "params.yaml", "seed:"),
    ("1. Create the table", "stages/synthetic.py", "def draw("),
    ("2. Split it", "stages/split.py", "# Step 2"),
    ("2. Load the training rows", "stages/train.py", "# Step 2"),
    ("3. The two-layer network", "stages/network.py", "class TwoLayerNet("),
    ("4. Loss, optimizer, `run_epoch`", "plumbline/training/autograd.py", "def run_epoch("),
    ("5. Train", "stages/train.py", "# Steps 4 and 5"),
    ("6. Evaluate", "stages/evaluate.py", "# Step 6"),
    ("6. Ten probabilities and labels", "plumbline/commands/report.py", "def first_rows("),
    ("Exercise, common pitfall", "README.md", "## The exercise"),
    ("Optional extension: more classes", "docs/teaching.md", "## More than two classes"),
]


def refreshed(text: str) -> str:
    """A page with every quoted part as it is now."""
    return PART.sub(lambda part: f"{part[1]}{globals()[part[2]]().strip()}\n{part[3]}", text)


def result(name: str) -> str:
    """A file of benchmarks/results."""
    path = RESULTS / name
    return path.read_text(encoding="utf-8") if path.exists() else f"{path.relative_to(ROOT)} {MISSING}"


def block(text: str) -> str:
    """Text as it was printed."""
    return f"```\n{text.strip()}\n```"


# ---- where the notebook's steps are


def steps() -> str:
    """The table of steps: file and lines."""
    rows = ["| step of the notebook | file | lines |", "|---|---|---|"]
    for step, file, start in STEPS:
        first, last = lines_of(file, start)
        rows.append(f"| {step} | `{file}` | {first if first == last else f'{first} to {last}'} |")
    return "\n".join(rows)


def lines_of(file: str, start: str) -> tuple[int, int]:
    """The first and last line of what begins with `start`.

    A class or function goes to its own end, a section of a page to the next one; all else to the next blank line.
    """
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    (first,) = [number for number, line in enumerate(lines, 1) if line.strip().startswith(start)]
    if start.startswith(("def ", "class ")):
        nodes = ast.walk(ast.parse("\n".join(lines)))
        return first, next(node.end_lineno for node in nodes if getattr(node, "lineno", 0) == first)
    border = "## " if start.startswith("## ") else ""
    ends = (
        number for number, line in enumerate(lines[first:], first) if (line.startswith(border) if border else not line)
    )
    return first, next(ends, len(lines))


# ---- results of benchmarks


def training() -> str:
    return block(result("training.txt"))


def portable_cost() -> str:
    return block(result("portable_cost.txt"))


def big() -> str:
    return block(result("big.txt"))


def memory() -> str:
    return block(result("memory.txt"))


def hosts() -> str:
    return block(result("hosts.txt"))


def gpu() -> str:
    return block(result("gpu.txt"))


def sources() -> str:
    return block(result("sources.txt"))


def calibration() -> str:
    return block(result("calibration.txt"))


def cross_fitting() -> str:
    return block(result("cross_fitting.txt"))


def fuzz_model() -> str:
    return block(result("fuzz_model.txt"))


def kill() -> str:
    """How the kills ended, without the count on the way there."""
    lines = result("kill.txt").splitlines()
    return block("\n".join(line for line in lines if not re.match(r"\d+ kills, \d+ with", line)))


def cpu_matrix() -> str:
    """The hashes over all artefacts."""
    text = result("cpu_matrix.txt")
    return block(text[text.index("all artefacts of") :])


def tables() -> str:
    """In how many tables who was better."""
    return block(
        "\n".join(line for line in result("tables.txt").splitlines() if " against " in line or "Wanted:" in line)
    )


def whole() -> str:
    return block(result("whole.txt"))


def cost() -> str:
    """The README's one table: what each thing takes here and elsewhere, and the benchmark that measures it."""
    rows = [("what", "here", "beside it", "ratio", "printed by `benchmarks/`"), ("---",) * 5]
    names = {"dvc repro, cold": "`dvc repro`, all four stages", "dvc exp run": "`dvc exp run` of a training parameter"}
    for what, name in names.items():
        here, beside, ratio = found(rf"^{what}, s +({N}) +({N}) +({N})", "whole.txt")
        rows.append((name, f"{here} s", f"{beside} s, written the ordinary way", ratio, "`whole.py`"))

    ours = speed("kernel, 1 thread")
    for side in ("scikit-learn", "the notebook's loop"):
        here, beside = (f"{each / 1000:.2f} million rows/s" for each in (ours, speed(side)))
        rows.append(("training one network", here, f"{beside}, {side}", f"{speed(side) / ours:.2f}", "`training.py`"))
    here, beside, ratio = found(rf"^10,000,000 .* beside .*?^together +({N}) +({N}) .*ratio ({N})", "big.txt")
    rows.append(("10 million rows, one epoch", f"{here} s", f"{beside} s, written the ordinary way", ratio, "`big.py`"))
    (here,) = found(rf"^100,000,000 rows.*?^together +({N})", "big.txt")
    rows.append(("100 million rows, one epoch", f"{here} s", "", "", "`big.py`"))
    here, beside, ratio = found(rf"^together +({N}) +({N}) +({N})", "memory.txt")
    rows.append(("a table three times the memory", f"{here} s", f"{beside} s, in memory", ratio, "`memory.py`"))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def speed(side: str) -> int:
    """Thousand rows a second of one side on the default job."""
    return int(found(rf"^800 10 32 1 32 +{re.escape(side)} +(\d+) ", "training.txt")[0])


def found(pattern: str, name: str) -> tuple[str, ...]:
    """The groups of a pattern in a file of benchmarks/results."""
    return re.search(pattern, result(name), flags=re.MULTILINE | re.DOTALL).groups()


def main() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        renewed = refreshed(text)
        page.write_text(renewed, encoding="utf-8")
        print(f"{page.relative_to(ROOT)}: {'renewed' if renewed != text else 'as it was'}")


if __name__ == "__main__":
    main()
