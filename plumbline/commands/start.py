"""Begin with a table of your own: see what is in it, and have params.yaml written for it.

Reads the table as the pipeline will, and refuses what the pipeline would refuse. Prints what each column holds, and
what becomes of it. Writes the table, the target and settings for its size into params.yaml, whose comments stay. A
table that neither DVC nor git tracks is given to `dvc add`. After that `dvc repro` runs the pipeline. With --expect
what the columns hold is written down too, and a later table that is not like that is refused.

    plumbline start customers.csv churned
    plumbline start visits.parquet returned --drop notes,fee --group customer --positive yes
    plumbline start customers.csv churned --dry-run
    plumbline start visits.xlsx returned --sheet 2024 --expect
"""

import argparse
import csv
import difflib
import os
import shlex
import sys
from pathlib import Path

import msgspec
import numpy as np

from plumbline.basics import files, formats, params
from plumbline.basics.errors import UserError, reason
from plumbline.bits import stream
from plumbline.commands.settings import settings_for, suited_to
from plumbline.comparing.programs import dvc, git
from plumbline.profiling import profile, warnings
from plumbline.sources import expectations, labels, query, source
from plumbline.tables import columns, encoding, folds, splits, store
from plumbline.tables.fitted import Encoding
from plumbline.tables.splits import PARTS


def main(options: argparse.Namespace) -> None:
    now = params.read()  # refuses a params.yaml that is wrong before anything is changed in it
    text = formats.content(params.PATH).decode()
    place = place_of(options.table)
    asked = {
        "make_data.source": place,
        "make_data.sheet": options.sheet,
        "make_data.target": options.target,
        "make_data.positive": None,
        "make_data.drop": next(csv.reader([options.drop], skipinitialspace=True), []),
        "make_data.decimal": options.decimal,
        "make_data.dates": options.dates,
        "split.group": options.group,
        "split.time": options.time,
        "split.stratify": False,  # a true that stands there would contradict --group and --time
    }
    try:
        wanted, expected, rows = planned(text, asked, options)
    except UserError as error:  # which the stages say as well
        raise UserError(str(error).replace("(make_data.drop)", "(--drop)")) from None
    tables = [place, *(query.tables(Path(place)) if place.endswith(".sql") else [])]
    told = {each: tracked(each) for each in tables}
    untold = [each for each, (is_told, _) in told.items() if not is_told]
    contents = ({now.make_data.expect: expected} if expected else {}) | {params.PATH: wanted}
    if options.dry_run:
        if expected:
            print(f"{now.make_data.expect} would say:\n{expected}")
        before, after = text.splitlines(), wanted.splitlines()
        changes = difflib.unified_diff(before, after, params.PATH, f"{params.PATH} as it would be", n=0, lineterm="")
        print("\n".join(changes) or f"{params.PATH} would stay as it is")
        print(f"\nNothing was written.{f' `dvc add {shlex.join(untold)}` would run as well.' * bool(untold)}")
        return
    write(contents, untold, options.yes)
    print("".join(note for _, note in told.values()), end="")
    for each in untold:
        print(f"DVC tracks {each} now: put {each}.dvc and {Path(each).with_name('.gitignore')} in git")
    if expected:
        print(f"{now.make_data.expect} says what the table is like: widen it, and put it in git")
    print(f"{params.PATH} has settings for {rows} rows now; `git diff {params.PATH}` shows them")
    print(f"They suit a table of {suited_to(rows)}")
    print("Next: dvc repro | plumbline report")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("table", help="a file of any kind in docs/sources.md, a folder of .parquet, or a .py")
    parser.add_argument("target", help="the column to predict")
    parser.add_argument("--sheet", metavar="NAME", help="of an Excel file with several, or the table of a SQLite file")
    parser.add_argument("--drop", default="", metavar="A,B", help="columns to leave out")
    parser.add_argument("--group", metavar="COLUMN", help="rows with the same value stay in one part")
    parser.add_argument("--time", metavar="COLUMN", help="the latest rows are the test part")
    parser.add_argument("--positive", metavar="LABEL", help="the class that precision and recall are about")
    parser.add_argument("--expect", action="store_true", help="write down what the columns hold (make_data.expect)")
    parser.add_argument("--decimal", choices=[".", ","], help="the mark before decimals, where 1,842 may be a thousand")
    parser.add_argument("--dates", choices=["day-first", "month-first"], help="where 3/4/2021 may be either")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and write nothing")
    parser.add_argument("--yes", action="store_true", help="overwrite a params.yaml that is in no commit")


def checked(text: str) -> params.Params:
    """The parameters of a params.yaml given as text; UserError for a wrong value, or two that contradict each other."""
    return params.check(formats.read_yaml(text.encode(), params.PATH))


# ---- the table


def place_of(table: str) -> str:
    """A table's path as params.yaml has it: relative to this folder, absolute for a table outside the repository."""
    top = git("rev-parse", "--show-toplevel", remedy="`git init && dvc init` make this folder one").strip()
    path, top = Path(table).resolve(), Path(top).resolve()
    if not path.is_relative_to(top):
        return str(path)
    return Path(os.path.relpath(path, Path.cwd().resolve())).as_posix()


