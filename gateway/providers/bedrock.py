"""AWS Bedrock's Converse and ConverseStream. The request's translation is in ``bedrock_request``.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Struct

from gateway.protocol.answer import Chunk, WholeAnswer
from gateway.protocol.chat import Usage
from gateway.providers.aws import BrokenMessage, Credentials, Message, MessageParser, signed_headers
from gateway.providers.bedrock_request import request_body
from gateway.providers.capabilities import Ability, abilities, most_choices
from gateway.providers.codec import (
    CLAUDE_ENFORCES,
    NOT_ENFORCED,
    NOTHING,
    AttemptFailed,
    Enforcement,
    UpstreamRequest,
)
from gateway.providers.credentials import ApiKeys
from gateway.providers.failures import Complaint, lenient, nonsense, object_in, refusal, text_field
from gateway.providers.steps import Steps
from gateway.providers.translate_answer import Writer, choice, count, dicts, tool_call, whole
from gateway.providers.translate_request import Reader, met_stop

_encode = msgspec.json.encode
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,2047}\Z")
_FINISH = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls",
    "model_context_window_exceeded": "length", "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}  # fmt: skip
_STATUS = {
    "throttlingException": 429, "validationException": 400, "modelStreamErrorException": 424,
    "internalServerException": 500, "serviceUnavailableException": 503,
}  # fmt: skip


class BedrockProvider(Struct, frozen=True, tag="bedrock", tag_field="type", forbid_unknown_fields=True):
    """Signed with ``access_key_id`` and ``secret_access_key`` (and ``session_token``), or sent with a Bedrock API
    key. ``base_url`` is made from ``region``. A model is its id, an inference profile or its ARN."""

    profile: ClassVar[str] = "bedrock"
    region: str = "us-east-1"
    access_key_id: str = ""
    secret_access_key: str = ""
    session_token: str = ""
    api_key: str = ""
    api_keys: ApiKeys = []
    base_url: str = ""
    headers: dict[str, str] = {}
    drop_params: bool = False
    models: list[Ability] = []
    simulated: bool = False

    def build(self, name: str, engine_socket: str) -> BedrockCodec:
        return BedrockCodec(name, self)


class BedrockCodec:
    """``clock`` gives the instant that is signed."""

    def __init__(self, name: str, settings: BedrockProvider, clock: Callable[[], float] = time.time) -> None:
        self._name, self._settings, self._clock = name, settings, clock
        base = settings.base_url or f"https://bedrock-runtime.{settings.region}.amazonaws.com"
        self._base = base.rstrip("/")
        parts = urlsplit(self._base)
        self._host, self._path = parts.netloc, parts.path
        self._credentials = Credentials(
            settings.access_key_id, settings.secret_access_key, settings.session_token
        )
        self._claude = abilities("anthropic", settings.models, host="bedrock")
        self._others = abilities("bedrock", settings.models)

    def encode(self, body: Mapping[str, Any], model: str, *, stream: bool) -> UpstreamRequest:
        reader = Reader(self._name, body, drop=self._settings.drop_params)
        if not _MODEL.match(model) or ".." in model:
            raise reader.refused("model", f"'{model[:80]}' is not a model's id.", code="model_not_found")
        raw = _encode(request_body(reader, self._ability_of(model), model))
        verb = "converse-stream" if stream else "converse"
        place = f"/model/{quote(model, safe=':')}/{verb}"
        headers = {"content-type": "application/json", **self._settings.headers}
        if self._settings.api_key:
            headers["authorization"] = f"Bearer {self._settings.api_key}"
        elif self._settings.access_key_id:
            headers = signed_headers(
                self._credentials, method="POST", path=self._path + place, headers={**headers, "host": self._host},
                body=raw, region=self._settings.region, service="bedrock", now=self._clock(),
            )  # fmt: skip
        return UpstreamRequest(url=f"{self._base}{place}", headers=headers, body=raw)

    def _ability_of(self, model: str) -> Ability:
        """Claude's models differ as they do at home."""
        own = next((one for one in self._settings.models if one.match == model), None)
        if own is not None:
            return own
        _, claude, name = model.partition("anthropic.")
        return self._claude(name) if claude else self._others(model)

    def decode(
        self, status: int, headers: Mapping[str, str], body: bytes, *, now: float, asked: Mapping[str, Any] = NOTHING
    ) -> WholeAnswer:
        if status != 200:
            raise self.refuse(status, headers, body, now=now)
        data = object_in(self._name, body)
        output = data.get("output")
        message = output.get("message") if isinstance(output, dict) else None
        if not isinstance(message, dict):
            raise nonsense(self._name, "an answer without a message")
        texts, calls, thoughts = [], [], []
        for block in dicts(message.get("content")):
            if isinstance(block.get("text"), str):
                texts.append(block["text"])
            used, reasoning = block.get("toolUse"), block.get("reasoningContent")
            if isinstance(used, dict):
                arguments = _encode(used.get("input") or {}).decode()
                calls.append(tool_call(str(used.get("toolUseId")), str(used.get("name")), arguments))
            if isinstance(reasoning, dict):
                thoughts.append(_thought(reasoning))
        reason = _reason(self._name, data.get("stopReason"))
        said = "".join(str(one.get("thinking") or "") for one in thoughts)
        made = choice(
            0, "".join(texts), reason, calls=calls, extra={"reasoning_content": said, "thinking_blocks": thoughts},
            stop=_met(data, asked),
        )  # fmt: skip
        id_ = str(headers.get("x-amzn-requestid") or secrets.token_hex(12))
        return whole([made], usage_of(data.get("usage")), id_=id_, model="", now=now)

    def refuse(self, status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> AttemptFailed:
        data = lenient(body)
        message = text_field(data, "message") or text_field(data, "Message")
        kind = (headers.get("x-amzn-errortype") or "").partition(":")[0]
        return refusal(self._name, status, headers, _complaint(status, kind, message), now=now)

    def stream(self, asked: Mapping[str, Any] = NOTHING) -> BedrockStream:
        return BedrockStream(self._name, asked)

    def most_choices(self) -> int:
        return most_choices("bedrock")

    def enforces(self, model: str) -> Enforcement:
        return CLAUDE_ENFORCES if self._ability_of(model).structured else NOT_ENFORCED


class BedrockStream(Steps):
    """ConverseStream's messages as OpenAI's chunks, wherever the bytes were cut. ``metadata`` is the last one."""

    def __init__(self, provider: str, asked: Mapping[str, Any]) -> None:
        super().__init__()
        self._provider, self._asked = provider, asked
        self._messages = MessageParser()
        self._writer = Writer()
        self._writer.id = secrets.token_hex(12)
        self._calls: dict[Any, int] = {}
        self._silent: set[int] = set()
        self._thoughts: dict[Any, dict[str, Any]] = {}
        self._told = 0

    def feed(self, data: bytes) -> list[Chunk]:
        try:
            messages = self._messages.feed(data)
        except BrokenMessage:
            raise nonsense(self._provider, "bytes that are no event stream") from None
        return self.steps(messages, self._message)

    def finish(self) -> list[Chunk]:
        self.ended(self._provider)
        return []

    def _message(self, message: Message) -> list[Chunk]:
        headers = message.headers
        if headers.get(":message-type") != "event":
            kind = headers.get(":exception-type") or headers.get(":error-code") or ""
            text = text_field(lenient(message.payload), "message") or headers.get(":error-message", "")
            status = _STATUS.get(kind, 500)
            raise refusal(self._provider, status, {}, _complaint(status, kind, text), now=0.0)
        event = object_in(self._provider, message.payload)
        name, index = headers.get(":event-type"), event.get("contentBlockIndex")
        if name == "messageStart":
            return self._writer.open()
        if name == "contentBlockStart":
            return self._begin(index, event)
        if name == "contentBlockDelta":
            delta = event.get("delta")
            return self._delta(index, delta if isinstance(delta, dict) else {})
        if name == "contentBlockStop" and self._calls.get(index) in self._silent:
            self._silent.discard(self._calls[index])
            return self._arguments(self._calls[index], "{}")
        if name == "contentBlockStop" and index in self._thoughts:
            return self._told_thoughts()
        if name == "messageStop":
            return self._stop(event)
        if name == "metadata":
            return self._end(event)
        return []

    def _begin(self, index: Any, event: dict[str, Any]) -> list[Chunk]:
        start = event.get("start")
        used = start.get("toolUse") if isinstance(start, dict) else None
        if not isinstance(used, dict):
            return []
        at = self._calls[index] = len(self._calls)
        self._silent.add(at)
        call = tool_call(str(used.get("toolUseId")), str(used.get("name")), "")
        return self._writer.delta({"tool_calls": [{"index": at, **call}]})

    def _delta(self, index: Any, delta: dict[str, Any]) -> list[Chunk]:
        if isinstance(delta.get("text"), str):
            return self._writer.delta({"content": delta["text"]}) if delta["text"] else []
        piece = text_field(delta, "toolUse", "input")
        if piece and index in self._calls:
            self._silent.discard(self._calls[index])
            return self._arguments(self._calls[index], piece)
        reasoning = delta.get("reasoningContent")
        if not isinstance(reasoning, dict):
            return []
        if isinstance(reasoning.get("redactedContent"), str):
            self._thoughts[index] = {"type": "redacted_thinking", "data": reasoning["redactedContent"]}
            return []
        text = text_field(reasoning, "text")
        kept = self._thoughts.setdefault(index, {"type": "thinking", "thinking": "", "signature": ""})
        kept["thinking"] = str(kept.get("thinking") or "") + text
        kept["signature"] = str(kept.get("signature") or "") + text_field(reasoning, "signature")
        return self._writer.delta({"reasoning_content": text}) if text else []

    def _arguments(self, at: int, piece: str) -> list[Chunk]:
        return self._writer.delta({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})

    def _stop(self, event: dict[str, Any]) -> list[Chunk]:
        reason = _reason(self._provider, event.get("stopReason"))
        chunks = [] if self._told == len(self._thoughts) else self._told_thoughts()
        return chunks + self._writer.finish(reason, stop=_met(event, self._asked))

    def _told_thoughts(self) -> list[Chunk]:
        """All thoughts so far, with their signatures; each time one has ended."""
        self._told = len(self._thoughts)
        return self._writer.delta({"thinking_blocks": list(self._thoughts.values())})

    def _end(self, event: dict[str, Any]) -> list[Chunk]:
        if not self._writer.complete:
            raise nonsense(self._provider, "a stream that ended without a reason")
        self.done = True
        usage = usage_of(event.get("usage"))
        return [self._writer.usage(usage)] if usage is not None else []


def usage_of(value: Any) -> Usage | None:
    """OpenAI counts cached tokens inside the prompt, AWS beside it."""
    if not isinstance(value, dict):
        return None
    read, written = count(value.get("cacheReadInputTokens")), count(value.get("cacheWriteInputTokens"))
    return Usage(
        prompt=count(value.get("inputTokens")) + read + written,
        completion=count(value.get("outputTokens")),
        cached=read,
        written=written,
    )


def _thought(reasoning: dict[str, Any]) -> dict[str, Any]:
    """In Anthropic's form, so that a conversation may move between Claude's hosts."""
    if isinstance(reasoning.get("redactedContent"), str):
        return {"type": "redacted_thinking", "data": reasoning["redactedContent"]}
    return {
        "type": "thinking",
        "thinking": text_field(reasoning, "reasoningText", "text"),
        "signature": text_field(reasoning, "reasoningText", "signature"),
    }


def _met(holder: Mapping[str, Any], asked: Mapping[str, Any]) -> str | None:
    """The stop sequence that was met. Claude says which, because the request asks for it; others only that one was."""
    told = text_field(holder, "additionalModelResponseFields", "stop_sequence")
    return told or (met_stop(asked) if holder.get("stopReason") == "stop_sequence" else None)


def _reason(provider: str, reason: Any) -> str:
    if str(reason).startswith("malformed_"):
        raise nonsense(provider, f"an answer that it called broken itself ({reason})")
    return _FINISH.get(str(reason), "stop")


def _complaint(status: int, kind: str, message: str) -> Complaint:
    lower, name = message.lower(), kind.lower()
    if name in ("unrecognizedclientexception", "expiredtokenexception", "invalidsignatureexception"):
        return Complaint(message=message, blame="operator")
    if name in ("servicequotaexceededexception", "throttlingexception"):
        return Complaint(message=message, blame="throttle")
    if status == 424:  # the model itself failed
        return Complaint(message=message, blame="provider")
    if "too long" in lower or "too many input tokens" in lower:
        return Complaint(message=message, code="context_length_exceeded", param="messages")
    if status == 404 or "model identifier is invalid" in lower:
        return Complaint(message=message, code="model_not_found", param="model")
    return Complaint(message=message)
