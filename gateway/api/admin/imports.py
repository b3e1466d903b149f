"""POST /admin/api/imports: an uploaded file taken into a task, behind the admin's session.

``{"project", "task", "file_id", "input"?, "answer"?, "requests_file_id"?, "dry_run"?}`` → what was found and done
(``importing.report.Report.data``). ``file_id`` is a file of the project, as ``/v1/files`` names it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

from litestar import Response, post
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from gateway import errors
from gateway.api.admin.desk import ACTOR, DeskHere, Plain, json_body
from gateway.api.files.routes import Told
from gateway.importing.load import Loader, NoPlace, load_file, place_of
from gateway.importing.report import Report
from gateway.importing.tables import NotReadable
from gateway.live import Live
from gateway.storage.home import Home
from gateway.storage.protocols import Writer

MOST_ROWS = 200_000
_Name = Annotated[str, Meta(min_length=1, max_length=256)]


class ImportBody(Struct, frozen=True, forbid_unknown_fields=True):
    project: _Name
    task: _Name
    file_id: _Name
    input: _Name | None = None
    answer: _Name | None = None
    requests_file_id: _Name | None = None
    dry_run: bool = False


def import_route(home: Home, live: Live, writer: Writer) -> ControllerRouterHandler:
    """For ``admin_routes(more=...)``, which holds the door."""

    def stored(project: str, file_id: str, param: str) -> Path:
        file = live.reader.file(project, file_id)
        if file is None or not (home.files / file.id).is_file():
            raise errors.NotFound(f"No such File object: {file_id[:80]}", param=param)
        return home.files / file.id

    def take(body: ImportBody, now: float) -> Report:
        path = stored(body.project, body.file_id, "file_id")
        requests = body.requests_file_id
        place = place_of(live.runtime().config, live.reader, body.project, body.task)
        loader = Loader(place, live.reader, None if body.dry_run else writer.execute, lambda: now)
        return load_file(
            path, loader, name=f"import:{body.file_id}", input=body.input, answer=body.answer, most=MOST_ROWS,
            requests=stored(body.project, requests, "requests_file_id") if requests else None,
        )  # fmt: skip

    @post("/api/imports", status_code=200, include_in_schema=False)
    async def import_file(desk: DeskHere, request: Plain) -> Response[dict[str, Any]]:
        body = await json_body(request, ImportBody)
        with Told():
            try:
                report = await asyncio.to_thread(take, body, desk.clock())
            except NoPlace as problem:
                raise errors.BadRequest(f"{problem}.", param="task") from None
            except NotReadable as problem:
                raise errors.BadRequest(f"The file cannot be used: {problem}.", param="file_id") from None
        if not body.dry_run:
            desk.control.audit(ACTOR, "calls imported", f"{body.project}/{body.task}", f"{report.new} new calls")
        return Response(report.data())

    return import_file
