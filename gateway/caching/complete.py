"""Whether an answer may stand for later ones: it was brought to its end and says something."""

from __future__ import annotations

from typing import Any

import msgspec

_ENDS = frozenset({"stop", "tool_calls", "function_call"})
_SAYS = ("content", "refusal", "tool_calls", "function_call", "audio")


def complete(answer: dict[str, Any], *, limited: bool) -> bool:
    """Every choice of a chat completion has ended, holds something, and calls its tools with whole arguments.

    ``limited``: the request itself says how long an answer may be, so that one of just that length is whole. One
    that a provider's own bound has cut is not.
    """
    choices = answer.get("choices")
    return isinstance(choices, list) and bool(choices) and all(_whole(one, limited) for one in choices)


def _whole(choice: Any, limited: bool) -> bool:
    if not isinstance(choice, dict):
        return False
    message, ended = choice.get("message"), choice.get("finish_reason")
    if not isinstance(message, dict) or not (ended in _ENDS or (limited and ended == "length")):
        return False
    if message.get("paused") is True:
        return False  # its provider wants to be asked again before it goes on
    return any(message.get(name) for name in _SAYS) and all(map(_readable, _calls(message)))


def _calls(message: dict[str, Any]) -> list[Any]:
    called = message.get("tool_calls")
    calls = [one.get("function") for one in called if isinstance(one, dict)] if isinstance(called, list) else []
    return [*calls, message.get("function_call")]


def _readable(function: Any) -> bool:
    """A stream may end well and leave half of a tool's arguments. No arguments at all are fine."""
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if not arguments:
        return True
    try:
        msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeError, TypeError, RecursionError):
        return False
    return True
