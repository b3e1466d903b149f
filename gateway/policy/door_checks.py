"""Checks of the door: who can reach the gateway, and under which names."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping

from gateway.access import admin_key
from gateway.config import Server
from gateway.policy.reading import Path, Problem
from gateway.policy.view import View

_HOST = re.compile(r"[A-Za-z0-9.-]+\Z")


def door(view: View) -> Iterator[Problem]:
    why, hint = bind_problem(view.config.server, view.env)
    if why:
        yield view.problem(("server", "host"), why, hint)
    yield from _allowed_hosts(view)


def is_loopback(host: str) -> bool:
    """True for ``localhost`` and addresses that only this machine can reach."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def bind_problem(server: Server, env: Mapping[str, str], host: str | None = None) -> tuple[str, str]:
    """``(message, hint)`` when the gateway must not listen on ``host``, else ("", "")."""
    address = host if host is not None else server.host
    if is_loopback(address):
        return "", ""
    missing = []
    if not server.behind_tls:
        missing.append("set server.behind_tls: true once TLS ends in front of the gateway")
    key = env.get(admin_key.VARIABLE, "")
    if not key:
        missing.append(f"set {admin_key.VARIABLE} to a long random text")
    elif admin_key.weakness(key):
        missing.append(f"choose a stronger {admin_key.VARIABLE}: {admin_key.weakness(key)}")
    if not missing:
        return "", ""
    message = f"'{address}' can be reached from other machines, so keys and texts would travel in the clear."
    return message, f"Use 127.0.0.1, or {' and '.join(missing)}."


def _allowed_hosts(view: View) -> Iterator[Problem]:
    for index, host in enumerate(view.config.server.allowed_hosts):
        if not _HOST.match(host):
            hint = "Write the bare host name, such as llm.example.com."
            path: Path = ("server", "allowed_hosts", index)
            yield view.problem(path, f"'{host}' is not a host name without scheme and port.", hint)
