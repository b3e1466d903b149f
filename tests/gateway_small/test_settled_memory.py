"""Which memory is asked into large pages, and that asking is safe."""

from __future__ import annotations

import subprocess
import sys

from gateway.processes.memory import heap_in_huge_pages

MAPS = """\
555500000000-555500400000 r--p 00000000 08:01 123 /usr/bin/python3
555500500000-555500d00000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000600000 rw-p 00000000 00:00 0 [anon: glibc: malloc]
7f0000700000-7f00007ff000 rw-p 00000000 00:00 0
7f0001000000-7f0001400000 rw-p 00000000 08:01 77 /usr/lib/libc.so.6
7f0002000000-7f0002400000 ---p 00000000 00:00 0
7ffd00000000-7ffd00400000 rw-p 00000000 00:00 0 [stack]
"""


def test_only_whole_pages_of_the_heap_are_named() -> None:
    found = list(heap_in_huge_pages(MAPS.splitlines()))
    assert found == [(0x555500600000, 0x600000), (0x7F0000000000, 0x600000)]


def test_a_process_goes_on_as_before() -> None:
    code = (
        "import gc; from gateway.processes.memory import settle\n"
        "kept = [str(n) for n in range(400_000)]; gc.disable(); settle()\n"
        "assert kept[123_456] == '123456' and len(set(kept)) == 400_000 and gc.isenabled() and gc.get_freeze_count()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
