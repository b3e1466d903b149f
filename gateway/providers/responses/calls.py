"""Calls in an answer of OpenAI's Responses API, as chat has them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.protocol.client_tools import BY_CALL, arguments_of
from gateway.protocol.offered import flat_call
from gateway.providers.translate_answer import tool_call

CALLS = frozenset({"function_call", "custom_tool_call", *BY_CALL})
"""Types of items that are calls which the client answers."""


def call_of(item: Mapping[str, Any], text: str) -> dict[str, Any]:
    """``text``: what of its arguments is here by now."""
    id_, name = str(item.get("call_id") or item.get("id") or ""), flat_call(item, str(item.get("name") or ""))
    if item.get("type") == "custom_tool_call":
        return {"id": id_, "type": "custom", "custom": {"name": name, "input": text}}
    own = BY_CALL.get(str(item.get("type")))
    return tool_call(id_, name if own is None else own.name, text)


def given(item: Mapping[str, Any]) -> str:
    """What a call gives its tool."""
    return arguments_of(item) if item.get("type") in BY_CALL else str(item.get("arguments") or item.get("input") or "")
