"""Google's Gemini API (generateContent, streamGenerateContent). The request's translation is in ``request``.

https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from gateway.protocol import server_blocks
from gateway.protocol.answer import Chunk, WholeAnswer
from gateway.protocol.chat import PRICED_TIERS, Usage
from gateway.protocol.gemini.code import code_block
from gateway.protocol.gemini.shapes import signed
from gateway.protocol.lists import dicts
from gateway.providers.capabilities import Ability, abilities, most_choices
from gateway.providers.codec import NOTHING, AttemptFailed, Enforcement, UpstreamRequest
from gateway.providers.credentials import ApiKeys
from gateway.providers.embedded_texts import portions
from gateway.providers.event_stream import EventStream
from gateway.providers.failures import Complaint, lenient, nonsense, object_in, refusal, text_field
from gateway.providers.gemini.embeddings import MOST_TEXTS
from gateway.providers.gemini.embeddings import answer_of as embeddings_of
from gateway.providers.gemini.embeddings import request_body as embedding_body
from gateway.providers.gemini.request import request_body
from gateway.providers.gemini.sources import search_blocks, searched, url_citations
from gateway.providers.translate_answer import Writer, choice, count, tool_call, whole
from gateway.providers.translate_request import Reader
from optimizer.routing.attempts import sensible_retry_after

_encode = msgspec.json.encode
_FINISH = {"STOP": "stop", "MAX_TOKENS": "length"}
_BLOCKED = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_RECITATION",
     "IMAGE_PROHIBITED_CONTENT", "MODEL_ARMOR", "LANGUAGE"}
)  # fmt: skip
_BROKEN = frozenset(
    {"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE",
     "TOO_MANY_TOOL_CALLS"}
)  # fmt: skip
_GAVE_UP = frozenset({"OTHER", "IMAGE_OTHER", "NO_IMAGE", "FINISH_REASON_UNSPECIFIED"})
"""Reasons that are none: without a word said, asking again may help."""


class GeminiProvider(Struct, frozen=True, tag="gemini", tag_field="type", forbid_unknown_fields=True):
    """``models`` says what models can do before the catalog is asked."""

    gives_logprobs: ClassVar[bool] = True
    profile: ClassVar[str] = "gemini"
    api_key: str = ""
    api_keys: ApiKeys = []
    base_url: str = "https://generativelanguage.googleapis.com/v1beta"
    headers: dict[str, str] = {}
    drop_params: bool = False
    models: list[Ability] = []
    simulated: bool = False

    def build(self, name: str, engine_socket: str) -> GeminiCodec:
        headers = {"content-type": "application/json", "accept-encoding": "gzip, deflate", **self.headers}
        if self.api_key:
            headers["x-goog-api-key"] = self.api_key
        return GeminiCodec(name, f"{self.base_url.rstrip('/')}/models/", headers, self)


class GeminiCodec:
    def __init__(self, name: str, base: str, headers: dict[str, str], settings: GeminiProvider) -> None:
        self._name, self._base, self._headers, self._settings = name, base, headers, settings
        self._ability = abilities("gemini", settings.models)

    def encode(self, body: Mapping[str, Any], model: str, *, stream: bool) -> UpstreamRequest:
        reader = self._reader(body)
        path = reader.model_in_path(model)
        base = self._base.removesuffix("models/") if path.startswith("tunedModels/") else self._base
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        wire = request_body(reader, self._ability(path))
        return UpstreamRequest(url=f"{base}{path}:{verb}", headers=self._headers, body=_encode(wire))

    def decode(
        self, status: int, headers: Mapping[str, str], body: bytes, *, now: float, asked: Mapping[str, Any] = NOTHING
    ) -> WholeAnswer:
        if status != 200:
            raise self.refuse(status, headers, body, now=now)
        data = object_in(self._name, body)
        found = dicts(data.get("candidates"))
        blocked = _block_reason(data)
        if not found and not blocked:
            raise nonsense(self._name, "an answer without candidates")
        id_ = str(data.get("responseId") or secrets.token_hex(12))
        choices = [_whole_choice(self._name, index, candidate, id_) for index, candidate in enumerate(found)]
        if not choices:
            choices = [choice(0, "", "content_filter", calls=[], refusal=_sentence(blocked))]
        tier = _tier(data.get("usageMetadata"), headers.get("x-gemini-service-tier") or asked.get("service_tier"))
        usage = usage_of(data.get("usageMetadata"), tier, searched(data, found))
        model = str(data.get("modelVersion") or "")
        return whole(choices, usage, id_=id_, model=model, now=now, asked=asked, service_tier=tier or None)

    def refuse(self, status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> AttemptFailed:
        data = lenient(body)
        data = data[0] if isinstance(data, list) and data else data
        return refusal(self._name, status, headers, _complaint(data, now), now=now, sent=self._headers)

    def stream(self, asked: Mapping[str, Any] = NOTHING) -> GeminiStream:
        return GeminiStream(self._name, asked)

    def portions(self, body: Mapping[str, Any], model: str) -> list[dict[str, Any]]:
        return portions(self._reader(body), MOST_TEXTS)

    def embedding(self, body: Mapping[str, Any], model: str) -> UpstreamRequest:
        path = self._reader(body).model_in_path(model)
        wire = embedding_body(body, path)
        return UpstreamRequest(f"{self._base}{path}:batchEmbedContents", self._headers, _encode(wire))

    def embedded(self, data: Mapping[str, Any], body: Mapping[str, Any], model: str) -> dict[str, Any]:
        return embeddings_of(data, body, model)

    def _reader(self, body: Mapping[str, Any]) -> Reader:
        return Reader(self._name, body, drop=self._settings.drop_params)

    def most_choices(self) -> int:
        return most_choices("gemini")

    def enforces(self, model: str) -> Enforcement:
        """Gemini decodes within the schema, but passes over keywords that it does not know."""
        return Enforcement("guided", "guided", "plain")


class _Candidate:
    """One candidate's parts as they arrive, in the places OpenAI has for them."""

    def __init__(self, id_: str) -> None:
        self._id = id_
        self.texts: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        self.signature = ""
        self.finish = ""
        self.annotations: list[dict[str, Any]] = []
        self.done: list[dict[str, Any]] = []
        self.search: list[dict[str, Any]] = []
        self._starts: list[int] = []
        self._length = 0
        self._runs = 0

    def take(self, candidate: dict[str, Any]) -> list[dict[str, Any]]:
        """Adds what one answer or event holds; returns it as deltas."""
        content = candidate.get("content")
        deltas = []
        for part in dicts(content.get("parts") if isinstance(content, dict) else None):
            delta = self._part(part)
            if delta:
                deltas.append(delta)
        if isinstance(candidate.get("finishReason"), str):
            self.finish = candidate["finishReason"]
        self._sources(candidate)
        return deltas

    def _part(self, part: dict[str, Any]) -> dict[str, Any]:
        signature = part.get("thoughtSignature")
        signature = signature if isinstance(signature, str) else ""
        if isinstance(part.get("functionCall"), dict):
            return self._call(part["functionCall"], signature)
        self.signature = signature or self.signature
        text = part.get("text")
        if isinstance(text, str) and text:
            thought = bool(part.get("thought"))
            (self.reasoning if thought else self.texts).append(text)
            self._grow(0 if thought else len(text))
            return {"reasoning_content" if thought else "content": text}
        ran = code_block(part, f"{self._id}_code{self._runs - ('codeExecutionResult' in part)}")
        if ran is not None:
            self._runs += "executableCode" in part
            return {server_blocks.NAME: self.did(ran)}
        data = part.get("inlineData")
        if isinstance(data, dict):
            url = f"data:{data.get('mimeType')};base64,{data.get('data')}"
            self.images.append({"type": "image_url", "image_url": {"url": url}})
        return {}

    def _grow(self, length: int) -> None:
        self._starts += [self._length] if length else []
        self._length += length

    def did(self, block: dict[str, Any]) -> list[dict[str, Any]]:
        """Keeps what ran at Google where it stands. → it as a delta has it."""
        self.done.append(server_blocks.placed(block, self._length, 0))
        return [{"index": len(self.done) - 1, **self.done[-1]}]

    def _call(self, call: dict[str, Any], signature: str) -> dict[str, Any]:
        """Gemini sends a call whole, and often without an id; ours must never repeat within a conversation."""
        at = len(self.calls)
        id_ = str(call.get("id") or f"call_{self._id}_{at}")
        arguments = _encode(call.get("args") or {}).decode()
        made = tool_call(id_, str(call.get("name")), arguments, **signed(signature))
        self.calls.append(made)
        return {"tool_calls": [{"index": at, **made}]}

    def _sources(self, candidate: dict[str, Any]) -> None:
        grounding = candidate.get("groundingMetadata")
        if isinstance(grounding, dict):
            self.search = search_blocks(grounding, f"{self._id}_search")
        if isinstance(grounding, dict) or candidate.get("urlContextMetadata"):
            self.annotations = url_citations(candidate, "".join(self.texts), self._starts) or self.annotations

    def extra(self) -> dict[str, Any]:
        """The fields of a message that OpenAI does not know; signatures must survive the way back."""
        return {"images": self.images, **signed(self.signature)}

    def reason(self, provider: str) -> str:
        """Raises AttemptFailed when the model broke its own format: asking again may help."""
        if self.finish in _BROKEN:
            raise nonsense(provider, f"an answer that it called broken itself ({self.finish})")
        if self.finish in _GAVE_UP and not (self.texts or self.calls or self.images):
            raise nonsense(provider, f"an answer without content ({self.finish})")
        if self.finish in _BLOCKED:
            return "content_filter"
        return "tool_calls" if self.calls and self.finish == "STOP" else _FINISH.get(self.finish, "stop")

    def refusal(self) -> str | None:
        return _sentence(self.finish) if self.finish in _BLOCKED and not self.texts else None


