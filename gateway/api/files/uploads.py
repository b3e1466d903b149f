"""/v1/uploads: a large file in parts. Create, add parts in any order and side by side, complete or cancel; what is
completed is a file like any other."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

from litestar import Request, Response, post
from litestar.types import ASGIApp, Receive

from gateway import errors
from gateway.api.files.multipart import read_form
from gateway.api.files.routes import (
    FORM_ROOM,
    FileForm,
    OneFile,
    Told,
    answer,
    check_purpose,
    file_of,
    lifetime,
    plain_name,
)
from gateway.api.files.routes import shown as shown_file
from gateway.api.http import Authenticator, json_body
from gateway.context import Principal
from gateway.live import Live
from gateway.storage.data_values import StoredFile
from gateway.storage.files import FileStore
from gateway.storage.uploads import (
    LARGEST_PART,
    LIFE_S,
    PendingUpload,
    UploadRefused,
    UploadStore,
    file_id_of,
    join,
    new_upload_id,
)

_MD5 = re.compile(r"[0-9a-f]{32}")
_LONGEST_NAME = 255
Client = Request[Any, Any, Any]
T = TypeVar("T")


def upload_routes(live: Live, files: FileStore, uploads: UploadStore, who: Authenticator) -> list[Any]:
    """``who`` demands the scope ``data``."""
    work = _Work(live, files, uploads)

    def asking(request: Client) -> Principal:
        return who({name.lower(): value for name, value in request.headers.items()})

    def named(request: Client) -> str:
        return str(request.path_params["upload_id"])

    @post("/v1/uploads", status_code=200)
    async def create_upload(request: Client) -> Response[bytes]:
        principal = asking(request)
        return answer(shown(await work.create(principal, await json_body(request, live))))

    @post("/v1/uploads/{upload_id:str}/parts", status_code=200)
    async def add_upload_part(request: Client) -> ASGIApp:
        return _Part(work, who, named(request))

    @post("/v1/uploads/{upload_id:str}/complete", status_code=200)
    async def complete_upload(request: Client) -> Response[bytes]:
        principal = asking(request)
        return answer(shown(await work.complete(principal, named(request), await json_body(request, live))))

    @post("/v1/uploads/{upload_id:str}/cancel", status_code=200)
    async def cancel_upload(request: Client) -> Response[bytes]:
        return answer(shown(await work.cancel(asking(request), named(request))))

    return [create_upload, add_upload_part, complete_upload, cancel_upload]


def shown(upload: PendingUpload) -> dict[str, Any]:
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": int(upload.created_at),
        "expires_at": int(upload.expires_at),
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": upload.status,
        "file": shown_file(upload.file) if upload.file is not None else None,
    }


class _Work:
    def __init__(self, live: Live, files: FileStore, uploads: UploadStore) -> None:
        self.live, self.uploads, self._files = live, uploads, files

    async def create(self, principal: Principal, data: dict[str, Any]) -> PendingUpload:
        settings, now = self.live.runtime().config.files, time.time()
        check_purpose(data.get("purpose"))
        size, name = data.get("bytes"), data.get("filename")
        if type(size) is not int or size < 1:
            raise errors.BadRequest("'bytes' must be the file's size, a whole number from 1 on.", param="bytes")
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
            message = f"'filename' must be a text of 1 to {_LONGEST_NAME} characters."
            raise errors.BadRequest(message, param="filename")
        if not isinstance(data.get("mime_type"), str):
            raise errors.BadRequest("Missing required parameter: 'mime_type'.", param="mime_type")
        if size > settings.upload_bytes:
            message = f"An upload may have {settings.upload_bytes} bytes, and this one announces {size}."
            raise errors.TooLarge(message, param="bytes")
        expires = data.get("expires_after") or {}
        if not isinstance(expires, dict):
            raise errors.BadRequest("'expires_after' must be an object.", param="expires_after")
        upload = PendingUpload(
            id=new_upload_id(), project=principal.project, key_id=principal.key_id, filename=plain_name(name),
            purpose=str(data["purpose"]), bytes=size, created_at=now, expires_at=now + LIFE_S,
            lifetime_s=lifetime(expires.get("anchor"), expires.get("seconds")),
        )  # fmt: skip
        with Told():
            room = await self._files.room(principal.project, settings.project_bytes)
            await self.done(upload.id, lambda: self.uploads.create(upload, room))
        return upload

    async def get(self, principal: Principal, upload_id: str) -> PendingUpload:
        return await self.done(upload_id, lambda: self.uploads.get(principal.project, upload_id))

    async def done(self, upload_id: str, work: Callable[[], T]) -> T:
        """What blocking ``work`` brings. Raises NotFound, BadRequest, TooLarge, Conflict."""
        try:
            return await asyncio.to_thread(work)
        except KeyError:
            raise errors.NotFound(f"No such Upload object: {upload_id[:80]}", param="upload_id") from None
        except UploadRefused as problem:
            raise _told(problem) from None

    async def complete(self, principal: Principal, upload_id: str, data: dict[str, Any]) -> PendingUpload:
        upload = await self.get(principal, upload_id)
        part_ids, md5 = data.get("part_ids"), data.get("md5")
        if not isinstance(part_ids, list) or not part_ids or not all(isinstance(one, str) for one in part_ids):
            message = "'part_ids' must list the ids of the upload's parts, in the file's order."
            raise errors.BadRequest(message, param="part_ids")
        if md5 is not None and not (isinstance(md5, str) and _MD5.fullmatch(md5.lower())):
            raise errors.BadRequest("'md5' must be the file's MD5 checksum in 32 hex digits.", param="md5")
        with Told():
            let_go, taken = await self.done(upload_id, lambda: self.uploads.take(upload, part_ids))
            try:
                if isinstance(taken, PendingUpload):
                    return taken
                file = await self._joined(principal, upload, taken, md5.lower() if md5 else "")
                return await asyncio.to_thread(self.uploads.completed, upload, part_ids, file)
            finally:
                let_go()

    async def _joined(
        self, principal: Principal, upload: PendingUpload, paths: list[Any], md5: str
    ) -> StoredFile:
        draft = self._files.begin(file_id_of(upload.id))
        try:
            found = await join(paths, draft)
            if md5 and found != md5:
                message = f"The MD5 checksum of the parts together is {found}, and 'md5' says {md5}."
                raise errors.BadRequest(message, param="md5", code="checksum_mismatch")
            file = file_of(
                draft, project=upload.project, key_id=principal.key_id, filename=upload.filename,
                purpose=upload.purpose, seconds=upload.lifetime_s,
            )  # fmt: skip
            return await self._files.add(draft, file, self.live.runtime().config.files.project_bytes)
        finally:
            draft.close()

    async def cancel(self, principal: Principal, upload_id: str) -> PendingUpload:
        upload = await self.get(principal, upload_id)
        with Told():
            return await self.done(upload_id, lambda: self.uploads.cancel(upload))


def _told(problem: UploadRefused) -> errors.GatewayError:
    if problem.wait:
        return errors.Conflict(str(problem), code="upload_busy", headers={"retry-after": "1"})
    if problem.param == "bytes":
        return errors.TooLarge(str(problem), param="bytes", code="quota_exceeded")
    return errors.BadRequest(str(problem), param=problem.param)


class _Part(FileForm):
    """One part of an upload."""

    def __init__(self, work: _Work, who: Authenticator, upload_id: str) -> None:
        self._work, self._who, self._id = work, who, upload_id

    async def take(self, headers: dict[str, str], arriving: Receive, until_told: ExitStack) -> dict[str, Any]:
        upload = await self._work.get(self._who(headers), self._id)
        sink = OneFile(lambda: self._begun(upload), LARGEST_PART, "data")
        until_told.callback(sink.close)
        with Told():
            await read_form(
                headers, arriving, sink, limit=LARGEST_PART + FORM_ROOM,
                idle=self._work.live.runtime().config.server.body_timeout_s,
            )  # fmt: skip
            return await self._kept(upload, sink)

    def _begun(self, upload: PendingUpload) -> Any:
        try:
            return self._work.uploads.begin_part(upload)
        except UploadRefused as problem:
            raise _told(problem) from None

    async def _kept(self, upload: PendingUpload, sink: OneFile) -> dict[str, Any]:
        part = sink.upload
        if part is None or not part.size:
            raise errors.BadRequest("Send the part's bytes as a file in the field 'data'.", param="data")
        await part.flush(least=0)
        await self._work.done(upload.id, lambda: self._work.uploads.add_part(upload, part))
        return {"id": part.id, "object": "upload.part", "created_at": int(time.time()), "upload_id": upload.id}
