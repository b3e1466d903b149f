"""OpenAI's rules for a schema with ``strict: true``, checked here where the provider would not.

https://platform.openai.com/docs/guides/structured-outputs (supported schemas): the root is an object and no choice;
every object says ``additionalProperties: false`` and requires all its properties. OpenAI also refuses some keywords
(``allOf``, ``not``, ``if``, …); they are enforced here, so they are let through.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.schemas.problems import SchemaRefused, step

_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "allOf", "prefixItems")


def check_strict(schema: Any) -> None:
    """Raises SchemaRefused for a schema that compiles but is not strict."""
    if not isinstance(schema, dict) or (schema.get("type") != "object" and "$ref" not in schema):
        raise SchemaRefused("strict", "#/type", "must be 'object' at the root")
    if "anyOf" in schema:
        raise SchemaRefused("strict", "#/anyOf", "must not stand at the root")
    left: list[tuple[str, Any]] = [("#", schema)]
    while left:
        path, one = left.pop()
        if isinstance(one, dict):
            _check_object(path, one)
            left.extend(_inner(path, one))


def _check_object(path: str, schema: dict[str, Any]) -> None:
    kind, named = schema.get("type"), schema.get("properties", {})
    if kind != "object" and not (isinstance(kind, list) and "object" in kind) and "properties" not in schema:
        return
    if schema.get("additionalProperties") is not False:
        path = step(path, "additionalProperties")
        raise SchemaRefused("strict", path, "is required to be supplied and to be false")
    required = schema.get("required", [])
    missing = next((name for name in named if name not in required), None)
    if missing is not None:
        path = step(path, "required")
        raise SchemaRefused("strict", path, f"must list every property; '{missing[:80]}' is missing")


def _inner(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword in _MAPS:
        for name, one in schema.get(keyword, {}).items():
            yield step(step(path, keyword), name), one
    for keyword in _LISTS:
        for at, one in enumerate(schema.get(keyword, [])):
            yield step(step(path, keyword), at), one
    if "items" in schema:
        yield step(path, "items"), schema["items"]
