"""Whether there is room for the work: said before it starts, with the estimate and what to do.

The memory of a process is what the machine and its cgroups have, or less by the environment variable PLUMBLINE_MEMORY
(2GB, 512MiB), which changes no bit of any output: what does not fit goes through in smaller pieces or lies on the disk
(stages.spill). Estimates are of the arrays that grow with the rows, a little above what was measured.
"""

import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from stages.errors import UserError

MARGIN = 150e6  # bytes that go to pieces of a table on their way and to the pages of files, whatever else is held
BASE = 400e6  # Python, its libraries, and a row group on its way through
VARIABLE = "PLUMBLINE_MEMORY"
SIZE = re.compile(r"(\d+(?:\.\d+)?(?:e\d{1,2})?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
LEAST = 2**20  # bytes: a smaller limit is taken for a forgotten unit


def check_memory(stage: str, growing: float, lower: str, root: str | Path = "/") -> None:
    """Refuse work whose arrays take `growing` bytes beside the process itself, when there is less memory than that."""
    needed, there = BASE + growing, available_memory(root)
    if there is not None and needed > there:
        raise UserError(f"{stage} needs about {gb(needed)} of memory and there are {gb(there)}; lower {lower}")


def check_piece(stage: str, piece: float, what: str, root: str | Path = "/") -> None:
    """Refuse work that must hold `piece` bytes at once, however slow it may be; says the least that works."""
    piece, tightest = piece + MARGIN, min(limits(root), default=None)
    if tightest and piece > tightest.left:
        pa.default_memory_pool().release_unused()  # by itself it keeps what was freed
        tightest = min(limits(root))
    if tightest is None or piece <= tightest.left:
        return
    least = math.ceil((tightest.held + piece) * 1.05 / 1e6)
    raise UserError(
        f"{stage} needs at least {least:,} MB of memory, for {what} and the process itself, and {tightest.said}; "
        f"give it that much, or lower what must be held at once"
    )


def check_disk(stage: str, needed: float, folder: str | Path, lower: str) -> None:
    """Refuse work that writes `needed` bytes when the disk of `folder`, which may not be there yet, has less room."""
    place = Path(folder).absolute()
    place = next(parent for parent in (place, *place.parents) if parent.is_dir())
    disk = shutil.disk_usage(place)
    if disk.total and needed > disk.free:  # what has no room at all is no disk, and writing will say what it is
        raise UserError(
            f"{stage} writes about {gb(needed)} and the disk of {folder} has {gb(disk.free)} left; lower {lower}"
        )


def gb(count: float) -> str:
    """Bytes as a person reads them."""
    if count < 1e8:
        return f"{count / 1e6:,.1f} MB"
    return f"{count / 1e9:,.1f} GB" if count < 1e21 else f"{count / 1e9:.3g} GB"


def memory_limit() -> int | None:
    """The bytes that PLUMBLINE_MEMORY allows the whole process, None where it is not set."""
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    size = SIZE.fullmatch(text)
    if size:
        number, unit, binary = size.groups()
        size = float(number) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " ")
    if not size or size < LEAST:
        raise UserError(f"{VARIABLE} is {text!r}, and must be a size such as 2GB or 512MiB; set it to one, or unset it")
    return int(min(size, 2**62))


class Limit(NamedTuple):
    """Bytes that one of those who limit this process leaves it, those that it has by their count, and who it is."""

    left: int
    held: int
    said: str


def available_memory(root: str | Path = "/") -> int | None:
    """Bytes that can still be had; None if nobody says."""
    return min((limit.left for limit in limits(root)), default=None)


def limits(root: str | Path = "/") -> list[Limit]:
    """What PLUMBLINE_MEMORY, `ulimit -d` and `-v`, the machine (MemAvailable) and cgroups (v1 or v2) leave."""
    root = Path(root)
    own, left = own_memory(root), []
    found = [*_ulimits(root)]
    if (limit := memory_limit()) is not None:
        found.append(Limit(max(limit - own, 0), own, f"{VARIABLE} is {os.environ[VARIABLE]}"))
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            left.append(int(line.split()[1]) * 1024)
    for line in _lines(root / "proc/self/cgroup"):  # 0::/path of version 2, or 4:memory:/path of version 1
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            mount, names = root / "sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        inner = mount / path.lstrip("/")
        # A limit of a group above holds too; in a container the path may be the host's, and only the mount is there.
        for folder in (inner, *inner.parents):
            if folder.is_relative_to(mount):
                left += _left(folder, *names)
    return found + [Limit(count, own, f"there are {(count + own) / 1e6:,.0f} MB") for count in left]


def own_memory(root: str | Path = "/") -> int:
    """Bytes that this process holds and no one can take from it: not the pages of files, which can be read again."""
    return _status(Path(root), "RssAnon") or 0


def _ulimits(root: Path) -> Iterator[Limit]:
    """What `ulimit` leaves: -d counts private memory that can be written, touched or not; -v whatever has addresses."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for flag, kind, name in (("-d", resource.RLIMIT_DATA, "VmData"), ("-v", resource.RLIMIT_AS, "VmSize")):
        limit, taken = resource.getrlimit(kind)[0], _status(root, name)
        if limit != resource.RLIM_INFINITY and taken is not None:
            yield Limit(max(limit - taken, 0), taken, f"ulimit {flag} is {limit / 1e6:,.0f} MB")


def _status(root: Path, name: str) -> int | None:
    """A figure of this process in bytes, None where nobody says."""
    for line in _lines(root / "proc/self/status"):
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None


def _left(group: Path, limit: str, usage: str) -> list[int]:
    """What a cgroup's limit leaves, if it has one. The file cache that counts as used is given up when needed."""
    limits, used = _lines(group / limit), _lines(group / usage)
    if not limits or not used or limits[0] == "max":
        return []
    names = ("inactive_file", "active_file", "total_inactive_file", "total_active_file")
    cache = dict.fromkeys(names, 0) | {
        name: int(value) for name, value in (line.split() for line in _lines(group / "memory.stat")) if name in names
    }
    given_up = max(cache[names[0]] + cache[names[1]], cache[names[2]] + cache[names[3]])
    return [max(int(limits[0]) - int(used[0]) + given_up, 0)]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
