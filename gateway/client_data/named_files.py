"""Files that were uploaded here and are named by id in a request, as the content that every provider takes.

An id that is not of our making (OpenAI's, Anthropic's) stands for a file at the provider and goes on as it is.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway import errors
from gateway.api.files.routes import Told
from gateway.api.http import demand
from gateway.context import Principal
from gateway.storage.files import FileStore

_OURS = re.compile(r"file-[0-9a-f]{32}")
_IMAGES = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"))
_OFFICE = {
    "docx": "wordprocessingml.document", "pptx": "presentationml.presentation", "xlsx": "spreadsheetml.sheet",
}  # fmt: skip
_SAID_ONCE = frozenset({"type", "file"})


class NamedFiles:
    def __init__(self, store: FileStore) -> None:
        self._store = store

    async def filled(self, body: dict[str, Any], who: Principal, most: int) -> dict[str, Any]:
        """``body`` (chat's form) with the content of ``who``'s project's files in the place of their ids; the same
        object when it names none. ``most``: bytes that all of them may add. Raises GatewayError."""
        wanted = list(dict.fromkeys(file_id for _, file_id in _named(body)))
        if not wanted:
            return body
        demand(who, "data", "The request names a file")
        known = {one: await self._read(who.project, one, most) for one in wanted}
        if sum(_size(known[file_id]) for _, file_id in _named(body)) > most:
            raise _too_much(most)
        return {**body, "messages": [_message(one, known) for one in body["messages"]]}

    async def _read(self, project: str, file_id: str, most: int) -> dict[str, Any]:
        with Told():
            file = await self._store.get(project, file_id)
            if file is None:
                raise _unknown(file_id)
            if file.bytes > most:
                raise _too_much(most)
            try:
                return await asyncio.to_thread(_content, self._store.path(file_id), file.filename)
            except FileNotFoundError:
                raise _unknown(file_id) from None


def _named(body: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """(part, id) of every part that names a file of ours."""
    for message in body.get("messages") or ():
        parts = message.get("content") if isinstance(message, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if (file_id := _ours(part)) is not None:
                yield part, file_id


def _ours(part: Any) -> str | None:
    file = part.get("file") if isinstance(part, dict) and part.get("type") == "file" else None
    file_id = file.get("file_id") if isinstance(file, dict) else None
    return file_id if isinstance(file_id, str) and _OURS.fullmatch(file_id) else None


def _message(message: Any, known: Mapping[str, dict[str, Any]]) -> Any:
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return message
    return {**message, "content": [_part(one, known) for one in message["content"]]}


def _part(part: Any, known: Mapping[str, dict[str, Any]]) -> Any:
    """The content, with what its client said of it beside the id: marks for caches, the title of a document."""
    file_id = _ours(part)
    if file_id is None:
        return part
    found, beside = known[file_id], {name: value for name, value in part.items() if name not in _SAID_ONCE}
    if part["file"].get("kind") == "image" and found["type"] != "image_url":
        message = f"The file '{file_id}' is no PNG, JPEG, GIF or WebP. Send it as a file and not as an image."
        raise errors.BadRequest(message, param="file_id", code="invalid_image_format")
    if "detail" in part["file"] and found["type"] == "image_url":
        found = {**found, "image_url": {**found["image_url"], "detail": part["file"]["detail"]}}
    document = {**found.get("document", {}), **(beside.pop("document", None) or {})}
    return {**found, **beside, **({"document": document} if document else {})}


def _content(path: Path, filename: str) -> dict[str, Any]:
    """What a file is in chat's words; the bytes decide, and the name only where they leave it open. Blocking."""
    raw = path.read_bytes()
    image = next((kind for mark, kind in _IMAGES if raw.startswith(mark)), None)
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        image = "webp"
    if image is not None:
        return {"type": "image_url", "image_url": {"url": _url(f"image/{image}", raw)}}
    if raw[:4] == b"RIFF" and raw[8:12] == b"WAVE":
        return {"type": "input_audio", "input_audio": {"data": base64.b64encode(raw).decode(), "format": "wav"}}
    if raw.startswith(b"%PDF"):
        return {"type": "file", "file": {"filename": filename, "file_data": _url("application/pdf", raw)}}
    office = _OFFICE.get(filename.lower().rpartition(".")[2]) if raw.startswith(b"PK\x03\x04") else None
    if office is not None:
        kind = f"application/vnd.openxmlformats-officedocument.{office}"
        return {"type": "file", "file": {"filename": filename, "file_data": _url(kind, raw)}}
    return _text(raw, filename)


def _text(raw: bytes, filename: str) -> dict[str, Any]:
    """Every provider reads text; Claude as a document with its title, the others under its name."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" in text:
        kinds = "text in UTF-8, PDF, PNG, JPEG, GIF, WebP, WAV, docx, pptx or xlsx"
        message = f"The file '{filename[:100]}' cannot be shown to a model: it is no {kinds}."
        raise errors.BadRequest(message, param="file_id", code="unsupported_file")
    return {"type": "text", "text": f"{filename}:\n\n{text}", "document": {"title": filename}}


def _url(kind: str, raw: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(raw).decode()}"


def _size(part: Mapping[str, Any]) -> int:
    inner = part.get(str(part["type"]))
    return sum(len(one) for one in inner.values()) if isinstance(inner, dict) else len(part["text"])


def _unknown(file_id: str) -> errors.NotFound:
    return errors.NotFound(f"No such File object: {file_id}", param="file_id")


def _too_much(most: int) -> errors.TooLarge:
    message = f"The files that a request names may add {most} bytes to it, as much as a request may have itself."
    return errors.TooLarge(message, param="file_id", code="files_too_large")
