"""One codec for each key of a provider that has several."""

from __future__ import annotations

import hashlib
from typing import Any

from msgspec import Struct, structs

from gateway.providers.codec import Codec
from gateway.providers.credentials import ProviderKey, keys_of


class KeyedCodec(Struct, frozen=True):
    """A provider's codec with one of its keys. ``id`` tells keys apart without their text; ``index`` is the key's place
    in the policies, from 1, and ``hint`` shows its last four characters."""

    id: str
    index: int
    hint: str
    codec: Codec
    weight: float
    requests_per_minute: int | None
    tokens_per_minute: int | None


def codec_of(name: str, settings: Any, engine_socket: str) -> Codec:
    """The codec of a provider, with its first key."""
    keys = keys_of(settings)
    chosen = structs.replace(settings, api_key=keys[0].key) if keys else settings
    codec: Codec = chosen.build(name, engine_socket)
    return codec


def keyed_codecs(name: str, settings: Any) -> tuple[KeyedCodec, ...]:
    """One for each key; () for a provider with one key or none."""
    keys = keys_of(settings)
    if len(keys) < 2:
        return ()
    return tuple(_keyed(name, settings, index, key) for index, key in enumerate(keys, 1))


def _keyed(name: str, settings: Any, index: int, key: ProviderKey) -> KeyedCodec:
    shown = key.key[-4:] if len(key.key) >= 16 and key.key.isascii() and key.key.isprintable() else ""
    return KeyedCodec(
        id=f"{name}:{hashlib.sha256(key.key.encode()).hexdigest()}",
        index=index,
        hint=f"…{shown}",
        codec=structs.replace(settings, api_key=key.key).build(name, ""),
        weight=key.weight,
        requests_per_minute=key.requests_per_minute,
        tokens_per_minute=key.tokens_per_minute,
    )
