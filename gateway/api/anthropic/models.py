"""Models as Anthropic's API lists them: its clients ask at the address of OpenAI's list."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from litestar.types import Scope

from gateway.api.ingress import encode
from gateway.errors import BadRequest, GatewayError
from gateway.protocol.messages.answer import error_payload

_PAGE, _LARGEST_PAGE = 20, 1000
Entry = dict[str, Any]


def from_anthropic(scope: Scope) -> bool:
    """Whether an Anthropic client asks: each of its requests names the API's version."""
    return any(name == b"anthropic-version" for name, _ in scope["headers"])


def page_of(entries: list[Entry], query: dict[str, str]) -> dict[str, Any]:
    """One page of the list, behind or before the model that the query names. Raises BadRequest."""
    size = query.get("limit", "")
    most = int(size) if size.isascii() and size.isdigit() and len(size) < 5 else 0 if size else _PAGE
    if not 1 <= most <= _LARGEST_PAGE:
        raise BadRequest(f"limit: must be a number between 1 and {_LARGEST_PAGE}.", param="limit")
    names = [one["id"] for one in entries]
    start, end = 0, len(names)
    if query.get("after_id"):
        start = _place(names, query["after_id"], "after_id") + 1
        found = entries[start : start + most]
    elif query.get("before_id"):
        end = _place(names, query["before_id"], "before_id")
        found = entries[max(0, end - most) : end]
    else:
        found = entries[:most]
    shown = [shown_as(one) for one in found]
    return {
        "data": shown, "has_more": len(found) < end - start,
        "first_id": shown[0]["id"] if shown else None, "last_id": shown[-1]["id"] if shown else None,
    }  # fmt: skip


def shown_as(entry: Entry) -> dict[str, Any]:
    born = datetime.fromtimestamp(entry["created"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": "model", "id": entry["id"], "display_name": entry["id"], "created_at": born, "lifecycle": "active",
        "capabilities": None, "line": None, "max_input_tokens": None, "max_tokens": None,
        "deprecated_at": None, "retires_at": None,
    }  # fmt: skip


def told_error(error: GatewayError, request_id: str) -> tuple[int, bytes]:
    return error.status, encode(error_payload(error, request_id))


def _place(names: list[str], wanted: str, param: str) -> int:
    if wanted not in names:
        raise BadRequest(f"{param}: there is no model '{wanted[:200]}'.", param=param)
    return names.index(wanted)
