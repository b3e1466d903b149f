"""The API keys of a provider that has several."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

PerMinute = Annotated[int, Meta(ge=1, le=10**12)]


class ProviderKey(Struct, frozen=True, forbid_unknown_fields=True):
    """One key: its share of the calls, and what the provider lets it do in a minute (None: not known here)."""

    key: str
    weight: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None


ApiKeys = Annotated[list[str | ProviderKey], Meta(max_length=100)]
"""As the policies write them: a text, or a map with limits."""


def keys_of(settings: Any) -> tuple[ProviderKey, ...]:
    """The keys of a provider's settings, ``api_key`` first; those that are empty are left out."""
    written = [getattr(settings, "api_key", ""), *getattr(settings, "api_keys", ())]
    keys = [one if isinstance(one, ProviderKey) else ProviderKey(one) for one in written]
    return tuple(one for one in keys if one.key)
