"""AWS Bedrock's Converse and ConverseStream. The request's translation is in ``request``.

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

from gateway.protocol.answer import WholeAnswer
from gateway.protocol.lists import dicts
from gateway.providers.bedrock.answer import Said, complaint, met, reason, tier_of, usage_of
from gateway.providers.bedrock.aws import Credentials, signed_headers
from gateway.providers.bedrock.embeddings import answer_of as embeddings_of
from gateway.providers.bedrock.embeddings import maker_of, most_texts
from gateway.providers.bedrock.embeddings import request_body as embedding_body
from gateway.providers.bedrock.request import request_body
from gateway.providers.bedrock.stream import BedrockStream
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
from gateway.providers.embedded_texts import portions
from gateway.providers.failures import lenient, nonsense, object_in, refusal, text_field
from gateway.providers.translate_answer import choice, whole
from gateway.providers.translate_request import Reader

_encode = msgspec.json.encode
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,2047}\Z")


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
        reader = self._reader(body, model)
        wire = request_body(reader, self._ability_of(model), model)
        return self._signed(wire, model, "converse-stream" if stream else "converse")

    def portions(self, body: Mapping[str, Any], model: str) -> list[dict[str, Any]]:
        reader = self._reader(body, model)
        return portions(reader, most_texts(maker_of(reader, model)))

    def embedding(self, body: Mapping[str, Any], model: str) -> UpstreamRequest:
        maker = maker_of(self._reader(body, model), model)
        return self._signed(embedding_body(body, maker), model, "invoke")

    def embedded(self, data: Mapping[str, Any], body: Mapping[str, Any], model: str) -> dict[str, Any]:
        return embeddings_of(data, body, model, maker_of(self._reader(body, model), model))

    def _reader(self, body: Mapping[str, Any], model: str) -> Reader:
        """Raises AttemptFailed for what is no model."""
        reader = Reader(self._name, body, drop=self._settings.drop_params)
        if not _MODEL.match(model) or ".." in model:
            raise reader.refused("model", f"'{model[:80]}' is not a model's id.", code="model_not_found")
        return reader

    def _signed(self, wire: dict[str, Any], model: str, verb: str) -> UpstreamRequest:
        raw, place = _encode(wire), f"/model/{quote(model, safe=':')}/{verb}"
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
        said = Said()
        for block in dicts(message.get("content")):
            said.whole(block)
        made = choice(
            0, "".join(said.texts), reason(self._name, data.get("stopReason")), calls=said.calls, extra=said.extra(),
            annotations=said.annotations, stop=met(data, asked),
        )  # fmt: skip
        id_, tier = str(headers.get("x-amzn-requestid") or secrets.token_hex(12)), data.get("serviceTier")
        usage = usage_of(data.get("usage"), tier)
        return whole([made], usage, id_=id_, model="", now=now, asked=asked, service_tier=tier_of(tier))

    def refuse(self, status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> AttemptFailed:
        data = lenient(body)
        message = text_field(data, "message") or text_field(data, "Message")
        kind = (headers.get("x-amzn-errortype") or "").partition(":")[0]
        opened = {"authorization": self._settings.api_key}
        return refusal(self._name, status, headers, complaint(status, kind, message), now=now, sent=opened)

    def stream(self, asked: Mapping[str, Any] = NOTHING) -> BedrockStream:
        return BedrockStream(self._name, asked)

    def most_choices(self) -> int:
        return most_choices("bedrock")

    def enforces(self, model: str) -> Enforcement:
        return CLAUDE_ENFORCES if self._ability_of(model).structured else NOT_ENFORCED
