"""The paths of Gemini's API. Its clients write the model and the verb into the path, and the key into a header or
into the query, from where it is taken before anything else can see it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from litestar import Request, post
from litestar.params import FromPath
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway import errors
from gateway.api.counting import answering, estimated_tokens
from gateway.api.gemini.embeddings import GeminiEmbeddings
from gateway.api.gemini.generate import GenerateDialect, told_error
from gateway.api.gemini.models import METHODS, keyed, query_of
from gateway.api.http import Authenticator, send_error
from gateway.api.ingress import Ingress
from gateway.api.surface import JsonEndpoint
from gateway.live import Live
from gateway.pipeline import Handler
from gateway.protocol.gemini import request as wire
from gateway.protocol.gemini.shapes import fields
from gateway.surface import Surface

ROOTS = ("/v1beta", "/v1")
"""Google's versions of the API; its newest client asks for v1."""
Client = Request[Any, Any, Any]


def count_tokens(model: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """An estimate, and said to be one."""

    def count(data: dict[str, Any]) -> dict[str, Any]:
        told = fields(data, "body")
        asked = wire.read(fields(told.get("generateContentRequest") or told, "generateContentRequest"))
        body = wire.chat_body(asked, model, stream=False)
        return {"totalTokens": estimated_tokens(body["messages"], body.get("tools")), "estimated": True}

    return count


def gemini_routes(pipeline: Handler, live: Live, who: Authenticator, surface: Surface) -> list[Any]:
    """``who``: whose key a request carries."""

    def endpoint(model: str, verb: str, query: dict[str, str]) -> ASGIApp:
        if verb == "generateContent":
            return Ingress(pipeline, live, GenerateDialect(model), model)
        if verb == "streamGenerateContent":
            stream = "sse" if query.get("alt") == "sse" else "array"
            return Ingress(pipeline, live, GenerateDialect(model, stream), f"{model} {stream}")
        if verb in ("embedContent", "batchEmbedContents"):
            kind = GeminiEmbeddings(model, batch=verb == "batchEmbedContents")
            return JsonEndpoint(surface, live, kind, told_error)
        if verb == "countTokens":
            return answering(live, who, GenerateDialect(model), count_tokens(model))
        return _unknown

    @post([f"{root}/models/{{model:path}}" for root in ROOTS], status_code=200)
    async def ask_model(request: Client, model: FromPath[str]) -> ASGIApp:
        name, _, verb = model.removeprefix("/").rpartition(":")
        chosen = endpoint(name, verb, query_of(request.scope))

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await chosen(keyed(scope), receive, send)

        return app

    return [ask_model]


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    """Any other verb."""
    error = errors.NotFound(f"Models answer to {', '.join(METHODS)} here.", code="unknown_url")
    request_id = "req_" + secrets.token_hex(16)
    status, body = told_error(error, request_id)
    await send_error(send, error, request_id, {}, status=status, body=body)
