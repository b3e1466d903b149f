"""GET /admin/api/watched: what the watch over inputs, outputs, confidence, latency and cost last saw. Behind the
admin's session.

→ ``{"games": [...], "levels": {task: {party: {"latency": ms, "cost": US dollars}}}}`` (docs/statistics.md).
"""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from litestar import get
from litestar.handlers import HTTPRouteHandler

from gateway.api.admin.desk import DeskHere
from gateway.api.admin.left import left_in
from gateway.storage.home import Home


def watched_route(home: Home) -> HTTPRouteHandler:
    """For ``admin_routes(more=...)``, which holds the door."""

    @get("/api/watched", include_in_schema=False)
    async def watched(desk: DeskHere) -> dict[str, Any]:
        return {"games": [], "levels": {}} | await anyio.to_thread.run_sync(lambda: left_in(home.drift))

    return watched
