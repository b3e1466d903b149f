from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from gateway.protocol.random_bytes import piece

FORKED = """
import os
from gateway.protocol.random_bytes import piece
piece()  # some are ready now
child = os.fork()
if child:
    os.waitpid(child, 0)
print(*(piece().hex() for _ in range(300)), flush=True)
"""


def test_no_piece_is_given_twice_whoever_asks() -> None:
    def many(_: int) -> list[bytes]:
        return [piece() for _ in range(2_000)]

    with ThreadPoolExecutor(8) as threads:
        found = [one for batch in threads.map(many, range(8)) for one in batch]
    assert len(set(found)) == 16_000 and {len(one) for one in found} == {16}


def test_a_forked_process_takes_none_of_its_parents() -> None:
    told = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True, timeout=60)
    pieces = told.stdout.split()
    assert len(set(pieces)) == len(pieces) == 600
