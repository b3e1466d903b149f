"""The built-in engine: serves classifier students over the OpenAI protocol on a unix socket.

    python -m trainer.engines.classifier --home DIR [--batch-window-ms 1] [--max-batch 64]

    POST /v1/chat/completions   model = a student's id; reads the last user message only
    GET  /v1/models             the students that could be asked
    POST /v1/students/load      {"student": id}: into memory now rather than at the first call
    POST /v1/students/unload    {"student": id}
    GET  /healthz

Students are loaded on demand and verified before they serve. Masking is the caller's work.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from msgspec import Struct
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from gateway.errors import BadRequest, GatewayError, Internal, MethodNotAllowed, NotFound, TooLarge
from gateway.protocol.body import decode_object, typed
from gateway.protocol.chat import ChatRequest, last_user_text
from gateway.storage.home import Home
from trainer.engines import wire
from trainer.engines.batching import Students

MAX_BODY = 16 * 1024 * 1024
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class Response(Struct, frozen=True):
    body: bytes
    status: int = 200
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


class _Named(Struct, frozen=True):
    student: str


class Engine:
    """The ASGI application: unpack, ask the students, pack."""

    def __init__(self, students: Students) -> None:
        self._students = students
        self._routes: dict[str, tuple[str, Callable[[bytes], Awaitable[Response]]]] = {
            "/v1/chat/completions": ("POST", self._complete),
            "/v1/models": ("GET", self._models),
            "/v1/students/load": ("POST", self._load),
            "/v1/students/unload": ("POST", self._unload),
            "/healthz": ("GET", self._health),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._handler(scope)(await _body(receive))
        except GatewayError as problem:
            response = Response(problem.body(), status=problem.status)
        except Exception as problem:  # the boundary: nothing inside leaks, the loop goes on
            response = Response(Internal(repr(problem)).body(), status=500)
        await _send(send, response)

    def _handler(self, scope: Scope) -> Callable[[bytes], Awaitable[Response]]:
        if scope["path"] not in self._routes:
            raise NotFound("This engine has no such path.")
        method, handler = self._routes[scope["path"]]
        if scope["method"] != method:
            raise MethodNotAllowed(f"Use {method} for this path.")
        return handler

    async def _complete(self, body: bytes) -> Response:
        request = typed(decode_object(body), ChatRequest)
        if request.n is not None and request.n > 1:
            raise BadRequest("A classifier student gives one answer: n must be 1.", param="n")
        reply = await self._students.ask(request.model, last_user_text(request.messages))
        headers = ((b"x-understudy-cpu-ms", b"%.4f" % reply.cpu_ms),)
        if request.streamed:
            text = b"".join(wire.events(request, reply, time.time()))
            return Response(text, content_type=b"text/event-stream; charset=utf-8", headers=headers)
        return Response(msgspec.json.encode(wire.completion(request, reply, time.time())), headers=headers)

    async def _models(self, _: bytes) -> Response:
        return Response(msgspec.json.encode(wire.models(self._students.names())))

    async def _load(self, body: bytes) -> Response:
        student = typed(decode_object(body), _Named).student
        await self._students.load(student)
        return Response(msgspec.json.encode({"student": student, "loaded": True}))

    async def _unload(self, body: bytes) -> Response:
        student = typed(decode_object(body), _Named).student
        was_loaded = self._students.unload(student)
        return Response(msgspec.json.encode({"student": student, "loaded": False, "was_loaded": was_loaded}))

    async def _health(self, _: bytes) -> Response:
        return Response(msgspec.json.encode({"status": "ok", "students_loaded": self._students.count()}))


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


def listen(path: Path) -> socket.socket:
    """A listening socket only its owner may use; one left by a killed engine is removed. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(1024)
    return listener


async def serve(home: Home, *, batch_window_ms: float, max_batch: int, capacity: int) -> None:
    """Serves until SIGTERM or SIGINT; then finishes what was asked and removes the socket."""
    students = Students(
        home.artifacts, window_s=batch_window_ms / 1000.0, max_batch=max_batch, capacity=capacity
    )
    listener = listen(home.engine_socket)
    inode = home.engine_socket.stat().st_ino
    config = uvicorn.Config(
        Engine(students),
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    try:
        await _Server(config).serve(sockets=[listener])
    finally:
        students.close()
        listener.close()
        with contextlib.suppress(FileNotFoundError):
            if home.engine_socket.stat().st_ino == inode:  # a newer engine may have taken the name
                home.engine_socket.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(prog="trainer.engines.classifier", description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=None, help="data directory (default: UNDERSTUDY_HOME)")
    parser.add_argument("--batch-window-ms", type=float, default=1.0)
    parser.add_argument("--max-batch", type=int, default=64)
    parser.add_argument("--max-students", type=int, default=32, help="students kept in memory")
    options = parser.parse_args()
    home = Home(options.home.resolve()) if options.home else Home.from_env()
    home.prepare()
    threadpool_limits(limits=1)
    asyncio.run(
        serve(
            home,
            batch_window_ms=options.batch_window_ms,
            max_batch=options.max_batch,
            capacity=options.max_students,
        )
    )


if __name__ == "__main__":
    main()
