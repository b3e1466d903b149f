"""Ports for what a benchmark starts."""

from __future__ import annotations

import os
import socket

_FIRST, _LAST = 20_000, 32_000
"""Below those that the kernel gives to clients: the load's own connections must not take a server's port."""


def free_ports(count: int) -> int:
    """The first of ``count`` ports in a row that nobody listens at. Raises RuntimeError when there are none."""
    span = _LAST - _FIRST - count
    for step in range(0, span, count):
        first = _FIRST + (os.getpid() * 7 + step) % span
        if all(map(_free, range(first, first + count))):
            return first
    raise RuntimeError(f"no {count} ports in a row are free between {_FIRST} and {_LAST}")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
