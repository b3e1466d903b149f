"""GET /admin/api/incidents: what guardrails found, newest first. Behind the admin's session.

``?project=&guardrail=&before=ID&limit=1..1000`` → ``{"incidents": [storage.values.Incident], "more": bool}``.
"sealed" is the line of the journal that vouches for the verdict, 0 within the first minutes.
"""

from __future__ import annotations

from typing import Any

from litestar import get
from msgspec import Struct

from gateway.api.admin.desk import DeskHere, Plain
from gateway.errors import BadRequest
from gateway.storage.values import Incident

MOST = 1000


class Incidents(Struct, frozen=True):
    incidents: list[Incident]
    more: bool


@get("/api/incidents", include_in_schema=False)
async def incidents(desk: DeskHere, request: Plain) -> Incidents:
    """For ``admin_routes(more=...)``, which holds the door."""
    query, reader = request.query_params, desk.control.reader
    asked = _number(query, "limit")
    limit = 100 if asked is None else asked
    if not 1 <= limit <= MOST:
        raise BadRequest(f"'limit' must be between 1 and {MOST}.", param="limit")
    found = await desk.read(
        lambda: reader.incidents(
            project=query.get("project") or None,
            guardrail=query.get("guardrail") or None,
            before=_number(query, "before"),
            limit=limit + 1,
        )
    )
    return Incidents(found[:limit], len(found) > limit)


def _number(query: Any, name: str) -> int | None:
    text = str(query.get(name, ""))
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadRequest(f"'{name}' must be a whole number.", param=name)
    return int(text)
