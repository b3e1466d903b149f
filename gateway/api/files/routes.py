"""/v1/files: upload, list, retrieve, content, delete. Everything is scoped to the key's project."""

from __future__ import annotations

import asyncio
import errno
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import msgspec
import multipart
from litestar import Request, Response, delete, get, post
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway import errors
from gateway.api.files.dataset_content import dataset_content
from gateway.api.files.multipart import read_form, too_large
from gateway.api.http import Authenticator, ClientGone, headers_of, heard, send_error, send_whole
from gateway.config import Files
from gateway.context import Principal
from gateway.live import Live
from gateway.protocol.fine_tuning import captured
from gateway.storage.away import database_errors
from gateway.storage.commands import Refused, WriterAway
from gateway.storage.data_values import StoredFile
from gateway.storage.files import FileStore, Upload, read_pieces

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_SHORTEST_S, _LONGEST_S = 3600, 2_592_000
FORM_ROOM = 64 * 1024  # what a form may take beside its file
Client = Request[Any, Any, Any]


def file_routes(live: Live, store: FileStore, who: Authenticator) -> list[Any]:
    """The five handlers; ``who`` demands the scope ``data``."""
    upload = _Uploads(live, store, who)

    async def named(request: Client) -> StoredFile:
        principal = who({name.lower(): value for name, value in request.headers.items()})
        return await found(store, principal.project, str(request.path_params["file_id"]))

    @post("/v1/files", status_code=200)
    async def create_file(request: Client) -> ASGIApp:
        return upload

    @get("/v1/files")
    async def list_files(request: Client) -> Response[bytes]:
        principal = who({name.lower(): value for name, value in request.headers.items()})
        return answer(await page(live, store, principal.project, dict(request.query_params.items())))

    @get("/v1/files/{file_id:str}")
    async def retrieve_file(request: Client) -> Response[bytes]:
        return answer(shown(await named(request)))

    @get("/v1/files/{file_id:str}/content")
    async def retrieve_file_content(request: Client) -> ASGIApp:
        source = captured(str(request.path_params["file_id"]))
        if source is None or source[1] is None:
            return _Content(store, await named(request))
        principal = who({name.lower(): value for name, value in request.headers.items()})
        with Told():
            return await dataset_content(live.reader, store.datasets, principal.project, source[0], source[1])

    @delete("/v1/files/{file_id:str}", status_code=200)
    async def delete_file(request: Client) -> Response[bytes]:
        file = await named(request)
        with Told():
            await store.delete(file)
        return answer({"id": file.id, "object": "file", "deleted": True})

    return [create_file, list_files, retrieve_file, retrieve_file_content, delete_file]


def answer(value: Any) -> Response[bytes]:
    return Response(msgspec.json.encode(value), media_type="application/json")


class Told:
    """Storage's failures as answers: what is full, what is away."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        if isinstance(problem, Refused):
            raise errors.TooLarge(str(problem), code="quota_exceeded") from problem
        if isinstance(problem, database_errors(WriterAway)):
            raise errors.Unavailable(
                "The database cannot be reached at the moment. Try again shortly.",
                headers={"retry-after": "1"},
                detail=repr(problem),
            ) from problem
        if isinstance(problem, OSError):
            full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
            raise errors.Unavailable(
                "The gateway's disk is full; its operator has to make room."
                if full
                else "The gateway cannot write to its disk; its operator has to look at it.",
                code="disk_full" if full else "storage_failed",
                headers={"x-should-retry": "false"},
                detail=repr(problem),
            ) from problem


async def found(store: FileStore, project: str, file_id: str) -> StoredFile:
    """Raises NotFound, for another project's file too."""
    with Told():
        file = await store.get(project, file_id)
    if file is None:
        raise errors.NotFound(f"No such File object: {file_id[:80]}", param="id")
    return file


def shown(file: StoredFile) -> dict[str, Any]:
    return {
        "object": "file",
        "id": file.id,
        "purpose": file.purpose,
        "filename": file.filename,
        "bytes": file.bytes,
        "created_at": int(file.created_at),
        "expires_at": int(file.expires_at) if file.expires_at is not None else None,
        "status": "processed",
        "status_details": None,
    }


async def page(live: Live, store: FileStore, project: str, query: Mapping[str, str]) -> dict[str, Any]:
    limit, order = number(query.get("limit", "10000"), "limit", 1, 10_000), query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise errors.BadRequest("'order' must be 'asc' or 'desc'.", param="order")
    after = None
    if query.get("after"):
        with Told():
            after = await store.place(project, query["after"])
        if after is None:
            raise errors.NotFound(f"No such File object: {query['after'][:80]}", param="after")
    with Told():
        files = await asyncio.to_thread(
            lambda: live.reader.files(
                project,
                purpose=query.get("purpose") or None,
                after=after,
                limit=limit + 1,
                descending=order == "desc",
            )
        )
    return listed([shown(file) for file in files[:limit]], has_more=len(files) > limit)


def listed(data: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}


