"""Files that appear whole or not at all, scratch files, and the text formats that DVC reads: YAML, JSON and CSV.

A file is written under a temporary name of this process, and takes its final name at the end. So two processes that
write the same file leave one of the two, whole. What a killed process left is swept by the next one that writes there.
"""

import contextlib
import csv
import errno
import io
import json
import math
import mmap
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from plumbline.basics import inputs
from plumbline.basics.errors import UserError, reason

NULL = "tag:yaml.org,2002:null"
SMALL = 2**20  # bytes of an array that is not worth a file
TEMPORARY = re.compile(r"\..*\.(\d+)\.(partial|scratch)")  # .NAME.PROCESS.partial

_waiting: list[tuple[Path, Path]] | None = None  # files of a block of `together`, written under temporary names


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Files written in the block take their final names at its end, one right after the other; else none does.

    Before they do, every input must still be as it was read (`inputs.check`).
    """
    global _waiting
    _waiting = waiting = []
    try:
        yield
        inputs.check()
        _check_replaceable([path for _, path in waiting])
        while waiting:
            partial, path = waiting[0]
            partial.replace(path)
            waiting.pop(0)
    finally:
        _waiting = None
        for partial, _ in waiting:
            partial.unlink(missing_ok=True)


def _check_replaceable(paths: list[Path]) -> None:
    """Refuse before the first file is replaced what would stop a later one: half of the outputs would be old."""
    for path in paths:
        if path.is_dir():
            raise UserError(f"{path} is a folder, and a file is to be written under that name; move it away")


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; when the block ends well the file takes its final name, else it goes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        if _waiting is None or TEMPORARY.fullmatch(path.parent.name):  # a scratch folder's is needed in the block
            partial.replace(path)
        else:
            _waiting.append((partial, path))
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):  # a full disk comes without a name, or with the temporary one
            raise OSError(error.errno, os.strerror(error.errno or errno.EIO), str(path)) from error
        raise


@contextlib.contextmanager
def scratch(beside: str | Path) -> Iterator[Path]:
    """A temporary folder in the folder `beside`, that of the outputs; it goes with all that is in it."""
    beside = Path(beside)
    beside.mkdir(parents=True, exist_ok=True)
    sweep(beside)
    folder = Path(tempfile.mkdtemp(prefix=".", suffix=f".{os.getpid()}.scratch", dir=beside))
    try:
        yield folder
    except OSError as error:  # a full disk comes without a name
        raise OSError(error.errno, error.strerror, error.filename or str(beside)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what processes that live no more have left in a folder under temporary names."""
    for path in folder.iterdir():
        owner = TEMPORARY.fullmatch(path.name)
        if owner and not _lives(int(owner[1])):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


@contextlib.contextmanager
def nameless(size: int, folder: str | Path) -> Iterator[BinaryIO]:
    """A file of so many bytes without a name in `folder`; it goes with the block.

    Its room on the disk is taken first, so that a full disk is an error at the start, and no signal later.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder, prefix=".") as file:
        try:
            if hasattr(os, "posix_fallocate") and size:
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
        except OSError as error:
            raise UserError(
                f"the disk of {folder} does not take {size / 1e9:,.1f} GB of rows on their way "
                f"({os.strerror(error.errno or errno.EIO)}); make room there"
            ) from None
        yield file


def mapped(shape: int | tuple[int, ...], dtype, folder: str | Path) -> np.ndarray:
    """`np.empty` on a nameless file in `folder`, whose pages the system may write back and take.

    A small array is in memory.
    """
    shape, dtype = (shape,) if isinstance(shape, int) else shape, np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    with nameless(size, folder) as file:
        return np.frombuffer(mmap.mmap(file.fileno(), size), dtype).reshape(shape)


# ---- formats


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


def edited_yaml(text: str, values: Mapping[str, object]) -> str:
    """A YAML text with other values of some names, such as "train.epochs"; its comments and its order stay.

    Numbers are written out as 0.0001, which every reader of YAML takes for a number; lists a line an item.
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
    yaml.dump(whole, edited)
    return edited.getvalue()


def as_yaml(values: Mapping[str, object]) -> str:
    """Values as a YAML text, in their order; lists and sections of plain values on a line."""
    from ruamel.yaml import YAML

    yaml, text = YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style, yaml.width, yaml.sort_base_mapping_type_on_output = None, 2**16, False
    yaml.dump(values, text)
    return text.getvalue()


def read_csv(
    path: str | Path, numbers: Collection[str] | None = None, text: Collection[str] = (), name: str | None = None
) -> list[dict]:
    """The rows of a table that `write_csv` wrote, {column: cell}; UserErrors call it `name`.

    numbers: columns of finite numbers, None where a cell is empty; all if it is None. text: columns that must be there
    as well.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(content(path).decode(), newline="")))
        if any(None in row or None in row.values() for row in rows):
            raise ValueError("a row has too many or too few cells")
        return [
            row | {t: row[t] for t in text} | {n: _number(row[n]) for n in (row if numbers is None else numbers)}
            for row in rows
        ]
    except (ValueError, KeyError, csv.Error) as error:
        raise UserError(f"{name or path} is not as the stages write it ({reason(error)}); run `dvc repro`") from None


def _number(cell: str) -> float | None:
    value = float(cell) if cell else None
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{cell} is no finite number")
    return value


def read_json(path: str | Path) -> dict:
    """The metrics that `write_json` wrote; UserError for what is none."""
    try:
        return json.loads(content(path))
    except ValueError as error:
        raise UserError(f"{path} is not as the stages write it ({reason(error)}); run `dvc repro`") from None


def content(path: str | Path) -> bytes:
    """A file that a stage wrote, for reading; UserError where it is not there."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is not there; `dvc repro` makes it, `git restore metrics` brings it back") from None
