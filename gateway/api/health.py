"""/healthz (alive), /readyz (can serve), /metrics (Prometheus, needs a key)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, Response, get

from gateway.api.http import Authenticator
from gateway.errors import Unauthenticated
from gateway.live import Live


def readiness(live: Live, backup_wrong: bool = False) -> tuple[int, dict[str, Any]]:
    """503 until keys and students were read once; afterwards 200, with what is degraded by name."""
    degraded = []
    if live.database_away:
        degraded.append("database")
    if live.recorder.stats().get("degraded"):
        degraded.append("spool")
    if live.config_status()["problem"]:
        degraded.append("policies")
    if backup_wrong:
        degraded.append("backup")
    if live.drain.begun:
        return 503, {"status": "stopping", "degraded": degraded}
    if not live.loaded:
        return 503, {"status": "starting", "degraded": degraded}
    return 200, {"status": "degraded" if degraded else "ok", "degraded": degraded}


def health_routes(
    live: Live, authenticate: Authenticator, admin_digest: str, render: Callable[[], Awaitable[bytes]],
    backup_wrong: Callable[[], bool] = lambda: False,
) -> list[Any]:  # fmt: skip
    @get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @get("/readyz")
    async def readyz() -> Response[dict[str, Any]]:
        status, body = readiness(live, backup_wrong())
        return Response(body, status_code=status)

    @get("/metrics")
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(hashlib.sha256(given.encode()).hexdigest(), admin_digest):
            try:
                authenticate(request.headers)
            except Unauthenticated:
                raise Unauthenticated(
                    "/metrics needs a virtual key or the admin key as a bearer token."
                ) from None
        return Response(await render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [healthz, readyz, metrics]
