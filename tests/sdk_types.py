"""What the official SDK's types say of an answer: every required field in its type, and no field that they do not know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, TypeAdapter


def strictly(kind: Any, raw: bytes | str, *, beyond: frozenset[str] = frozenset()) -> Any:
    """``raw`` as ``kind``, converted in pydantic's strict mode. ``beyond``: fields that we add on purpose."""
    found = TypeAdapter(kind).validate_json(raw, strict=True)
    unknown = {path for path in _unknown(found, "") if path.rpartition(".")[2] not in beyond}
    assert not unknown, f"fields that the SDK does not know: {sorted(unknown)}"
    return found


def _unknown(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield from (f"{path}.{name}" for name in value.model_extra or ())
        for name in type(value).model_fields:
            yield from _unknown(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for one in value:
            yield from _unknown(one, path)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _unknown(one, f"{path}.{name}")
