"""Cohere's chat API, version 2. https://docs.cohere.com/reference/chat"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from gateway.protocol.answer import Chunk, WholeAnswer
from gateway.protocol.chat import Usage
from gateway.protocol.lists import dicts
from gateway.providers.capabilities import most_choices, most_stops
from gateway.providers.codec import NOTHING, AttemptFailed, Enforcement, UpstreamRequest
from gateway.providers.cohere.embeddings import MOST_TEXTS
from gateway.providers.cohere.embeddings import answer_of as embeddings_of
from gateway.providers.cohere.embeddings import request_body as embed_body
from gateway.providers.credentials import ApiKeys
from gateway.providers.embedded_texts import portions
from gateway.providers.event_stream import EventStream
from gateway.providers.failures import Complaint, lenient, nonsense, object_in, refusal, text_field
from gateway.providers.translate_answer import Writer, choice, tool_call, url_citation, whole
from gateway.providers.translate_request import Reader, Turn, data_url, is_web_url, met_stop, none_of, url_of

_encode = msgspec.json.encode
_FINISH = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_calls"}
_BROKEN = frozenset({"ERROR", "TIMEOUT"})
_BUDGETS = {"minimal": 512, "low": 1024, "medium": 4096, "high": 16_384, "xhigh": 16_384, "max": 16_384}
_NOTHING_ASKED: dict[str, tuple[Any, ...]] = {
    "n": (1,), "logit_bias": ({},), "top_logprobs": (0,), "audio": (), "modalities": ([], ["text"]),
    "verbosity": ("medium",), "web_search_options": (), "service_tier": ("auto", "default"), "moderation": (),
}  # fmt: skip


class CohereProvider(Struct, frozen=True, tag="cohere", tag_field="type", forbid_unknown_fields=True):
    profile: ClassVar[str] = "cohere"
    api_key: str = ""
    api_keys: ApiKeys = []
    base_url: str = "https://api.cohere.com/v2"
    headers: dict[str, str] = {}
    drop_params: bool = False
    simulated: bool = False

    def build(self, name: str, engine_socket: str) -> CohereCodec:
        headers = {"content-type": "application/json", "accept-encoding": "gzip, deflate", **self.headers}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        return CohereCodec(name, f"{self.base_url.rstrip('/')}/chat", headers, drop=self.drop_params)


class CohereCodec:
    def __init__(self, name: str, url: str, headers: dict[str, str], *, drop: bool) -> None:
        self._name, self._url, self._headers, self._drop = name, url, headers, drop

    def encode(self, body: Mapping[str, Any], model: str, *, stream: bool) -> UpstreamRequest:
        wire = request_body(Reader(self._name, body, drop=self._drop), model)
        wire["stream"] = stream
        return UpstreamRequest(url=self._url, headers=self._headers, body=_encode(wire))

    def decode(
        self, status: int, headers: Mapping[str, str], body: bytes, *, now: float, asked: Mapping[str, Any] = NOTHING
    ) -> WholeAnswer:
        if status != 200:
            raise self.refuse(status, headers, body, now=now)
        data = object_in(self._name, body)
        message = data.get("message")
        if not isinstance(message, dict):
            raise nonsense(self._name, "an answer without a message")
        parts = dicts(message.get("content"))
        text = "".join(str(part.get("text") or "") for part in parts if part.get("type") == "text")
        thought = "".join(str(part.get("thinking") or "") for part in parts if part.get("type") == "thinking")
        calls = [
            tool_call(str(one.get("id")), text_field(one, "function", "name"), _arguments(one))
            for one in dicts(message.get("tool_calls"))
        ]
        made = choice(
            0, text, _reason(self._name, data.get("finish_reason")), calls=calls,
            annotations=_citations(dicts(message.get("citations")), text, _starts(parts)), stop=_met(data, asked),
            logprobs=_logprobs(dicts(data.get("logprobs"))),
            extra={"reasoning_content": thought + str(message.get("tool_plan") or "")},
        )  # fmt: skip
        id_, usage = str(data.get("id") or ""), usage_of(data.get("usage"))
        return whole([made], usage, id_=id_, model="", now=now, asked=asked)

    def refuse(self, status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> AttemptFailed:
        message = text_field(lenient(body), "message")
        lower = message.lower()
        complaint = Complaint(message=message)
        if status == 498:
            complaint = Complaint(message=message, blame="operator")
        elif "too many tokens" in lower or "too long" in lower:
            complaint = Complaint(message=message, code="context_length_exceeded", param="messages")
        elif status == 404 and "model" in lower:
            complaint = Complaint(message=message, code="model_not_found", param="model")
        return refusal(self._name, status, headers, complaint, now=now, sent=self._headers)

    def stream(self, asked: Mapping[str, Any] = NOTHING) -> CohereStream:
        return CohereStream(self._name, asked)

    def most_choices(self) -> int:
        return most_choices("cohere")

    def portions(self, body: Mapping[str, Any], model: str) -> list[dict[str, Any]]:
        return portions(Reader(self._name, body, drop=self._drop), MOST_TEXTS)

    def embedding(self, body: Mapping[str, Any], model: str) -> UpstreamRequest:
        url = self._url.removesuffix("/chat") + "/embed"
        return UpstreamRequest(url=url, headers=self._headers, body=_encode(embed_body(body, model)))

    def embedded(self, data: Mapping[str, Any], body: Mapping[str, Any], model: str) -> dict[str, Any]:
        return embeddings_of(data, body, model)

    def enforces(self, model: str) -> Enforcement:
        return Enforcement("guided", "guided", "guided")


# ------------------------------------------------------------------------------------------------ request
def request_body(reader: Reader, model: str) -> dict[str, Any]:
    """Raises AttemptFailed with a BadRequest for what Cohere cannot take."""
    reader.without(_NOTHING_ASKED)
    reader.without_claudes_own()
    body = reader.body
    found: dict[str, Any] = {
        "model": model,
        "messages": [one for turn in reader.spoken() if (one := _message(reader, turn)).keys() != {"role"}],
        "max_tokens": reader.token_limit(),
        "temperature": reader.number("temperature", 0, 1),
        "p": reader.number("top_p", 0.01, 0.99) if body.get("top_p") != 1 else None,
        "frequency_penalty": reader.number("frequency_penalty", 0, 1),
        "presence_penalty": reader.number("presence_penalty", 0, 1),
        "stop_sequences": reader.stops(most_stops("cohere")) or None,
        "k": reader.top_k(),
        "seed": body.get("seed"),
        "thinking": _thinking(reader),
        "logprobs": True if body.get("logprobs") else None,
        **_tools(reader),
    }
    kind, schema = reader.schema()
    if kind != "text":
        found["response_format"] = {"type": "json_object", **({"json_schema": schema} if schema else {})}
    wire = {name: value for name, value in found.items() if value is not None}
    for name, value in reader.extras().items():
        wire.setdefault(name, value)
    return wire


def _thinking(reader: Reader) -> dict[str, Any] | None:
    effort = reader.body.get("reasoning_effort")
    if effort is None or "thinking" in reader.body:
        return None
    if effort == "none":
        return {"type": "disabled"}
    if effort not in _BUDGETS:
        raise reader.refused(
            "reasoning_effort", f"There is no effort '{str(effort)[:40]}'.", code="invalid_value"
        )
    return {"type": "enabled", "token_budget": _BUDGETS[effort]}


def _tools(reader: Reader) -> dict[str, Any]:
    tools = []
    strict = False
    for _, function in reader.functions():
        strict = strict or bool(function.get("strict"))
        one = {
            "name": function["name"],
            "parameters": function.get("parameters") or {"type": "object", "properties": {}},
        }
        if function.get("description"):
            one["description"] = function["description"]
        tools.append({"type": "function", "function": one})
    if not tools:
        return {}
    mode, name = reader.choice()
    if name:  # Cohere cannot name a tool, but it cannot call one either that it was not given
        names = [name] if isinstance(name, str) else name
        tools = [tool for tool in tools if tool["function"]["name"] in names]  # type: ignore[index]
    found: dict[str, Any] = {"tools": tools, "strict_tools": True if strict else None}
    if mode != "auto":
        found["tool_choice"] = "NONE" if mode == "none" else "REQUIRED"
    return found


def _message(reader: Reader, turn: Turn) -> dict[str, Any]:
    if turn.role == "tool":
        id_ = turn.message.get("tool_call_id")
        if not isinstance(id_, str) or not id_:
            param = f"{turn.at}.tool_call_id"
            raise reader.refused(param, f"Missing '{param}'.", code="missing_required_parameter")
        return {"role": "tool", "tool_call_id": id_, "content": _text(reader, turn)}
    if turn.role == "assistant":
        calls = [
            tool_call(id_, name, _encode(arguments).decode())
            for _, id_, name, arguments in reader.calls(turn)
        ]
        plan, text = turn.message.get("reasoning_content"), _text(reader, turn)
        said = {"content": text, "tool_calls": calls, "tool_plan": plan if calls else None}
        return {"role": "assistant", **{name: value for name, value in said.items() if value}}
    role = "system" if turn.role == "developer" else turn.role
    if role == "system" or isinstance(turn.message.get("content"), str):
        return {"role": role, "content": _text(reader, turn)}
    return {"role": role, "content": [_part(reader, at, part) for at, part in reader.parts(turn)]}


def _text(reader: Reader, turn: Turn) -> str:
    texts = []
    for at, part in reader.parts(turn):
        kind = str(part.get("type"))
        if kind == "file":
            raise reader.no_document(f"{at}.file", "Files are not taken here.", none_of)
        if kind not in ("text", "refusal"):
            raise reader.refused(at, f"Only text is possible in a turn of the role '{turn.role}'.")
        texts.append(str(part.get(kind) or ""))
    return "\n".join(texts)


def _part(reader: Reader, at: str, part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "text":
        return {"type": "text", "text": str(part.get("text") or "")}
    if kind == "image_url":
        url = url_of(part)
        if data_url(url) is None and not is_web_url(url):
            param = f"{at}.image_url"
            raise reader.refused(param, "An image is a data: or an https: address.", code="invalid_value")
        return {"type": "image_url", "image_url": {"url": url}}
    if kind == "file":
        raise reader.no_document(f"{at}.file", "Files are not taken here.", none_of)
    raise reader.refused(at, f"Parts of the type '{str(kind)[:40]}' are not supported here.")


# ------------------------------------------------------------------------------------------------ answer
class CohereStream(EventStream):
    """Cohere's events as OpenAI's chunks, wherever the bytes were cut."""

    def __init__(self, provider: str, asked: Mapping[str, Any]) -> None:
        super().__init__(provider)
        self._asked = asked
        self._writer = Writer(asked)
        self._calls: dict[Any, int] = {}
        self._silent: set[int] = set()
        self._cited: list[dict[str, Any]] = []
        self._texts: list[str] = []
        self._starts: dict[Any, int] = {}
        """Where in the text each block of content begins."""

    def _event(self, event: dict[str, Any]) -> list[Chunk]:
        kind, delta = event.get("type"), event.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        message = delta.get("message")
        message = message if isinstance(message, dict) else {}
        if kind == "message-start":
            self._writer.id = str(event.get("id") or "")
            return self._writer.open()
        if kind in ("content-start", "content-delta"):
            self._starts.setdefault(event.get("index"), sum(map(len, self._texts)))
            return self._content(message.get("content"), event.get("logprobs"))
        if kind == "tool-plan-delta":
            return self._say("reasoning_content", text_field(message, "tool_plan"))
        if kind in ("tool-call-start", "tool-call-delta"):
            call = message.get("tool_calls")
            return self._call(event.get("index"), call if isinstance(call, dict) else {})
        if kind == "tool-call-end":
            return self._unargued(self._calls.get(event.get("index"), -1))
        if kind == "citation-start" and isinstance(message.get("citations"), dict):
            self._cited.append(message["citations"])
        if kind == "message-end":
            return self._end(delta)
        return []

    def _content(self, content: Any, likely: Any) -> list[Chunk]:
        thought, text = text_field(content, "thinking"), text_field(content, "text")
        chunks = self._say("reasoning_content", thought)
        self._texts.append(text)
        if not text or not isinstance(likely, dict):
            return chunks + self._say("content", text)
        return chunks + self._writer.delta({"content": text}, logprobs=_logprobs([{"text": text, **likely}]))

    def _say(self, name: str, text: str) -> list[Chunk]:
        return self._writer.delta({name: text}) if text else []

    def _call(self, index: Any, call: dict[str, Any]) -> list[Chunk]:
        if index in self._calls:
            piece = text_field(call, "function", "arguments")
            at = self._calls[index]
            self._silent -= {at} if piece else set()
            return self._writer.delta({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})
        at = self._calls[index] = len(self._calls)
        if not text_field(call, "function", "arguments"):
            self._silent.add(at)
        made = tool_call(
            str(call.get("id")),
            text_field(call, "function", "name"),
            text_field(call, "function", "arguments"),
        )
        return self._writer.delta({"tool_calls": [{"index": at, **made}]})

    def _unargued(self, at: int) -> list[Chunk]:
        """A tool without arguments sends none; JSON it must be."""
        if at not in self._silent:
            return []
        self._silent.discard(at)
        return self._writer.delta({"tool_calls": [{"index": at, "function": {"arguments": "{}"}}]})

    def _end(self, delta: dict[str, Any]) -> list[Chunk]:
        reason = _reason(self._provider, delta.get("finish_reason"))
        annotations = _citations(self._cited, "".join(self._texts), self._starts)
        chunks = [chunk for at in sorted(self._silent) for chunk in self._unargued(at)]
        chunks += self._writer.delta({"annotations": annotations}) if annotations else []
        chunks += self._writer.finish(reason, stop=_met(delta, self._asked))
        usage = usage_of(delta.get("usage"))
        if usage is not None:
            chunks.append(self._writer.usage(usage))
        self.done = True
        return chunks


def usage_of(value: Any) -> Usage | None:
    """The tokens that are billed (fewer than were processed: without Cohere's own), where they are told."""
    if not isinstance(value, dict):
        return None
    tokens = value.get("billed_units") or value.get("tokens")
    if not isinstance(tokens, dict):
        return None
    prompt = _whole_number(tokens.get("input_tokens"))
    return Usage(
        prompt=prompt,
        completion=_whole_number(tokens.get("output_tokens")),
        cached=min(prompt, _whole_number(value.get("cached_tokens"))),
    )


def _whole_number(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 < value < 1e15 else 0


def _reason(provider: str, reason: Any) -> str:
    if reason in _BROKEN:
        raise nonsense(provider, f"an answer that it gave up itself ({reason})")
    return _FINISH.get(str(reason), "stop")


def _met(holder: Mapping[str, Any], asked: Mapping[str, Any]) -> str | None:
    """Cohere tells that a stop sequence was met, and not which."""
    return met_stop(asked) if holder.get("finish_reason") == "STOP_SEQUENCE" else None


def _logprobs(pieces: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Cohere tells of each piece of text its tokens' log-probabilities, and not which characters are whose: a piece of
    several tokens is as likely as all of them together. Others that might have stood there are not told."""
    content = []
    for piece in pieces:
        text, known = text_field(piece, "text"), piece.get("logprobs")
        values = [one for one in known if isinstance(one, int | float)] if isinstance(known, list) else []
        if text and values:
            content.append({"token": text, "logprob": sum(values), "bytes": list(text.encode()), "top_logprobs": []})
    return {"content": content, "refusal": None} if content else None


def _arguments(call: dict[str, Any]) -> str:
    return text_field(call, "function", "arguments") or "{}"


def _starts(parts: list[dict[str, Any]]) -> dict[Any, int]:
    """Where in the text each block of content begins, by its number."""
    found, length = {}, 0
    for index, part in enumerate(parts):
        found[index] = length
        length += len(str(part.get("text") or "")) if part.get("type") == "text" else 0
    return found


def _place(citation: Mapping[str, Any], text: str, starts: Mapping[Any, int]) -> tuple[int, int]:
    """Cohere counts from the beginning of the block of content that it names, or of all: the words decide."""
    start, end = _whole_number(citation.get("start")), _whole_number(citation.get("end"))
    index = citation.get("content_index")
    base = starts.get(index, 0) if isinstance(index, int) else 0
    words = citation.get("text")
    meant = base if isinstance(words, str) and text[base + start : base + end] == words else 0
    return start + meant, end + meant


def _citations(citations: list[dict[str, Any]], text: str, starts: Mapping[Any, int]) -> list[dict[str, Any]]:
    """Only sources with an address have a place in OpenAI's shape."""
    found = []
    for one in citations:
        if one.get("type") not in (None, "TEXT_CONTENT"):
            continue  # what was thought or planned rests on it, and not the answer
        for source in dicts(one.get("sources")):
            document = source.get("document") or source.get("tool_output")
            url = text_field(document, "url")
            if url:
                title = text_field(document, "title") or url
                start, end = _place(one, text, starts)
                found.append(url_citation(start, end, url, title))
    return found
