"""YAML, JSON and CSV, written so that DVC can read them, and read back."""

import csv
import io
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import msgspec

from plumbline.basics.errors import UserError, reason
from plumbline.basics.files import replacing

NULL = "tag:yaml.org,2002:null"
# `dvc plots` puts cells into a script, which </ and <! would end: an invisible word joiner is written behind the <.
APART = "<\u2060"


def six_digits(value):
    """Round every float in `value` to six significant digits. No metric's number of rows supports more.

    Rounding also hides the last bits of a library's logarithm, which differ between CPUs.
    """
    if isinstance(value, Mapping):
        return {key: six_digits(item) for key, item in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value


def write_json(values: Mapping, path: str | Path) -> None:
    """Write metrics, which may be nested. ValueError for a number that is not finite: DVC could not read it."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_csv(columns: Iterable[str], rows: Iterable[Iterable], path: str | Path) -> None:
    """Write a small table for `dvc plots`, with floats rounded to six significant digits."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([columns, *(map(six_digits, row) for row in rows)])
    with replacing(path) as partial:
        partial.write_text(re.sub("<(?=[/!])", APART, table.getvalue()), encoding="utf-8", newline="\n")


def read_yaml(text: bytes, name: str | Path):
    """Parse YAML with the reader that DVC uses. UserError with `name` and the line if it is not valid."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text.decode())
    except (YAMLError, UnicodeDecodeError) as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        where, why = (f" line {mark.line + 1}", error.problem) if mark else ("", error)
        raise UserError(f"{name}{where}: not valid YAML ({reason(why)}); mend it") from None


def flat(values: dict, prefix: str = "") -> dict[str, object]:
    """Nested values by their full names, such as train.epochs."""
    found = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def edited_yaml(text: str, values: Mapping[str, object]) -> str:
    """Set values in a YAML text by their full names, such as "train.epochs". Comments and order stay.

    Small numbers are written as 0.0001, for some readers take 1e-4 for text. Lists have one item on a line.
    """
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 2**16  # a long value is not folded
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(NULL, "null"))
    whole, edited = yaml.load(text), io.StringIO()
    for name, value in values.items():
        *sections, field = name.split(".")
        section = whole
        for each in sections:
            section = section[each]
        if section[field] != value:
            section[field] = value
            if comment := section.ca.items.get(field):
                comment[3] = None  # what stood between a list's name and its items, which would break the next section
    yaml.dump(whole, edited)
    return edited.getvalue()


def as_yaml(values: Mapping[str, object]) -> str:
    """Values as YAML, in their order. A list or section without nested values is on one line."""
    from ruamel.yaml import YAML

    yaml, text = YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style, yaml.width, yaml.sort_base_mapping_type_on_output = None, 2**16, False
    yaml.dump(values, text)
    return text.getvalue()


def read_csv(
    path: str | Path,
    numbers: Collection[str] | None = None,
    text: Collection[str] = (),
    gaps: Collection[str] = (),
    name: str | None = None,
) -> list[dict]:
    """Read a table that `write_csv` wrote, as a dict {column: cell} for each row.

    numbers: the columns of finite numbers; None: all columns. text: other columns that must be there. gaps: which of
    `numbers` may have empty cells, read as None. name: what a UserError calls the file, if not `path`.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(content(path).decode().replace(APART, "<"), newline="")))
        if any(None in row or None in row.values() or not row.keys() >= {*text} for row in rows):
            raise ValueError(f"a row has too many or too few cells, or the header not {', '.join(text)}")
        for row in rows:
            of = [*row] if numbers is None else numbers
            row |= {n: _number(row[n]) if row[n] or n not in gaps else None for n in of}
        return rows
    except (ValueError, KeyError, csv.Error) as error:
        raise UserError(f"{name or path} is not as the stages write it ({reason(error)}); run `dvc repro`") from None


def _number(cell: str) -> float:
    if not math.isfinite(value := float(cell)):
        raise ValueError(f"{cell} is no finite number")
    return value


def read_json(path: str | Path, kind: type):
    """Read metrics that `write_json` wrote. UserError if they are not of the type `kind`."""
    try:
        return msgspec.json.decode(content(path), type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not as the stages write it ({reason(error)}); run `dvc repro`") from None


def content(path: str | Path) -> bytes:
    """The bytes of a file that a stage wrote. UserError if it is not there."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is not there; `dvc repro` makes it, `git restore metrics` brings it back") from None
