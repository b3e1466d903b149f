"""/v1/messages/batches: create, list, retrieve, cancel, results. The work is that of /v1/batches, on a file that the
requests of a batch are written to."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from litestar import Request, Response, get, post
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway import errors
from gateway.api.batches import Batches
from gateway.api.files.routes import Told, answer, file_of
from gateway.api.http import Authenticator, headers_of, read_body
from gateway.client_data import batch_lines, message_batches
from gateway.client_data.message_batches import ENDPOINT, PATH, over, own_id, shown, shown_id
from gateway.context import Principal
from gateway.live import Live
from gateway.protocol.body import decode_object
from gateway.storage.data_values import Batch
from gateway.storage.files import FileStore

_KEPT_S = 29 * 86_400
"""How long results can be had, and the requests that they answer."""
_PAGE, _LARGEST_PAGE, _AT_A_TIME = 20, 1000, 100
_LINES = 64
"""Results that are made ready in one go."""
Client = Request[Any, Any, Any]


class MessageBatches:
    """``batches`` has the rules that are one for both APIs."""

    def __init__(self, live: Live, store: FileStore, batches: Batches) -> None:
        self._live, self._store, self._batches = live, store, batches

    async def create(self, principal: Principal, body: bytes, headers: dict[str, str]) -> Batch:
        """Raises GatewayError."""
        lines = await asyncio.to_thread(_lines, body)
        upload = self._store.begin()
        try:
            upload.write(lines)
            file = file_of(
                upload, project=principal.project, key_id=principal.key_id, filename="message_batch.jsonl",
                purpose="batch", seconds=_KEPT_S,
            )  # fmt: skip
            file = await self._store.add(upload, file, self._live.runtime().config.files.project_bytes)
        finally:
            upload.close()
        asked = {
            "endpoint": ENDPOINT, "completion_window": "24h", "input_file_id": file.id,
            "output_expires_after": {"anchor": "created_at", "seconds": _KEPT_S},
        }  # fmt: skip
        try:
            return await self._batches.create(principal, asked, headers)
        except BaseException:
            await self._store.delete(file)
            raise

    async def one(self, project: str, name: str) -> Batch:
        """Raises NotFound, for what is no batch of messages too."""
        try:
            batch = await self._batches.one(project, own_id(name))
        except errors.NotFound:
            raise _no_batch(name) from None
        if batch.endpoint != ENDPOINT:
            raise _no_batch(name)
        return batch

    async def cancel(self, batch: Batch) -> dict[str, Any]:
        """One that has ended stays as it is, as at Anthropic. Raises GatewayError."""
        if over(batch):
            return await self.told(batch)
        return shown(await self._batches.cancel(batch.project, batch.id))

    async def told(self, batch: Batch) -> dict[str, Any]:
        expired = await asyncio.to_thread(self._expired, batch) if batch.status == "expired" else 0
        return shown(batch, expired)

    def _expired(self, batch: Batch) -> int:
        path = self._path(batch.error_file_id)
        return sum(message_batches.is_expired(text) for _, text in batch_lines.numbered(path)) if path else 0

    async def page(self, project: str, query: dict[str, str]) -> dict[str, Any]:
        """The newest first; behind or before the batch that ``query`` names. Raises BadRequest."""
        size = query.get("limit") or str(_PAGE)
        if not (size.isascii() and size.isdigit()) or not 1 <= int(size[:6]) <= _LARGEST_PAGE:
            raise errors.BadRequest(f"limit: must be a number between 1 and {_LARGEST_PAGE}.", param="limit")
        most, found, before = int(size), list[Batch](), query.get("before_id")
        if before:
            end = await self._named(project, before, "before_id")
            newer = [one async for one in self._all(project, None, until=end.id)]
            found, more = newer[-most:], len(newer) > most
        else:
            after = await self._named(project, query["after_id"], "after_id") if query.get("after_id") else None
            async for one in self._all(project, after):
                found.append(one)
                if len(found) > most:
                    break
            found, more = found[:most], len(found) > most
        data = [await self.told(one) for one in found]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return {"data": data, "has_more": more, "first_id": first, "last_id": last}

    async def _named(self, project: str, name: str, param: str) -> Batch:
        try:
            return await self.one(project, name)
        except errors.NotFound as problem:
            raise errors.BadRequest(f"{param}: {problem.message}", param=param) from None

    async def _all(self, project: str, after: Batch | None, until: str = "") -> AsyncIterator[Batch]:
        """Those of messages, the newest first, behind ``after`` and up to the one with the id ``until``."""
        while True:
            found = await asyncio.to_thread(
                self._live.reader.batches, project, after=after, limit=_AT_A_TIME
            )
            for one in found:
                if one.id == until:
                    return
                if one.endpoint == ENDPOINT:
                    yield one
            if len(found) < _AT_A_TIME:
                return
            after = found[-1]

    async def results(self, batch: Batch) -> ASGIApp:
        """Raises NotFound for a batch that is still at work, and for results that have expired."""
        if not over(batch):
            raise errors.NotFound(f"The batch '{shown_id(batch.id)}' has no results yet. Ask again when it has ended.")
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is not None and await self._store.get(batch.project, file_id) is None:
                raise errors.NotFound(f"The results of '{shown_id(batch.id)}' are no longer kept.")
        return _Results(self._results(batch))

    def _results(self, batch: Batch) -> Iterator[bytes]:
        """Line by line. Blocking."""
        done: set[str] = set()
        for path in (self._path(batch.output_file_id), self._path(batch.error_file_id)):
            for _, text in batch_lines.numbered(path) if path is not None else ():
                done.add(message_batches.named_in(text))
                yield message_batches.result_of(text)
        source = self._path(batch.input_file_id) if batch.status == "cancelled" else None
        if source is not None:
            yield from message_batches.cancelled((text for _, text in batch_lines.numbered(source)), done)

    def _path(self, file_id: str | None) -> Path | None:
        path = self._store.path(file_id) if file_id is not None else None
        return path if path is not None and path.exists() else None


class _Results:
    """Results as JSON lines, as an ASGI app: read from disk while they leave."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = b"req_" + secrets.token_hex(16).encode()
        headers = [
            (b"content-type", b"application/x-jsonl"), (b"x-content-type-options", b"nosniff"),
            (b"x-request-id", request_id), (b"request-id", request_id),
        ]  # fmt: skip
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while piece := await asyncio.to_thread(lambda: b"".join(islice(self._lines, _LINES))):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _lines(body: bytes) -> bytes:
    return message_batches.lines_of(decode_object(body), batch_lines.MOST_LINES)


