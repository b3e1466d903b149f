"""Whether an answer has the form that the requests of a task ask for: its response format, and its tools' schemas."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from gateway.protocol.called import ToolCall, parameters_of, read_calls
from gateway.schemas.compile import Validator, compiled
from gateway.schemas.problems import SchemaRefused
from gateway.schemas.running import TooCostly
from trainer.datasets.curate import Valid

PLACEHOLDER = re.compile(r"\[[A-Z]+(?:_[A-Z]+)*_[0-9]{1,12}\]")
_Tools = Mapping[str, Validator | None]


class Form(Struct, frozen=True):
    """Says what is wrong with an answer, "" when nothing is. ``asked``: what a request says of the form of its answers,
    as JSON: a value that another process can be sent."""

    asked: bytes

    def __call__(self, answer: str) -> str:
        return _judge(self.asked)(answer)


def form_of(request: dict[str, Any] | None) -> Form | None:
    """By the ``response_format`` and the ``tools`` of a request; None when it demands nothing. All requests of one
    fingerprint have the same. A schema that cannot be enforced here demands JSON and no more."""
    request = request or {}
    asked: dict[str, Any] = {name: request[name] for name in ("response_format", "tools") if name in request}
    if not parameters_of(asked) and _words_of(asked.get("response_format")) is None:
        return None
    return Form(msgspec.json.encode(asked))


@lru_cache(maxsize=64)
def _judge(asked: bytes) -> Valid:
    request = msgspec.json.decode(asked)
    words = _words_of(request.get("response_format"))
    tools = {name: _validator(schema) for name, schema in parameters_of(request).items()}
    if not tools:
        return lambda answer: "" if words is None else _words(answer, words)
    return lambda answer: _answer(answer, words, tools)


def _words_of(asked: Any) -> tuple[Validator | None] | None:
    """The schema of an answer in words, in a tuple; None when any text will do."""
    kind = asked.get("type") if isinstance(asked, dict) else None
    if kind == "json_object":
        return (None,)
    if kind != "json_schema" or not isinstance(asked, dict):
        return None
    wrapper = asked.get("json_schema")
    return (_validator(wrapper.get("schema", True) if isinstance(wrapper, dict) else True),)


def _validator(schema: Any) -> Validator | None:
    try:
        return compiled(schema)
    except SchemaRefused:
        return None


def _answer(answer: str, words: tuple[Validator | None] | None, tools: _Tools) -> str:
    calls = read_calls(answer)
    if calls is not None:
        return _calls(calls, tools)
    return "" if words is None else _words(answer, words)


def _words(answer: str, words: tuple[Validator | None]) -> str:
    return "" if _fits(answer, *words) else "response format"


def _calls(calls: Sequence[ToolCall], tools: _Tools) -> str:
    if any(call.name not in tools for call in calls):
        return "tool not offered"
    return "" if all(_takes(call.arguments, tools[call.name]) for call in calls) else "arguments"


def _takes(arguments: str, validator: Validator | None) -> bool:
    return arguments.lstrip().startswith("{") and _fits(arguments, validator)


def _fits(answer: str, validator: Validator | None) -> bool:
    """A masked value may not look like what it stands for, so an answer with placeholders need only be JSON."""
    try:
        value = msgspec.json.decode(answer)
        return (
            validator is None or bool(PLACEHOLDER.search(answer)) or not validator.faults(value, len(answer))
        )
    except (msgspec.DecodeError, RecursionError, TooCostly):
        return False
