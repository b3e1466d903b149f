"""/v1/batches: create, list, retrieve, cancel. The work is done by ``gateway.client_data.batches``."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from litestar import Request, Response, get, post

from gateway import errors
from gateway.api.files.routes import Told, answer, lifetime, listed, number
from gateway.api.http import Authenticator, read_body
from gateway.api.stored.routes import metadata_in
from gateway.client_data.batch_lines import under_v1
from gateway.client_data.batches import BatchRunner
from gateway.context import Principal
from gateway.live import Live
from gateway.protocol.body import decode_object
from gateway.stages.assign import FORCE, check_force
from gateway.storage.commands import Refused
from gateway.storage.data_values import AddBatch, Batch, BatchUsage, CancelBatch
from gateway.storage.files import FileStore
from gateway.storage.protocols import Writer

_WINDOW_S = 24 * 3600.0
_LONGEST_BODY = 64 * 1024
Client = Request[Any, Any, Any]


class Batches:
    """``endpoints``: the paths a batch may be for."""

    def __init__(self, live: Live, store: FileStore, writer: Writer, runner: BatchRunner) -> None:
        self._live, self._store, self._writer, self._runner = live, store, writer, runner
        self._endpoints: Collection[str] = runner.endpoints.keys()

    async def create(self, principal: Principal, data: dict[str, Any], headers: Mapping[str, str]) -> Batch:
        """``headers``: the request's. Raises BadRequest, or Unavailable when batches are switched off."""
        settings = self._live.runtime().config.batches
        if not settings.enabled:
            raise errors.Unavailable(
                "Batches are switched off here. The gateway's operator can set 'batches: {enabled: true}'.",
                code="batches_disabled",
                headers={"x-should-retry": "false"},
            )
        endpoint, now = under_v1(data.get("endpoint")), time.time()
        if not isinstance(endpoint, str) or endpoint not in self._endpoints:
            names = ", ".join(f"'{one}'" for one in sorted(self._endpoints))
            raise errors.BadRequest(
                f"'endpoint' must be one of {names}.", param="endpoint", code="invalid_value"
            )
        if data.get("completion_window") != "24h":
            raise errors.BadRequest("'completion_window' must be '24h'.", param="completion_window")
        expires = data.get("output_expires_after") or {}
        if not isinstance(expires, dict):
            raise errors.BadRequest("'output_expires_after' must be an object.", param="output_expires_after")
        metadata = forcing(headers, metadata_in_batch(data.get("metadata")))
        batch = Batch(
            id="batch_" + secrets.token_hex(16), project=principal.project, key_id=principal.key_id,
            endpoint=str(endpoint), completion_window="24h", input_file_id=await self._input(principal, data),
            created_at=now, expires_at=now + _WINDOW_S, metadata=metadata,
            usage=BatchUsage(),
            output_expires_s=lifetime(expires.get("anchor"), expires.get("seconds"), "output_expires_after"),
        )  # fmt: skip
        command = AddBatch(batch, settings.open_per_project)
        try:
            with_row: Batch = await asyncio.to_thread(self._writer.execute, command)
        except Refused as problem:
            raise errors.RateLimited(str(problem), code="batch_limit_exceeded") from None
        self._runner.wake()
        return with_row

    async def _input(self, principal: Principal, data: dict[str, Any]) -> str:
        file_id = data.get("input_file_id")
        file = await self._store.get(principal.project, file_id) if isinstance(file_id, str) else None
        if file is None:
            raise errors.BadRequest(
                "'input_file_id' must name a file of this project that was uploaded with the purpose 'batch'.",
                param="input_file_id",
                code="file_not_found",
            )
        if file.purpose != "batch":
            raise errors.BadRequest(
                f"The file was uploaded with the purpose '{file.purpose}'. Upload it with 'batch'.",
                param="input_file_id",
                code="invalid_purpose",
            )
        return file.id

    async def one(self, project: str, batch_id: str) -> Batch:
        """Raises NotFound, for another project's batch too."""
        batch = await asyncio.to_thread(self._live.reader.batch, project, batch_id)
        if batch is None:
            raise _no_batch(batch_id)
        return batch

    async def page(self, project: str, query: dict[str, str]) -> dict[str, Any]:
        limit = number(query.get("limit", "20"), "limit", 1, 100)
        after = None
        if query.get("after"):
            with errors.at("after"):
                after = await self.one(project, query["after"])
        found = await asyncio.to_thread(
            lambda: self._live.reader.batches(project, after=after, limit=limit + 1)
        )
        return listed([shown(batch) for batch in found[:limit]], has_more=len(found) > limit)

    async def cancel(self, project: str, batch_id: str) -> Batch:
        command = CancelBatch(project, batch_id, time.time())
        try:
            batch: Batch | None = await asyncio.to_thread(self._writer.execute, command)
        except Refused as problem:
            raise errors.Conflict(str(problem)) from None
        if batch is None:
            raise _no_batch(batch_id)
        self._runner.wake()
        return batch


