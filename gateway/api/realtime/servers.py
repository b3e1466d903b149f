"""MCP servers that a client of a realtime session names for its provider to call: those that the operator lists."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Struct

from gateway.errors import BadRequest, GatewayError
from gateway.protocol.mcp import check_tools
from gateway.protocol.realtime import CONFIGURED, error_event


class _Event(Struct):
    session: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()
    event_id: Any = None


_decode = msgspec.json.Decoder(_Event).decode


def refusal(message: str | bytes, hosts: Collection[str], connectors: Collection[str] = ()) -> str | None:
    """The error that a client's event is answered with; None for one that may go on. Most, sounds above all, name no
    tools and are only looked over."""
    try:
        event = _decode(message)
    except (msgspec.DecodeError, RecursionError):
        return error_event(_unreadable()) if _like_an_event(message) else None  # for its provider to say what it is
    if not any(bytes(getattr(event, name)) for name in CONFIGURED):
        return None
    try:
        told = json.loads(message, object_pairs_hook=_once)
        for name in CONFIGURED:
            settings = told.get(name)
            if isinstance(settings, dict):
                check_tools(settings.get("tools"), f"{name}.tools", hosts, connectors)
    except GatewayError as problem:
        return error_event(problem, event.event_id)
    except (ValueError, RecursionError):
        return error_event(_unreadable(), event.event_id)
    return None


def _like_an_event(message: str | bytes) -> bool:
    """Whether a reader that forgives more than we do (NaN, half characters, any depth, UTF-16) may find an event."""
    try:
        text = message if isinstance(message, str) else message.decode(json.detect_encoding(message))
    except UnicodeDecodeError:
        return False
    return text.lstrip("\ufeff \t\r\n").startswith("{")


def _unreadable() -> BadRequest:
    return BadRequest(
        "This event cannot be read as JSON, so nobody knows whether it names MCP servers. Send a valid object.",
        code="invalid_json",
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A key that is there twice is two documents for two readers. Raises BadRequest."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadRequest("A key stands twice in one object of this event.", code="invalid_json")
    return found
