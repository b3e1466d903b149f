"""Anthropic's messages API, version 2023-06-01. The request's translation is in ``request``.

https://docs.claude.com/en/api/messages
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, Struct

from gateway.protocol import server_blocks
from gateway.protocol.answer import Chunk, WholeAnswer
from gateway.protocol.chat import PRICED_TIERS, Usage
from gateway.protocol.hints import CONTAINER, CONTEXT
from gateway.protocol.lists import dicts
from gateway.providers.anthropic.betas import with_betas
from gateway.providers.anthropic.limits import limit_headers, wait_of
from gateway.providers.anthropic.request import request_body
from gateway.providers.capabilities import Ability, abilities, most_choices
from gateway.providers.cited import Cited
from gateway.providers.codec import (
    CLAUDE_ENFORCES,
    NOT_ENFORCED,
    NOTHING,
    AttemptFailed,
    Enforcement,
    UpstreamRequest,
)
from gateway.providers.credentials import ApiKeys
from gateway.providers.event_stream import EventStream
from gateway.providers.failures import Complaint, lenient, nonsense, object_in, refusal, text_field
from gateway.providers.translate_answer import Writer, choice, count, tool_call, whole
from gateway.providers.translate_request import Reader

_encode = msgspec.json.encode
VERSION = "2023-06-01"
_FINISH = {
    "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "max_tokens": "length",
    "model_context_window_exceeded": "length", "tool_use": "tool_calls", "refusal": "content_filter",
}  # fmt: skip
_TIERS = {"standard": "default", "priority": "priority", "batch": "batch"}
_EVENT_STATUS = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "timeout_error": 504,
    "overloaded_error": 529,
}  # fmt: skip


class AnthropicProvider(Struct, frozen=True, tag="anthropic", tag_field="type", forbid_unknown_fields=True):
    """``max_tokens`` is sent when the client names no limit, because Anthropic demands one. ``models`` says what
    models can do before the catalog is asked. ``headers`` may hold ``anthropic-beta``."""

    profile: ClassVar[str] = "anthropic"
    api_key: str = ""
    api_keys: ApiKeys = []
    base_url: str = "https://api.anthropic.com/v1"
    headers: dict[str, str] = {}
    max_tokens: Annotated[int, Meta(ge=1)] = 8192
    drop_params: bool = False
    models: list[Ability] = []
    simulated: bool = False

    def build(self, name: str, engine_socket: str) -> AnthropicCodec:
        headers = {
            "content-type": "application/json",
            "accept-encoding": "gzip, deflate",
            "anthropic-version": VERSION,
            **self.headers,
        }
        if self.api_key:
            headers["x-api-key"] = self.api_key
        return AnthropicCodec(name, f"{self.base_url.rstrip('/')}/messages", headers, self)


class AnthropicCodec:
    def __init__(self, name: str, url: str, headers: dict[str, str], settings: AnthropicProvider) -> None:
        self._name, self._url, self._headers, self._settings = name, url, headers, settings
        self._ability = abilities("anthropic", settings.models)

    def encode(self, body: Mapping[str, Any], model: str, *, stream: bool) -> UpstreamRequest:
        reader = Reader(self._name, body, drop=self._settings.drop_params)
        wire = request_body(reader, model, self._ability(model), self._settings.max_tokens)
        if stream:
            wire["stream"] = True
        headers = with_betas(self._headers, wire)
        return UpstreamRequest(url=self._url, headers=headers, body=_encode(wire))

    def decode(
        self, status: int, headers: Mapping[str, str], body: bytes, *, now: float, asked: Mapping[str, Any] = NOTHING
    ) -> WholeAnswer:
        if status != 200:
            raise self.refuse(status, headers, body, now=now)
        data = object_in(self._name, body)
        if not isinstance(data.get("content"), list):
            raise nonsense(self._name, "an answer without content")
        blocks = _Blocks()
        for block in dicts(data["content"]):
            blocks.whole(block)
        extra = blocks.extra() | {"paused": data.get("stop_reason") == "pause_turn"}
        extra |= {name: data.get(name) for name in (CONTAINER, CONTEXT)}
        reason = _FINISH.get(str(data.get("stop_reason")), "stop")
        usage = data["usage"] if isinstance(data.get("usage"), dict) else None
        made = choice(
            0, "".join(blocks.texts), reason, calls=blocks.calls, refusal=_refused(data), extra=extra,
            annotations=blocks.annotations, stop=text_field(data, "stop_sequence") or None,
        )  # fmt: skip
        return whole(
            [made], usage_of(usage), id_=str(data.get("id") or ""), model=str(data.get("model") or ""), now=now,
            service_tier=_TIERS.get(str((usage or {}).get("service_tier"))),
        )  # fmt: skip

    def refuse(self, status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> AttemptFailed:
        data = lenient(body)
        complaint = _complaint(text_field(data, "error", "type"), text_field(data, "error", "message"))
        if status == 429:
            limits, wait = limit_headers(headers, now), wait_of(headers, now)
            complaint = msgspec.structs.replace(complaint, headers=limits, retry_after=wait)
        return refusal(self._name, status, headers, complaint, now=now, sent=self._headers)

    def stream(self, asked: Mapping[str, Any] = NOTHING) -> AnthropicStream:
        return AnthropicStream(self._name)

    def most_choices(self) -> int:
        return most_choices("anthropic")

    def enforces(self, model: str) -> Enforcement:
        return CLAUDE_ENFORCES if self._ability(model).structured else NOT_ENFORCED


class _Blocks(Cited):
    """The content blocks of one answer, in the places OpenAI has for them; what it has no place for keeps
    its own name: ``reasoning_content``, and ``thinking_blocks`` for the way back (signatures must survive)."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Any]] = []
        self.thinking: list[dict[str, Any]] = []
        self.done: list[dict[str, Any]] = []

    def whole(self, block: dict[str, Any]) -> None:
        kind = block.get("type")
        if kind == "text":
            start = self.length
            self.add_text(str(block.get("text") or ""))
            for citation in dicts(block.get("citations")):
                self.cite(citation, start)
        elif kind == "tool_use":
            arguments = _encode(block.get("input") or {}).decode()
            self.calls.append(tool_call(str(block.get("id")), str(block.get("name")), arguments))
        elif kind in ("thinking", "redacted_thinking"):
            self.thinking.append(block)
        elif server_blocks.is_server_block(block):
            self.did(block)

    def did(self, block: dict[str, Any]) -> list[dict[str, Any]]:
        """Keeps what ran at Anthropic where it stands. → it as a delta has it."""
        self.done.append(server_blocks.placed(block, self.length, len(self.thinking)))
        return [{"index": len(self.done) - 1, **self.done[-1]}]

    def extra(self) -> dict[str, Any]:
        reasoning = "".join(str(block.get("thinking") or "") for block in self.thinking)
        return {"reasoning_content": reasoning, "thinking_blocks": self.thinking, "citations": self.citations,
                server_blocks.NAME: self.done}  # fmt: skip


