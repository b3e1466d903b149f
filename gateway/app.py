"""The ASGI application: routes and the one place where exceptions become OpenAI-shaped answers."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.types import Message, Scope, Send
from litestar.utils import normalize_path

from gateway import errors
from gateway.access.origins import API_PATHS, Origins
from gateway.access.refusals import TOLD, Refusals, address_of
from gateway.api import azure
from gateway.api.anthropic.messages import MessagesDialect
from gateway.api.gemini.generate import told_error
from gateway.api.gemini.models import METHODS
from gateway.api.line import Line
from gateway.api.not_served import no_socket, not_served
from gateway.concurrency.awake import ASLEEP, Awake
from gateway.resilience.pressure import Pressure

_log = logging.getLogger("understudy.app")
Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]


Lane = Callable[[Line], Awaitable[None]]
Head = list[tuple[bytes, bytes]]
_MESSAGES = MessagesDialect()
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
"""A browser takes no answer for another type than it says. Those of lanes begin with it (``lane_cycle``)."""
_OPENAIS_RESOURCES = ("/chat/completions", "/completions", "/responses", "/embeddings", "/models")
_GEMINI_VERBS = tuple(f":{verb}" for verb in METHODS)


class Gateway(Litestar):
    """Litestar with a fast lane: the paths where every microsecond is paid per call skip its routing."""

    lanes: Mapping[bytes, Lane] = {}
    """POST handlers by path, for the server's protocol; each turns its own errors into answers."""
    known: Callable[[Any], Awaitable[None]] | None = None
    """Waits until the key of a request that is no lane's is known, if it ever will be."""
    origins = Origins()
    """Whose pages may call the API; the server's protocol asks it for the lanes."""
    refusals: Refusals
    awake = ASLEEP
    pressure: Pressure
    """What else the server's protocol asks it for."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if path.startswith(azure.ROOT) and not path.startswith(azure.DEPLOYMENTS):
            scope = azure.at_openai(scope)
        if scope["type"] == "http":
            if scope["method"] == "HEAD":  # what GET would say, without its body, which the server leaves out
                scope = {**scope, "method": "GET"}
            elif scope["method"] == "OPTIONS" and (head := self._options(scope)) is not None:
                await _said(send, head)
                return
        if self.known is not None and scope["type"] in ("http", "websocket") and scope["path"].startswith(API_PATHS):
            await self.known(scope)
        await super().__call__(scope, receive, send)

    def _options(self, scope: Any) -> Head | None:
        """The answer to OPTIONS; None for a path that is not there. Litestar's own names the methods of one handler."""
        path = scope["path"]
        told = self.origins.preflight(path, scope["headers"]) if self.origins.on else None
        if told is not None:
            return told
        try:
            self.asgi_router.handle_routing(path=normalize_path(path), method="TRACE")
        except MethodNotAllowedException as problem:
            methods = _methods(problem)
        except HTTPException:
            return None
        more = self.origins.fields(_origin(scope)) if self.origins.on and path.startswith(API_PATHS) else ()
        return [(b"allow", ", ".join(methods).encode()), *more]

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        """Handlers take and give msgspec's Structs. Litestar would load pydantic as well, wherever it is installed:
        a tenth of the time until the gateway is ready, and ten megabytes."""
        return [*plugins, MsgspecDIPlugin()]


