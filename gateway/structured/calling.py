"""Whether the tool calls that a student would make are such as the request allows. No others reach a client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.protocol.called import ToolCall, parameters_of
from gateway.schemas.cache import Schemas
from gateway.schemas.compile import Validator
from gateway.schemas.problems import SchemaRefused
from gateway.schemas.running import TooCostly
from gateway.texts.unmasking import unmask


def words_allowed(body: Mapping[str, Any]) -> bool:
    """Whether ``tool_choice`` leaves an answer in words."""
    choice = body.get("tool_choice")
    return choice is None or choice in ("auto", "none")


def calls_allowed(
    body: Mapping[str, Any], calls: Sequence[ToolCall], schemas: Schemas, placeholders: Mapping[str, str]
) -> bool:
    """Whether the request offers each tool, as many at once, and their schemas take the arguments, as they stand or
    with the client's own values for ``placeholders``. A schema that cannot be checked here is the teacher's to
    answer."""
    offered, choice = parameters_of(body), body.get("tool_choice")
    if choice == "none" or (body.get("parallel_tool_calls") is False and len(calls) > 1):
        return False
    if isinstance(choice, dict):
        only = _named(choice)
        offered = {name: schema for name, schema in offered.items() if name in only}
    return bool(calls) and all(
        call.name in offered and _takes(schemas, offered[call.name], call.arguments, placeholders) for call in calls
    )


def _named(choice: Mapping[str, Any]) -> set[str]:
    """The functions that a ``tool_choice`` names: one, or those of an ``allowed_tools``."""
    allowed = choice.get("allowed_tools")
    tools = allowed.get("tools") if isinstance(allowed, dict) else [choice]
    functions = [tool.get("function") for tool in tools or () if isinstance(tool, dict)]
    return {str(function.get("name")) for function in functions if isinstance(function, dict)}


def _takes(schemas: Schemas, schema: Any, arguments: str, placeholders: Mapping[str, str]) -> bool:
    try:
        validator = schemas.of(schema, strict=False)
    except SchemaRefused:
        return False
    return _fits(validator, arguments) or (
        bool(placeholders) and _fits(validator, unmask(arguments, placeholders, in_json=True))
    )


def _fits(validator: Validator, arguments: str) -> bool:
    try:
        value = msgspec.json.decode(arguments)
        return isinstance(value, dict) and not validator.faults(value, len(arguments))
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError, TooCostly):
        return False
