"""The spellings of drafts before 2020-12 that generators still write, in the words of 2020-12."""

from __future__ import annotations

from typing import Any

from gateway.schemas.problems import SchemaRefused, step

_NOW = ("dependentRequired", "dependentSchemas")


def current(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """``schema`` itself when it has none of them. Raises SchemaRefused."""
    listed = isinstance(schema.get("items"), list)
    if not listed and "dependencies" not in schema:
        return schema
    found = {name: value for name, value in schema.items() if name not in {"dependencies", "additionalItems"}}
    if listed:
        _tuple(schema, found, path)
    if "dependencies" in schema:
        found |= _dependencies(schema, step(path, "dependencies"))
    return found


def _tuple(schema: dict[str, Any], found: dict[str, Any], path: str) -> None:
    """``items`` as a list of schemas, ``additionalItems`` for those behind them."""
    if "prefixItems" in schema:
        raise SchemaRefused("invalid", step(path, "items"), "cannot be a list beside 'prefixItems'")
    del found["items"]
    if schema["items"]:
        found["prefixItems"] = schema["items"]
    if "additionalItems" in schema:
        found["items"] = schema["additionalItems"]


def _dependencies(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """Lists of names and schemas stood in one keyword."""
    rules = schema["dependencies"]
    if not isinstance(rules, dict):
        raise SchemaRefused("invalid", path, "must be an object")
    if not schema.keys().isdisjoint(_NOW):
        raise SchemaRefused("invalid", path, f"cannot stand beside '{_NOW[0]}' or '{_NOW[1]}'")
    names = {name: value for name, value in rules.items() if isinstance(value, list)}
    schemas = {name: value for name, value in rules.items() if name not in names}
    return {name: value for name, value in zip(_NOW, (names, schemas), strict=True) if value}
