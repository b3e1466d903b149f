"""Google's Vertex AI: Gemini's and Claude's dialects under addresses of a project, behind a service account.

https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
https://docs.claude.com/en/api/claude-on-vertex-ai
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, structs

from gateway.protocol.hints import CONTEXT
from gateway.providers.anthropic.provider import AnthropicCodec, AnthropicProvider
from gateway.providers.anthropic.request import request_body
from gateway.providers.capabilities import Ability, abilities
from gateway.providers.codec import AttemptFailed, UpstreamRequest, failed
from gateway.providers.credentials import ApiKeys
from gateway.providers.embedded_texts import portions
from gateway.providers.failures import lenient
from gateway.providers.gemini.provider import GeminiCodec, GeminiProvider
from gateway.providers.translate_request import Reader
from gateway.providers.vertex.embeddings import answer_of, most_texts
from gateway.providers.vertex.embeddings import request_body as request_of
from gateway.providers.vertex.google_account import Grant, account_of, no_account

_encode = msgspec.json.encode
CLAUDE_VERSION = "vertex-2023-10-16"
_ROOTS = {
    "global": "https://aiplatform.googleapis.com/v1",
    "us": "https://aiplatform.us.rep.googleapis.com/v1",
    "eu": "https://aiplatform.eu.rep.googleapis.com/v1",
}
_Name = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9.:-]{0,62}\Z")]


class VertexProvider(Struct, frozen=True, tag="vertex", tag_field="type", forbid_unknown_fields=True):
    """``service_account`` is a key file's JSON or its path; ``credentials: metadata`` is the identity of the machine or
    pod instead (Compute Engine, GKE, Cloud Run); an ``api_key`` of Google Cloud takes the place of both for Gemini.
    ``publisher``: whose models these are, and so which dialect is spoken. ``project`` defaults to the account's own.
    ``max_tokens`` is sent to Claude when the client names no limit."""

    region: _Name
    project: _Name | Literal[""] = ""
    service_account: str = ""
    credentials: Literal["", "metadata"] = ""
    publisher: Literal["google", "anthropic"] = "google"
    api_key: str = ""
    api_keys: ApiKeys = []
    base_url: str = ""
    headers: dict[str, str] = {}
    max_tokens: Annotated[int, Meta(ge=1)] = 8192
    drop_params: bool = False
    models: list[Ability] = []
    simulated: bool = False

    @property
    def gives_logprobs(self) -> bool:
        return self.publisher == "google"

    @property
    def profile(self) -> str:
        """Whose models and prices these are. Claude costs more in a region than at large: there nothing is listed."""
        if self.publisher == "google":
            return "gemini"
        return "anthropic" if self.region == "global" else ""

    def build(self, name: str, engine_socket: str) -> VertexGemini | VertexClaude:
        account = account_of(self.service_account) if self.service_account else None
        headers = {"content-type": "application/json", "accept-encoding": "gzip, deflate", **self.headers}
        if self.api_key:
            headers["x-goog-api-key"] = self.api_key
        open_door = bool(self.api_key or "authorization" in headers)
        granted = account is not None or self.credentials == "metadata"
        door = _Door(name, Grant(name, account) if granted else None, headers, open_door)
        root = self.base_url.rstrip("/") or _ROOTS.get(
            self.region, f"https://{self.region}-aiplatform.googleapis.com/v1"
        )
        project = self.project or (account.project_id if account is not None else "")
        base = f"{root}/projects/{project}/locations/{self.region}/publishers/{self.publisher}/models/"
        if self.publisher == "google":
            return VertexGemini(name, base, door, self)
        return VertexClaude(name, base, door, self)


class _Door:
    """The headers that open it: the provider's own, with the access token while it is good."""

    def __init__(self, name: str, grant: Grant | None, headers: dict[str, str], open_door: bool) -> None:
        self._name, self._grant, self._open = name, grant, open_door
        self._written = "", headers

    def headers(self) -> dict[str, str]:
        """Raises TokenNeeded, or AttemptFailed where there is no account to get a token for."""
        if self._grant is None:
            if not self._open:
                raise failed("credentials", no_account(self._name))
            return self._written[1]
        token = self._grant.token(time.monotonic())
        if self._written[0] != token:
            self._written = token, {**self._written[1], "authorization": f"Bearer {token}"}
        return self._written[1]


class VertexGemini(GeminiCodec):
    def __init__(self, name: str, base: str, door: _Door, settings: VertexProvider) -> None:
        home = GeminiProvider(drop_params=settings.drop_params, models=settings.models)
        super().__init__(name, base, {}, home)
        self._door = door

    def encode(self, body: Mapping[str, Any], model: str, *, stream: bool) -> UpstreamRequest:
        self._reader(body).without({"service_tier": ("auto", "default")})
        body = {name: value for name, value in body.items() if name != "service_tier"}
        request = super().encode(body, model.removeprefix("google/"), stream=stream)
        return structs.replace(request, headers=self._door.headers())

    def portions(self, body: Mapping[str, Any], model: str) -> list[dict[str, Any]]:
        return portions(self._reader(body), most_texts(model.removeprefix("google/")))

    def embedding(self, body: Mapping[str, Any], model: str) -> UpstreamRequest:
        path = self._reader(body).model_in_path(model.removeprefix("google/"))
        return UpstreamRequest(f"{self._base}{path}:predict", self._door.headers(), _encode(request_of(body)))

    def embedded(self, data: Mapping[str, Any], body: Mapping[str, Any], model: str) -> dict[str, Any]:
        return answer_of(data, body, model)


class VertexClaude(AnthropicCodec):
    """Claude as at home, but for the address, which names the model, and the version, which the body does."""

    def __init__(self, name: str, base: str, door: _Door, settings: VertexProvider) -> None:
        home = AnthropicProvider(
            drop_params=settings.drop_params, models=settings.models, max_tokens=settings.max_tokens
        )
        super().__init__(name, base, {}, home)
        self._ability, self._base, self._door = abilities("anthropic", settings.models, host="vertex"), base, door

    def encode(self, body: Mapping[str, Any], model: str, *, stream: bool) -> UpstreamRequest:
        reader = Reader(self._name, body, drop=self._settings.drop_params)
        path = reader.model_in_path(model)
        _no_files(reader)
        reader.stays_anywhere()
        wire = request_body(reader, path, self._ability(path), self._settings.max_tokens, servers=False)
        for name in ("model", "speed", "inference_geo", CONTEXT):  # all but the first are for Anthropic's own machines
            wire.pop(name, None)
        wire["anthropic_version"] = CLAUDE_VERSION
        if stream:
            wire["stream"] = True
        verb = "streamRawPredict" if stream else "rawPredict"
        return UpstreamRequest(f"{self._base}{path}:{verb}", self._door.headers(), _encode(wire))

    def refuse(self, status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> AttemptFailed:
        """Claude's own errors, and Google's about what lies before it."""
        data = lenient(body)
        data = data[0] if isinstance(data, list) and data else data
        error = data.get("error") if isinstance(data, dict) else None
        if isinstance(error, dict) and "status" in error:
            return GeminiCodec(self._name, "", {}, GeminiProvider()).refuse(status, headers, body, now=now)
        return super().refuse(status, headers, body, now=now)


def _no_files(reader: Reader) -> None:
    """The Files API is Anthropic's own. Raises AttemptFailed."""
    for turn in reader.turns():
        for at, part in reader.parts(turn):
            reader.not_claudes_at_home(part, at)
