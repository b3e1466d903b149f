"""The admin page and its JSON API, all under ``/admin``. Unpacks, checks who asks, and calls ``Control``.

Log in: ``POST /admin/login {"key": "..."}`` → the session cookie and ``{"csrf", "idle_s", "absolute_s"}``.
Every unsafe request after that carries ``x-csrf-token`` and, from a browser, comes from the same origin. A
request with ``x-understudy-background: 1`` (the page's polling) does not keep the session alive.

``GET  /admin/api/session``                → ``{"csrf", "idle_s", "absolute_s"}`` (left, in seconds)
``GET  /admin/api/overview?hours=``        → :class:`admin_shapes.Overview`; default: since the first call
``GET  /admin/api/tasks``                  → ``{"tasks": [admin_shapes.TaskView]}``
``GET  /admin/api/tasks/{task}/disagreements?before=&limit=`` → ``{"items": [...], "next_before"}``,
items newest first: seq, call_id, kind, created_at, student, confidence, input, teacher_text, student_text
``GET  /admin/api/journal?limit=&seals=1`` → ``{"entries": [...], "broken_at": epoch | null, "unsealed_at": epoch |
                                             null}``, newest first; lines that seal verdicts only with ``seals``
``GET  /admin/api/runs/{id}``              → ``{"run": {...}, "events": [{seq, at, level, message, data}]}``
``POST /admin/api/students/{id}/{action}`` ``{"reason"}`` → :class:`admin_shapes.Done`; actions: promote,
pause, resume, rollback, retrain. Pause and rollback act at once; the others ask the trainer (status 202)
``POST /admin/api/switch`` ``{"students_off", "reason"}`` → Done
``GET  /admin/api/sessions``               → ``{"sessions": [admin_shapes.SessionView]}``, who was last seen first
``POST /admin/api/sessions/end`` ``{"reason", "ids"}`` → Done; without ``ids`` all sessions but the one that asks
``POST /admin/logout``                     → ``{}``

Errors are ``gateway.errors`` in OpenAI's shape: 401 no session, 403 CSRF or origin, 429 too many login tries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio.to_thread
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation
from msgspec import Meta, Struct

from gateway.access.second_factor import SecondFactor
from gateway.api.admin import views as admin_views
from gateway.api.admin.evidence import Tallies
from gateway.api.admin.sessions import LoginBrake, Sessions
from gateway.api.admin.shapes import Done, Overview
from gateway.control import Control
from gateway.errors import BadRequest, NotFound, Unavailable
from gateway.protocol.body import decode_object, typed
from gateway.storage.away import database_errors
from gateway.storage.values import JournalEntry

T = TypeVar("T")
MAX_BODY = 16 * 1024
_VERIFY_EVERY_S = 10.0
_SEALS_EVERY_S, _SEALS = 60.0, 50
ACTOR = "admin"
_FILES = {
    "style.css": "text/css",
    "icon.svg": "image/svg+xml",
    **{
        f"{name}.js": "text/javascript"
        for name in (
            "app", "api", "caches", "calls", "chart", "data", "dialogs", "discovered", "dom", "format", "headline",
            "incidents", "journal", "runs", "sessions", "store", "tasks", "theme", "worth",
        )
    },
}  # fmt: skip
_NO_CODE, _CODE = b'<div id="second-factor" hidden>', b'<div id="second-factor">'
_DISAGREEMENT = (
    "seq", "call_id", "kind", "created_at", "student", "confidence", "input", "teacher_text", "student_text",
)  # fmt: skip


class ActionBody(Struct, frozen=True, forbid_unknown_fields=True):
    reason: Annotated[str, Meta(max_length=500)]


class SwitchBody(Struct, frozen=True, forbid_unknown_fields=True):
    students_off: bool
    reason: Annotated[str, Meta(max_length=500)]


@dataclass(slots=True)
class Desk:
    """What the handlers share. ``pages`` are the static files by name, read once at the start."""

    control: Control
    admin_digest: str
    secure: bool
    clock: Callable[[], float]
    sessions: Sessions
    brake: LoginBrake
    pages: dict[str, bytes]
    second_factor: SecondFactor | None = None
    tallies: Tallies = field(default_factory=Tallies)
    verified: tuple[float, int | None] = (-math.inf, None)
    seals: tuple[float, int | None] = (-math.inf, None)

    async def read(self, query: Callable[[], T]) -> T:
        """Runs a blocking query in a thread. Raises Unavailable while the database is away."""
        try:
            return await anyio.to_thread.run_sync(query)
        except database_errors() as problem:
            raise Unavailable(
                "The database cannot be read just now; calls are still answered. Try again in a moment.",
                detail=type(problem).__name__,
                headers={"retry-after": "2"},
            ) from None


def pages_of(static: Path, *, asks_code: bool) -> dict[str, bytes]:
    """The files of the page, read once; ``asks_code``: the form of the login has a field for one. Raises OSError."""
    pages = {name: (static / name).read_bytes() for name in ("index.html", *_FILES)}
    if asks_code:
        pages["index.html"] = pages["index.html"].replace(_NO_CODE, _CODE)
    return pages


DeskHere = NamedDependency[SkipValidation[Desk]]
Plain = Request[Any, Any, Any]


# ---------------------------------------------------------------- the page
@get("/", include_in_schema=False, sync_to_thread=False)
def index(desk: DeskHere) -> Response[bytes]:
    return Response(desk.pages["index.html"], media_type="text/html")


@get("/assets/{name:str}", include_in_schema=False, sync_to_thread=False)
def asset(desk: DeskHere, name: FromPath[str]) -> Response[bytes]:
    """``name`` is looked up in a fixed table: nothing a client sends reaches the file system."""
    if name not in _FILES:
        raise NotFound("There is no such file.")
    return Response(desk.pages[name], media_type=_FILES[name])


# ---------------------------------------------------------------- reading
@get("/overview", include_in_schema=False)
async def overview(desk: DeskHere, request: Plain) -> Overview:
    hours = _number(request, "hours", None, least=0.01, most=2160.0)
    now = desk.clock()
    return await desk.read(lambda: admin_views.overview(desk.control, desk.tallies, hours=hours, now=now))


@get("/tasks", include_in_schema=False)
async def tasks(desk: DeskHere) -> dict[str, Any]:
    now = desk.clock()
    return {"tasks": await desk.read(lambda: admin_views.tasks(desk.control, desk.tallies, now=now))}


@get("/tasks/{task:str}/disagreements", include_in_schema=False)
async def disagreements(desk: DeskHere, request: Plain, task: FromPath[str]) -> dict[str, Any]:
    before = count_in(request, "before", None, most=2**53)
    limit = count_in(request, "limit", 20, most=100) or 20
    if task not in desk.control.runtime().tasks:
        raise NotFound(f"There is no task {task[:64]!r} in the policies.")
    reader = desk.control.reader
    rows = await desk.read(lambda: reader.disagreements(task=task, limit=limit + 1, before_seq=before))
    items = [{name: row.get(name) for name in _DISAGREEMENT} for row in rows[:limit]]
    return {"items": items, "next_before": items[-1]["seq"] if len(rows) > limit else None}


@get("/journal", include_in_schema=False)
async def journal(desk: DeskHere, request: Plain) -> dict[str, Any]:
    limit = count_in(request, "limit", 100, most=1000) or 100

    seals = request.query_params.get("seals") == "1"

    def query() -> list[JournalEntry]:
        now, reader = desk.clock(), desk.control.reader
        if now - desk.verified[0] >= _VERIFY_EVERY_S:
            desk.verified = (now, reader.verify_journal())
        if now - desk.seals[0] >= _SEALS_EVERY_S:
            desk.seals = (now, reader.verify_verdicts(now=now, newest=_SEALS))
        return reader.journal(limit=limit, seals=seals)

    entries = await desk.read(query)
    entries.sort(key=lambda entry: -entry.epoch)
    return {"entries": entries, "broken_at": desk.verified[1], "unsealed_at": desk.seals[1]}


@get("/runs/{run_id:str}", include_in_schema=False)
async def run(desk: DeskHere, run_id: FromPath[str]) -> dict[str, Any]:
    reader = desk.control.reader
    found = await desk.read(lambda: reader.run(run_id))
    if found is None:
        raise NotFound("There is no such run.")
    return {
        "run": admin_views.run_view(found),
        "events": await desk.read(lambda: reader.run_events(run_id)),
    }


# ---------------------------------------------------------------- acting
@post("/students/{student:str}/{action:str}", include_in_schema=False)
async def act(
    desk: DeskHere, request: Plain, student: FromPath[str], action: FromPath[str]
) -> Response[Done]:
    reason = reason_in((await json_body(request, ActionBody)).reason)
    control = desk.control
    match action:
        case "pause":
            control.take_back(student, "paused", actor=ACTOR, reason=reason)
            done = Done(status="done", message="Paused: the teacher answers every call again.")
        case "rollback":
            control.take_back(student, "retired", actor=ACTOR, reason=reason)
            done = Done(status="done", message="Rolled back: retired, and the teacher answers again.")
        case "promote":
            control.wish(student, "promote", actor=ACTOR, reason=reason)
            done = Done(status="asked", message="Asked the trainer. It promotes only when every gate passes.")
        case "resume":
            control.wish(student, "resume", actor=ACTOR, reason=reason)
            done = Done(status="asked", message="Asked the trainer to let the student serve again.")
        case "retrain":
            control.wish(student, "retrain", actor=ACTOR, reason=reason)
            done = Done(status="asked", message="Asked the trainer for a new round of training.")
        case _:
            raise NotFound("Unknown action. Use promote, pause, resume, rollback or retrain.")
    return Response(done, status_code=200 if done.status == "done" else 202)


@post("/switch", status_code=200, include_in_schema=False)
async def switch(desk: DeskHere, request: Plain) -> Done:
    body = await json_body(request, SwitchBody)
    desk.control.switch_students(off=body.students_off, actor=ACTOR, reason=reason_in(body.reason))
    if body.students_off:
        return Done(status="done", message="All students are off: teachers answer every call.")
    return Done(status="done", message="Students may answer again.")


def _number(
    request: Plain, name: FromPath[str], default: float | None, *, least: float, most: float
) -> float | None:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise BadRequest(f"'{name}' must be a number from {least:g} to {most:g}.", param=name)
    return value


def count_in(request: Plain, name: str, default: int | None, *, most: int) -> int | None:
    value = _number(request, name, default, least=1, most=most)
    return None if value is None else int(value)


def reason_in(text: str) -> str:
    found = text.strip()
    if not found:
        raise BadRequest("Say why: the reason is written into the journal.", param="reason")
    return found


async def json_body(request: Plain, kind: type[T]) -> T:
    """The typed JSON body. Raises BadRequest; only JSON is read, so that no HTML form can post here."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise BadRequest("Send the body as JSON with content-type: application/json.", status=415)
    return typed(decode_object(await request.body()), kind)
