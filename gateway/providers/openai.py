"""OpenAI's chat completions, and everything that speaks them."""

from __future__ import annotations

from msgspec import Struct


class OpenAIProvider(Struct, frozen=True, tag="openai", tag_field="type", forbid_unknown_fields=True):
    """``profile`` names a compatible vendor in ``profiles.yaml``; ``base_url`` overrides the vendor's."""

    api_key: str = ""
    base_url: str = ""
    profile: str = "openai"
    headers: dict[str, str] = {}
    simulated: bool = False
    """True for a simulated provider: everything that shows its figures says so."""
