"""dvc.lock as DVC writes it: what every stage read, with which parameters, and what came out."""

from typing import NamedTuple

from stages.errors import UserError, reason
from stages.files import read_yaml


class Stage(NamedTuple):
    """A stage as it was when it ran; files by their paths."""

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
