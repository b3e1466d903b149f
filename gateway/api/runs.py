"""Runs, behind the admin's session: what waits, what is at work, and what a person may do about it.

``GET  /admin/api/runs?open=1&limit=``      → ``{"runs": [RunView]}``, newest first; ``open``: unfinished ones alone
``POST /admin/api/runs/{id}/{action}``      ``{"reason"}`` → ``Done``; actions: pause, resume, cancel
``POST /admin/api/runs/{id}/priority``      ``{"priority", "reason"}`` → ``Done``; -100 to 100, more goes first
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from litestar import Response, get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from gateway import errors
from gateway.api.admin.desk import ACTOR, ActionBody, DeskHere, Plain, count_in, json_body, reason_in
from gateway.api.admin.shapes import Done
from gateway.api.admin.views import run_view
from gateway.storage.commands import CancelRun, PauseRun, PrioritiseRun, Refused, ResumeRun, WriterAway
from gateway.storage.protocols import Writer

OPEN = ("queued", "running", "paused")
_ACTIONS: dict[str, tuple[type[PauseRun | ResumeRun | CancelRun], str]] = {
    "pause": (PauseRun, "Paused. What was reached is kept."),
    "resume": (ResumeRun, "It waits in the queue again and goes on where it was."),
    "cancel": (CancelRun, "Cancelled."),
}


class PriorityBody(Struct, frozen=True, forbid_unknown_fields=True):
    priority: Annotated[int, Meta(ge=-100, le=100)]
    reason: Annotated[str, Meta(max_length=500)]


def run_routes(writer: Writer) -> list[ControllerRouterHandler]:
    """For ``admin_routes(more=...)``, which holds the door."""

    async def do(command: Any, message: str) -> Response[Done]:
        try:
            await asyncio.to_thread(writer.execute, command)
        except Refused as problem:
            unknown = "no run" in str(problem)
            raise (errors.NotFound if unknown else errors.Conflict)(str(problem), code="invalid_state") from None
        except WriterAway as problem:
            raise errors.Unavailable(
                "The database cannot be written just now. Try again in a moment.",
                headers={"retry-after": "2"},
                detail=str(problem),
            ) from None
        return Response(Done(status="done", message=message))

    @get("/api/runs", include_in_schema=False)
    async def list_runs(desk: DeskHere, request: Plain) -> dict[str, Any]:
        limit = count_in(request, "limit", 50, most=1000) or 50
        found = await desk.read(lambda: desk.control.reader.runs(limit=limit))
        if request.query_params.get("open") == "1":
            found = [run for run in found if run.state in OPEN]
        return {"runs": [run_view(run) for run in found]}

    @post("/api/runs/{run_id:str}/priority", status_code=200, include_in_schema=False)
    async def prioritise(desk: DeskHere, request: Plain, run_id: FromPath[str]) -> Response[Done]:
        body = await json_body(request, PriorityBody)
        command = PrioritiseRun(run_id, body.priority, ACTOR, reason_in(body.reason), desk.clock())
        return await do(command, f"Its priority is {body.priority}.")

    @post("/api/runs/{run_id:str}/{action:str}", status_code=200, include_in_schema=False)
    async def act_on_run(
        desk: DeskHere, request: Plain, run_id: FromPath[str], action: FromPath[str]
    ) -> Response[Done]:
        reason = reason_in((await json_body(request, ActionBody)).reason)
        if action not in _ACTIONS:
            raise errors.NotFound("Unknown action. Use pause, resume, cancel or priority.")
        command, message = _ACTIONS[action]
        done = await do(command(run_id, ACTOR, desk.clock()), message)
        desk.control.audit(ACTOR, f"{action} run", run_id, reason)
        return done

    return [list_runs, prioritise, act_on_run]
