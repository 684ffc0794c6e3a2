"""What params.yaml may hold, checked before a stage does any work.

Every parameter is required, for nobody reviews a default that is hidden in code. The file is read with DVC's own YAML
1.2 reader, so that a stage and `dvc params diff` agree on what `1e-4` and `1_000` are.
"""

import difflib
import re
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from plumbline.basics import inputs
from plumbline.basics.errors import UserError
from plumbline.basics.formats import flat, read_yaml

PATH = "params.yaml"

Seed = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]  # MT19937 is seeded with 32 bits
Count = Annotated[int, msgspec.Meta(ge=1)]
AtLeast0 = Annotated[float, msgspec.Meta(ge=0, le=1e30)]  # so that it fits a float32
Name = Annotated[str, msgspec.Meta(min_length=1)]


class Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A section of params.yaml, named after the stage that reads it."""


class MakeData(Section):
    """The table. samples, features, noise and classes are about the synthetic one alone."""

    source: Name
    sheet: Name | None
    expect: Name
    target: Name
    positive: bool | int | float | Name | None
    drop: list[Name]
    decimal: Literal[".", ","] | None
    dates: Literal["day-first", "month-first"] | None
    samples: Annotated[int, msgspec.Meta(ge=5)]
    features: Annotated[int, msgspec.Meta(ge=5, le=100_000)]  # the synthetic rule uses the first five
    noise: AtLeast0
    classes: Annotated[int, msgspec.Meta(ge=2, le=100)]


class Split(Section):
    """Shares of the rows, the rest being the test part, and which rows stay together."""

    train: Annotated[float, msgspec.Meta(gt=0, le=1)]
    validation: Annotated[float, msgspec.Meta(ge=0, lt=1)]
    folds: Annotated[int, msgspec.Meta(ge=0)]
    stratify: bool
    group: Name | None
    time: Name | None


class Train(Section):
    """The network and how it is trained."""

    encoding: Literal["raw", "robust", "mixed"]
    hidden_size: Count
    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=1e30)]
    schedule: Literal["constant", "cosine"]
    weight_decay: AtLeast0
    input_rate: AtLeast0
    ema_decay: Annotated[float, msgspec.Meta(ge=0, lt=1)]
    class_weight: Literal["none", "balanced"]
    batch_size: Count
    epochs: Count
    patience: Annotated[int, msgspec.Meta(ge=0)]
    held_out: Annotated[float, msgspec.Meta(ge=0, le=0.5)]
    fold_rows: Annotated[float, msgspec.Meta(gt=0, le=1)]
    members: Count
    replicas: Count
    engine: Literal["auto", "compiled", "torch"]
    device: Literal["cpu", "cuda"]


class Evaluate(Section):
    """How rows are scored, and what else is computed."""

    batch_size: Count
    importance: bool
    baselines: bool


class Params(Section):
    """The whole file."""

    seed: Seed
    make_data: MakeData
    split: Split
    train: Train
    evaluate: Evaluate


def read(*sections: str) -> Params:
    """Read and check the whole file. A UserError names the parameter, the rule, the value and the nearest name.

    sections: what the stage uses, such as "seed" and "train". If their values in the file change while it runs,
    `inputs.check` fails.
    """
    values = _values()
    params, before = check(values), flat(values)

    def changed() -> str | None:
        now = _values()
        now = flat(now) if isinstance(now, dict) else {}
        names = (name for name in before | now if name.partition(".")[0] in sections)
        return next((f"{PATH}: {name}" for name in names if before.get(name) != now.get(name)), None)

    inputs.watch_value(changed)
    return params


def _values() -> object:
    """The content of the file."""
    try:
        text = Path(PATH).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{PATH} is not here; run from the folder that holds dvc.yaml and {PATH}") from None
    return read_yaml(text, PATH)


def _whole(value):
    """Make integers of whole floats, so that `samples: 1e6` may be written. To DVC they are equal, too."""
    if isinstance(value, dict):
        return {str(key): _whole(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def check(values: object) -> Params:
    """Turn the content of a file into `Params`. UserError as in `read`."""
    values = _whole(values)
    try:
        params = msgspec.convert(values, Params)
    except msgspec.ValidationError as error:
        raise UserError(f"{PATH}: {_said(str(error), values)}") from None
    if broken := next(_contradictions(params), None):
        raise UserError(f"{PATH}: {broken}")
    return params


def _said(error: str, values) -> str:
    """msgspec's message, such as "Expected `int` >= 1 - at `$.train.epochs`", in a user's words and with the value."""
    rule, _, place = error.partition(" - at `$")
    names = re.findall(r"\w+", re.sub(r"\[.*\]", "", place))  # without the index of a list's item
    value, kind = values, Params
    for each in names:
        value, kind = value[each], {field.name: field.type for field in msgspec.structs.fields(kind)}[each]
    name, prefix = ".".join(names) or "the file", "".join(f"{each}." for each in names)
    if rule.startswith("Object"):
        field = rule.split("`")[1]
        if field in value:
            hint = nearest(field, kind.__struct_fields__, prefix)
            return f"{prefix}{field} (given {value[field]!r}) is not a parameter{hint}"
        under = f" under `{name}:`" if names else ""
        return f"{prefix}{field} is missing; add the line `{field}: ...`{under}"
    if rule.startswith("Expected `object`"):
        return f"{name} must hold `name: value` lines, not {value!r}"
    choices = " or ".join(typing.get_args(kind)) if rule.startswith("Invalid enum") else ""
    items = "'s items" if "[" in place else ""
    return f"{name}{items} must be {choices or _rule(rule)}, not {value!r}"


def _contradictions(params: Params) -> Iterator[str]:
    """What is wrong with several parameters together."""
    split, train = params.split, params.train
    if split.train + split.validation >= 1 and not (split.folds and split.train == 1):
        sum_of = f"{split.train} + {split.validation}"
        yield f"split.train + split.validation must be below 1, not {sum_of}; lower one, for the rest is the test part"
    named = {"split.stratify": split.stratify or None, "split.group": split.group, "split.time": split.time}
    chosen = [f"{name} ({value})" for name, value in named.items() if value is not None]
    if len(chosen) > 1:
        yield f"{chosen[0]} and {chosen[1]} cannot both be kept: each says which rows go together; take one back"
    if split.folds == 1:
        yield "split.folds must be 0 or at least 2, not 1, for a fold is scored by what the rest taught"
    if split.folds and split.validation:
        yield f"with split.folds ({split.folds}) every row that trains is also scored; set split.validation to 0"
    if train.fold_rows < 1 and not split.folds:
        yield f"train.fold_rows is {train.fold_rows} and there are no folds; set split.folds, or train.fold_rows to 1.0"
    watched = f"train.patience is {train.patience} and"
    if train.patience and split.folds and not train.held_out:
        yield f"{watched} the scored fold must not be watched; set train.held_out above 0, or train.patience to 0"
    if train.patience and not (split.validation or train.held_out):
        yield f"{watched} there is nothing to watch; set split.validation or train.held_out above 0"
    if (shrunk := train.learning_rate * train.weight_decay) >= 1:
        yield f"train.learning_rate times train.weight_decay must be below 1, for weights shrink by it, not {shrunk}"
    if train.encoding == "mixed" and train.members < 2:
        yield "train.encoding is mixed, whose members see numbers in several ways; set train.members to at least 2"
    if train.device == "cuda" and train.engine == "compiled":
        yield "train.device is cuda and train.engine is compiled, which runs on a CPU alone; set train.engine to torch"
    for name in (params.make_data.target, split.group, split.time):
        if name in params.make_data.drop:
            yield f"make_data.drop names {name!r}, which another parameter uses; keep it"
    if params.make_data.target in (split.group, split.time):
        yield f"split cannot go by the target {params.make_data.target!r}; name another column"


def nearest(name: object, known: Iterable[str], prefix: str = "") -> str:
    """The end of a message about a wrong name: the nearest known name, or all of them."""
    known = list(map(str, known))
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {prefix + near[0]!r}?"
    return f"; there are {', '.join(map(repr, known[:20]))}{', ...' if len(known) > 20 else ''}"


def _rule(message: str) -> str:
    """A rule of msgspec's in words: "Expected `int` >= 1" becomes "an integer >= 1"."""
    words = {"int": "an integer", "float": "a number", "str": "text", "bool": "true or false", "array": "a list"}
    rule = message.removeprefix("Expected ").split(", got ")[0].replace(" | null`", "` or null")
    rule = re.sub(r"`(\w+)`", lambda match: words.get(match[1], match[1]), rule)
    return rule.replace("of length >= 1", "that is not empty")
