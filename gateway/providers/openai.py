"""OpenAI's chat completions, and everything that speaks them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec
import yaml
from msgspec import Struct

from gateway import errors
from gateway.protocol.answer import Chunk, WholeAnswer
from gateway.protocol.chat import Usage, usage_from_wire
from gateway.protocol.gemini.shapes import HINTS
from gateway.protocol.sse import Event, EventParser, EventTooLarge
from gateway.providers.codec import AttemptFailed, Enforcement, UpstreamRequest, failed
from gateway.providers.credentials import ApiKeys
from gateway.providers.failures import Complaint, nonsense, object_in, refusal
from gateway.providers.plain_chunks import PlainChunks
from gateway.providers.steps import Steps

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_NOT_SENT = frozenset({"stream", "stream_options", HINTS})


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """A compatible vendor as data."""

    base_url: str
    usage_in_stream: bool = True
    structured: Literal["strict", "guided", "json", "prompt"] = "guided"
    json_mode: Literal["strict", "guided", "prompt"] = "guided"
    strict_tools: Literal["strict", "guided", "plain"] = "guided"


@cache
def profiles() -> dict[str, Profile]:
    """The shipped vendors, by name."""
    text = Path(__file__).with_name("profiles.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), dict[str, Profile])


class OpenAIProvider(Struct, frozen=True, tag="openai", tag_field="type", forbid_unknown_fields=True):
    """``profile`` names a compatible vendor in ``profiles.yaml``; ``base_url`` overrides the vendor's."""

    gives_logprobs: ClassVar[bool] = True
    api_key: str = ""
    api_keys: ApiKeys = []
    base_url: str = ""
    profile: str = "openai"
    headers: dict[str, str] = {}
    simulated: bool = False
    """True for a simulated provider: everything that shows its figures says so."""

    def build(self, name: str, engine_socket: str) -> OpenAICodec:
        profile = profiles().get(self.profile) or Profile(base_url=self.base_url)
        headers = {"content-type": "application/json", "accept-encoding": "gzip, deflate", **self.headers}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        base_url = (self.base_url or profile.base_url).rstrip("/")
        return OpenAICodec(name, f"{base_url}/chat/completions", headers, profile)


class OpenAICodec:
    """Translation is (nearly) the identity: the whole map goes out with ``model`` replaced."""

    def __init__(
        self, name: str, url: str, headers: dict[str, str], profile: Profile, socket: str = ""
    ) -> None:
        self._name, self._url, self._headers = name, url, headers
        self._profile, self._socket = profile, socket

    def encode(self, body: Mapping[str, Any], model: str, *, stream: bool) -> UpstreamRequest:
        wire = {key: value for key, value in body.items() if key not in _NOT_SENT}
        wire["model"] = model
        if stream:
            wire["stream"] = True
            options = dict(body.get("stream_options") or {})
            if self._profile.usage_in_stream:
                options["include_usage"] = True  # the gateway prices every call, asked or not
            if options:
                wire["stream_options"] = options
        return UpstreamRequest(url=self._url, headers=self._headers, body=_encode(wire), socket=self._socket)

    def decode(self, status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> WholeAnswer:
        if status != 200:
            raise self.refuse(status, headers, body, now=now)
        data = self._object(body)
        choices = data.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise self._nonsense("an answer without choices")
        message = choices[0].get("message")
        content = message.get("content") if isinstance(message, dict) else None
        return WholeAnswer(
            data=data,
            text=content if isinstance(content, str) else "",
            finish_reason=choices[0].get("finish_reason"),
            usage=usage_from_wire(data.get("usage")),
        )

    def refuse(self, status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> AttemptFailed:
        message, kind, param, code = _error_fields(body)
        complaint = Complaint(message=message, kind=kind, param=param, code=code)
        return refusal(self._name, status, headers, complaint, now=now)

    def stream(self) -> OpenAIStream:
        return OpenAIStream(self)

    def enforces(self, model: str) -> Enforcement:
        profile = self._profile
        return Enforcement(profile.structured, profile.json_mode, profile.strict_tools, settled=False)

    def _object(self, body: bytes) -> dict[str, Any]:
        return object_in(self._name, body)

    def _nonsense(self, what: str) -> AttemptFailed:
        return nonsense(self._name, what)


class OpenAIStream(Steps):
    """Decodes a streamed answer wherever its bytes were cut."""

    def __init__(self, codec: OpenAICodec) -> None:
        super().__init__()
        self._codec = codec
        self._events = EventParser()
        self._plain = PlainChunks()

    def feed(self, data: bytes) -> list[Chunk]:
        try:
            events = self._events.feed(data)
        except EventTooLarge:
            raise self._codec._nonsense("a stream event larger than 4 MiB") from None
        return self.steps(events, self._step)

    def finish(self) -> list[Chunk]:
        self.ended(self._codec._name)
        return []

    def _step(self, event: Event) -> list[Chunk]:
        payload = event.data
        if (plain := self._plain.read(payload)) is not None:
            return [plain]
        if payload.strip() == b"[DONE]":
            self.done = True
            return []
        return [self._plain.learnt(payload, self._chunk(payload))] if payload else []

    def _chunk(self, payload: bytes) -> Chunk:
        data = self._codec._object(payload)
        if data.get("error"):
            message, _, _, code = _error_fields(payload)
            raise failed(
                "failed",
                errors.UpstreamFailed(
                    message or "The provider reported an error inside the stream.",
                    code=code or "upstream_error",
                ),
            )
        choices = data.get("choices")
        text, finish = "", None
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            first = choices[0]
            delta = first.get("delta")
            content = delta.get("content") if isinstance(delta, dict) else None
            text = content if isinstance(content, str) and not first.get("index") else ""
            finish = first.get("finish_reason")
        usage: Usage | None = usage_from_wire(data.get("usage")) if data.get("usage") else None
        return Chunk(data=data, text=text, finish_reason=finish, usage=usage)


def _error_fields(body: bytes) -> tuple[str, str, str | None, str | None]:
    """(message, type, param, code) of an OpenAI-shaped error; empty where the body has another shape."""
    try:
        data = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", "", None, None
    error = data.get("error") if isinstance(data, dict) else None
    if isinstance(error, str):
        return error[:2000], "", None, None
    if not isinstance(error, dict):
        return "", "", None, None
    message, kind, param, code = (error.get(name) for name in ("message", "type", "param", "code"))
    return (
        str(message or "")[:2000],
        str(kind or ""),
        param if isinstance(param, str) else None,
        str(code) if isinstance(code, str | int) else None,
    )
