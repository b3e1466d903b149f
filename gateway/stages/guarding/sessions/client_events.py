"""What a client's event says, in chat form: there every guardrail knows where it stands. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.protocol.lists import dicts
from gateway.protocol.mcp import KIND, shown
from gateway.protocol.realtime import CONFIGURED
from gateway.stages.guarding.sessions.files import as_chats
from gateway.stages.guarding.sessions.sound import without_sound
from gateway.texts.masking import map_texts, texts_of

_IDENTIFIERS = ("event_id", "item_id", "response_id", "previous_item_id")
_TOOLS_WORDS = frozenset({"function_call_output", "mcp_call", "mcp_list_tools"})
_TURNS = frozenset({"system", "developer", "assistant", "user"})
_KINDS = frozenset({"type", "role"})
"""Fields of an item whose place in chat's form is another."""


def prose_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """Every text of ``event`` as a chat request has them, but for sounds and for what says who is calling."""
    messages: list[dict[str, Any]] = []
    tools: list[dict[str, Any]] = []
    rest = {name: value for name, value in event.items() if name not in _IDENTIFIERS}
    configured = [
        _configured(rest.pop(name), messages, tools) for name in CONFIGURED if isinstance(rest.get(name), dict)
    ]
    if isinstance(rest.get("item"), dict):
        messages.append(_message(without_sound(rest.pop("item"))))
    named = [{"id": event[name]} for name in _IDENTIFIERS if event.get(name) is not None]
    return {"messages": messages, "tools": tools, "event": [without_sound(rest), *configured, *named]}


def labels_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """What says who is calling."""
    return {
        name: event[name]["metadata"]
        for name in CONFIGURED
        if isinstance(event.get(name), dict) and event[name].get("metadata")
    }


def with_texts(event: Mapping[str, Any], new: Mapping[str, str]) -> dict[str, Any]:
    """``event`` with ``new`` texts in the place of old ones; what says who is calling stays as it is."""
    changed: dict[str, Any] = map_texts(dict(event), lambda text: new.get(text, text))
    for name in labels_of(event):
        changed[name]["metadata"] = event[name]["metadata"]
    return changed


def renewed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """By text of ``before``, what stands in its place in ``after``: the same request, changed."""
    pairs = zip(texts_of(dict(before)), texts_of(dict(after)), strict=True)
    return {old: new for old, new in pairs if old != new}


def _configured(
    settings: Mapping[str, Any], messages: list[dict[str, Any]], tools: list[dict[str, Any]]
) -> dict[str, Any]:
    """What of a session's or a response's ``settings`` is neither message nor definition."""
    rest = {name: value for name, value in settings.items() if name != "metadata"}
    if "instructions" in rest:
        messages.append({"role": "system", "content": rest.pop("instructions")})
    if isinstance(rest.get("tools"), list):
        tools += [{"function": _judged_tool(one)} for one in rest.pop("tools")]
    if isinstance(rest.get("tool_choice"), dict):
        tools.append({"function": rest.pop("tool_choice")})
    if isinstance(rest.get("input"), list) and dicts(rest["input"]) == rest["input"]:
        messages += [_message(without_sound(one)) for one in rest.pop("input")]
    return {name: without_sound(value) for name, value in rest.items()}


def _judged_tool(tool: Any) -> Any:
    """A definition without what opens an MCP server: nobody may change that, note it, or be asked about it."""
    if not isinstance(tool, dict) or tool.get("type") != KIND:
        return tool
    headers = tool.get("headers")
    return {**shown(tool), "headers": dict.fromkeys(headers) if isinstance(headers, dict) else headers}


def _message(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item of a conversation as chat's message."""
    kind, role = str(item.get("type")), str(item.get("role"))
    odd = [{"type": kind}, {"role": role}]
    rest = {name: value for name, value in item.items() if name not in _KINDS}
    if kind == "function_call":
        call = {"function": {name: rest.pop(name) for name in ("name", "arguments") if name in rest}}
        return {"role": "assistant", "tool_calls": [call], "more": [rest, odd]}
    if kind in _TOOLS_WORDS:
        return {"role": "tool", "content": rest.pop("output", None), "more": [rest, odd]}
    if role in _TURNS and "content" in rest:
        content = rest.pop("content")
        parts = [as_chats(one) for one in content] if isinstance(content, list) else content
        return {"role": role, "content": parts, "more": [rest, odd]}
    return {"role": "user", "content": None, "more": [rest, odd]}
