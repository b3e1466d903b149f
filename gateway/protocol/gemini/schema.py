"""Google's ``Schema`` (OpenAPI 3.0's subset) as JSON Schema, and what strict structured output asks of a schema.

https://ai.google.dev/api/caching#Schema
"""

from __future__ import annotations

from typing import Any

from gateway.protocol.gemini.shapes import fields

_NUMBERS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_DROPPED = ("type", "nullable", "propertyOrdering", "example")


def json_schema(value: Any, where: str) -> dict[str, Any]:
    """Raises BadRequest for what is no object. Whole numbers may be texts, as Google's JSON writes int64."""
    told = fields(value, where)
    found: dict[str, Any] = {}
    kind = told.get("type")
    if isinstance(kind, str) and kind != "TYPE_UNSPECIFIED":
        found["type"] = kind.lower()
    found |= {name: one for name, one in told.items() if name not in _DROPPED}
    for name in _NUMBERS:
        if isinstance(found.get(name), str) and found[name].isdigit():
            found[name] = int(found[name])
    if "items" in found:
        found["items"] = json_schema(found["items"], f"{where}.items")
    if isinstance(found.get("anyOf"), list):
        found["anyOf"] = [json_schema(one, f"{where}.anyOf[{at}]") for at, one in enumerate(found["anyOf"])]
    if isinstance(found.get("properties"), dict):
        found["properties"] = _properties(found["properties"], told.get("propertyOrdering"), where)
    return _nullable(found) if told.get("nullable") is True else found


def _properties(value: dict[str, Any], ordering: Any, where: str) -> dict[str, Any]:
    order = [name for name in ordering if name in value] if isinstance(ordering, list) else []
    names = [*order, *(name for name in value if name not in order)]
    return {name: json_schema(value[name], f"{where}.properties.{name}") for name in names}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    if "type" in schema:
        schema["type"] = [schema["type"], "null"]
    if isinstance(schema.get("enum"), list):
        schema["enum"] = [*schema["enum"], None]
    return schema


def closed(schema: Any) -> tuple[Any, bool]:
    """(the schema with no room for properties it does not name, whether every property is required).

    Gemini writes no others either; providers with a strict mode want it said, and want all of them required."""
    if isinstance(schema, list):
        pairs = [closed(one) for one in schema]
        return [one for one, _ in pairs], all(whole for _, whole in pairs)
    if not isinstance(schema, dict):
        return schema, True
    found: dict[str, Any] = {}
    whole = True
    for name, value in schema.items():
        if name in ("properties", "$defs", "definitions") and isinstance(value, dict):
            pairs_by = {key: closed(one) for key, one in value.items()}
            found[name] = {key: one for key, (one, _) in pairs_by.items()}
            whole = whole and all(one for _, one in pairs_by.values())
        elif name in ("enum", "const", "default", "required"):
            found[name] = value
        else:
            found[name], inside = closed(value)
            whole = whole and inside
    properties = schema.get("properties")
    if isinstance(properties, dict):
        found.setdefault("additionalProperties", False)
        required = schema.get("required")
        whole = whole and found["additionalProperties"] is False
        whole = whole and set(properties) == set(required if isinstance(required, list) else ())
    elif schema.get("type") == "object":
        whole = False
    return found, whole
