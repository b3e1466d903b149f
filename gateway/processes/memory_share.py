"""How much memory a process may use, and how much of that is in use: by its control groups and its address space.

What the kernel only keeps because nobody needs the room (pages of files, caches of names) is not in use.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

SHORT = 0.8
"""From this share on memory is short."""
_UNBOUNDED = 1 << 60
_KEPT = ("active_file", "inactive_file", "slab_reclaimable")
_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self")


def memory_bound(groups: Path = _GROUPS, own: Path = _OWN) -> int | None:
    """Bytes: the least that a control group of this process, or one around it, allows; None where none bounds it."""
    return min((most for _, most in _grouped(groups, own) if 0 < most < _UNBOUNDED), default=None)


def memory_share(groups: Path = _GROUPS, own: Path = _OWN) -> float | None:
    """Between 0 and 1, of the tightest bound; None where nothing bounds this process."""
    found = [used / most for used, most in (*_grouped(groups, own), *_addressed(own)) if 0 < most < _UNBOUNDED]
    return max(found, default=None)


def _grouped(groups: Path, own: Path) -> Iterator[tuple[int, int]]:
    """(bytes in use, bytes allowed) of the process's groups and those around them: cgroup 2 and the older ones."""
    mine = _lines(own / "cgroup")
    for root, mark, most_file, used_file, prefix in (
        (groups, "0::", "memory.max", "memory.current", ""),
        (groups / "memory", ":memory:", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        place = next((line.partition(mark)[2] for line in mine if mark in line), "")
        inner = root / place.strip("/")
        for folder in (inner, *(one for one in inner.parents if one.is_relative_to(root))):
            most = _number(folder / most_file)
            if most is not None:
                yield (_number(folder / used_file) or 0) - _kept(folder, prefix), most


def _addressed(own: Path) -> Iterator[tuple[int, int]]:
    """The same of the address space, where it is bounded (setrlimit(2), RLIMIT_AS)."""
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = next(iter(_lines(own / "statm")), "0").split()[0]
    if most != resource.RLIM_INFINITY:
        yield int(pages) * os.sysconf("SC_PAGE_SIZE"), most


def _kept(folder: Path, prefix: str) -> int:
    told = dict(line.split(" ", 1) for line in _lines(folder / "memory.stat") if " " in line)
    return sum(int(told.get(prefix + name, 0)) for name in _KEPT)


def _number(path: Path) -> int | None:
    """None for what is not there, and for a bound that is none (``max``)."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
