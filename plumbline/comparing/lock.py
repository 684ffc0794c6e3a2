"""dvc.lock as DVC writes it: what every stage read, with which parameters, and what came out.

A folder has one MD5 in it, with `.dir` at its end. Stages stand in the order in which they ran first.
"""

from typing import NamedTuple

from plumbline.basics.errors import UserError, reason
from plumbline.basics.files import read_yaml


class Stage(NamedTuple):
    """A stage as it was when it ran; files and folders by their paths."""

    cmd: str | list[str]
    params: dict
    deps: dict[str, str | None]  # MD5; None for what DVC does not know it of
    outs: dict[str, str]  # MD5


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