def metadata_in_batch(value: Any) -> dict[str, str] | None:
    return metadata_in(msgspec.json.encode({"metadata": value})) if value is not None else None


def forcing(headers: Mapping[str, str], metadata: dict[str, str] | None) -> dict[str, str] | None:
    """``metadata`` with what the header of the request says for every line. Raises BadRequest."""
    for said in (headers, metadata or {}):
        check_force(said)
    return {**(metadata or {}), FORCE: headers[FORCE]} if FORCE in headers else metadata


def _no_batch(batch_id: str) -> errors.NotFound:
    return errors.NotFound(f"No batch found with id '{batch_id[:80]}'.", param="batch_id")


def shown(batch: Batch) -> dict[str, Any]:
    def at(moment: float | None) -> int | None:
        return int(moment) if moment is not None else None

    found = [
        {"code": one.code, "message": one.message, "line": one.line, "param": one.param}
        for one in batch.errors
    ]
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": {"object": "list", "data": found} if found else None,
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": int(batch.created_at),
        "in_progress_at": at(batch.in_progress_at),
        "expires_at": int(batch.expires_at),
        "finalizing_at": at(batch.finalizing_at),
        "completed_at": at(batch.completed_at),
        "failed_at": at(batch.failed_at),
        "expired_at": at(batch.expired_at),
        "cancelling_at": at(batch.cancelling_at),
        "cancelled_at": at(batch.cancelled_at),
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": batch.metadata,
        "model": batch.model,
        "usage": _used(batch.usage) if batch.usage is not None else None,
    }


def _used(usage: BatchUsage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


def batch_routes(batches: Batches, who: Authenticator) -> list[Any]:
    def asking(request: Client) -> Principal:
        return who({name.lower(): value for name, value in request.headers.items()})

    @post("/v1/batches", status_code=200)
    async def create_batch(request: Client) -> Response[bytes]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        principal = who(headers)
        body = await read_body(request.scope, request.receive, limit=_LONGEST_BODY, idle=30.0)
        with Told():
            return answer(shown(await batches.create(principal, decode_object(body), headers)))

    @get("/v1/batches")
    async def list_batches(request: Client) -> Response[bytes]:
        with Told():
            return answer(await batches.page(asking(request).project, dict(request.query_params.items())))

    @get("/v1/batches/{batch_id:str}")
    async def retrieve_batch(request: Client) -> Response[bytes]:
        with Told():
            return answer(
                shown(await batches.one(asking(request).project, str(request.path_params["batch_id"])))
            )

    @post("/v1/batches/{batch_id:str}/cancel", status_code=200)
    async def cancel_batch(request: Client) -> Response[bytes]:
        with Told():
            return answer(
                shown(await batches.cancel(asking(request).project, str(request.path_params["batch_id"])))
            )

    return [create_batch, list_batches, retrieve_batch, cancel_batch]
