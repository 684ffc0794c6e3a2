"""Files that appear whole or not at all, and the text formats that DVC reads: YAML, JSON metrics and CSV plots."""

import contextlib
import csv
import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from stages.errors import UserError, reason

_waiting: list[tuple[Path, Path]] | None = None  # files of a block of `together`, written under temporary names


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Files written in the block take their final names at its end, one right after the other; else none does."""
    global _waiting
    _waiting = waiting = []
    try:
        yield
        while waiting:
            partial, path = waiting[0]
            partial.replace(path)
            waiting.pop(0)
    finally:
        _waiting = None
        for partial, _ in waiting:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; when the block ends well the file takes its final name, else it goes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        if _waiting is None:
            partial.replace(path)
        else:
            _waiting.append((partial, path))
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):  # a full disk comes without a name, or with the temporary one
            raise OSError(error.errno, os.strerror(error.errno or errno.EIO), str(path)) from error
        raise


def six_digits(value):
    """`value` with every float rounded to six significant digits, which is more than any metric's n can carry.

    It also hides the last bit of a library's logarithm, which differs between CPUs.
    """
    if isinstance(value, Mapping):
        return {key: six_digits(item) for key, item in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value


def write_json(values: Mapping, path: str | Path) -> None:
    """Write metrics as DVC reads them: nested objects of finite numbers, a key a line."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_csv(columns: Iterable[str], rows: Iterable[Iterable], path: str | Path) -> None:
    """Write a small table for `dvc plots`, floats to six significant digits."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([six_digits(value) for value in row] for row in rows)


def read_yaml(text: bytes, name: str | Path):
    """What a YAML text holds, as DVC itself reads it; a UserError names the line that is none."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text.decode())
    except (YAMLError, UnicodeDecodeError) as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        where, why = (f" line {mark.line + 1}", error.problem) if mark else ("", error)
        raise UserError(f"{name}{where}: not valid YAML ({reason(why)}); mend it") from None


def read_csv(text: bytes, name: str) -> list[dict[str, float]]:
    """The rows of a table of numbers that `write_csv` wrote; UserError for what is none."""
    try:
        rows = csv.DictReader(text.decode().splitlines())
        return [{column: float(value) for column, value in row.items()} for row in rows]
    except (ValueError, TypeError) as error:  # a cell too few is None
        raise UserError(f"{name} is not as the stages write it ({reason(error)}); run `dvc repro`") from None