class GeminiStream(EventStream):
    """Gemini's events as OpenAI's chunks. There is no end mark: an answer is whole when every candidate has a
    finish reason and the body ends. The last ``usageMetadata`` stands alone; earlier ones may be larger."""

    def __init__(self, provider: str, asked: Mapping[str, Any] = NOTHING) -> None:
        super().__init__(provider)
        self._asked = asked.get("service_tier")
        self._writer = Writer(asked)
        self._candidates: dict[int, _Candidate] = {}
        self._counted: Any = None
        self._searches = 0
        self._blocked = ""

    def _event(self, data: dict[str, Any]) -> list[Chunk]:
        if data.get("error"):
            error = data["error"] if isinstance(data["error"], dict) else {}
            status = error.get("code")
            raise refusal(
                self._provider, status if isinstance(status, int) else 500, {}, _complaint(data, 0.0), now=0.0
            )
        writer = self._writer
        writer.id = writer.id or str(data.get("responseId") or secrets.token_hex(12))
        writer.model = str(data.get("modelVersion") or writer.model)
        self._counted = data.get("usageMetadata") or self._counted
        self._searches = max(self._searches, searched(data, dicts(data.get("candidates"))))
        self._blocked = _block_reason(data) or self._blocked
        chunks: list[Chunk] = []
        for candidate in dicts(data.get("candidates")):
            index = count(candidate.get("index"))
            kept = self._candidates.setdefault(
                index, _Candidate(f"{writer.id}_{index}" if index else writer.id)
            )
            chunks += writer.open(index)
            logprobs = _logprobs(candidate)
            for delta in kept.take(candidate):
                chunks += writer.delta(delta, index, logprobs=logprobs)
                logprobs = None
        return chunks

    def finish(self) -> list[Chunk]:
        chunks: list[Chunk] = []
        for one in self._candidates.values() if self._blocked else ():
            one.finish = one.finish or "SAFETY"  # what was begun was blocked then
        if self._events.pending or not all(one.finish for one in self._candidates.values()):
            raise nonsense(self._provider, "a stream that was cut before its end")
        if not self._candidates:
            if not self._blocked:
                raise nonsense(self._provider, "a stream that was cut before its end")
            chunks += self._writer.delta({"refusal": _sentence(self._blocked)})
            chunks += self._writer.finish("content_filter")
        for index, candidate in sorted(self._candidates.items()):
            reason = candidate.reason(self._provider)
            told = [one for block in candidate.search for one in candidate.did(block)]
            late = {**candidate.extra(), server_blocks.NAME: told}
            late |= {"annotations": candidate.annotations, "refusal": candidate.refusal()}
            late = {name: value for name, value in late.items() if value}
            if late:
                chunks += self._writer.delta(late, index)
            chunks += self._writer.finish(reason, index)
        tier = _tier(self._counted, self._asked)
        usage = usage_of(self._counted, tier, self._searches)
        if usage is not None:
            self._writer.tier = tier or None
            chunks.append(self._writer.usage(usage))
        self.done = True
        return chunks


