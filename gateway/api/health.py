"""/healthz (alive), /readyz (can serve), /metrics (Prometheus, needs a key)."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, Response, get

from gateway.access.keys import INFERENCE_PREFIX, is_admin_key
from gateway.api.admin.sessions import LoginBrake, key_matches
from gateway.api.http import Authenticator
from gateway.errors import Forbidden, RateLimited, Refused, Unauthenticated
from gateway.live import WAITING_FOR, Live

_NEEDED = "/metrics needs a virtual key or the admin key as a bearer token."


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
        return 503, {"status": "starting", "degraded": degraded, "waiting_for": WAITING_FOR}
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

    brake = LoginBrake(time.monotonic)

    @get("/metrics")
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        try:
            authenticate(request.headers)
        except (Unauthenticated, Forbidden) as refusal:
            given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
            address = request.client.host if request.client else "unknown"
            if not _is_admins(given, address, admin_digest, brake):
                if isinstance(refusal, Forbidden) and not is_admin_key(given):
                    raise
                if given and not given.startswith(INFERENCE_PREFIX):
                    told: Refused | None = Refused("admin_key")
                else:
                    told = refusal.refused
                raise Unauthenticated(_NEEDED, refused=told) from None
        return Response(await render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [healthz, readyz, metrics]


def _is_admins(given: str, address: str, digest: str, brake: LoginBrake) -> bool:
    """Whether somebody without a key of a client has the admin's. Guesses are braked here as they are at the login.
    Raises RateLimited."""
    if not given or given.startswith(INFERENCE_PREFIX):
        return False
    wait = math.ceil(brake.begin(address))
    if wait:
        text = f"Too many wrong keys. Try again in {wait} s; a client's key is not held up."
        raise RateLimited(text, headers={"retry-after": str(wait)}, refused=Refused("admin_brake"))
    if not key_matches(given, digest):
        return False
    brake.succeeded(address)
    return True
