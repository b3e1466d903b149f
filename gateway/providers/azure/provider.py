"""Azure OpenAI: OpenAI's dialect under Azure's addresses, where a model is named by its deployment. Its Responses
API is in ``responses``.

https://learn.microsoft.com/azure/ai-foundry/openai/reference
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import msgspec
from msgspec import Struct

from gateway.catalog import Profile, vendor
from gateway.providers.azure import addresses as azure_addresses
from gateway.providers.azure.responses import AzureResponsesCodec
from gateway.providers.codec import UpstreamRequest
from gateway.providers.credentials import ApiKeys
from gateway.providers.openai.codec import OpenAICodec


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
    """Which of the two APIs answers chat."""
    simulated: bool = False

    def __post_init__(self) -> None:
        if self.api == "responses" and not azure_addresses.has_responses(self.api_version):
            raise ValueError(
                f"Azure has no Responses API in its 'api_version' '{self.api_version}': name "
                f"'{azure_addresses.FIRST_RESPONSES}' or a later one, or leave it out and speak the v1 API"
            )

    def build(self, name: str, engine_socket: str) -> AzureCodec | AzureResponsesCodec:
        headers = {"content-type": "application/json", "accept-encoding": "gzip, deflate", **self.headers}
        if self.api_key:
            headers["api-key"] = self.api_key
        base = f"{self.base_url.rstrip('/').removesuffix('/openai/v1').removesuffix('/openai')}/openai"
        if self.api == "responses":
            return AzureResponsesCodec(name, base, headers, profile_at(base), self.api_version)
        return AzureCodec(name, base, headers, self.api_version)


def profile_at(base: str) -> Profile:
    """How Azure speaks, at one resource."""
    known = vendor("azure")
    return known.wire if known is not None else Profile(base)


def _anyones(model: str) -> bool:
    """A deployment's name need not be its model's: where one that seems to think was not told the stop sequences, its
    answer is cut, and cutting changes nothing where it was."""
    return True


class AzureCodec(OpenAICodec):
    def __init__(self, name: str, base: str, headers: dict[str, str], version: str) -> None:
        super().__init__(name, f"{base}/v1/chat/completions", headers, profile_at(base), cuts=_anyones)
        self._base, self._version = base, version

    def encode(self, body: Mapping[str, Any], model: str, *, stream: bool) -> UpstreamRequest:
        request = super().encode(body, model, stream=stream)
        if not self._version:
            return request
        return msgspec.structs.replace(request, url=azure_addresses.chat(self._base, self._version, model))