def _whole_choice(provider: str, index: int, candidate: dict[str, Any], id_: str) -> dict[str, Any]:
    kept = _Candidate(f"{id_}_{index}" if index else id_)
    kept.take(candidate)
    done = [*(server_blocks.placed(block, 0, 0) for block in kept.search), *kept.done]
    extra = {"reasoning_content": "".join(kept.reasoning), **kept.extra(), server_blocks.NAME: done}
    return choice(
        index, "".join(kept.texts), kept.reason(provider), calls=kept.calls, refusal=kept.refusal(), extra=extra,
        annotations=kept.annotations, logprobs=_logprobs(candidate),
    )  # fmt: skip


def usage_of(value: Any, tier: str = "", searches: int = 0) -> Usage | None:
    """Thoughts are counted beside the answer at Google and inside it at OpenAI."""
    if not isinstance(value, dict):
        return None
    thoughts = count(value.get("thoughtsTokenCount"))
    cached, by_kind = count(value.get("cachedContentTokenCount")), value.get("cacheTokensDetails")
    return Usage(
        prompt=count(value.get("promptTokenCount")) + count(value.get("toolUsePromptTokenCount")),
        completion=count(value.get("candidatesTokenCount")) + thoughts,
        cached=cached,
        reasoning=thoughts,
        audio_input=_of_kind("AUDIO", value, "promptTokensDetails", "toolUsePromptTokensDetails"),
        audio_output=_of_kind("AUDIO", value, "candidatesTokensDetails"),
        cached_audio=_of_kind("AUDIO", value, "cacheTokensDetails")
        if isinstance(by_kind, list) or not cached
        else None,
        image_input=_of_kind("IMAGE", value, "promptTokensDetails", "toolUsePromptTokensDetails"),
        image_output=_of_kind("IMAGE", value, "candidatesTokensDetails"),
        searches=searches,
        tier=tier if tier in PRICED_TIERS else "",
    )


