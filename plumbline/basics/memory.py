"""The one figure of memory: how many bytes this process may use.

PLUMBLINE_MEMORY (2GB, 512MiB) says it. Without it, it is what the machine has, or the least of what its control groups
allow. It changes no bit of any output, only whether a table is held in memory or read through windows.
"""

import functools
import os
import re
from pathlib import Path

from plumbline.basics.errors import UserError

VARIABLE = "PLUMBLINE_MEMORY"
SIZE = re.compile(r"(\d+(?:\.\d+)?(?:e\d{1,2})?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
LIMITS = {  # where a control group's limit stands, by its controller
    "": ("sys/fs/cgroup", "memory.max"),
    "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
}
LEAST = 2**20  # bytes: a smaller limit is taken for a forgotten unit


def limit(root: str | Path = "/") -> int:
    """Bytes this process may use; UserError for a PLUMBLINE_MEMORY that is no size."""
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_groups(Path(root)))
    size = SIZE.fullmatch(text)
    if size:
        number, unit, binary = size.groups()
        size = float(number) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " ")
    if not size or size < LEAST:
        raise UserError(f"{VARIABLE} is {text!r}, and must be a size such as 2GB or 512MiB; set it to one, or unset it")
    return int(min(size, 2**62))


@functools.cache
def _groups(root: Path) -> list[int]:
    """The limits of the control groups that hold this process, version 1 or 2; a group's parents limit it too.

    Read once, for to ask takes 1 ms, and a training asks every epoch.
    """
    limits = [2**62]
    for line in _lines(root / "proc/self/cgroup"):  # 0::/path of version 2, or 4:cpu,memory:/path of version 1
        _, controllers, path = line.split(":", 2)
        for mount, name in (LIMITS[each] for each in controllers.split(",") if each in LIMITS):
            inner = root / mount / path.lstrip("/")
            # In a container the path may be the host's, and only the mount is there.
            folders = [folder for folder in (inner, *inner.parents) if folder.is_relative_to(root / mount)]
            limits += [int(text) for folder in folders for text in _lines(folder / name) if text.isdecimal()]
    return limits


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
