"""The routes under ``/admin``: who answers which, and what stands behind the door."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from litestar import Response, Router
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from gateway.access.second_factor import SecondFactor
from gateway.api.admin import desk as desks
from gateway.api.admin.desk import Desk
from gateway.api.admin.doors import AdminHeaders, door
from gateway.api.admin.entry import end_sessions, login, logout, session, sessions
from gateway.api.admin.sessions import LoginBrake, Sessions
from gateway.control import Control
from gateway.money.shown import shown
from gateway.sharing.bus import ALONE, Bus


def _told(response: Response[Any]) -> Response[Any]:
    """What stands in JSON is rounded where it is money; a page, a file or a table has been written already."""
    if not isinstance(response.content, str | bytes):
        response.content = shown(response.content)
    return response


def admin_routes(
    control: Control,
    *,
    admin_digest: str,
    static: Path,
    secure_cookies: bool,
    clock: Callable[[], float] = time.time,
    more: Sequence[ControllerRouterHandler] = (),
    bus: Bus = ALONE,
    second_factor: SecondFactor | None = None,
) -> list[ControllerRouterHandler]:
    """The handlers under ``/admin``; ``more`` are others behind the same door. ``admin_digest``: hex SHA-256 of the
    admin key; ``static``: the folder of the page's files, read here once. Raises OSError when one is missing."""
    desk = Desk(
        control=control,
        admin_digest=admin_digest,
        secure=secure_cookies,
        clock=clock,
        sessions=Sessions(clock, bus),
        brake=LoginBrake(clock, bus),
        pages=desks.pages_of(static, asks_code=second_factor is not None),
        second_factor=second_factor,
    )

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: Any) -> None:
        door(connection, desk.sessions, secure=desk.secure)

    inside = Router(
        path="/api",
        route_handlers=[
            session, sessions, end_sessions, desks.overview, desks.tasks, desks.disagreements, desks.journal,
            desks.run, desks.act, desks.switch,
        ],
        guards=[guard],
    )
    out = Router(path="/", route_handlers=[logout, *more], guards=[guard])
    return [
        Router(
            path="/admin",
            route_handlers=[desks.index, desks.asset, login, out, inside],
            dependencies={"desk": Provide(lambda: desk, sync_to_thread=False)},
            middleware=[AdminHeaders(control)],
            after_request=_told,
            request_max_body_size=desks.MAX_BODY,
        )
    ]
