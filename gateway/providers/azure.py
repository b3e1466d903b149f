"""Azure OpenAI: OpenAI's dialect under Azure's addresses, where a model is named by its deployment. Its Responses
API is in ``azure_responses``.

https://learn.microsoft.com/azure/ai-foundry/openai/reference
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal
from urllib.parse import quote

import msgspec
from msgspec import Struct

from gateway import errors
from gateway.catalog import Profile, vendor
from gateway.providers.azure_responses import AzureResponsesCodec
from gateway.providers.codec import UpstreamRequest, failed
from gateway.providers.credentials import ApiKeys
from gateway.providers.openai import OpenAICodec

_OF_V1 = frozenset({"", "v1", "preview"})
"""What the v1 API calls its versions; it needs none."""
_DEPLOYMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


class AzureProvider(Struct, frozen=True, tag="azure", tag_field="type", forbid_unknown_fields=True):
    """``base_url`` is the resource, such as ``https://name.openai.azure.com``; a candidate's ``model`` is the
    deployment's name. Without ``api_version`` the v1 API is used, which needs none. ``api_key`` is the
    resource's key; an Entra token goes into ``headers`` instead (``authorization: Bearer …``)."""

    gives_logprobs: ClassVar[bool] = True
    base_url: str
    profile: ClassVar[str] = "azure"
    api_key: str = ""
    api_keys: ApiKeys = []
    api_version: str = ""
    headers: dict[str, str] = {}
    api: Literal["chat", "responses"] = "chat"
    """Which of the two APIs answers chat; the Responses API is had under the v1 addresses alone."""
    simulated: bool = False

    def __post_init__(self) -> None:
        if self.api == "responses" and self.api_version not in _OF_V1:
            raise ValueError(
                f"'api: responses' speaks Azure's v1 API, which has no 'api_version' '{self.api_version}': leave it out"
            )

    def build(self, name: str, engine_socket: str) -> AzureCodec | AzureResponsesCodec:
        headers = {"content-type": "application/json", "accept-encoding": "gzip, deflate", **self.headers}
        if self.api_key:
            headers["api-key"] = self.api_key
        base = f"{self.base_url.rstrip('/').removesuffix('/openai/v1').removesuffix('/openai')}/openai"
        if self.api == "responses":
            return AzureResponsesCodec(name, f"{base}/v1/chat/completions", headers, profile_at(base), self.api_version)
        return AzureCodec(name, base, headers, self.api_version)


def profile_at(base: str) -> Profile:
    """How Azure speaks, at one resource."""
    known = vendor("azure")
    return known.wire if known is not None else Profile(base)


class AzureCodec(OpenAICodec):
    def __init__(self, name: str, base: str, headers: dict[str, str], version: str) -> None:
        super().__init__(name, f"{base}/v1/chat/completions", headers, profile_at(base))
        self._base, self._version = base, version

    def encode(self, body: Mapping[str, Any], model: str, *, stream: bool) -> UpstreamRequest:
        request = super().encode(body, model, stream=stream)
        if not self._version:
            return request
        if not _DEPLOYMENT.match(
            model
        ):  # it may come from the client and must not leave its place in the path
            error = errors.BadRequest(
                "This is not a deployment's name.", param="model", code="model_not_found"
            )
            raise failed("refused", error)
        url = f"{self._base}/deployments/{model}/chat/completions?api-version={quote(self._version, safe='')}"
        return msgspec.structs.replace(request, url=url)
