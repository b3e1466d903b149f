"""What xAI's Responses API says otherwise than OpenAI's: its own searches of the web and of X, and how it tells
calls of MCP servers.

https://docs.x.ai/developers/tools/overview, https://docs.x.ai/developers/cost-tracking
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.protocol.mcp import CALL
from gateway.providers.translate_answer import count

_SEARCHES = frozenset({"x_keyword_search", "x_semantic_search", "x_user_search", "x_thread_fetch"})
_VIEWS = frozenset({"browse_page", "view_image", "view_x_video"})
_TICKS_PER_USD = 10_000_000_000


def mended(item: dict[str, Any]) -> dict[str, Any]:
    """A search, or a call of an MCP server's tool, as OpenAI tells one; any other item as it is. xAI tells searches of
    X as calls of custom tools that nobody but itself answers, or by a type of its own, and what it asked in
    ``arguments``."""
    kind, name = item.get("type"), str(item.get("name") or "")
    if kind == CALL:
        return {**item, "name": name, "server_label": str(item.get("server_label") or ""),
                "arguments": str(item.get("arguments") or "{}"), "error": _failure(item)}  # fmt: skip
    own = kind == "custom_tool_call" and name in _SEARCHES | _VIEWS
    if not own and kind not in ("x_search_call", "web_search_call"):
        return item
    asked = _asked(item.get("arguments") or item.get("input"))
    action = item.get("action") if isinstance(item.get("action"), dict) else None
    query = str((action or {}).get("query") or asked.get("query") or "")
    if action is None or not query:  # without a question it has looked at something
        url = next((asked[one] for one in ("url", "image_url", "video_url") if isinstance(asked.get(one), str)), "")
        action = {"type": "search", "query": query} if query else {"type": "open_page", "url": url}
    return {"type": "web_search_call", "id": item.get("id"), "status": item.get("status"), "action": action}


def _failure(call: Mapping[str, Any]) -> dict[str, Any] | None:
    """A failed call's error as OpenAI tells one: xAI tells a text, or nothing."""
    error = call.get("error")
    if isinstance(error, dict) or (error is None and call.get("status") != "failed"):
        return error
    text = error if isinstance(error, str) and error else "The server's tool failed."
    return {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": text}]}


def searched(usage: Mapping[str, Any]) -> tuple[int, int] | None:
    """(searches of the web and of X, searches of files) that are paid for; None where the usage does not tell."""
    told = usage.get("server_side_tool_usage_details")
    if not isinstance(told, dict):
        return None
    web = count(told.get("web_search_calls")) + count(told.get("x_search_calls"))
    return web, count(told.get("file_search_calls"))


def ticks(usage: Mapping[str, Any]) -> float | None:
    """What a call costs by its vendor's word, in US dollars."""
    told = usage.get("cost_in_usd_ticks")
    known = isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told < 1e6 * _TICKS_PER_USD
    return told / _TICKS_PER_USD if known and told is not None else None


def _asked(text: Any) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text) if isinstance(text, str) and text else {}
    except (msgspec.DecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
