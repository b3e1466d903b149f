"""An answer made of tool calls as one text, and back: what a student learns, says, and is compared by.

``[{"name":"refund","arguments":{"order": "A-7"}}]``: the calls in their order, without their ids. The arguments stand
in it as they were written, byte for byte; such that are no JSON object stand in it as a JSON string.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from gateway.protocol.answer import WholeAnswer
from gateway.protocol.assemble import answer_text

ENDED = frozenset({"stop", "tool_calls"})
"""The finish reasons of an answer that came to its end."""
_OPEN, _NAME, _ARGUMENTS = "[", '{"name":', ',"arguments":'
_decoder = json.JSONDecoder()


class ToolCall(Struct, frozen=True):
    """``arguments``: the text as it goes over the wire, a JSON object unless its author failed."""

    name: str
    arguments: str


def calls_text(calls: Sequence[ToolCall]) -> str:
    """The canonical text of ``calls``."""
    return f"[{','.join(map(_written, calls))}]"


def read_calls(text: str) -> list[ToolCall] | None:
    """The calls that :func:`calls_text` wrote; None for any other text."""
    if not text.startswith(_OPEN + _NAME):
        return None
    found: list[ToolCall] = []
    at = len(_OPEN)
    try:
        while True:
            call, at = _read(text, at)
            found.append(call)
            if text.startswith("]", at):
                return found if at + 1 == len(text) else None
            at = _past(text, at, ",")
    except (ValueError, RecursionError):
        return None


def spoken(answer: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """The first choice of a whole completion as one text: its words, or its calls where the request offers tools.
    "" for what cannot be told so: words beside calls, words that read like calls, calls of other kinds."""
    text = answer_text(dict(answer))
    if not body.get("tools"):
        return text
    calls = _calls_of(answer)
    if calls is None:
        return ""
    if not calls:
        return "" if read_calls(text) is not None else text
    return "" if text.strip() else calls_text(calls)


def lesson_of(answer: WholeAnswer, body: Mapping[str, Any]) -> str | None:
    """:func:`spoken`, None when the answer did not come to its end."""
    return spoken(answer.data, body) if answer.finish_reason in ENDED else None


def reads_calls(body: Mapping[str, Any], text: str) -> list[ToolCall] | None:
    """The calls that a student's ``text`` means as an answer to ``body``; None when it is words."""
    return read_calls(text) if body.get("tools") else None


def parameters_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """By name, the schema of the arguments of each function a request offers; {} as schema for one without."""
    found: dict[str, Any] = {}
    for tool in body.get("tools") or ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            found[function["name"]] = function.get("parameters") or {}
    return found


def _written(call: ToolCall) -> str:
    name = json.dumps(call.name, ensure_ascii=False)
    arguments = call.arguments if _is_object(call.arguments) else json.dumps(call.arguments, ensure_ascii=False)
    return f"{_NAME}{name}{_ARGUMENTS}{arguments}}}"


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False


def _read(text: str, at: int) -> tuple[ToolCall, int]:
    """One call and where it ends. Raises ValueError, RecursionError."""
    name, at = _decoder.raw_decode(text, _past(text, at, _NAME))
    start = _past(text, at, _ARGUMENTS)
    value, end = _decoder.raw_decode(text, _blank(text, start))
    end = _blank(text, end)
    after = _past(text, end, "}")
    if isinstance(name, str) and isinstance(value, dict | str):
        return ToolCall(name, value if isinstance(value, str) else text[start:end]), after
    raise ValueError("no call")


def _past(text: str, at: int, what: str) -> int:
    if not text.startswith(what, at):
        raise ValueError(f"no {what!r}")
    return at + len(what)


def _blank(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _calls_of(answer: Mapping[str, Any]) -> list[ToolCall] | None:
    """The calls of the first choice; None when one of them is no plain call of a function."""
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    return calls_in(message.get("tool_calls") if isinstance(message, dict) else None)


def calls_in(wired: Any) -> list[ToolCall] | None:
    """A message's ``tool_calls``; None when one of them is no plain call of a function."""
    found: list[ToolCall] = []
    for call in wired if isinstance(wired, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        name, arguments = (
            (function.get("name"), function.get("arguments")) if isinstance(function, dict) else (None, None)
        )
        if not isinstance(name, str) or not isinstance(arguments, str):
            return None
        found.append(ToolCall(name, arguments))
    return found
