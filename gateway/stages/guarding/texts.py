"""The texts of a request and of an answer, each with the place where it stands. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.guardrails import Place
from gateway.guardrails.guardrail import is_document
from gateway.protocol.hints import RETRIEVED
from gateway.protocol.lists import dicts
from gateway.texts.masking import is_word_field, texts_of

Said = tuple[Place, str]

_OPERATORS = frozenset({"system", "developer"})
_TOOLS = frozenset({"tool", "function"})
_WORDLESS = frozenset({int, float, bool, type(None)})
_SPEAKERS: dict[str, Place] = {"user": "input", "assistant": "input", "system": "system", "developer": "system"}
# What else in a body is written by whoever built the application, and says nothing of who talks to it.
_DEFINITIONS = frozenset({"tools", "functions", "response_format", "tool_choice", "stop", "text"})
_DOCUMENTS = frozenset({"documents", "context"})
_CALLS = ("tool_calls", "function_call")


def said_in(prose: Mapping[str, Any]) -> list[Said]:
    """Every text of a request in chat form, in the order of the body."""
    found: list[Said] = []
    for name, value in prose.items():
        if name == "messages":
            for message in dicts(value):
                found += _in_message(message)
        else:
            found += [(place_in(name), text) for text in texts_of({name: value})]
    return found


def plainly_said(prose: Mapping[str, Any]) -> list[Said] | None:
    """:func:`said_in` of a request whose messages are a role and a text each and whose other fields hold no text, as
    most are: nothing else needs a look there. None for every other request."""
    for name, value in prose.items():
        if name != "messages" and not (name.isidentifier() and (type(value) in _WORDLESS or _is_one_word(name, value))):
            return None
    found: list[Said] = []
    for message in prose.get("messages") or ():
        if not isinstance(message, dict) or len(message) != 2:
            return None
        role, content = message.get("role"), message.get("content")
        place = _SPEAKERS.get(role) if isinstance(role, str) else None
        if place is None or not isinstance(content, str) or content.startswith("data:"):
            return None
        found.append((place, content))
    return found


def _is_one_word(name: str, value: Any) -> bool:
    return isinstance(value, str) and is_word_field(name) and len(value.split(None, 1)) < 2


def operators_texts(prose: Mapping[str, Any]) -> Iterator[str]:
    """The texts of system and developer messages."""
    for message in dicts(prose.get("messages")):
        if message.get("role") in _OPERATORS:
            yield from texts_of(message)


def place_in(name: str) -> Place:
    """Where the texts of a request's field stand that is not ``messages``."""
    if name in _DEFINITIONS:
        return "system"
    return "context" if name in _DOCUMENTS else "input"


def joined_turns(prose: Mapping[str, Any], earlier: Sequence[str] = ()) -> str:
    """The user's turns as one text, "" for a single one: an instruction that is split over messages is whole there.
    ``earlier``: turns before these."""
    users = [texts_of(message) for message in dicts(prose.get("messages")) if message.get("role") == "user"]
    texts = [text for turn in users for text in turn]
    if not texts:
        return ""
    texts = [*earlier, *texts]
    return " ".join(texts) if len(texts) > 1 else ""


def said_by(message: Mapping[str, Any]) -> Iterator[Said]:
    """The texts of an answer's message."""
    for name, value in message.items():
        place: Place = "tool_arguments" if name in _CALLS else "output"
        for text in texts_of({name: value}):
            yield place, text


def names_in(message: Mapping[str, Any]) -> Iterator[Said]:
    """The names of the functions that a message calls."""
    for call in [*dicts(message.get("tool_calls")), {"function": message.get("function_call")}]:
        for kind in ("function", "custom"):
            named = call.get(kind)
            if isinstance(named, dict) and isinstance(named.get("name"), str) and named["name"]:
                yield "tool_arguments", named["name"]


def fixed_names(prose: Mapping[str, Any]) -> Iterator[Said]:
    """The names of functions in a request. Another name is another function: they are left or stopped."""
    for message in dicts(prose.get("messages")):
        if message.get("role") == "assistant":
            yield from names_in(message)
    choice = prose.get("tool_choice")
    defined = [*dicts(prose.get("tools")), *([choice] if isinstance(choice, dict) else [])]
    for _, name in names_in({"tool_calls": [*defined, *({"function": one} for one in dicts(prose.get("functions")))]}):
        yield "system", name


def _in_message(message: dict[str, Any]) -> list[Said]:
    role = message.get("role")
    if role in _OPERATORS:
        return [("system", text) for text in texts_of(message)]
    if role in _TOOLS:
        return list(_in_result(message))
    found: list[Said] = []
    for name, value in message.items():
        place: Place = "tool_arguments" if name in _CALLS else "input"
        for part in value if isinstance(value, list) else [value]:
            found += [("context" if is_document(part) else place, text) for text in texts_of({name: part})]
    return found


def _in_result(message: dict[str, Any]) -> Iterator[Said]:
    """What a tool said; what was searched for it here is retrieved text."""
    for name, value in message.items():
        for part in value if isinstance(value, list) else [value]:
            place: Place = "context" if isinstance(part, dict) and RETRIEVED in part else "tool_results"
            for text in texts_of({name: part}):
                yield place, text


def with_whole_thoughts(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """``after``, a request that was ``before``, without the signed thoughts that a guardrail changed: their signature
    no longer fits, and their provider would refuse them all."""
    turns = dicts(before.get("messages"))
    if before is after or not any(turn.get("thinking_blocks") for turn in turns):
        return after
    kept = [
        {name: value for name, value in new.items() if name != "thinking_blocks" or value == old.get(name)}
        for old, new in zip(turns, dicts(after.get("messages")), strict=True)
    ]
    return {**after, "messages": kept}
