"""/v1/evals, their runs and output items: unpacking only. All of it needs the scope ``train``, as graders do; a run
that asks a model or reads stored completions needs ``inference`` too, one that reads a file ``data``."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from litestar import Request, Response, delete, get, post
from msgspec.structs import replace

from gateway import errors
from gateway.api.evals.runner import EvalRunner
from gateway.api.evals.shapes import (
    Custom,
    Eval,
    EvalBody,
    EvalChanges,
    EvalRun,
    FileId,
    ResponseRows,
    RunBody,
    Sampled,
    StoredRows,
    asks_models,
    criteria_of,
    plain,
    shown_eval,
    shown_run,
)
from gateway.api.evals.store import EvalStore
from gateway.api.files.routes import Told, answer
from gateway.api.http import Authenticator, demand, read_body
from gateway.api.paging import Fits, paged
from gateway.client_data.batches import owner_of
from gateway.context import Principal
from gateway.live import Live
from gateway.protocol.body import decode_object, typed
from gateway.schemas.compile import compiled
from gateway.schemas.problems import SchemaRefused

MOST_EVALS, MOST_OPEN = 1000, 10
_FINAL = ("completed", "failed", "canceled")
Client = Request[Any, Any, Any]
Rows = Sequence[dict[str, Any]]


class Evals:
    """Everything is the key's project's."""

    def __init__(self, live: Live, store: EvalStore, runner: EvalRunner) -> None:
        self._live, self._store, self._runner = live, store, runner

    def create(self, principal: Principal, data: dict[str, Any]) -> dict[str, Any]:
        body = typed(data, EvalBody)
        self._criteria(body.testing_criteria)
        if isinstance(body.data_source_config, Custom):
            _hold(body.data_source_config.item_schema)
        if len(self._store.evals(principal.project)) >= MOST_EVALS:
            raise errors.RateLimited(f"The project has {MOST_EVALS} evals. Delete some.", code="eval_limit_exceeded")
        made = Eval(
            id=f"eval_{secrets.token_hex(16)}", project=principal.project, key_id=principal.key_id,
            created_at=time.time(), name=body.name or "", config=plain(body.data_source_config),
            criteria=body.testing_criteria, metadata=body.metadata or {},
        )  # fmt: skip
        self._store.put_eval(made)
        return shown_eval(made)

    def one(self, principal: Principal, eval_id: str) -> Eval:
        """Raises NotFound, for another project's eval too."""
        try:
            return self._store.eval(principal.project, eval_id)
        except KeyError:
            raise errors.NotFound(f"No eval found with id '{eval_id[:80]}'.", param="eval_id") from None

    def update(self, principal: Principal, eval_id: str, data: dict[str, Any]) -> dict[str, Any]:
        found, body = self.one(principal, eval_id), typed(data, EvalChanges)
        changed = replace(
            found, name=found.name if body.name is None else body.name,
            metadata=found.metadata if body.metadata is None else body.metadata,
        )  # fmt: skip
        try:
            self._store.change_eval(changed)
        except KeyError:
            raise errors.NotFound(f"No eval found with id '{eval_id[:80]}'.", param="eval_id") from None
        return shown_eval(changed)

    def delete(self, principal: Principal, eval_id: str) -> dict[str, Any]:
        self.one(principal, eval_id)
        self._store.delete(principal.project, eval_id)
        return {"object": "eval.deleted", "deleted": True, "eval_id": eval_id}

    def page(self, principal: Principal, query: dict[str, str]) -> dict[str, Any]:
        found = [(one.created_at, shown_eval(one)) for one in self._store.evals(principal.project)]
        return paged(found, query, lambda name: self._store.stood(principal.project, name))

    # ------------------------------------------------------------ runs
    def start(self, principal: Principal, eval_id: str, data: dict[str, Any]) -> dict[str, Any]:
        found = self.one(principal, eval_id)
        body = typed(data, RunBody)
        model = body.data_source.model if isinstance(body.data_source, Sampled) else None
        rows = body.data_source.source
        if model or asks_models(self._criteria(found.criteria)):
            demand(principal, "inference", "This run asks a model")
        if isinstance(rows, StoredRows | ResponseRows):
            demand(principal, "inference", "This run reads stored completions or responses")
        elif isinstance(rows, FileId):
            demand(principal, "data", "This run reads a file")
        if isinstance(rows, StoredRows | ResponseRows) and found.config["type"] == "custom":
            message = "What was stored is rows of evals whose data_source_config is 'logs' or 'stored_completions'."
            raise errors.BadRequest(message, param="data_source.source.type")
        if owner_of(self._live.runtime(), principal.key_id, time.time()) is None:
            raise errors.Forbidden("This key cannot order work in the background.")
        runs = self._store.runs(principal.project, eval_id)
        if sum(one.status not in _FINAL for one in runs) >= MOST_OPEN:
            raise errors.RateLimited(f"The eval has {MOST_OPEN} runs at work.", code="eval_limit_exceeded")
        made = EvalRun(
            id=f"evalrun_{secrets.token_hex(16)}", eval_id=eval_id, project=principal.project, key_id=principal.key_id,
            created_at=time.time(), name=body.name or "", model=model or "", data_source=data["data_source"],
            metadata=body.metadata or {},
        )  # fmt: skip
        try:
            self._store.add_run(made)
        except KeyError:
            raise errors.NotFound(f"No eval found with id '{eval_id[:80]}'.", param="eval_id") from None
        self._runner.wake()
        return shown_run(made)

    def run(self, principal: Principal, eval_id: str, run_id: str) -> EvalRun:
        try:
            return self._store.run(principal.project, eval_id, run_id)
        except KeyError:
            raise errors.NotFound(f"No eval run found with id '{run_id[:80]}'.", param="run_id") from None

    def runs(self, principal: Principal, eval_id: str, query: dict[str, str]) -> dict[str, Any]:
        self.one(principal, eval_id)
        wanted = query.get("status")
        found = [(one.created_at, shown_run(one)) for one in self._store.runs(principal.project, eval_id)]
        fits: Fits = lambda one: wanted in (None, one["status"])  # noqa: E731
        return paged(found, query, lambda name: self._store.stood(principal.project, name), fits)

    def cancel(self, principal: Principal, eval_id: str, run_id: str) -> dict[str, Any]:
        found = self.run(principal, eval_id, run_id)
        if found.status in _FINAL:
            raise errors.Conflict(f"Cannot cancel a run with status '{found.status}'.")
        self._store.cancel(found)
        self._runner.wake()
        return shown_run(self.run(principal, eval_id, run_id))

    def delete_run(self, principal: Principal, eval_id: str, run_id: str) -> dict[str, Any]:
        self.run(principal, eval_id, run_id)
        self._store.delete(principal.project, eval_id, run_id)
        return {"object": "eval.run.deleted", "deleted": True, "run_id": run_id}

    # ------------------------------------------------------------ output items
    def items(self, principal: Principal, eval_id: str, run_id: str, query: dict[str, str]) -> dict[str, Any]:
        self.run(principal, eval_id, run_id)
        wanted = query.get("status")
        found = self._store.items(principal.project, eval_id, run_id)
        return paged([(one.number, one.shown) for one in found if wanted in (None, one.status)], query)

    def item(self, principal: Principal, eval_id: str, run_id: str, item_id: str) -> dict[str, Any]:
        self.run(principal, eval_id, run_id)
        for one in self._store.items(principal.project, eval_id, run_id):
            if one.shown["id"] == item_id:
                return one.shown
        raise errors.NotFound(f"No output item found with id '{item_id[:80]}'.", param="output_item_id")

    def _criteria(self, raw: Rows) -> list[Any]:
        encoder = self._live.runtime().config.fine_tuning.encoder
        return criteria_of(raw, encoder=encoder is not None)


