"""A chat answer as Gemini's: whole, event by event, and errors. Pure.

A call's arguments are one object at Google, so a call is told when its last delta is here; everything else is told
as it comes. Usage, finish reasons and sources stand in the last event.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.errors import GatewayError
from gateway.protocol.blocks import Block, Blocks, Close, More, Open, Step, as_chunks, choice_at
from gateway.protocol.chat import Usage
from gateway.protocol.foreign_thoughts import GOOGLE, to_gemini
from gateway.protocol.gemini.code import code_part
from gateway.protocol.gemini.request import PARAMS
from gateway.protocol.gemini.shapes import signature_of
from gateway.protocol.lists import dicts
from gateway.protocol.server_blocks import queries_of

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_FINISH = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}
_TYPE = "type.googleapis.com/google.rpc."


class GenerateWriter:
    """One answer. ``thinks``: the client asked for thoughts, so reasoning is shown."""

    def __init__(self, response_id: str, model: str, *, thinks: bool) -> None:
        self._told = {"modelVersion": model, "responseId": response_id}
        self._thinks = thinks
        self._candidates: dict[int, _Candidate] = {}

    def whole(self, completion: dict[str, Any], usage: Usage) -> dict[str, Any]:
        """The answer that a chat completion is."""
        found = []
        for index in _indexes(completion) or [0]:
            candidate = self._candidate(index)
            parts = [part for chunk in as_chunks(completion, index) for part in candidate.feed(chunk, index)]
            found.append(candidate.end(index, parts))
        return {"candidates": found, "usageMetadata": usage_shown(usage), **self._told}

    def chunk(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """The event that a chat chunk becomes; None when it says nothing yet."""
        found = []
        for index in _indexes(data):
            parts = self._candidate(index).feed(data, index)
            if parts:
                found.append({"content": {"parts": parts, "role": "model"}, "index": index})
        return {"candidates": found, **self._told} if found else None

    def last(self, usage: Usage) -> dict[str, Any]:
        self._candidate(0)
        found = [candidate.end(index, []) for index, candidate in sorted(self._candidates.items())]
        return {"candidates": found, "usageMetadata": usage_shown(usage), **self._told}

    def _candidate(self, index: int) -> _Candidate:
        return self._candidates.setdefault(index, _Candidate(index, self._thinks))


class _Candidate:
    def __init__(self, index: int, thinks: bool) -> None:
        self._blocks, self._thinks = Blocks(index, runs_on=True), thinks
        self._texts: list[str] = []
        self._sources: list[dict[str, Any]] = []
        self._logprobs: list[dict[str, Any]] = []
        self._signature = ""
        self._queries: list[str] = []
        self._refused = False

    def feed(self, chunk: dict[str, Any], index: int) -> list[dict[str, Any]]:
        """The parts that a chunk completes."""
        parts = [part for step in self._blocks.feed(chunk) for part in self._parts(step)]
        delta = (choice_at(chunk, index) or {}).get("delta")
        if isinstance(delta, dict):
            self._signature = signature_of(delta) or self._signature
            parts += [_image(one) for one in dicts(delta.get("images"))]
        return parts

    def _parts(self, step: Step) -> list[dict[str, Any]]:
        kind = step.block.kind
        if kind == "call":
            return [_call(step.block, step.text)] if isinstance(step, Close) else []
        if kind in ("reasoning", "redacted"):
            return _thought(step) if self._thinks else []
        if kind == "server":
            return self._done(step)
        if not isinstance(step, More):
            return []
        self._refused = self._refused or kind == "refusal"
        self._texts.append(step.text)
        self._sources.extend(step.annotations)
        self._logprobs.extend(step.logprobs)
        return [{"text": step.text}] if step.text else []

    def _done(self, step: Step) -> list[dict[str, Any]]:
        """Code is a part; searches are told with what was found, at the end."""
        if not isinstance(step, Open):
            return []
        self._queries += queries_of(step.block.done)
        part = code_part(step.block.done)
        return [part] if part is not None else []

    def end(self, index: int, parts: list[dict[str, Any]]) -> dict[str, Any]:
        """The candidate as its last event tells it, after ``parts``."""
        parts = parts + [part for step in self._blocks.finish() for part in self._parts(step)]
        if self._signature:
            self._sign(parts)
        reason = "SAFETY" if self._refused else _FINISH.get(self._blocks.finish_reason, "STOP")
        told: dict[str, Any] = {
            "content": {"parts": parts or [{"text": ""}], "role": "model"},
            "finishReason": reason,
            "index": index,
        }
        if self._logprobs:
            told["logprobsResult"] = _logprobs(self._logprobs)
            told["avgLogprobs"] = _mean([one.get("logprob") for one in self._logprobs])
        grounding = _grounding(self._sources, "".join(self._texts))
        grounding |= {"webSearchQueries": self._queries} if self._queries else {}
        return told | ({"groundingMetadata": grounding} if grounding else {})

    def _sign(self, parts: list[dict[str, Any]]) -> None:
        """A text's signature stands on its last part, or on an empty one when that has left already."""
        if not parts or "text" not in parts[-1] or parts[-1].get("thought"):
            parts.append({"text": ""})
        parts[-1]["thoughtSignature"] = self._signature