def build_app(
    handlers: Sequence[Any], lifespan: Lifespan, lanes: Mapping[bytes, Lane], origins: Origins,
    awake: Awake, pressure: Pressure, refusals: Refusals,
) -> Gateway:
    """The application. A path in ``lanes`` has its ordinary handler too: for other methods, other servers, a query."""

    async def before_send(message: Message, scope: Scope) -> None:
        """Every answer has a request id, those too that are no call, and is readable for the pages that may."""
        if message["type"] == "http.response.body":
            return
        if (refused := message.get(TOLD)) is not None:
            refusals.note(cast(errors.Refused, refused), address_of(scope))
        if message["type"] == "http.response.start":
            headers = message["headers"] = _named(message["headers"])
            if origins.on and scope["path"].startswith(API_PATHS):
                headers += origins.fields(_origin(scope))

    app = Gateway(
        route_handlers=list(handlers),
        lifespan=[lifespan],
        exception_handlers={
            errors.GatewayError: _known,
            HTTPException: _framework,
            Exception: _unknown,
        },
        before_send=[before_send],
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    app.lanes, app.origins, app.awake, app.pressure, app.refusals = lanes, origins, awake, pressure, refusals
    return app


def _named(given: Any) -> Head:
    """A head with a request id, of an answer that is what it says it is."""
    headers = list(given)
    names = [name.lower() for name, _ in headers]
    if b"x-request-id" not in names:
        headers.append((b"x-request-id", f"req_{secrets.token_hex(16)}".encode()))
    if b"x-content-type-options" not in names:
        headers.append(_NO_SNIFFING)
    return headers


def _origin(scope: Scope) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"), "")


async def _said(send: Send, head: Head) -> None:
    """An answer that is its head alone."""
    await send({"type": "http.response.start", "status": 204, "headers": _named(head)})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _respond(request: Request[Any, Any, Any], error: errors.GatewayError) -> Response[bytes]:
    """The error in the shape of the API that the path belongs to."""
    request_id = "req_" + secrets.token_hex(16)
    errors.note_detail(error, request_id)
    if error.refused is not None:
        cast(Gateway, request.app).refusals.note(error.refused, address_of(request.scope))
    headers = {"x-request-id": request_id, **error.headers}
    status, body, path = error.status, error.body(), request.url.path
    if path.startswith("/v1/messages"):
        headers |= _MESSAGES.headers(request_id)
        status, body = _MESSAGES.error(error, request_id)
    elif path.startswith("/v1beta/") or (path.startswith("/v1/models/") and path.endswith(_GEMINI_VERBS)):
        status, body = told_error(error, request_id)
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def _known(request: Request[Any, Any, Any], error: errors.GatewayError) -> Response[bytes]:
    return _respond(request, error)


def _framework(request: Request[Any, Any, Any], problem: HTTPException) -> Response[bytes]:
    """Litestar's own refusals; its texts stay inside where they could quote internals."""
    where = f"{request.method} {request.url.path[:200]}"
    if isinstance(problem, NotFoundException):
        message = f"Unknown request URL: {where}. {_what_is_wrong(request.url.path)}"
        return _respond(request, errors.NotFound(message, code="unknown_url"))
    if isinstance(problem, MethodNotAllowedException):
        refused = no_socket(request.method, request.url.path, request.headers)
        return _respond(request, refused or _other_method(request.method, where, problem))
    if problem.status_code < 500:
        return _respond(request, errors.BadRequest(_reason(problem), status=problem.status_code))
    return _unknown(request, problem)


def _what_is_wrong(path: str) -> str:
    """Some clients add the version to their base_url and others do not: the commonest mistake there is."""
    if path.startswith(("/v1/v1/", "/v1/v1beta/", "/v1beta/v1beta/")):
        return "This client adds the version itself: its base_url ends before '/v1'."
    if path.startswith(_OPENAIS_RESOURCES):
        return "This client's base_url ends with '/v1'."
    return not_served(path) or "Check the path."


def _methods(problem: HTTPException) -> list[str]:
    """What a path serves, as the router says it: ``websocket`` stands there for what begins as a GET."""
    told = (problem.headers or {}).get("allow", "")
    served = set(told.replace("websocket", "GET").split(", ")) - {""}
    return sorted(served | ({"HEAD"} if "GET" in served else set()))


def _other_method(method: str, where: str, problem: HTTPException) -> errors.GatewayError:
    served = _methods(problem)
    if method in served:
        message = f"{where} is a WebSocket. Connect with a client that asks to upgrade."
        return errors.BadRequest(message, status=426, headers={"upgrade": "websocket"})
    allowed = ", ".join(served)
    message = f"Not allowed to {where}. Check the method: this path serves {allowed}."
    return errors.MethodNotAllowed(message, headers={"allow": allowed})


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
    return _respond(request, error)
