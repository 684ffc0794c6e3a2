"""Whether there is room for the work: said before it starts, with the estimate and what to lower.

Estimates are of the arrays that grow with the rows, a little above what was measured; a process of its own takes BASE.
"""

import shutil
from pathlib import Path

from stages.errors import UserError

BASE = 400e6  # Python, its libraries, and a row group on its way through


def check_memory(stage: str, growing: float, lower: str, root: str | Path = "/") -> None:
    """Refuse work whose arrays take `growing` bytes beside the process itself, when there is less memory than that."""
    needed, there = BASE + growing, available_memory(root)
    if there is not None and needed > there:
        raise UserError(f"{stage} needs about {gb(needed)} of memory and there are {gb(there)}; lower {lower}")


def check_disk(stage: str, needed: float, folder: str | Path, lower: str) -> None:
    """Refuse work that writes `needed` bytes when the disk of `folder`, which may not be there yet, has less room."""
    place = Path(folder).absolute()
    there = shutil.disk_usage(next(parent for parent in (place, *place.parents) if parent.is_dir())).free
    if needed > there:
        raise UserError(
            f"{stage} writes about {gb(needed)} and the disk of {folder} has {gb(there)} left; lower {lower}"
        )


def gb(count: float) -> str:
    """Bytes as a person reads them."""
    return f"{count / 1e9:,.1f} GB"


def available_memory(root: str | Path = "/") -> int | None:
    """Bytes that can be had: MemAvailable, or what the cgroups of this process (v1 or v2) leave; None if none says."""
    root, left = Path(root), []
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
    return min(left, default=None)


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