class AnthropicStream(EventStream):
    """Anthropic's events as OpenAI's chunks, wherever the bytes were cut."""

    def __init__(self, provider: str) -> None:
        super().__init__(provider)
        self._writer = Writer()
        self._blocks = _Blocks()
        self._open: dict[Any, dict[str, Any]] = {}
        self._usage: dict[str, Any] = {}

    def _event(self, event: dict[str, Any]) -> list[Chunk]:
        """Events of a kind born after this file are passed over, as the API's versioning asks."""
        kind, index = event.get("type"), event.get("index")
        if kind == "content_block_delta":
            return self._delta(self._open.get(index, {}), _map(event, "delta"))
        if kind == "content_block_start":
            return self._begin(index, _map(event, "content_block"))
        if kind == "content_block_stop":
            return self._end(self._open.pop(index, {}))
        if kind == "message_start":
            return self._start(_map(event, "message"))
        if kind == "message_delta":
            return self._last(event)
        if kind == "message_stop":
            return self._stop()
        if kind == "error":
            error = _map(event, "error")
            complaint = _complaint(str(error.get("type")), str(error.get("message") or ""))
            raise refusal(self._provider, _EVENT_STATUS.get(complaint.kind, 500), {}, complaint, now=0.0)
        return []

    def _start(self, message: dict[str, Any]) -> list[Chunk]:
        self._writer.id, self._writer.model = str(message.get("id") or ""), str(message.get("model") or "")
        self._count(message)
        self._writer.tier = _TIERS.get(str(self._usage.get("service_tier")))
        begun = usage_of(self._usage)
        return [msgspec.structs.replace(chunk, begun=begun) for chunk in self._writer.open()]

    def _begin(self, index: Any, block: dict[str, Any]) -> list[Chunk]:
        self._open[index] = block
        kind = block.get("type")
        if kind == "text":
            block["start"] = self._blocks.length
            # Claude begins another text where sources begin or end: Messages clients are shown the same.
            parted = self._writer.delta({"citations": []}) if block["start"] else []
            return parted + self._text(str(block.get("text") or ""))
        if kind == "tool_use":
            block["at"], block["said"] = len(self._blocks.calls), False
            call = tool_call(str(block.get("id")), str(block.get("name")), "")
            self._blocks.calls.append(call)
            return self._writer.delta({"tool_calls": [{"index": block["at"], **call}]})
        if kind in ("thinking", "redacted_thinking"):
            block["place"] = len(self._blocks.thinking)
            self._blocks.thinking.append(block)
            return self._reason(str(block.get("thinking") or ""))
        return []

    def _delta(self, block: dict[str, Any], delta: dict[str, Any]) -> list[Chunk]:
        kind = delta.get("type")
        if kind == "text_delta":
            return self._text(str(delta.get("text") or ""))
        if kind == "input_json_delta" and server_blocks.is_use(block):
            block.setdefault("pieces", []).append(str(delta.get("partial_json") or ""))
        if kind == "input_json_delta" and "at" in block:
            piece = str(delta.get("partial_json") or "")
            block["said"] = block["said"] or bool(piece)
            return self._arguments(block, piece)
        if kind == "thinking_delta":
            text = str(delta.get("thinking") or "")
            block["thinking"] = str(block.get("thinking") or "") + text
            return self._reason(text)
        if kind == "signature_delta":
            block["signature"] = str(block.get("signature") or "") + str(delta.get("signature") or "")
        elif kind == "citations_delta":
            block.setdefault("cited", []).append(_map(delta, "citation"))
        return []

    def _end(self, block: dict[str, Any]) -> list[Chunk]:
        if server_blocks.is_server_block(block):
            return self._writer.delta({server_blocks.NAME: self._blocks.did(self._used(block))})
        for citation in block.get("cited", ()):
            self._blocks.cite(citation, block.get("start", 0))
        if fresh := self._blocks.told():
            return self._writer.delta({"citations": fresh})
        if block.get("type") in ("thinking", "redacted_thinking"):
            return self._writer.delta({"thinking_blocks": [{"index": block.pop("place"), **block}]})
        if "at" in block and not block["said"]:
            # A tool without arguments sends none, or all at once in the block itself; JSON it must be.
            return self._arguments(block, _encode(block.get("input") or {}).decode())
        return []

    def _used(self, block: dict[str, Any]) -> dict[str, Any]:
        """A use with its input, which came in pieces. Raises AttemptFailed for input that is no JSON."""
        said = "".join(block.pop("pieces", ()))
        return {**block, "input": object_in(self._provider, said.encode())} if said else block

    def _text(self, text: str) -> list[Chunk]:
        self._blocks.add_text(text)
        return self._writer.delta({"content": text}) if text else []

    def _reason(self, text: str) -> list[Chunk]:
        return self._writer.delta({"reasoning_content": text}) if text else []

    def _arguments(self, block: dict[str, Any], piece: str) -> list[Chunk]:
        if not piece:
            return []
        return self._writer.delta({"tool_calls": [{"index": block["at"], "function": {"arguments": piece}}]})

    def _last(self, event: dict[str, Any]) -> list[Chunk]:
        self._count(event)
        delta = _map(event, "delta")
        reason = delta.get("stop_reason")
        if reason is None:
            return []
        chunks = [chunk for index in list(self._open) for chunk in self._end(self._open.pop(index))]
        late: dict[str, Any] = {"paused": True} if reason == "pause_turn" else {}
        late |= {CONTAINER: delta[CONTAINER]} if delta.get(CONTAINER) else {}
        late |= {CONTEXT: event[CONTEXT]} if event.get(CONTEXT) else {}
        if self._blocks.annotations:
            late["annotations"] = self._blocks.annotations
        refused = _refused(delta)
        if refused:
            late["refusal"] = refused
        chunks += self._writer.delta(late) if late else []
        stop = text_field(delta, "stop_sequence") or None
        return chunks + self._writer.finish(_FINISH.get(str(reason), "stop"), stop=stop)

    def _stop(self) -> list[Chunk]:
        if not self._writer.complete:
            raise nonsense(self._provider, "a stream that ended without a reason")
        self.done = True
        usage = usage_of(self._usage)
        return [self._writer.usage(usage)] if usage is not None else []

    def _count(self, holder: dict[str, Any]) -> None:
        """Counts are cumulative: the last one stands, and what it leaves out (or calls 0) stays as it was."""
        told = _map(holder, "usage")
        self._usage.update((name, value) for name, value in told.items() if value or name not in self._usage)


