"""Files in a client's events: words in them are judged like those in requests, and documents are not read here, where
an answer is waited for aloud. OpenAI's own sessions take pictures alone; others may take more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.context import Exchange
from gateway.protocol.lists import dicts
from gateway.retrieval.reading import NotRead
from gateway.stages.guarding.documents import unread
from gateway.stages.guarding.request import Guards
from gateway.texts.enclosed import file_data, opened

_UNREAD = NotRead("unsupported_file", "PDF and Office documents are not read inside a realtime session.")


def as_chats(part: Any) -> Any:
    """A part of an item that encloses a file as chat's part of one; any other as it is."""
    if not isinstance(part, dict):
        return part
    rest = {name: value for name, value in part.items() if name not in ("type", "file_data", "filename", "image_url")}
    beside = {**rest, "more": [{"type": part.get("type")}]}
    if isinstance(part.get("file_data"), str):
        file = {name: part[name] for name in ("file_data", "filename") if name in part}
        return {"type": "file", "file": file, **beside}
    if str(part.get("type")) == "input_image" and "image_url" in part:
        return {"type": "image_url", "image_url": part["image_url"], **beside}
    return part


def with_words(exchange: Exchange, guards: Guards, prose: dict[str, Any]) -> dict[str, Any]:
    """``prose`` with enclosed texts as words; the same object where there are none. Raises BadRequest for a document
    that a guardrail has to read."""
    documents: list[str] = []
    words = opened(prose, documents)
    for name, guard in guards.items() if documents else ():
        if guard.judges_documents(["context"]):
            unread(exchange, name, guard, "context", _UNREAD)
    return words


def enclosed_in(prose: Mapping[str, Any], words: Mapping[str, Any]) -> frozenset[str]:
    """What the files of ``prose`` say in ``words``: it is left as it is or stopped, for the event has it in base64."""
    if words is prose:
        return frozenset()
    parts = [part for message in dicts(words.get("messages")) for part in dicts(message.get("content"))]
    before = [part for message in dicts(prose.get("messages")) for part in dicts(message.get("content"))]
    said = [file_data(new) for old, new in zip(before, parts, strict=True) if new is not old]
    return frozenset(one for one in said if one is not None)
