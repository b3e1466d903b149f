"""POST /admin/explain: how a request would be routed. Behind the admin's session and CSRF token, like every change.

``{"body": {chat completion request}, "key"?: name or id, "project"?, "headers"?: {...}}`` →
:class:`gateway.routing.explain.Explanation`. Nobody is asked, and nothing is counted or stored.
"""

from __future__ import annotations

import random
import time
from typing import Annotated, Any

from litestar import Request, post
from msgspec import Meta, Struct

from gateway.control import Control
from gateway.errors import BadRequest
from gateway.protocol.body import decode_object, typed
from gateway.resilience.breakers import Breakers
from gateway.routing.explain import Explanation, Refused, explain
from gateway.routing.observations import Observations

_MAX_BODY = 4 * 1024 * 1024


class ExplainBody(Struct, frozen=True, forbid_unknown_fields=True):
    body: dict[str, Any]
    key: Annotated[str, Meta(max_length=128)] = ""
    project: Annotated[str, Meta(max_length=64)] = "default"
    headers: dict[str, str] = {}


def explain_routes(
    control: Control, observations: Observations, rng: random.Random, breakers: Breakers, refused: Refused
) -> list[Any]:
    """For ``admin_routes(more=...)``, which holds the door."""

    @post("/explain", status_code=200, include_in_schema=False, request_max_body_size=_MAX_BODY)
    async def explain_request(request: Request[Any, Any, Any]) -> Explanation:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise BadRequest("Send the body as JSON with content-type: application/json.", status=415)
        asked = typed(decode_object(await request.body()), ExplainBody)
        return await explain(
            control.runtime(),
            observations,
            asked.body,
            key=asked.key,
            project=asked.project,
            headers=asked.headers,
            now=time.time(),
            rng=rng,
            breakers=breakers,
            refused=refused,
        )

    return [explain_request]
