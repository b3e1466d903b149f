"""The ASGI application: routes and the one place where exceptions become OpenAI-shaped answers."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.types import Message, Scope

from gateway import errors
from gateway.api.line import Line

_log = logging.getLogger("understudy.app")
Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


Lane = Callable[[Line], Awaitable[None]]


class Gateway(Litestar):
    """Litestar with a fast lane: the paths where every microsecond is paid per call skip its routing."""

    lanes: Mapping[bytes, Lane] = {}
    """POST handlers by path, for the server's protocol; each turns its own errors into answers."""

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        """Handlers take and give msgspec's Structs. Litestar would load pydantic as well, wherever it is installed:
        a tenth of the time until the gateway is ready, and ten megabytes."""
        return [*plugins, MsgspecDIPlugin()]


def build_app(handlers: Sequence[Any], lifespan: Lifespan, lanes: Mapping[bytes, Lane]) -> Gateway:
    """The application. A path in ``lanes`` has its ordinary handler too: for other methods, other servers, a query."""
    app = Gateway(
        route_handlers=list(handlers),
        lifespan=[lifespan],
        exception_handlers={
            errors.GatewayError: _known,
            HTTPException: _framework,
            Exception: _unknown,
        },
        before_send=[_name],
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    app.lanes = lanes
    return app


async def _name(message: Message, scope: Scope) -> None:
    """Every answer has a request id, those too that are no call."""
    if message["type"] == "http.response.start":
        headers = message["headers"] = list(message["headers"])
        if not any(name.lower() == b"x-request-id" for name, _ in headers):
            headers.append((b"x-request-id", f"req_{secrets.token_hex(16)}".encode()))


def _respond(error: errors.GatewayError) -> Response[bytes]:
    request_id = "req_" + secrets.token_hex(16)
    errors.note_detail(error, request_id)
    headers = {"x-request-id": request_id, **error.headers}
    return Response(error.body(), status_code=error.status, headers=headers, media_type="application/json")


def _known(_: Request[Any, Any, Any], error: errors.GatewayError) -> Response[bytes]:
    return _respond(error)


def _framework(request: Request[Any, Any, Any], problem: HTTPException) -> Response[bytes]:
    """Litestar's own refusals; its texts stay inside where they could quote internals."""
    where = f"{request.method} {request.url.path[:200]}"
    if isinstance(problem, NotFoundException):
        return _respond(errors.NotFound(f"Unknown request URL: {where}. Check the path.", code="unknown_url"))
    if isinstance(problem, MethodNotAllowedException):
        return _respond(errors.MethodNotAllowed(f"Not allowed to {where}. Check the method."))
    if problem.status_code < 500:
        return _respond(errors.BadRequest(_reason(problem), status=problem.status_code))
    return _unknown(request, problem)


def _reason(problem: HTTPException) -> str:
    """Litestar's validation messages name fields of our own Structs, which is what the client needs."""
    extra = problem.extra if isinstance(problem.extra, list) else []
    parts = [
        f"{item.get('key', 'body')}: {item.get('message', '')}" for item in extra if isinstance(item, dict)
    ]
    return "; ".join(parts) or "The request is not valid."


def _unknown(request: Request[Any, Any, Any], problem: Exception) -> Response[bytes]:
    error = errors.Internal(repr(problem))
    _log.error("unhandled error at %s", request.url.path[:200], exc_info=problem)
    return _respond(error)
