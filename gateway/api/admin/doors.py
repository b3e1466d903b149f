"""Who may come in: host names, origins, sessions and the headers that bind a browser, for ``/admin`` only."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from gateway.access.refusals import TOLD, address_of
from gateway.api.admin.sessions import Session, Sessions, same_secret
from gateway.control import Control
from gateway.errors import Forbidden, Refused, Unauthenticated

CSRF = "x-csrf-token"
BACKGROUND = "x-understudy-background"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_ANY = frozenset({"", "0.0.0.0", "::", "[::]", "*"})  # noqa: S104 - addresses to bind, never names to accept
_HOST = re.compile(r"^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_POLICY = "; ".join((
    "default-src 'none'", "object-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'",
    "font-src 'self'",
    "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'",
    "require-trusted-types-for 'script'",
))  # fmt: skip
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]
_TLS_ALWAYS = [(b"strict-transport-security", b"max-age=31536000")]
"""For a year this name is asked over TLS alone. Of names below it the gateway knows nothing."""
_ELSEWHERE = Refused("cross_site")
Connection = ASGIConnection[Any, Any, Any, Any]


class AdminHeaders(ASGIMiddleware):
    """Refuses host names that are not ours (DNS rebinding) and sets the headers on every answer."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, control: Control) -> None:
        self._control = control

    def __deepcopy__(self, _: dict[int, Any]) -> AdminHeaders:
        """Litestar copies a router it registers; the control of a running gateway is one thing and stays it."""
        return self

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [*_HEADERS, *(_TLS_ALWAYS if server.behind_tls else ())]
                names = {name for name, _ in more}
                kept = [pair for pair in message["headers"] if pair[0].lower() not in names]
                message["headers"] = [*kept, *more]
            await send(message)

        server = self._control.runtime().config.server
        if not host_allowed(scope, {*server.allowed_hosts, server.host} - _ANY):
            await _refuse_host(with_headers)
            return
        await next_app(scope, receive, with_headers)


def host_allowed(scope: Scope, named: set[str]) -> bool:
    """Whether the one Host header is a loopback name or one of ``named``, compared exactly, without port."""
    values = [value for name, value in scope["headers"] if name.lower() == b"host"]
    if len(values) != 1:
        return False
    found = _HOST.match(values[0].decode("latin-1").lower())
    return found is not None and found.group(1) in _LOOPBACK | {name.lower() for name in named}


async def _refuse_host(send: Send) -> None:
    problem = Forbidden(
        "This host name is not allowed here. Use localhost, or list the name under server.allowed_hosts.",
        code="host_not_allowed",
    )
    headers = [(b"content-type", b"application/json")]
    start: Any = {"type": "http.response.start", "status": problem.status, "headers": headers, TOLD: Refused("host")}
    await send(start)
    await send({"type": "http.response.body", "body": problem.body(), "more_body": False})


def cookie_name(secure: bool) -> str:
    """``__Host-`` binds the cookie to this host and TLS; browsers refuse it on plain http."""
    return "__Host-understudy_session" if secure else "understudy_session"


def same_origin(connection: Connection, *, secure: bool) -> None:
    """Raises Forbidden when a browser says that another site sent this. A client that is no browser sends
    neither header; the session cookie and the CSRF token still have to be right."""
    site = connection.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        raise Forbidden("This request came from another site.", code="cross_site_request", refused=_ELSEWHERE)
    origin = connection.headers.get("origin")
    if origin is None:
        return
    parts = urlsplit(origin)
    schemes = ("https",) if secure else ("http", "https")
    if parts.scheme not in schemes or parts.netloc.lower() != connection.headers.get("host", "").lower():
        raise Forbidden("This request came from another origin.", code="cross_site_request", refused=_ELSEWHERE)


def door(connection: Connection, sessions: Sessions, *, secure: bool) -> Session:
    """The session of a request; for an unsafe method also its origin and CSRF token. Raises Unauthenticated
    or Forbidden."""
    background = connection.headers.get(BACKGROUND) == "1"
    token, address = connection.cookies.get(cookie_name(secure)), address_of(connection.scope)
    session = sessions.find(token, extend=not background, address=address)
    if session is None:
        raise Unauthenticated("Log in with the admin key first.", code="no_session")
    if connection.scope.get("method") not in _SAFE:
        same_origin(connection, secure=secure)
        if not same_secret(connection.headers.get(CSRF, ""), session.csrf):
            raise Forbidden(
                "The CSRF token is missing or wrong. Reload the page.", code="csrf", refused=Refused("csrf")
            )
    return session
