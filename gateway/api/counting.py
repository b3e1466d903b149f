"""Small questions that are answered here, without a provider: in the shape of the API that asks."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import msgspec
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway import errors
from gateway.api.http import Authenticator, ClientGone, headers_of, read_body, send_error, send_whole
from gateway.api.ingress import Dialect, encode
from gateway.live import Live
from gateway.protocol.body import decode_object

_CHARACTERS_PER_TOKEN = 4
_PER_MESSAGE = 3


def estimated_tokens(turns: list[dict[str, Any]], tools: Any = None) -> int:
    """An estimate from the length of chat turns and tools: only the provider can count its own tokens."""
    characters = sum(_characters(turn) for turn in turns)
    characters += len(msgspec.json.encode(tools)) if tools else 0
    return characters // _CHARACTERS_PER_TOKEN + _PER_MESSAGE * len(turns)


def _characters(turn: dict[str, Any]) -> int:
    """Characters of a turn's text and calls; an image or a file counts nothing, its bytes are not its tokens."""
    content, calls = turn.get("content"), turn.get("tool_calls")
    if isinstance(content, list):
        size = sum(len(part["text"]) for part in content if part["type"] == "text")
    else:
        size = len(content or "")
    return size + (len(msgspec.json.encode(calls)) if calls else 0)


def answering(
    live: Live, who: Authenticator, dialect: Dialect, answer: Callable[[dict[str, Any]], dict[str, Any]]
) -> ASGIApp:
    """An ASGI app that answers a JSON body from somebody with a key; errors are told as ``dialect`` tells them."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        server, request_id = live.runtime().config.server, "req_" + secrets.token_hex(16)
        headers = dialect.headers(request_id)
        try:
            who(headers_of(scope))
            limit, idle = server.max_body_bytes, server.body_timeout_s
            body = await read_body(scope, receive, limit=limit, idle=idle)
            await send_whole(send, encode(answer(decode_object(body))), request_id, headers)
        except errors.GatewayError as error:
            status, told = dialect.error(error, request_id)
            await send_error(send, error, request_id, headers, status=status, body=told)
        except ClientGone:
            return

    return app
