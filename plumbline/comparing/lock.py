"""dvc.lock as DVC writes it: of every stage the command, the parameters, what it read and what it made.

Files are told by their MD5; that of a folder ends in `.dir`. Stages stand in the order in which they first ran.
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from plumbline.basics.errors import UserError, reason
from plumbline.basics.formats import flat, read_yaml
from plumbline.comparing.result import Changes


class Stage(NamedTuple):
    """A stage as it was when it ran."""

    cmd: str | list[str]
    params: dict  # {file: {name: value}}
    deps: dict[str, str | None]  # {path: MD5}; None where DVC has no MD5 of it
    outs: dict[str, str]  # {path: MD5}


def read(text: bytes, name: str) -> dict[str, Stage]:
    """The stages of a dvc.lock by name; UserError for what is none."""
    stages = {}
    try:
        for stage, entry in read_yaml(text, name)["stages"].items():
            deps, outs = ({item["path"]: item.get("md5") for item in entry.get(kind, [])} for kind in ("deps", "outs"))
            stages[stage] = Stage(entry["cmd"], entry.get("params", {}), deps, outs)
    except (UserError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{name} is no lock that DVC wrote ({reason(error)}); run `dvc repro` and commit it") from None
    return stages


def outs(stages: dict[str, Stage]) -> dict[str, str]:
    """The MD5 of everything that some stage makes, by its path."""
    return {path: md5 for stage in stages.values() for path, md5 in stage.outs.items()}


def md5(path: Path) -> str:
    """The MD5 of a file or a folder, as DVC computes it."""
    if path.is_dir():
        files = [each for each in path.rglob("*") if each.is_file()]
        listed = [{"md5": md5(each), "relpath": each.relative_to(path).as_posix()} for each in files]
        listed = json.dumps(sorted(listed, key=lambda each: each["relpath"]), sort_keys=True).encode()
        return f"{hashlib.md5(listed, usedforsecurity=False).hexdigest()}.dir"
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def params(stages: dict[str, Stage]) -> dict:
    """All parameters by their dotted names, as they were when the stages ran.

    The names of those that stand in another file than params.yaml begin with the file's.
    """
    found = {}
    for stage in stages.values():
        for file, values in stage.params.items():
            found |= flat(values or {}, "" if file == "params.yaml" else f"{file}:")
    return found


def unequal(base: dict, other: dict) -> dict[str, tuple]:
    """The values that differ, by dotted names: {name: (base, other)}; None stands for a value that is not there."""
    left, right = flat(base), flat(other)
    return {name: (left.get(name), right.get(name)) for name in left | right if left.get(name) != right.get(name)}


def changes(base: dict[str, Stage], other: dict[str, Stage]) -> Changes:
    """What differs, traced to where it begins.

    That is a parameter, a command, a file that no stage makes, or an output that differs though all that its stage read
    is the same.
    """
    both, files, made = [name for name in base if name in other], {}, []
    outputs = outs(base) | outs(other)
    stages = [name for name in base | other if name not in both or base[name].cmd != other[name].cmd]
    for name in both:
        old, new = base[name], other[name]
        read = [path for path in sorted(old.deps | new.deps) if old.deps.get(path) != new.deps.get(path)]
        for path in read:
            if path not in outputs:
                files.setdefault(path, []).append(name)
        if not read and name not in stages and old.params == new.params:
            made += [path for path in sorted(old.outs | new.outs) if old.outs.get(path) != new.outs.get(path)]
    return Changes(unequal(params(base), params(other)), files, stages, made)