def _hold(schema: dict[str, Any]) -> None:
    try:
        compiled(schema)
    except SchemaRefused as problem:
        message = f"'item_schema' cannot be used: {problem.path} {problem.message}."
        raise errors.BadRequest(message, param="data_source_config.item_schema") from None


def eval_routes(evals: Evals, live: Live, who: Authenticator) -> list[Any]:
    async def done(
        request: Client, work: Callable[..., Any], *, body: bool = False, query: bool = False
    ) -> Response[bytes]:
        principal = who({name.lower(): value for name, value in request.headers.items()})
        path = request.path_params
        names = [str(path[name]) for name in ("eval_id", "run_id", "item_id") if name in path]
        extra: list[Any] = []
        if body:
            most = live.runtime().config.server.max_body_bytes
            extra = [decode_object(await read_body(request.scope, request.receive, limit=most, idle=30.0))]
        elif query:
            extra = [dict(request.query_params.items())]
        with Told():
            return answer(await asyncio.to_thread(work, principal, *names, *extra))

    @post("/v1/evals", status_code=201)
    async def create_eval(request: Client) -> Response[bytes]:
        return await done(request, evals.create, body=True)

    @get("/v1/evals")
    async def list_evals(request: Client) -> Response[bytes]:
        return await done(request, evals.page, query=True)

    @get("/v1/evals/{eval_id:str}")
    async def retrieve_eval(request: Client) -> Response[bytes]:
        return await done(request, lambda principal, name: shown_eval(evals.one(principal, name)))

    @post("/v1/evals/{eval_id:str}", status_code=200)
    async def update_eval(request: Client) -> Response[bytes]:
        return await done(request, evals.update, body=True)

    @delete("/v1/evals/{eval_id:str}", status_code=200)
    async def delete_eval(request: Client) -> Response[bytes]:
        return await done(request, evals.delete)

    return [create_eval, list_evals, retrieve_eval, update_eval, delete_eval, *_run_routes(evals, done)]


def _run_routes(evals: Evals, done: Callable[..., Any]) -> list[Any]:
    runs, one = "/v1/evals/{eval_id:str}/runs", "/v1/evals/{eval_id:str}/runs/{run_id:str}"

    @post(runs, status_code=201)
    async def create_run(request: Client) -> Response[bytes]:
        return await done(request, evals.start, body=True)  # type: ignore[no-any-return]

    @get(runs)
    async def list_runs(request: Client) -> Response[bytes]:
        return await done(request, evals.runs, query=True)  # type: ignore[no-any-return]

    @get(one)
    async def retrieve_run(request: Client) -> Response[bytes]:
        def shown(*names: Any) -> dict[str, Any]:
            return shown_run(evals.run(*names))

        return await done(request, shown)  # type: ignore[no-any-return]

    @post([one + "/cancel", one], status_code=200)  # the SDK's way, and the one in OpenAI's reference
    async def cancel_run(request: Client) -> Response[bytes]:
        return await done(request, evals.cancel)  # type: ignore[no-any-return]

    @delete(one, status_code=200)
    async def delete_run(request: Client) -> Response[bytes]:
        return await done(request, evals.delete_run)  # type: ignore[no-any-return]

    @get(one + "/output_items")
    async def list_output_items(request: Client) -> Response[bytes]:
        return await done(request, evals.items, query=True)  # type: ignore[no-any-return]

    @get(one + "/output_items/{item_id:str}")
    async def retrieve_output_item(request: Client) -> Response[bytes]:
        return await done(request, evals.item)  # type: ignore[no-any-return]

    return [create_run, list_runs, retrieve_run, cancel_run, delete_run, list_output_items, retrieve_output_item]
