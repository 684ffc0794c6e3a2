"""How many bytes of memory this process may use.

The environment variable PLUMBLINE_MEMORY says so, as 2GB or 512MiB. Without it, it is the memory of the machine, or the
lowest limit of the process's control groups. The figure decides whether a table is held in memory or read in windows.
It changes no bit of any output.
"""

import functools
import os
import re
from pathlib import Path

from plumbline.basics.errors import UserError

VARIABLE = "PLUMBLINE_MEMORY"
SIZE = re.compile(r"(\d+(?:\.\d+)?(?:e\d{1,2})?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
LIMITS = {  # mount point and file of a control group's limit, by controller: version 2 has no name for it
    "": ("sys/fs/cgroup", "memory.max"),
    "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
}
LEAST = 2**20  # bytes: a smaller figure surely lacks its unit


def limit(root: str | Path = "/") -> int:
    """Bytes that this process may use. UserError if PLUMBLINE_MEMORY is not a size."""
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
    """Limits of the control groups (version 1 or 2) of this process and of their parents.

    They are read once: that takes 1 ms, and training asks every epoch.
    """
    limits = [2**62]
    for line in _lines(root / "proc/self/cgroup"):  # 0::/path of version 2, or 4:cpu,memory:/path of version 1
        _, controllers, path = line.split(":", 2)
        for mount, name in (LIMITS[each] for each in controllers.split(",") if each in LIMITS):
            inner = root / mount / path.lstrip("/")
            # In a container the path may be the host's, of which only the mount point exists.
            folders = [folder for folder in (inner, *inner.parents) if folder.is_relative_to(root / mount)]
            limits += [int(text) for folder in folders for text in _lines(folder / name) if text.isdecimal()]
    return limits


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