def number(text: str, name: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or not least <= int(text[:12]) <= most:
        raise errors.BadRequest(f"'{name}' must be a whole number from {least} to {most}.", param=name)
    return int(text)


class OneFile:
    """The sink of a form with one file in it, in ``field``. ``limit`` counts the file's bytes."""

    def __init__(self, begin: Callable[[], Upload], limit: int, field: str = "file") -> None:
        self._begin, self._limit, self._field = begin, limit, field
        self.upload: Upload | None = None
        self.filename = ""

    def begin(self, part: multipart.MultipartSegment) -> None:
        if part.name != self._field or self.upload is not None:
            field = self._field
            raise errors.BadRequest(f"Send exactly one file, in the field '{field}'.", param=field)
        self.upload, self.filename = self._begin(), plain_name(part.filename or "")

    def write(self, piece: bytes) -> None:
        assert self.upload is not None
        self.upload.write(piece)
        if self.upload.size > self._limit:
            raise too_large(self._limit)

    async def flush(self) -> None:
        if self.upload is not None:
            await self.upload.flush()

    def close(self) -> None:
        if self.upload is not None:
            self.upload.close()


class FileForm(ABC):
    """A form with a file in it, as an ASGI app: its bytes go to disk while they arrive."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = "req_" + secrets.token_hex(16)
        with ExitStack() as until_told:
            try:
                async with heard(receive) as arriving:
                    told = await self.take(headers_of(scope), arriving, until_told)
                await send_whole(send, msgspec.json.encode(told), request_id, {})
            except errors.GatewayError as error:
                await send_error(send, error, request_id, {"connection": "close"})
            except ClientGone:
                return

    @abstractmethod
    async def take(self, headers: dict[str, str], arriving: Receive, until_told: ExitStack) -> dict[str, Any]:
        """What is told of the file that was taken; ``until_told`` closes its sink. Raises GatewayError, ClientGone."""


def file_of(
    upload: Upload, *, project: str, key_id: str, filename: str, purpose: str, seconds: int | None
) -> StoredFile:
    """The file that ``upload`` becomes now. ``seconds``: its lifetime."""
    now = time.time()
    return StoredFile(
        id=upload.id, project=project, key_id=key_id, filename=filename, purpose=purpose, bytes=upload.size,
        created_at=now, expires_at=now + seconds if seconds is not None else None,
    )  # fmt: skip


def check_purpose(purpose: Any) -> None:
    """Raises BadRequest."""
    if purpose not in PURPOSES:
        names = ", ".join(f"'{one}'" for one in PURPOSES)
        raise errors.BadRequest(f"'purpose' must be one of {names}.", param="purpose", code="invalid_value")


def plain_name(name: str) -> str:
    """A file name for people: no folders, nothing invisible, at most 255 characters."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(letter for letter in last if letter.isprintable()).strip()[:255]
    return kept if kept.strip(".") else "file"


class _Uploads(FileForm):
    """POST /v1/files."""

    def __init__(self, live: Live, store: FileStore, who: Authenticator) -> None:
        self._live, self._store, self._who = live, store, who

    async def take(self, headers: dict[str, str], arriving: Receive, until_told: ExitStack) -> dict[str, Any]:
        principal = self._who(headers)
        config = self._live.runtime().config
        with Told():
            sink = await self._sink(principal, config.files)
            until_told.callback(sink.close)
            fields = await read_form(
                headers, arriving, sink,
                limit=config.files.max_bytes + FORM_ROOM, idle=config.server.body_timeout_s,
            )  # fmt: skip
            return shown(await self._add(principal, sink, dict(fields), config.files))

    async def _sink(self, principal: Principal, settings: Files) -> OneFile:
        """Takes a file as large as one may be, and as the project has room for."""
        room = await self._store.room(principal.project, settings.project_bytes)
        if room < settings.max_bytes:
            return _Roomy(self._store.begin, max(0, room), settings.project_bytes)
        return OneFile(self._store.begin, settings.max_bytes)

    async def _add(
        self, principal: Principal, sink: OneFile, fields: dict[str, str], settings: Files
    ) -> StoredFile:
        upload, purpose = sink.upload, fields.get("purpose", "")
        if upload is None:
            raise errors.BadRequest("Missing required parameter: 'file'.", param="file")
        check_purpose(purpose)
        file = file_of(
            upload, project=principal.project, key_id=principal.key_id, filename=sink.filename, purpose=purpose,
            seconds=lifetime(fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")),
        )  # fmt: skip
        return await self._store.add(upload, file, settings.project_bytes)


class _Roomy(OneFile):
    """Where the project's quota is nearer than the largest file."""

    def __init__(self, begin: Callable[[], Upload], room: int, quota: int) -> None:
        super().__init__(begin, room)
        self._quota = quota

    def write(self, piece: bytes) -> None:
        try:
            super().write(piece)
        except errors.TooLarge:
            raise errors.TooLarge(
                f"The project's files may take {self._quota} bytes altogether, and this one goes beyond. "
                "Delete files that are no longer needed.",
                code="quota_exceeded",
            ) from None


def lifetime(anchor: Any, seconds: Any, name: str = "expires_after") -> int | None:
    """Seconds after its creation at which a file expires; None when nothing was said."""
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise errors.BadRequest(f"'{name}.anchor' must be 'created_at'.", param=f"{name}.anchor")
    return number(str(seconds), f"{name}.seconds", _SHORTEST_S, _LONGEST_S)


class _Content:
    """A file's bytes as they are."""

    def __init__(self, store: FileStore, file: StoredFile) -> None:
        self._file, self._path = file, store.path(file.id)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = "req_" + secrets.token_hex(16)
        pieces = read_pieces(self._path)
        try:
            first = await anext(pieces, b"")
        except FileNotFoundError:
            error = errors.NotFound(f"No such File object: {self._file.id}", param="id")
            await send_error(send, error, request_id, {})
            return
        headers = [
            (b"content-type", b"application/octet-stream"),
            (b"content-length", str(self._file.bytes).encode()),
            (b"content-disposition", b'attachment; filename="' + self._file.id.encode() + b'"'),
            (b"x-content-type-options", b"nosniff"),
            (b"x-request-id", request_id.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]
        await send({"type": "http.response.body", "body": b"", "more_body": False})
