"""A session of the admin's at a running gateway, for commands that ask it. Speaks the admin API."""

from __future__ import annotations

import contextlib
import getpass
import http.client
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.access import second_factor
from gateway.access.admin_key import VARIABLE, WeakKey
from gateway.commands.common import fail, policies_of, read_policies

_PATIENCE_S = 30.0


class Refused(Exception):
    """The gateway did not do it; the text says why."""


class Admin:
    """A session at a gateway; ``code`` makes the second factor's. Raises Refused."""

    def __init__(self, url: str, key: str, code: Callable[[], str] = lambda: "") -> None:
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused(f"'{url}' is no address of a gateway, as in http://127.0.0.1:8080")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._line = kind(parts.hostname, parts.port, timeout=_PATIENCE_S)
        self._url, self._key, self._code = url, key, code
        self._headers = {"content-type": "application/json", "user-agent": "understudy"}

    def __enter__(self) -> Admin:
        try:
            answer, told = self._send("POST", "/admin/login", {"key": self._key, "code": self._code()})
        except Refused:
            self._line.close()
            raise
        self._headers["cookie"] = (answer.getheader("set-cookie") or "").partition(";")[0]
        self._headers["x-csrf-token"] = str(told.get("csrf", ""))
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Refused):
            self._send("POST", "/admin/logout", {})
        self._line.close()

    def read(self, path: str) -> Any:
        return self._send("GET", path, None)[1]

    def act(self, path: str, body: dict[str, Any]) -> Any:
        return self._send("POST", path, body)[1]

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[http.client.HTTPResponse, Any]:
        try:
            self._line.request(method, path, None if body is None else json.dumps(body), self._headers)
            answer = self._line.getresponse()
            told = json.loads(answer.read() or b"{}")
        except (OSError, http.client.HTTPException, ValueError):
            raise Refused(f"no gateway answers at {self._url}. Name it with --url.") from None
        if answer.status >= 400:
            raise Refused(str(told.get("error", {}).get("message") or f"the gateway answered {answer.status}"))
        return answer, told


def with_admin(options: Namespace, work: Callable[[Admin], None]) -> int:
    """Does ``work`` in a session at the gateway of ``options.url``; → the exit status."""
    try:
        url = options.url or _own_url(options)
        key = os.environ.get(VARIABLE) or (getpass.getpass("Admin key: ") if sys.stdin.isatty() else "")
        if not key:
            raise Refused(f"the admin key is needed: set {VARIABLE}.")
        with Admin(url, key, lambda: code_for(os.environ)) as admin:
            work(admin)
    except (Refused, WeakKey) as problem:
        return fail(str(problem))
    return 0


def code_for(env: Mapping[str, str]) -> str:
    """The code that counts now, where the environment has what makes it, else what a person at the terminal reads from
    the app; "" is none. Raises WeakKey."""
    secret = second_factor.secret_in(env)
    if secret is not None:
        return second_factor.code_at(secret, second_factor.step_at(time.time()))
    return getpass.getpass("Code (none: just Enter): ") if sys.stdin.isatty() and not env.get(VARIABLE) else ""


def _own_url(options: Namespace) -> str:
    loaded = read_policies(policies_of(options))
    if loaded is None:
        raise Refused("so the address is not known. Name it with --url.")
    server = loaded.config.server
    host = "127.0.0.1" if server.host in ("0.0.0.0", "::") else server.host  # noqa: S104 - an address to ask
    return f"http://{host}:{server.port}"
