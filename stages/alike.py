"""Whether all hosts of a group would compute the same bits: asked before they begin, and the first that differs named.

Held to those of the first worker: versions, the project's code, the parameters, the tables' bytes, and what the machine
answers to stages.known_answer.
"""

import hashlib
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from stages.errors import UserError

KNOWN_ANSWER = "the known answer of its arithmetic"
SHOWN = 3  # differences named in the line, which is to stay one


def check(group, parameters, tables: tuple[str, ...], answer: Callable[[], str]) -> None:
    """Refuse a group that is not alike, on every host. parameters: of params.yaml, what the stage reads.

    What takes time, reading the tables and the machine's answer, is done by one worker a host.
    """
    facts = versions() | code(Path(__file__).parent.glob("*.py")) | flat(parameters)
    if group.first_of_host:
        facts |= {KNOWN_ANSWER: answer()} | {table: digest(table) for table in tables}
    if complaint := difference(group.values((group.host, facts))):
        raise UserError(complaint)


def difference(everyone: list[tuple[str, dict[str, str]]]) -> str | None:
    """What to say of the first worker that differs from worker 0, out of host and facts of each."""
    host, first = everyone[0]
    for rank, (other, facts) in enumerate(everyone):
        names = [name for name in facts if facts[name] != first.get(name)]
        if names:
            differing = [f"{name} is {facts[name]} there and {first.get(name)} here" for name in names[:SHOWN]]
            more = [f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
            what = ", ".join(differing + more)
            return f"host {other} (worker {rank}) differs from host {host} (worker 0): {what}; {remedy(names[0])}"
    return None


def remedy(name: str) -> str:
    """What to do about a fact that differs."""
    if name.startswith("data/"):
        return "give both the same table (dvc pull, or a folder that they share)"
    if name.startswith(("stages/", "params.yaml")):
        return "check out the same commit on both"
    if name == KNOWN_ANSWER:
        return "a machine that does not keep IEEE 754 cannot take part; leave it out"
    return "install requirements.txt on both"


def versions() -> dict[str, str]:
    """What a worker runs with."""
    names = ("numpy", "numba", "pyarrow", "torch")
    found = {name: sys.modules[name].__version__.split("+")[0] for name in names if name in sys.modules}
    return {"Python": platform.python_version()} | found


def code(files: Iterable[Path]) -> dict[str, str]:
    """A digest of each of some modules, by name."""
    return {f"stages/{path.name}": digest(path) for path in sorted(files)}


def in_use() -> set[Path]:
    """The project's modules that this process has imported."""
    files = {Path(getattr(module, "__file__", None) or os.devnull) for module in list(sys.modules.values())}
    return {path for path in files if path.parent == Path(__file__).parent}


def flat(value, name: str = "params.yaml") -> dict[str, str]:
    """A setting each by its whole name."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if not isinstance(value, Mapping):
        return {name: repr(value)}
    inner = (flat(part, f"{name} {key}" if name == "params.yaml" else f"{name}.{key}") for key, part in value.items())
    return {key: text for part in inner for key, text in part.items()}


def digest(path: str | Path) -> str:
    """The first digits of the SHA-256 of a file's bytes."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError as error:
        return (error.strerror or "not readable").lower()
