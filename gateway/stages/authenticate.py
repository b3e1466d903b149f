"""Who is this: a bearer key becomes a :class:`Principal`, or the request ends here.

A key is looked up by its SHA-256 in a dictionary, so the time it takes says nothing about any stored key. No
message ever repeats the key: it shows its prefix and last four characters at most.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping

from gateway.access.keys import (
    INFERENCE_PREFIX,
    LONGEST,
    digest_of,
    hint_of,
    is_admin_key,
    principal_of_key,
    principal_of_yaml_key,
    well_formed,
)
from gateway.config import Config
from gateway.context import Answer, Exchange, Principal
from gateway.errors import Forbidden, NotFound, Refused, Unauthenticated, Unavailable, UnknownKey
from gateway.pipeline import Handler
from gateway.runtime import Runtime

_MISSING = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer "
    "auth (i.e. Authorization: Bearer YOUR_KEY)."
)
_KEY_HEADERS = ("api-key", "x-api-key", "x-goog-api-key")
"""Azure's, Anthropic's and Google's clients do not send bearer keys."""
_CHALLENGE = {"www-authenticate": "Bearer"}
_NO_KEY = Refused("key_missing")
_BEARER, _ELSEWHERE = "Bearer ", "\n"
_MOST_KNOWN = 20_000


def authenticate(
    headers: Mapping[str, str],
    runtime: Runtime,
    yaml_keys: Mapping[str, Principal],
    now: float,
    scope: str,
    *,
    database_away: bool = False,
) -> Principal:
    """The principal of a request that needs ``scope``.

    ``headers`` by lower-case name, ``yaml_keys`` by digest (:func:`yaml_keys_of`), ``now`` in unix seconds.
    Raises Unauthenticated (401) for a missing, unknown, expired or revoked key and Forbidden (403) for a
    key of another kind or scope. While the database is away a key of the right shape that is not known may
    have been made since: that is Unavailable (503), not the client's fault.
    """
    text = _key_in(headers)
    if is_admin_key(text):
        raise Forbidden(
            "Admin keys open the admin page only. Call the API with a key made by `understudy keys create`.",
            refused=Refused("key_kind"),
        )
    if text.startswith(INFERENCE_PREFIX) and not well_formed(text):
        raise _refused(text, "Its checksum does not match: it was probably cut or mistyped.", "key_malformed")
    digest = digest_of(text)
    known = yaml_keys.get(digest)
    if known is None:
        if database_away and digest not in runtime.keys and well_formed(text):
            raise Unavailable(
                "This API key is not known yet, and the database that knows keys cannot be read just now. "
                "Try again shortly.",
                code="keys_unavailable",
                headers={"retry-after": "2"},
            )
        known = _stored(text, digest, runtime, now)
    if scope not in known.scopes:
        raise Forbidden(
            f"This API key lacks the scope '{scope}'. Ask for a key that has it.",
            refused=Refused("scope", f"{scope}, {hint_of(text)} {known.key_id}"),
        )
    return known


def yaml_keys_of(config: Config) -> dict[str, Principal]:
    """The principals of the keys in the policies, by digest."""
    return {digest_of(key.key): principal_of_yaml_key(key) for key in config.keys}


def model_not_found(model: str) -> NotFound:
    """The answer for a model that does not exist, and for one this key may not call: it tells neither."""
    return NotFound(
        f"The model `{model}` does not exist or you do not have access to it.", code="model_not_found"
    )


