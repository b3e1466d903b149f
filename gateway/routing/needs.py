"""What a request asks of a model, beyond words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.protocol.chat import ChatRequest
from gateway.protocol.hints import held_image
from gateway.texts.enclosed import file_data
from optimizer.routing.facts import Needs

_PARTS = {"image_url": "vision", "input_audio": "audio", "file": "files"}


def needs_of(request: ChatRequest, body: Mapping[str, Any], input_tokens: int) -> Needs:
    """``input_tokens`` is the estimate; the output is the client's own limit, 0 without one."""
    found = dict.fromkeys(_PARTS[kind] for kind in _kinds(request) if kind in _PARTS)
    if request.tools or request.functions:
        found["tools"] = None
    form = (request.response_format or {}).get("type")
    if form in ("json_object", "json_schema"):
        found[form] = None
    if request.logprobs:
        found["logprobs"] = None
    if "audio" in (body.get("modalities") or ()):
        found["audio"] = None
    return Needs(input_tokens, request.token_limit or 0, tuple(found))


def encloses_its_files(request: ChatRequest) -> bool:
    """Whether each file of a request is in it, and not at a provider or an address: then its text may go instead."""
    return all(
        file_data(part) is not None
        for message in request.messages
        if isinstance(message.content, list)
        for part in message.content
        if part.get("type") == "file"
    )


def _kinds(request: ChatRequest) -> set[Any]:
    return {
        "image_url" if held_image(part) else part.get("type")
        for message in request.messages
        if isinstance(message.content, list)
        for part in message.content
    }
