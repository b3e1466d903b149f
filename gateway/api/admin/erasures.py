"""Erasing people, behind the admin's session.

``POST /admin/api/erasures`` ``{"project", "end_user", "reason"}`` → ``{"id", "at", "project", "who", "calls",
"texts"}``: what the end user's calls left up to now is erased (docs/erasure.md). ``end_user`` is what clients sent
as ``safety_identifier`` or ``user``; it is not written down.
``GET  /admin/api/erasures`` → ``{"erasures": [...]}``, newest first.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from litestar import Response, get, post
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct
from msgspec.structs import asdict

from gateway import errors
from gateway.api.admin.desk import ACTOR, DeskHere, Plain, json_body, reason_in
from gateway.forgetting import Forgetting
from gateway.live import Live
from gateway.storage.commands import Refused, WriterAway
from gateway.storage.erasure_values import EraseUser, Erasure
from gateway.storage.protocols import Writer

_SHOWN = 100
_Name = Annotated[str, Meta(min_length=1, max_length=512)]


class ErasureBody(Struct, frozen=True, forbid_unknown_fields=True):
    project: _Name
    end_user: _Name
    reason: Annotated[str, Meta(max_length=500)]


def erasure_routes(writer: Writer, live: Live, forgetting: Forgetting) -> list[ControllerRouterHandler]:
    """For ``admin_routes(more=...)``, which holds the door."""

    @post("/api/erasures", status_code=200, include_in_schema=False)
    async def erase_person(desk: DeskHere, request: Plain) -> Response[dict[str, Any]]:
        body = await json_body(request, ErasureBody)
        command = EraseUser(body.project, body.end_user, ACTOR, reason_in(body.reason), desk.clock())
        try:
            done: Erasure = await asyncio.to_thread(writer.execute, command)
        except WriterAway as problem:
            raise errors.Unavailable(
                "Nothing was erased: the database cannot be written just now. Try again in a moment.",
                headers={"retry-after": "2"},
                detail=str(problem),
            ) from None
        except Refused as problem:
            raise errors.Conflict(str(problem), code="invalid_state") from None
        await live.catch_up()
        await forgetting.catch_up()
        return Response(_shown(done))

    @get("/api/erasures", include_in_schema=False)
    async def list_erasures(desk: DeskHere) -> dict[str, Any]:
        found = await desk.read(lambda: desk.control.reader.erasures(limit=1_000_000))
        return {"erasures": [_shown(one) for one in reversed(found[-_SHOWN:])]}

    return [erase_person, list_erasures]


def _shown(one: Erasure) -> dict[str, Any]:
    return asdict(one) | {"who": one.who[:16]}
