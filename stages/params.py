"""What params.yaml may hold, checked before a stage does any work.

Every parameter is required: a default that hides in code is a number nobody reviews. The file is read with the YAML
1.2 reader that DVC itself uses, so that `1e-4` and `1_000` are to a stage what they are to `dvc params diff`.
"""

import difflib
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from stages.errors import UserError

PATH = "params.yaml"

Seed = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]  # MT19937 is seeded with 32 bits
Count = Annotated[int, msgspec.Meta(ge=1)]
Name = Annotated[str, msgspec.Meta(min_length=1)]


class Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A section of params.yaml, named after the stage that reads it."""


class MakeData(Section):
    """The table; samples, features, noise and classes are the synthetic table's."""

    source: Name
    target: Name
    samples: Annotated[int, msgspec.Meta(ge=5)]
    features: Annotated[int, msgspec.Meta(ge=5)]  # the synthetic rule uses the first five
    noise: Annotated[float, msgspec.Meta(ge=0)]
    classes: Annotated[int, msgspec.Meta(ge=2, le=100)]


class Split(Section):
    """Shares of the rows; what is left is the test part."""

    train: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    validation: Annotated[float, msgspec.Meta(ge=0, lt=1)]


class Train(Section):
    """The network and how it is trained."""

    hidden_size: Count
    learning_rate: Annotated[float, msgspec.Meta(gt=0)]
    batch_size: Count
    epochs: Count
    replicas: Count
    engine: Literal["compiled", "torch"]


class Evaluate(Section):
    """How rows are scored."""

    batch_size: Count


class Params(Section):
    """The whole file."""

    seed: Seed
    make_data: MakeData
    split: Split
    train: Train
    evaluate: Evaluate


def read(path: str | Path = PATH) -> Params:
    """Read and check the whole file; a UserError names the parameter, the rule, the value and the nearest name."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        values = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is not here; run from the folder that holds dvc.yaml and {path}") from None
    except MarkedYAMLError as error:
        where = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = " ".join(str(error.problem).split())
        raise UserError(f"{path}{where}: not valid YAML ({problem}); mend that line") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    return check(values, path)


def check(values: object, path: str | Path = PATH) -> Params:
    """Turn what the YAML reader gave into `Params`, or raise the UserError that `read` describes."""
    values = _whole(values)
    _check_names(values, Params, "", path)
    try:
        params = msgspec.convert(values, Params)
    except msgspec.ValidationError as error:
        rule, _, place = str(error).partition(" - at `$.")
        name = place.rstrip("`")
        value = values
        for key in name.split("."):
            value = value[key]
        raise UserError(f"{path}: {name} must be {_rule(rule)}, not {value!r}") from None
    for section in ("make_data", "split", "train"):
        for name in values[section]:
            value = getattr(getattr(params, section), name)
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{path}: {section}.{name} must be a finite number, not {value}")
    if params.split.train + params.split.validation >= 1:
        raise UserError(
            f"{path}: split.train + split.validation must be below 1, for the rest is the test part, "
            f"not {params.split.train} + {params.split.validation}; lower one of them"
        )
    return params


def _whole(value):
    """Floats without a fraction as integers (`samples: 1e6`): to DVC 1e6, 1000000.0 and 1000000 are equal too."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_names(values, section: type[Section], prefix: str, path) -> None:
    """Every name there is, and no other: a misspelt parameter would otherwise silently keep its old value."""
    if not isinstance(values, dict):
        thing = prefix.rstrip(".") or "the file"
        raise UserError(f"{path}: {thing} must hold `name: value` lines, not {values!r}")
    fields = {field.name: field.type for field in msgspec.structs.fields(section)}
    missing = [name for name in fields if name not in values]
    for name in values:
        if name not in fields:
            hint = nearest(name, fields, prefix)
            raise UserError(f"{path}: {prefix}{name} (given {values[name]!r}) is not a parameter{hint}")
    if missing:
        raise UserError(f"{path}: {prefix}{missing[0]} is missing; add the line `{missing[0]}: ...`{_under(prefix)}")
    for name, kind in fields.items():
        if isinstance(kind, type) and issubclass(kind, Section):
            _check_names(values[name], kind, f"{prefix}{name}.", path)


def nearest(name: object, known: Iterable[str], prefix: str = "") -> str:
    """The end of a message about a wrong name: the nearest right one, or those there are."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {prefix}{near[0]}?"
    return f"; there are {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}"


def _under(prefix: str) -> str:
    return f" under `{prefix.rstrip('.')}:`" if prefix else ""


def _rule(message: str) -> str:
    """msgspec's rule in a user's words: "Expected `int` >= 1" is "an integer >= 1"."""
    if message.startswith("Invalid enum value"):
        return "compiled or torch"
    words = {"int": "an integer", "float": "a number", "str": "text", "null": "nothing"}
    rule = message.removeprefix("Expected ").split(", got ")[0]
    rule = re.sub(r"`(\w+)`", lambda match: words.get(match[1], match[1]), rule)
    return rule.replace("of length >= 1", "that is not empty")
