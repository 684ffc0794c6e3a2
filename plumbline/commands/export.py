"""Write the model as one ONNX file that other runtimes score: encoding and network together.

Its inputs are the table's columns, under their names. Numbers and times are double, and NaN is a gap; text and booleans
are string, and '' is a gap. Its outputs are `label` and `probabilities` (of every class, in order), as `plumbline
predict` has them. Its metadata has the target, the classes, the commit and the last run's figures with their intervals.
docs/export.md shows how it is scored.

    plumbline export model.onnx
    plumbline export model.onnx --ensemble
    plumbline export tanh.onnx --model elsewhere/model.safetensors --network elsewhere/network.py
"""

import argparse
import contextlib
import json
from pathlib import Path

from plumbline.basics import files
from plumbline.basics.errors import UserError
from plumbline.commands import last_run
from plumbline.comparing import lock
from plumbline.comparing.programs import git
from plumbline.model import model

NEEDED = ("part", "of", "metric", "value", "low", "high", "rows")  # what is exported of a figure


def main(options: argparse.Namespace) -> None:
    output = Path(options.output)
    if output.suffix.lower() != ".onnx":
        raise UserError(f"{output} must end in .onnx")
    saved = model.load(options.model, options.network)
    used = saved if options.ensemble else saved.first()
    from plumbline.exporting import graph  # late: onnx is slow to import, and --help does without

    whose = f"the mean of {used.networks} networks" if options.ensemble else "network 0"
    has_figures = last_run.is_of(options.model)
    said = described(saved.card, whose) | {"model": lock.md5(Path(options.model))} | (figures() if has_figures else {})
    text = graph.made(used, said).SerializeToString(deterministic=True)
    with files.together(), files.replacing(output) as partial:
        partial.write_bytes(text)
    columns = len(saved.card.encoding.columns)
    print(f"{output}: {columns} columns in, {saved.card.target!r} by {whose} out")
    if not has_figures:
        why = f"dvc.lock does not say that {last_run.SCORES} is of {options.model}"
        print(f"it has no figures, for {why}; `dvc repro` mends that")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("output", help="the .onnx file to write")
    parser.add_argument("--ensemble", action="store_true", help="the mean of all networks, not network 0 alone")
    parser.add_argument("--model", default=last_run.MODEL, help="the model file (%(default)s)")
    parser.add_argument("--network", help="the file that defines the model's network (stages/network.py if it is here)")


def described(card: model.Card, whose: str) -> dict[str, str]:
    """The metadata that the model file alone gives."""
    said = {"target": card.target, "classes": json.dumps(card.classes, ensure_ascii=False), "answers": whose}
    if len(card.classes) == 2:
        said["positive"] = json.dumps(card.classes[card.positive_number], ensure_ascii=False)
    return said


def figures() -> dict[str, str]:
    """Metadata of the last run: its figures as a JSON list of objects, what their intervals are about, the commit."""
    job = last_run.read()
    told = [{name: row[name] for name in NEEDED if row.get(name) is not None} for row in job.figures.values()]
    told = [row | {"rows": int(row["rows"])} for row in told]
    said = {"figures": json.dumps(told), "intervals": f"about 95 %; {last_run.intervals_about(job)}"}
    with contextlib.suppress(UserError):  # where git knows no commit; -dirty where files differ from it
        said["commit"] = git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").strip()
    return said
