"""What both directions of Gemini's API share: its JSON's habits, thought signatures, and what only Google reads.

https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.errors import BadRequest


def fields(value: Any, where: str) -> dict[str, Any]:
    """An object's fields by their camelCase names; nulls are absent. Google's JSON may be written in either case.
    Raises BadRequest."""
    if not isinstance(value, dict):
        raise BadRequest(f"'{where}' must be an object.", param=where, code="invalid_type")
    return {_camel(name): one for name, one in value.items() if one is not None}


def listed(value: Any, where: str) -> list[dict[str, Any]]:
    """The objects of a list; an object alone is a list of one, as Google's own examples write it.
    Raises BadRequest."""
    items = value if isinstance(value, list) else [value]
    return [fields(item, f"{where}[{at}]") for at, item in enumerate(items)]


def text(value: Mapping[str, Any], name: str, where: str) -> str:
    """A field that must be there as text. Raises BadRequest."""
    found = value.get(name)
    if not isinstance(found, str):
        raise BadRequest(f"'{where}.{name}' is required, as text.", param=f"{where}.{name}")
    return found


def unsupported(param: str, why: str) -> BadRequest:
    return BadRequest(f"'{param}': {why}", param=param, code="unsupported_parameter")


def signature_of(holder: Mapping[str, Any]) -> str:
    """The thought signature that a chat message or call carries for Google; "" when it has none."""
    extra = holder.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) else ""


def signed(signature: str) -> dict[str, Any]:
    """The fields by which a chat message or call carries a signature; none for ""."""
    return {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest) if first else name
