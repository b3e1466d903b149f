"""A small ASGI application on a unix socket, which is all an engine needs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from msgspec import Struct

from gateway.errors import BadRequest, GatewayError, Internal, MethodNotAllowed, NotFound, TooLarge

MAX_BODY = 16 * 1024 * 1024
IDLE_S = 75
"""Longer than the gateway keeps an idle connection: else one is closed here at the moment in which it is used there."""
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class Response(Struct, frozen=True):
    body: bytes
    status: int = 200
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


Handler = Callable[[bytes], Awaitable[Response]]


class Application:
    """Routes by path to (method, handler of the whole body). What a handler raises becomes an OpenAI error."""

    def __init__(self, routes: Mapping[str, tuple[str, Handler]]) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._handler(scope)(await _body(receive))
        except GatewayError as problem:
            response = Response(problem.body(), status=problem.status)
        except Exception as problem:  # the boundary: nothing inside leaks, the loop goes on
            response = Response(Internal(repr(problem)).body(), status=500)
        await _send(send, response)

    def _handler(self, scope: Scope) -> Handler:
        if scope["path"] not in self._routes:
            raise NotFound("This engine has no such path.")
        method, handler = self._routes[scope["path"]]
        if scope["method"] != method:
            raise MethodNotAllowed(f"Use {method} for this path.")
        return handler


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The request ended before its body did.")
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY:
            raise TooLarge(f"The body is larger than {MAX_BODY} bytes.")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _send(send: Send, response: Response) -> None:
    headers: Headers = [
        (b"content-type", response.content_type),
        (b"content-length", b"%d" % len(response.body)),
        *response.headers,
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


class _Server(uvicorn.Server):
    """uvicorn, but a signal ends :meth:`serve` normally, so that the socket is removed afterwards."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, setattr, self, "should_exit", True)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


def listen(path: Path) -> tuple[socket.socket, int]:
    """A listening socket only its owner may use, and its inode; one left by a killed engine is removed. Raises
    OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(1024)
    return listener, path.stat().st_ino


async def serve_on(path: Path, application: Application) -> None:
    """Serves until SIGTERM or SIGINT; then finishes what was asked and removes the socket."""
    listener, inode = listen(path)
    config = uvicorn.Config(
        application,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=5,
    )
    try:
        await _Server(config).serve(sockets=[listener])
    finally:
        listener.close()
        _remove(path, inode)


def _remove(path: Path, inode: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_ino == inode:  # a newer engine may have taken the name
            path.unlink()
