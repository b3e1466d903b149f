"""The caches on the admin page: how they stand, and forgetting answers. Behind the admin's session.

``GET  /admin/api/caches`` → ``{"exact": {"entries", "bytes"}, "semantic": {...}, "tasks": [{"project", "task", "open",
"round", "seen", "proposals", "e_value", "alarms", "delta"}], "prompts": [{"task", "provider", "model", "calls",
"prompt_tokens", "cached_tokens", "saved_usd"}]}`` of the worker that is asked: what is kept and costs in
memory, roughly, and for each task with a semantic cache whether it serves, in which round of proof it is, labels and
proposals so far, the evidence of the round, and how often an alarm closed it. ``exact`` is empty where answers are in
Redis. ``prompts``: what the providers' own caches had of the input of the last hour's calls, of all workers, and what
that took off their cost; null where the price is unknown.

``POST /admin/api/caches/purge`` ``{"task", "project", "key", "entry", "older_than_s", "everything", "reason"}`` →
``{"exact", "semantic", "message"}``, how many answers were forgotten, at all workers. Everything that is given must
hold; ``key`` is the name or id of the API key whose call brought an answer, ``entry`` what ``x-understudy-cache-key``
said. It is audited.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Annotated, Any

from litestar import Request, get, post
from msgspec import Meta, Struct

from gateway.api.admin.desk import ACTOR, DeskHere, json_body, reason_in
from gateway.caching.entries import Purge
from gateway.caching.flights import Exact
from gateway.caching.lessons import Standing
from gateway.caching.semantic import Semantic
from gateway.config import Name
from gateway.control import Control
from gateway.errors import BadRequest
from gateway.protocol.counted import counted
from gateway.runtime import Runtime
from gateway.sharing.bus import ALONE, Bus
from gateway.storage.values import PromptTokens

_TOPIC = "purge semantic"
_HOUR_S = 3600.0


class Caches(Struct, frozen=True):
    exact: dict[str, int]
    semantic: dict[str, int]
    tasks: list[Standing]
    prompts: list[PromptTokens]


class PurgeBody(Struct, frozen=True, forbid_unknown_fields=True):
    reason: Annotated[str, Meta(max_length=500)]
    task: Name | None = None
    project: Name | None = None
    key: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    entry: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None = None
    older_than_s: Annotated[float, Meta(ge=0)] | None = None
    everything: bool = False


class Purged(Struct, frozen=True):
    exact: int
    semantic: int
    message: str


def cache_routes(
    semantic: Semantic, exact: Exact, control: Control, bus: Bus = ALONE, clock: Callable[[], float] = time.time
) -> list[Any]:
    """For ``admin_routes(more=...)``, which holds the door."""

    def here(project: str, task: str, key_ids: list[str], entry: str, before: float) -> int:
        exact.remember(Purge(project, task, tuple(key_ids), entry, min(before, clock())))
        return semantic.purge(Purge(project, task, tuple(key_ids), entry, before))

    bus.hear(_TOPIC, here)

    @get("/api/caches", include_in_schema=False)
    async def caches(desk: DeskHere) -> Caches:
        prompts = await desk.read(lambda: control.reader.prompt_tokens(since=desk.clock() - _HOUR_S))
        return Caches(exact.stats(), semantic.stats(), semantic.standings(), prompts)

    @post("/api/caches/purge", status_code=200, include_in_schema=False)
    async def purge(request: Request[Any, Any, Any]) -> Purged:
        body = await json_body(request, PurgeBody)
        reason, which = reason_in(body.reason), purge_of(body, control.runtime(), clock())
        control.audit(ACTOR, "cache purge", subject_of(body), reason)
        words = which.project, which.task, list(which.key_ids), which.entry, which.before
        common = await semantic.purge_commons(which)
        elsewhere = sum(int(one) for one in await bus.ask(_TOPIC, *words))
        gone = here(*words)
        kept = await exact.purge(which)
        likened = gone + elsewhere if common is None else max(common, gone)
        likened += await semantic.purge_searched(which)
        return Purged(kept, likened, f"Forgotten: {counted(kept, 'answer')}, {likened:,} of the semantic cache.")

    return [caches, purge]


def purge_of(body: PurgeBody, runtime: Runtime, now: float) -> Purge:
    """Which answers an admin means. Raises BadRequest for a task or key that does not exist, and for nothing given."""
    given = (body.task, body.project, body.key, body.entry, body.older_than_s)
    if all(one is None for one in given) != body.everything:
        raise BadRequest(
            "Say what to forget: task, project, key, entry or older_than_s; or everything: true, and nothing else.",
            param="everything",
        )
    if body.task is not None and body.task not in runtime.tasks:
        raise BadRequest(f"There is no task '{body.task}' in the policies.", param="task")
    before = math.inf if body.older_than_s is None else now - body.older_than_s
    keys = _key_ids(runtime, body.key) if body.key is not None else ()
    return Purge(body.project or "", body.task or "", keys, body.entry or "", before)


def _key_ids(runtime: Runtime, ref: str) -> tuple[str, ...]:
    found = [one for one, name in runtime.key_names.items() if ref in (one, name)]
    if not found:
        raise BadRequest("There is no such API key. Give its name or id (understudy keys list).", param="key")
    return tuple(found)


def subject_of(body: PurgeBody) -> str:
    """What is forgotten, for the audit."""
    names = ("task", "project", "key", "entry", "older_than_s")
    told = [f"{name}={value}" for name in names if (value := getattr(body, name)) is not None]
    return " ".join(told) or "everything"