def usage_of(usage: dict[str, Any] | None) -> Usage | None:
    """OpenAI counts cached tokens inside the prompt, Anthropic beside it."""
    if not usage:
        return None
    read, written = (
        count(usage.get("cache_read_input_tokens")),
        count(usage.get("cache_creation_input_tokens")),
    )
    return Usage(
        prompt=count(usage.get("input_tokens")) + read + written,
        completion=count(usage.get("output_tokens")),
        cached=read,
        reasoning=count(_map(usage, "output_tokens_details").get("thinking_tokens")),
        written=written,
        written_hour=min(written, count(_map(usage, "cache_creation").get("ephemeral_1h_input_tokens"))),
        searches=count(_map(usage, "server_tool_use").get("web_search_requests")),
        tier="+".join(_dearer(usage)),
    )


def _dearer(usage: dict[str, Any]) -> list[str]:
    """What makes the same tokens cost otherwise: bought in advance, faster, in one part of the world."""
    told = {name: usage.get(name) for name in ("service_tier", "speed", "inference_geo")}
    return [one for one in told.values() if one in PRICED_TIERS]


def _refused(holder: dict[str, Any]) -> str | None:
    if holder.get("stop_reason") != "refusal":
        return None
    return text_field(holder, "stop_details", "explanation") or "The model declined to answer."


def _complaint(kind: str, message: str) -> Complaint:
    """Anthropic has no codes beside its types, so those clients act on are read from the sentence."""
    lower = message.lower()
    if "credit balance" in lower:
        return Complaint(message=message, kind=kind, blame="operator")
    code, param = None, None
    if "prompt is too long" in lower or "exceed context limit" in lower:
        code, param = "context_length_exceeded", "messages"
    elif kind == "not_found_error" and "model" in lower:
        code, param = "model_not_found", "model"
    elif kind == "request_too_large":
        code = kind
    return Complaint(message=message, kind=kind, code=code, param=param)


def _map(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}
