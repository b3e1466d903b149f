"""``understudy cache``: how the caches of a running gateway stand, and forgetting answers. Speaks the admin API."""

from __future__ import annotations

import contextlib
import getpass
import http.client
import json
import os
import sys
from argparse import Namespace
from typing import Any
from urllib.parse import urlsplit

from gateway.access.admin_key import VARIABLE
from gateway.commands.common import fail, policies_of, read_policies, say

_PATIENCE_S = 30.0


class Refused(Exception):
    """The gateway did not do it; the text says why."""


class Admin:
    """A session of the admin's at a gateway. Raises Refused."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused(f"'{url}' is no address of a gateway, as in http://127.0.0.1:8080")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._line = kind(parts.hostname, parts.port, timeout=_PATIENCE_S)
        self._url, self._key, self._headers = url, key, {"content-type": "application/json"}

    def __enter__(self) -> Admin:
        try:
            answer, told = self._send("POST", "/admin/login", {"key": self._key})
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


def show(options: Namespace) -> int:
    return _with_admin(options, lambda admin: _show(admin.read("/admin/api/caches")))


def purge(options: Namespace) -> int:
    wanted = {
        name: value
        for name in ("task", "project", "key", "entry", "older_than_s")
        if (value := getattr(options, name)) is not None
    }
    body = {**wanted, "reason": options.reason, "everything": options.everything}
    return _with_admin(options, lambda admin: say(admin.act("/admin/api/caches/purge", body)["message"]))


def _show(told: dict[str, Any]) -> None:
    for name in ("exact", "semantic"):
        kept = told[name]
        say(f"{name:9} {kept['entries']:,} answers, {kept['bytes']:,} bytes" if kept else f"{name:9} in Redis")
    for one in told["tasks"]:
        state = "serves" if one["open"] else "closed, still proving"
        say(
            f"{one['project']}/{one['task']}  {state}  delta {one['delta']:g}  {one['seen']:,} comparisons, "
            f"{one['proposals']:,} proposals in round {one['round']}, {one['alarms']} alarms"
        )


def _with_admin(options: Namespace, work: Any) -> int:
    try:
        url = options.url or _own_url(options)
        key = os.environ.get(VARIABLE) or (getpass.getpass("Admin key: ") if sys.stdin.isatty() else "")
        if not key:
            raise Refused(f"the admin key is needed: set {VARIABLE}.")
        with Admin(url, key) as admin:
            work(admin)
    except Refused as problem:
        return fail(str(problem))
    return 0


def _own_url(options: Namespace) -> str:
    loaded = read_policies(policies_of(options))
    if loaded is None:
        raise Refused("so the address is not known. Name it with --url.")
    server = loaded.config.server
    host = "127.0.0.1" if server.host in ("0.0.0.0", "::") else server.host  # noqa: S104 - an address to ask
    return f"http://{host}:{server.port}"