def planned(text: str, asked: dict, options: argparse.Namespace) -> tuple[str, str | None, int]:
    """The new params.yaml, the new expectations of later tables (None without --expect), and the number of rows.

    Reads the table as make_data and split do, into a scratch file, and refuses what they would refuse. Prints what the
    table holds.
    """
    asking = checked(formats.edited_yaml(text, asked))
    make, generator = asking.make_data, stream.seeded(asking.seed)
    with files.scratch("data") as scratch, source.opened(make, generator, str(scratch / "dataset.parquet")) as rows:
        expected = None
        if options.expect:
            expected = expectations.written(rows, make.target)
        else:
            expectations.check(make.expect, rows, make.source, make.target)
        labelled = labels.of(rows, make.source, make.target)
        classes, counts = list(labelled.counts), list(labelled.counts.values())
        facts = store.Facts(make.target, classes, counts, None, spellings=dict(rows.spellings))
        with source.copying(rows, labelled, str(scratch / "dataset.parquet"), facts) as dataset:
            columns.check(dataset)
            print(f"{make.source}: {len(dataset)} rows, {len(dataset.features)} features\n")
            if options.positive:
                asked["make_data.positive"] = positive(classes, options.positive)
            order = stream.permutation(generator, len(dataset))
            size = len(dataset), len(classes), len(dataset.features)
            own = {"split.stratify": False} if options.group or options.time else {}  # the two do not go together
            wanted = formats.edited_yaml(text, asked | settings_for(*size) | own)
            part, why = training_part(dataset, order, checked(wanted))
            if why:
                wanted = formats.edited_yaml(text, asked | settings_for(*size, can_fold=False) | own)
                part, _ = training_part(dataset, order, checked(wanted))
            show(dataset, encoding.fit(part, checked(wanted).train.encoding))
    count = checked(wanted).split.folds
    if count:
        judges = "with so few rows each one judges, by networks that did not train on it"
    else:
        judges = why or "with so many rows a part of them is enough to judge"
    print(f"split.folds {count}: {judges}\n")
    return wanted, expected, size[0]


def positive(classes: list, word: str) -> bool | int | float | str:
    """The class that --positive names; UserError if there is none.

    The word may be a class as it is written in the table, such as 1.0, or as YAML reads it: `true` is the class True
    and the class 'True'.
    """
    words = {str(label).lower() if isinstance(label, bool) else str(label): label for label in classes}
    as_in_yaml = {"true": True, "false": False}.get(word.lower(), word)  # then it is the text 'True' as well
    return labels.positive(classes, words.get(word, as_in_yaml))


def training_part(dataset: store.Table, order: np.ndarray, settings: params.Params) -> tuple[store.Table, str]:
    """The training part of the rows in this order, and why it cannot be cut into folds ('' if none are asked for).

    UserError for what split would refuse.
    """
    split, path = settings.split, dataset.path.with_name("train.parquet")
    _, part_of = splits.cut(dataset, order, split)
    by = [name for name in (split.group, split.time) if name]
    facts = msgspec.structs.replace(dataset.facts, split_by=by, folds=split if split.folds else None)
    store.take(dataset, part_of == PARTS.index("train"), path, "train", facts)
    part = store.open(path)
    if split.folds:
        try:
            folds.of_replica(part, settings.seed, 0)
        except UserError as error:
            return part, str(error)
    return part, ""


def show(dataset: store.Table, encoded: Encoding) -> None:
    """Print a line for each column, the most telling first, and what is odd about them."""
    seen = warnings.judge(dataset, profile.profile(dataset, dataset.facts.target, encoded), encoded)
    file = "metrics/columns.csv, which `dvc repro` writes"
    print(f"{profile.screen(seen, file=file)}\n")
    odd = warnings.lines(seen, file)
    for line in odd:
        print(line.replace("make_data.drop", "--drop"))
    if odd:
        print()


# ---- what is written


def tracked(place: str) -> tuple[bool, str]:
    """Whether `dvc add` has nothing to do for a table, and a line to print about it ('' for none).

    So it is for a table that DVC or git tracks, for one outside the repository, and for a generator or a query.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    path = Path(place)
    if path.is_absolute():
        return True, (
            f"{place} lies outside the repository: DVC sees when it changes and keeps no copy of it. "
            f"Copy it in here, so that others can run this\n"
        )
    if git("ls-files", "--", f":(literal){place}"):
        return True, ""
    try:
        with Repo() as repo:
            outs = [(Path(out.fs_path), out.stage) for out in repo.index.outs]
    except DvcException as error:
        raise UserError(f"DVC cannot be asked about {place} ({reason(error)}); mend that, or run `dvc init`") from None
    for out, stage in outs:
        if path.resolve().is_relative_to(out):
            if stage.is_data_source:
                return True, ""
            raise UserError(f"{place} is written by the stage {stage.addressing}; name the table that it is made from")
    if path.suffix in (".py", ".sql"):
        return True, f"git does not track {place} yet: `git add {place}`, so that every experiment has it\n"
    return False, ""


def write(contents: dict[str, str], untold: list[str], yes: bool) -> None:
    """Write files {path: content} and give untracked tables to DVC; asks before edits in no commit would be lost."""
    for path, content in contents.items():
        if Path(path).exists() and formats.content(path).decode() != content:
            ask(path, yes)
    if untold:
        dvc("add", "--quiet", "--no-relink", *untold)  # the file stays the user's own, and may be edited
    with files.together():
        for path, content in contents.items():
            with files.replacing(path) as partial:
                partial.write_text(content, encoding="utf-8", newline="\n")


def ask(path: str, yes: bool) -> None:
    """Return if a file is as in the last commit, or the user says yes; UserError else."""
    try:
        is_committed = git("show", f"HEAD:./{path}") == formats.content(path).decode()
    except UserError:  # there is no commit, or it has no such file
        is_committed = False
    if is_committed or yes:
        return
    problem = f"{path} has changes that are in no commit"
    if not sys.stdin.isatty():
        raise UserError(f"{problem}, and they would be lost; commit them, or say --yes")
    if input(f"{problem}. Overwrite it? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UserError(f"{path} stays as it is, and nothing was written; commit it first")
