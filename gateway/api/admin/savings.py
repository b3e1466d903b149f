"""GET /admin/api/savings: whether the students of each task have paid for themselves. Behind the admin's session.

``?days=30`` (more than 0, at most 366) → ``{"days", "tasks": [{"task", "project", "payback"}]}``, a payback being an
``optimizer.payback.Payback``. An infinite number of calls is null.
"""

from __future__ import annotations

import math

from litestar import get
from msgspec import Struct

from gateway.api.admin.desk import DeskHere, Plain
from gateway.errors import BadRequest
from gateway.money.paybacks import TaskPayback, paybacks

_LONGEST = 366.0


class Savings(Struct, frozen=True):
    days: float
    tasks: list[TaskPayback]


@get("/api/savings", include_in_schema=False)
async def savings(desk: DeskHere, request: Plain) -> Savings:
    """For ``admin_routes(more=...)``, which holds the door."""
    days = _days(request.query_params.get("days", "30"))
    config, reader = desk.control.runtime().config, desk.control.reader
    found = await desk.read(lambda: paybacks(config, reader, days=days, now=desk.clock()))
    return Savings(days, found)


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not 0 < days <= _LONGEST:
        raise BadRequest(f"days must be a number above 0 and at most {_LONGEST:.0f}.", param="days")
    return days
