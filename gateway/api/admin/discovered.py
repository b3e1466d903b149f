"""GET /admin/api/discovered: the tasks that were found in untagged traffic. Behind the admin's session.

→ ``{"enabled", "at", "captured", "tasks"}``: what ``trainer.discovery`` found last (docs/discovery.md); ``at``
is null and ``tasks`` empty while it has found nothing yet. ``enabled``: whether the policies
let untagged calls be captured.
"""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from litestar import get
from litestar.handlers import HTTPRouteHandler

from gateway.api.admin.desk import DeskHere
from gateway.api.admin.left import left_in
from gateway.storage.home import Home


def discovered_route(home: Home) -> HTTPRouteHandler:
    """For ``admin_routes(more=...)``, which holds the door."""

    @get("/api/discovered", include_in_schema=False)
    async def discovered(desk: DeskHere) -> dict[str, Any]:
        enabled = desk.control.runtime().config.discover is not None
        found = await anyio.to_thread.run_sync(lambda: left_in(home.discovered)) if enabled else {}
        return {"enabled": enabled, "at": None, "captured": 0, "tasks": []} | found

    return discovered
