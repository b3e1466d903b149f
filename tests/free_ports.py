"""Ports for servers that are started in a moment, or stopped and started again."""

from __future__ import annotations

import os
import socket
from itertools import count

_FIRST, _COUNT = 12_000, 18_000
"""Below the ports that Linux gives to whoever asks for any: until our server listens, no connection and no server of
another test takes one of these."""

_BESIDE = max(1, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
_next = count(os.getpid() * 67 * _BESIDE + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]), _BESIDE)
"""Runs beside each other begin at different places, and the processes of one run take turns."""


def free_port() -> int:
    """A port of loopback that this process has not been given before, and that nobody listens on."""
    for number in _next:
        port = _FIRST + number % (_COUNT // _BESIDE * _BESIDE)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("count() never ends")