def _of_kind(kind: str, usage: Mapping[str, Any], *names: str) -> int:
    """Of counts by modality, those of one."""
    found = (one for name in names for one in dicts(usage.get(name)) if one.get("modality") == kind)
    return sum(count(one.get("tokenCount")) for one in found)


def _tier(usage: Any, otherwise: Any) -> str:
    """The service tier that answered, where it has a price of its own: as Vertex tells it, else as it was asked."""
    told = text_field(usage, "serviceTier") or text_field(usage, "trafficType").removeprefix("ON_DEMAND").strip("_")
    plain = told or (otherwise if isinstance(otherwise, str) else "")
    return plain.lower() if plain.lower() in PRICED_TIERS else ""


def _logprobs(candidate: dict[str, Any]) -> dict[str, Any] | None:
    result = candidate.get("logprobsResult")
    if not isinstance(result, dict):
        return None
    chosen = dicts(result.get("chosenCandidates"))
    top = [dicts(one.get("candidates")) for one in dicts(result.get("topCandidates"))]
    content = []
    for at, one in enumerate(chosen):
        beside = [_token(other) for other in (top[at] if at < len(top) else [])]
        content.append({**_token(one), "top_logprobs": beside})
    return {"content": content, "refusal": None}


def _token(candidate: dict[str, Any]) -> dict[str, Any]:
    token = str(candidate.get("token") or "")
    return {"token": token, "logprob": candidate.get("logProbability"), "bytes": list(token.encode())}


def _block_reason(data: dict[str, Any]) -> str:
    return text_field(data, "promptFeedback", "blockReason")


def _sentence(reason: str) -> str:
    return f"The provider blocked this ({reason})."


def _complaint(data: Any, now: float) -> Complaint:
    """Google says 400 to a bad key and to an unpaid account: both are the operator's to mend."""
    message, status = text_field(data, "error", "message"), text_field(data, "error", "status")
    error = data.get("error") if isinstance(data, dict) else None
    details = dicts(error.get("details")) if isinstance(error, dict) else []
    reasons = {str(one.get("reason")) for one in details}
    waits = [str(one["retryDelay"]).removesuffix("s") for one in details if "retryDelay" in one]
    if "API_KEY_INVALID" in reasons or status == "FAILED_PRECONDITION" or "api key" in message.lower():
        return Complaint(message=message, blame="operator")
    code: str | None = status.lower() or None
    param = None
    if "exceeds the maximum number of tokens" in message:
        code, param = "context_length_exceeded", "messages"
    elif status == "NOT_FOUND":
        code, param = "model_not_found", "model"
    elif status == "RESOURCE_EXHAUSTED":
        code = None
    return Complaint(
        message=message, param=param, code=code,
        retry_after=sensible_retry_after(waits[0], now) if waits else None,
    )  # fmt: skip
