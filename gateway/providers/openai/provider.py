"""How a provider that speaks OpenAI is named in the policies."""

from __future__ import annotations

from typing import ClassVar, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from gateway.catalog import Profile, Traits
from gateway.protocol.hints import AT_OPENAI, AT_XAI
from gateway.providers.capabilities import without
from gateway.providers.credentials import ApiKeys
from gateway.providers.openai.codec import OpenAICodec
from gateway.providers.openai.models import thinks
from gateway.providers.openai.vendors import TRANSPARENT, profile_of
from gateway.providers.responses.codec import ResponsesCodec

_OPENAIS = (".openai.com", ".openai.azure.com", ".openai.azure.us")
"""Where OpenAI's own models answer, in any region."""


_AT_HOME = {"openai": AT_OPENAI, "xai": AT_XAI}
"""Whose tools run where, of those that speak the Responses API."""


class OpenAIProvider(Struct, frozen=True, tag="openai", tag_field="type", forbid_unknown_fields=True):
    """``profile`` names a vendor of the catalog that speaks OpenAI's dialect; ``base_url`` and ``traits`` come before
    what its file says."""

    gives_logprobs: ClassVar[bool] = True
    api_key: str = ""
    api_keys: ApiKeys = []
    base_url: str = ""
    profile: str = "openai"
    headers: dict[str, str] = {}
    drop_params: bool = False
    traits: Traits | None = None
    api: Literal["chat", "responses"] = "chat"
    """Which of OpenAI's two APIs answers chat: some models are only had through the other."""
    simulated: bool = False
    """True for a simulated provider: everything that shows its figures says so."""

    def build(self, name: str, engine_socket: str) -> OpenAICodec:
        profile = profile_of(self.profile) or Profile(base_url=self.base_url)
        if self.own_server:  # it is sent what the client sent, and its answers are checked
            profile = msgspec.structs.replace(
                profile, keeps=TRANSPARENT, lacks=[], most_stops=None, structured="guided", json_mode="guided",
                strict_tools="guided", documents=None,
            )
        profile = profile.with_traits(self.traits)
        headers = {"content-type": "application/json", "accept-encoding": "gzip, deflate", **self.headers}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        base_url = (self.base_url or profile.base_url).rstrip("/")
        url = f"{base_url}/chat/completions"
        thoughtless = frozenset[str]() if self.own_server else without(self.profile, "reasoning")
        cuts = thinks if self.profile == "openai" and not self.own_server else None
        if self.api == "chat":
            lacking = frozenset[str]() if self.own_server else without(self.profile, "files")
            return OpenAICodec(
                name, url, headers, profile, drop=self.drop_params, without_files=lacking, thoughtless=thoughtless,
                cuts=cuts,
            )  # fmt: skip
        here = _AT_HOME.get(self.profile, "")
        return ResponsesCodec(
            name, url, headers, profile, drop=self.drop_params, here=here, thoughtless=thoughtless, cuts=cuts
        )

    @property
    def own_server(self) -> bool:
        """Whether nobody knows what answers there: the address is not OpenAI's, and no profile says whose it is."""
        if self.profile != "openai" or not self.base_url:
            return False
        return not f".{urlsplit(self.base_url).hostname or ''}".endswith(_OPENAIS)
