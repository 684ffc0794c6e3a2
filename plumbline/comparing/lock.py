"""dvc.lock as DVC writes it: what every stage read, with which parameters, and what came out.

A folder has one MD5 in it, with `.dir` at its end.
"""

import graphlib
from collections.abc import Iterable
from typing import NamedTuple

from plumbline.basics.errors import UserError, reason
from plumbline.basics.files import read_yaml


class Stage(NamedTuple):
    """A stage as it was when it ran; files and folders by their paths."""

    cmd: str | list[str]
    params: dict
    deps: dict[str, str | None]  # MD5; None for what DVC does not know it of
    outs: dict[str, str]  # MD5
    sizes: dict[str, int]  # bytes of the outs


def read(text: bytes, name: str) -> dict[str, Stage]:
    """The stages of a dvc.lock by name; UserError for what is none."""
    stages = {}
    try:
        for stage, entry in read_yaml(text, name)["stages"].items():
            deps = {item["path"]: item.get("md5") for item in entry.get("deps", [])}
            outs, sizes = ({item["path"]: item[key] for item in entry.get("outs", [])} for key in ("md5", "size"))
            stages[stage] = Stage(entry["cmd"], entry.get("params", {}), deps, outs, sizes)
    except (UserError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{name} is no lock that DVC wrote ({reason(error)}); run `dvc repro` and commit it") from None
    return stages


def outs(stages: dict[str, Stage]) -> dict[str, str]:
    """The MD5 of everything that some stage makes, by its path."""
    return {path: md5 for stage in stages.values() for path, md5 in stage.outs.items()}


def in_order(stages: dict[str, Stage]) -> list[str]:
    """Stages so that each comes after those whose files it reads."""
    maker = {path: name for name, stage in stages.items() for path in stage.outs}
    needs = {name: {maker[path] for path in stage.deps if path in maker} for name, stage in stages.items()}
    try:
        return list(graphlib.TopologicalSorter(needs).static_order())
    except graphlib.CycleError:  # a forged lock may go in circles
        return list(stages)


def changed_params(base: dict[str, Stage], other: dict[str, Stage]) -> dict[str, tuple]:
    """Parameters that differ, as they were when the stages ran: {name: (base, other)}."""
    left, right = _params(base), _params(other)
    return {name: (left.get(name), right.get(name)) for name in left | right if left.get(name) != right.get(name)}


def _params(stages: dict[str, Stage]) -> dict:
    flat = {}
    for stage in stages.values():
        for section, values in stage.params.get("params.yaml", {}).items():
            flat |= {f"{section}.{n}": v for n, v in values.items()} if isinstance(values, dict) else {section: values}
    return flat


def changed_deps(base: dict[str, Stage], other: dict[str, Stage]) -> dict[str, list[str]]:
    """Files and folders that stages read and that differ, and the stages that read them: {path: stages}."""
    changed: dict[str, list[str]] = {}
    for stage in base | other:
        left, right = (side[stage].deps if stage in side else {} for side in (base, other))
        for path in sorted(left | right):
            if left.get(path) != right.get(path):
                changed.setdefault(path, []).append(stage)
    return changed


def stale_or_forged(committed: dict[str, Stage], made: dict[str, Stage]) -> Iterable[tuple[str, str, str]]:
    """(stage, field or path, what is wrong) where a committed lock is not what its own revision reads and says."""
    said = outs(committed)
    for stage in made | committed:
        if stage not in committed or stage not in made:
            yield stage, "dvc.lock", "stage is not in it" if stage in made else "stage is not in dvc.yaml"
            continue
        old, new = committed[stage], made[stage]
        for field in ("cmd", "params"):
            if getattr(old, field) != getattr(new, field):
                yield stage, field, "dvc.lock is stale: HEAD has another"
        for path in old.deps | new.deps:
            digest = old.deps.get(path)
            if path in outs(made) and digest != said.get(path):
                yield stage, path, "dvc.lock contradicts itself"
            elif path not in outs(made) and digest != new.deps.get(path):
                yield stage, path, "dvc.lock is stale: HEAD has another"
