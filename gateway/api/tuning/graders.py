"""POST /v1/fine_tuning/alpha/graders/run and /validate: unpacking only. How a grader scores is in
``optimizer.graders``. Both need the scope ``train``; a grader that asks a model needs ``inference`` too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Meta, Struct

from gateway import errors
from gateway.api.http import Authenticator, headers_of, read_body, send_whole
from gateway.api.surface import Door
from gateway.api.tuning.grading import Grading
from gateway.api.tuning.orders import check_enabled
from gateway.client_data.batches import Once
from gateway.context import Principal
from gateway.live import Live
from gateway.protocol.body import decode_object, typed
from optimizer.graders import (
    LONGEST,
    Grader,
    LabelModel,
    Refused,
    ScoreModel,
    doubts,
    refuse,
    report,
    scene,
    singles,
)

_LONGEST_BODY = 1024 * 1024
_COMPARING = 2
"""Comparisons of texts in this process at the same time."""
Work = Callable[[Principal, dict[str, Any], str], Awaitable[dict[str, Any]]]


class _Validation(Struct, frozen=True, forbid_unknown_fields=True):
    grader: Grader


class _Trial(Struct, frozen=True, forbid_unknown_fields=True):
    grader: Grader
    model_sample: Annotated[str, Meta(max_length=LONGEST)]
    item: Any = None


class Graders:
    """``ask``: one chat completion through the pipeline."""

    def __init__(self, live: Live, ask: Once) -> None:
        self._live, self._ask = live, ask
        self._comparing = asyncio.Semaphore(_COMPARING)

    async def validate(self, principal: Principal, data: dict[str, Any], request_id: str) -> dict[str, Any]:
        """Raises BadRequest for a grader that cannot be run here, or would never give a score."""
        grader = typed(_by_name(data), _Validation).grader
        self._hold(grader)
        for param, problem in doubts(grader):
            raise errors.BadRequest(problem, param=param, code="invalid_grader")
        return {"grader": data["grader"]}

    async def run(self, principal: Principal, data: dict[str, Any], request_id: str) -> dict[str, Any]:
        """Raises BadRequest, Forbidden, and whatever a call of this key raises that is the client's to mend."""
        trial = typed(_by_name(data), _Trial)
        self._hold(trial.grader)
        if "inference" not in principal.scopes and any(
            isinstance(one, ScoreModel | LabelModel) for _, one in singles(trial.grader)
        ):
            raise errors.Forbidden(
                "This grader asks a model, and this API key lacks the scope 'inference'. Ask for a key that has it."
            )
        began, encoder = time.monotonic(), self._live.runtime().config.fine_tuning.encoder
        sample = scene(trial.item, trial.model_sample)
        grading = Grading(sample, principal, self._ask, request_id, self._comparing, encoder)
        whole, parts = await grading.of(trial.grader)
        return report(trial.grader, whole, parts, round(time.monotonic() - began, 6))

    def _hold(self, grader: Grader) -> None:
        config = self._live.runtime().config
        check_enabled(config)
        try:
            refuse(grader, encoder=config.fine_tuning.encoder is not None)
        except Refused as problem:
            code = "invalid_value" if problem.supported else "unsupported_value"
            raise errors.BadRequest(problem.message, param=problem.param, code=code) from None


def _by_name(data: dict[str, Any]) -> dict[str, Any]:
    """The SDK's types say that a multi-grader holds one grader, its guide that it holds several by name: one alone is
    taken under the name it has."""
    grader = data.get("grader")
    inside = grader.get("graders") if isinstance(grader, dict) else None
    if (
        not isinstance(grader, dict)
        or not isinstance(inside, dict)
        or not isinstance(inside.get("type"), str)
    ):
        return data
    return {**data, "grader": {**grader, "graders": {str(inside.get("name", "grader")): inside}}}


class _Endpoint:
    """An ASGI app: a client that leaves frees the models it made us ask."""

    def __init__(self, live: Live, who: Authenticator, work: Work) -> None:
        self._live, self._who, self._work = live, who, work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def work(door: Door) -> None:
            principal = self._who(headers_of(scope))
            server = self._live.runtime().config.server
            most = min(_LONGEST_BODY, server.max_body_bytes)
            body = await read_body(scope, receive, limit=most, idle=server.body_timeout_s)
            door.watch()
            told = await self._work(principal, decode_object(body), door.request_id)
            await send_whole(send, msgspec.json.encode(told), door.request_id, {})

        await Door(receive, send).through(work)


def grader_routes(live: Live, ask: Once, who: Authenticator) -> list[Any]:
    graders = Graders(live, ask)
    running, validating = _Endpoint(live, who, graders.run), _Endpoint(live, who, graders.validate)

    @post("/v1/fine_tuning/alpha/graders/run", status_code=200)
    async def run_grader(request: Request[Any, Any, Any]) -> ASGIApp:
        return running

    @post("/v1/fine_tuning/alpha/graders/validate", status_code=200)
    async def validate_grader(request: Request[Any, Any, Any]) -> ASGIApp:
        return validating

    return [run_grader, validate_grader]
