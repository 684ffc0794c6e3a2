"""A sealed file: arrays by name and one JSON text, with a SHA-256 over all of them. Loading it runs no code.

The format is safetensors. Text and seal are under one metadata key, because safetensors writes several keys in an order
that changes from run to run. A file is refused if it was cut, altered or never sealed, or holds a float that is not
finite.
"""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from plumbline.basics import inputs
from plumbline.basics.errors import UserError, reason
from plumbline.basics.files import replacing

METADATA_KEY = "plumbline"
# What safetensors and msgspec raise for bytes that they cannot read, and `read` where the seal is wrong
REFUSED = (SafetensorError, msgspec.MsgspecError, OSError, ValueError, TypeError, AttributeError, RecursionError)


class _Seal(msgspec.Struct, omit_defaults=True):
    sha256: str
    text: msgspec.Raw
    of: str = ""  # the seal of the model file that this file belongs to; empty in a model file


def write(path: str | Path, arrays: dict[str, np.ndarray], text: bytes, of: str = "") -> str:
    """Write arrays and a JSON text, whole or not at all; returns the seal. of: the seal of the file it belongs to."""
    # safetensors takes the bytes as they lie in memory
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    seal = _Seal(_digest(arrays, text, of), msgspec.Raw(text), of)
    with replacing(path) as partial:
        partial.write_bytes(save(arrays, {METADATA_KEY: msgspec.json.encode(seal).decode()}))
    return seal.sha256


def opened(
    path: str | Path, kind: type, what: str, beside: str | Path | None = None
) -> tuple[dict[str, np.ndarray], Any]:
    """The arrays, and the JSON text decoded to a type; a UserError says what is wrong with a file.

    what: what the file should be, such as "a model". beside: as in `read`.
    """
    inputs.watch(path)
    try:
        arrays, text = read(path, beside)
        return arrays, msgspec.json.decode(text, type=kind)
    except FileNotFoundError:
        raise UserError(f"{path} is not there; `dvc repro` trains it, `dvc checkout` brings it back") from None
    except msgspec.ValidationError as error:
        why = f"of this version of plumbline ({error})"
    except REFUSED as error:
        why = f"that train wrote ({reason(error) or type(error).__name__})"
    raise UserError(f"{path} is not {what} {why}; run `dvc repro`")


def read(path: str | Path, beside: str | Path | None = None) -> tuple[dict[str, np.ndarray], bytes]:
    """The arrays and the JSON text. Raises one of REFUSED; a missing file is a FileNotFoundError.

    beside: the sealed file that this one must belong to. None: it must belong to no other.

    A forged header allocates no more than the file's size, for safetensors checks that every array's bytes are there.
    """
    with safe_open(path, framework="numpy") as file:
        seal = _seal(file)
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    text = bytes(seal.text)
    if seal.sha256 != _digest(arrays, text, seal.of):
        raise ValueError("its content does not match its SHA-256: it was altered")
    if beside is None and seal.of:
        raise ValueError("it goes with a model, and is none")
    if beside is not None:
        with safe_open(beside, framework="numpy") as file:
            if seal.of != _seal(file).sha256:
                raise ValueError(f"it and {beside} are of two trainings")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} has values that are not finite")
    return arrays, text


def _seal(file) -> _Seal:
    metadata = (file.metadata() or {}).get(METADATA_KEY)
    if metadata is None:
        raise ValueError(f"it has no {METADATA_KEY!r} metadata")
    return msgspec.json.decode(metadata, type=_Seal)


def _digest(arrays: dict[str, np.ndarray], text: bytes, of: str) -> str:
    digest = hashlib.sha256(text + of.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return digest.hexdigest()