def _no_batch(name: str) -> errors.NotFound:
    return errors.NotFound(f"There is no message batch '{name[:80]}'.")


def message_batch_routes(live: Live, batches: MessageBatches, who: Authenticator) -> list[Any]:
    async def named(request: Client) -> Batch:
        principal = who(headers_of(request.scope))
        return await batches.one(principal.project, str(request.path_params["batch_id"]))

    @post(PATH, status_code=200)
    async def create_message_batch(request: Client) -> Response[bytes]:
        headers, server = headers_of(request.scope), live.runtime().config.server
        principal = who(headers)
        body = await read_body(
            request.scope, request.receive, limit=server.max_body_bytes, idle=server.body_timeout_s
        )
        with Told():
            return answer(shown(await batches.create(principal, body, headers)))

    @get(PATH)
    async def list_message_batches(request: Client) -> Response[bytes]:
        project = who(headers_of(request.scope)).project
        with Told():
            return answer(await batches.page(project, dict(request.query_params.items())))

    @get(PATH + "/{batch_id:str}")
    async def retrieve_message_batch(request: Client) -> Response[bytes]:
        with Told():
            return answer(await batches.told(await named(request)))

    @post(PATH + "/{batch_id:str}/cancel", status_code=200)
    async def cancel_message_batch(request: Client) -> Response[bytes]:
        with Told():
            batch = await named(request)
            return answer(await batches.cancel(batch))

    @get(PATH + "/{batch_id:str}/results")
    async def message_batch_results(request: Client) -> ASGIApp:
        with Told():
            return await batches.results(await named(request))

    return [
        create_message_batch, list_message_batches, retrieve_message_batch, cancel_message_batch,
        message_batch_results,
    ]  # fmt: skip
