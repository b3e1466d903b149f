"""Virtual keys: 256 random bits behind a typed prefix and a checksum; only their SHA-256 is ever stored.

``sk-us-`` keys call the API, ``ak-us-`` keys open the admin page. The checksum (CRC-32, as GitHub's) tells
a typing error or a cut from an unknown key without a look-up, and lets scanners recognise a leaked one.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from typing import Any, Literal

from msgspec import Struct

from gateway.config import Config, Limits, YamlKey
from gateway.context import Principal
from gateway.providers.credentials import keys_of
from gateway.storage.values import Key

INFERENCE_PREFIX = "sk-us-"
ADMIN_PREFIX = "ak-us-"
LONGEST = 512
_PREFIXES = {"inference": INFERENCE_PREFIX, "admin": ADMIN_PREFIX}
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM = 43  # 62^43 > 2^256
_CHECKSUM = 6  # 62^6 > 2^32
_PROVIDER_SECRETS = ("api_key", "secret_access_key", "service_account", "session_token")
_SHAPE = re.compile(rf"[sa]k-us-[0-9A-Za-z]{{{_RANDOM + _CHECKSUM}}}")


class NewKey(Struct, frozen=True):
    """A key just made. ``text`` is shown once; ``digest`` and ``hint`` are what is stored."""

    text: str
    digest: str
    hint: str


def new_key(kind: Literal["inference", "admin"]) -> NewKey:
    body = _PREFIXES[kind] + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    text = body + _checksum(body)
    return NewKey(text=text, digest=digest_of(text), hint=hint_of(text))


def well_formed(text: str) -> bool:
    """Whether ``text`` is a key this program could have made: shape and checksum, no look-up."""
    return _SHAPE.fullmatch(text) is not None and text[-_CHECKSUM:] == _checksum(text[:-_CHECKSUM])


def is_admin_key(text: str) -> bool:
    return text.startswith(ADMIN_PREFIX)


def digest_of(text: str) -> str:
    """SHA-256 in hex: what is stored, and what keys are looked up by. A digest is never accepted as a key."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def hint_of(text: str) -> str:
    """What a person may see of a key: its prefix and, when enough stays hidden, its last four characters."""
    prefix = next((one for one in _PREFIXES.values() if text.startswith(one)), "")
    last = text[-4:] if len(text) >= 16 and text.isascii() and text.isprintable() else ""
    return f"{prefix}****{last}"


def principal_of_yaml_key(key: YamlKey) -> Principal:
    """A key written into the policies may be any text of at least 16 characters and has every scope."""
    return Principal(
        key_id=key.id,
        project=key.project,
        scopes=("inference", "data", "train"),
        models=tuple(key.models),
        **_limits(key),
    )


def principal_of_key(key: Key) -> Principal:
    return Principal(key_id=key.id, project=key.project, scopes=key.scopes, models=key.models, **_limits(key))


def secrets_of(config: Config) -> set[str]:
    """Every text of a configuration that opens something: what providers, clients and webhooks are known by."""
    held = {getattr(one, name, "") for one in config.providers.values() for name in _PROVIDER_SECRETS}
    held |= {one.key for settings in config.providers.values() for one in keys_of(settings)}
    held |= {key.key for key in config.keys} | {config.limits.alerts.secret}
    held |= {one.secret for one in config.webhooks}
    held |= {getattr(one, name, "") for one in config.guardrails.values() for name in ("key", "secret")}
    return held - {""}


def _limits(key: Key | YamlKey) -> dict[str, Any]:
    return {name: getattr(key, name) for name in Limits.__struct_fields__}


def _checksum(body: str) -> str:
    rest, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM):
        rest, digit = divmod(rest, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