def usage_shown(usage: Usage) -> dict[str, Any]:
    """Google counts thoughts beside the answer, chat inside it."""
    told = {
        "promptTokenCount": usage.prompt,
        "candidatesTokenCount": max(0, usage.completion - usage.reasoning),
        "totalTokenCount": usage.total,
    }
    if usage.cached:
        told["cachedContentTokenCount"] = usage.cached
    if usage.reasoning:
        told["thoughtsTokenCount"] = usage.reasoning
    return told


def error_payload(error: GatewayError) -> dict[str, Any]:
    """google.rpc.Status: our code as the reason, the field at fault, and how long to wait."""
    details: list[dict[str, Any]] = []
    if error.code:
        reason = error.code.upper()
        details.append({"@type": f"{_TYPE}ErrorInfo", "reason": reason, "domain": "understudy"})
    if error.param:
        violation = {"field": PARAMS.get(error.param, error.param), "description": error.message}
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    wait = error.headers.get("retry-after", "")
    if wait.isdigit():
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{wait}s"})
    status = _STATUS.get(error.status, "INVALID_ARGUMENT" if error.status < 500 else "INTERNAL")
    told = {"code": error.status, "message": _sentence(error), "status": status}
    return {"error": told | ({"details": details} if details else {})}


def _sentence(error: GatewayError) -> str:
    """Google's error has no code of its own for a conversation that is too long: its clients know it by these words."""
    said = "exceeds the maximum number of tokens allowed"
    if error.code != "context_length_exceeded" or said in error.message:
        return error.message
    return f"The input token count {said}. {error.message}"


def _indexes(data: dict[str, Any]) -> list[int]:
    found = dicts(data.get("choices"))
    return sorted({one["index"] if isinstance(one.get("index"), int) else 0 for one in found})


def _thought(step: Step) -> list[dict[str, Any]]:
    """A thought as it grows; its signature stands on an empty one after it. Gemini's own stands on its call."""
    block = step.block
    if isinstance(step, More):
        signed = {"thoughtSignature": to_gemini(step.signature, redacted=False)} if step.signature else {}
        return [{"text": step.text, "thought": True, **signed}]
    if isinstance(step, Close) or block.kind != "redacted" or block.signature.startswith(GOOGLE):
        return []
    return [{"text": "", "thought": True, "thoughtSignature": to_gemini(block.signature, redacted=True)}]


def _call(block: Block, arguments: str) -> dict[str, Any]:
    """A model may write arguments that are no JSON object; they are shown as they are, under one key."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        value = None
    args = value if isinstance(value, dict) else {"_invalid_json": arguments}
    part: dict[str, Any] = {"functionCall": {"id": block.id, "name": block.name, "args": args}}
    return part | ({"thoughtSignature": block.signature} if block.signature else {})


def _image(image: dict[str, Any]) -> dict[str, Any]:
    address = image.get("image_url")
    url = str(address.get("url") if isinstance(address, dict) else address)
    mime, marker, data = url.removeprefix("data:").partition(";base64,")
    return {"inlineData": {"mimeType": mime, "data": data}} if marker else {"fileData": {"fileUri": url}}


def _logprobs(tokens: list[dict[str, Any]]) -> dict[str, Any]:
    def told(one: dict[str, Any]) -> dict[str, Any]:
        return {"token": one.get("token"), "logProbability": one.get("logprob")}

    found: dict[str, Any] = {"chosenCandidates": [told(one) for one in tokens]}
    beside = [[told(other) for other in dicts(one.get("top_logprobs"))] for one in tokens]
    if any(beside):
        found["topCandidates"] = [{"candidates": others} for others in beside]
    return found


def _mean(values: list[Any]) -> float | None:
    known = [value for value in values if isinstance(value, int | float)]
    return sum(known) / len(known) if known else None


def _grounding(annotations: list[dict[str, Any]], text: str) -> dict[str, Any]:
    """Url citations as Google tells its search results: each address once, positions in bytes."""
    cited = [one["url_citation"] for one in annotations if isinstance(one.get("url_citation"), dict)]
    cited = [one for one in cited if isinstance(one.get("url"), str)]
    urls = list(dict.fromkeys(one["url"] for one in cited))
    titles = {one["url"]: str(one.get("title") or one["url"]) for one in cited}
    supports = []
    for one in cited:
        start, end = (one.get(name) for name in ("start_index", "end_index"))
        if not isinstance(start, int) or not isinstance(end, int):
            continue
        segment = {"startIndex": len(text[:start].encode()), "endIndex": len(text[:end].encode())}
        part = {"segment": segment | {"text": text[start:end]}}
        supports.append(part | {"groundingChunkIndices": [urls.index(one["url"])]})
    chunks = [{"web": {"uri": url, "title": titles[url]}} for url in urls]
    return {"groundingChunks": chunks, "groundingSupports": supports} if chunks else {}