class Authenticate:
    """The stage: fills ``exchange.principal`` (unless the caller has) and holds it to its models."""

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        database_away: Callable[[], bool] = lambda: False,
    ) -> None:
        self._now, self._away = now, database_away
        self._config: Config | None = None
        self._yaml_keys: dict[str, Principal] = {}
        self._runtime: Runtime | None = None
        self._known: dict[str | None, tuple[Principal, float]] = {}

    def __call__(self, exchange: Exchange, inner: Handler) -> Awaitable[Answer]:
        if exchange.principal is None:
            exchange.principal = self.who(exchange.headers, exchange.runtime)
        if exchange.lost is not None:
            raise exchange.lost
        allowed = exchange.principal.models
        if allowed and exchange.request.model not in allowed:
            raise model_not_found(exchange.request.model)
        return inner(exchange)

    def who(self, headers: Mapping[str, str], runtime: Runtime) -> Principal:
        """Whoever may ask a model with these headers. Raises what :func:`authenticate` does.

        Who was let in is known again by the same words, until a key changes or this one ends.
        """
        now, words = self._now(), headers.get("authorization") or _elsewhere(headers)
        if runtime is not self._runtime:
            self._runtime, self._known = runtime, {}
        known = self._known.get(words)
        if known is not None and known[1] > now:
            return known[0]
        yaml_keys = self._keys_of(runtime.config)
        found = authenticate(headers, runtime, yaml_keys, now, "inference", database_away=self._away())
        if words and words.startswith((_BEARER, _ELSEWHERE)):
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[words] = found, _ends(words.removeprefix(_BEARER).removeprefix(_ELSEWHERE), runtime)
        return found

    def _keys_of(self, config: Config) -> dict[str, Principal]:
        """Hashed once per configuration, not per request."""
        if config is not self._config:
            self._config, self._yaml_keys = config, yaml_keys_of(config)
        return self._yaml_keys


def _elsewhere(headers: Mapping[str, str]) -> str | None:
    """The key of a client that sends no bearer key, written as no ``authorization`` can be."""
    text = next((headers[name].strip() for name in _KEY_HEADERS if headers.get(name)), "")
    return _ELSEWHERE + text if text else None


def _key_in(headers: Mapping[str, str]) -> str:
    scheme, _, text = headers.get("authorization", "").strip().partition(" ")
    if scheme and scheme.lower() != "bearer":
        raise Unauthenticated(_MISSING, headers=_CHALLENGE, refused=_NO_KEY)
    text = text.strip() or next((headers[name].strip() for name in _KEY_HEADERS if headers.get(name)), "")
    if not text:
        raise Unauthenticated(_MISSING, headers=_CHALLENGE, refused=_NO_KEY)
    if len(text) > LONGEST:
        raise _refused("", "It is longer than any key.", "key_malformed")
    return text


def _stored(text: str, digest: str, runtime: Runtime, now: float) -> Principal:
    key = runtime.keys.get(digest)
    if key is None:
        kind = UnknownKey if well_formed(text) else Unauthenticated
        raise _refused(text, "Keys are made by `understudy keys create`.", "key_unknown", kind=kind)
    if key.revoked_at is not None:  # whatever the clock says now: it may have been set back
        raise _refused(text, "It has been revoked.", "key_revoked", key.id)
    if key.expires_at is not None and key.expires_at <= now:
        raise _refused(text, "It has expired.", "key_expired", key.id)
    if digest != key.digest and (key.previous_until or 0.0) <= now:
        raise _refused(text, "It was replaced by a newer one.", "key_replaced", key.id)
    return principal_of_key(key)


def _ends(text: str, runtime: Runtime) -> float:
    """Until when a key that opens now will; infinite when it was not given an end."""
    digest = digest_of(text.strip())
    key = runtime.keys.get(digest)
    if key is None:
        return math.inf
    previous = key.previous_until if digest != key.digest else None
    return min((end for end in (key.expires_at, previous) if end is not None), default=math.inf)


def _refused(
    text: str, why: str, reason: str, key_id: str = "", kind: type[Unauthenticated] = Unauthenticated
) -> Unauthenticated:
    """``why`` is for the client, ``reason`` one word for the operator."""
    hint = hint_of(text)
    told = Refused(reason, f"{hint} {key_id}".strip())
    return kind(f"Incorrect API key provided: {hint}. {why}", headers=_CHALLENGE, refused=told)
