"""Ports for servers that are started in a moment, or stopped and started again."""

from __future__ import annotations

import os
import socket
from itertools import count

_FIRST, _COUNT = 12_000, 18_000
"""Below the ports that Linux gives to whoever asks for any: until our server listens, no connection and no server of
another test takes one of these."""

_next = count(os.getpid() * 67)
"""Runs beside each other begin at different places."""


def free_port() -> int:
    """A port of loopback that this process has not been given before, and that nobody listens on."""
    for number in _next:
        port = _FIRST + number % _COUNT
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("count() never ends")
