"""What a server's memory needs once everything is loaded: a collector that leaves it alone, and large pages.

A call touches some hundred pages of objects all over the heap. In pages of 4 KiB that is more than a core's table of
addresses holds, and a miss there is dear in a virtual machine, so the heap is asked to move into pages of 2 MiB.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

_GC_THRESHOLDS = (20_000, 10, 20)
_ANONYMOUS = "[anon"
_HEAP = (_ANONYMOUS, "[heap]")
_HUGE = 2 * 1024 * 1024
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25


def settle() -> None:
    """What exists by now stays: the collector need not look at it again and again, nor run every few calls."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    gc.enable()
    if sys.platform == "linux":
        _enlarge(Path("/proc/self/maps"))


def heap_in_huge_pages(maps: Iterable[str]) -> Iterator[tuple[int, int]]:
    """(address, bytes) of what of the heap fills whole pages of 2 MiB; ``maps``: lines of ``/proc/self/maps``."""
    for line in maps:
        span, mode, _, _, _, *names = line.split(maxsplit=5)
        if mode != "rw-p" or not (names or [_ANONYMOUS])[0].startswith(_HEAP):
            continue
        start, end = (int(one, 16) for one in span.split("-"))
        start, end = -(-start // _HUGE) * _HUGE, end // _HUGE * _HUGE
        if start < end:
            yield start, end - start


def _enlarge(maps: Path) -> None:
    """Asks the kernel; one that has no such pages, or none free, leaves everything as it is."""
    try:
        advise = ctypes.CDLL(None).madvise
        regions = list(heap_in_huge_pages(maps.read_text().splitlines()))
    except (OSError, AttributeError):
        return
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for start, size in regions:
        advise(start, size, _MADV_HUGEPAGE)
        for at in range(start, start + size, _HUGE):  # one by one: what was never touched is refused, and only that
            advise(at, _HUGE, _MADV_COLLAPSE)
