"""Requests that are sent again under their ``Idempotency-Key``: asked once, and answered with the same bytes.

A key belongs to a project and one of its API keys. Whoever sends it again while it is being asked waits; afterwards
the answer is repeated, for as long as the policies say and there is room. Errors are not kept, so they may be tried
again, and a client that leaves hands over to one that waits. The flights and the store are those of the exact cache.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct

from gateway.caching.entries import Entry
from gateway.caching.flights import PATIENCE_S, Exact
from gateway.config import Idempotency
from gateway.context import Principal
from gateway.errors import BadRequest, Conflict, GatewayError, Unprocessable
from gateway.storage.answers import Answers

HEADER = "idempotency-key"
_LONGEST = 255
_BIG_BODY = 256 * 1024
"""Bodies from this size on are hashed in a thread, so that they hold up nobody else."""
_PARTING = b"\0"


class Told(Struct, frozen=True, array_like=True, gc=False):
    """An answer as its client got it. ``asked``: the SHA-256 of the request that it answers."""

    asked: bytes
    headers: dict[str, str]
    body: bytes
    streamed: bool


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Told).decode


class Repeats:
    """``who``: whose key a request carries; it raises GatewayError. ``now`` in seconds of a clock that never goes
    back, ``clock`` in unix seconds."""

    def __init__(
        self, answers: Answers, who: Callable[[Mapping[str, str]], Principal],
        now: Callable[[], float] = time.monotonic, clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._exact, self._who = Exact(answers, now), who
        self._now, self._clock = now, clock
        self.outcomes = {"asked": 0, "repeated": 0, "busy": 0, "changed": 0}
        """How many requests were the first under their key, answered from it, refused with 409 and with 422."""

    def in_use(self) -> dict[str, float]:
        return {"repeats": self._exact.in_flight}

    async def begin(
        self, headers: Mapping[str, str], asked: tuple[str, bytes], rules: Idempotency
    ) -> Told | Asking | None:
        """The answer of the first request under this key, or the word to ask. None: the header means nothing here,
        because the policies say so or because it comes with no valid API key; the pipeline refuses that.

        ``asked``: where the request goes and its body. Raises BadRequest for an odd key, Conflict (409) when the first
        request takes longer than ``rules.wait_s``, and Unprocessable (422) when it was another one.
        """
        if not rules.enabled:
            return None
        try:
            principal = self._who(headers)
        except GatewayError:
            return None
        place, parts = _place(principal, _key_in(headers)), (asked[0].encode(), asked[1])
        big = len(asked[1]) >= _BIG_BODY
        digest = await asyncio.to_thread(_digest, *parts) if big else _digest(*parts)
        try:
            entry = await self._exact.find(place, self._now() + rules.wait_s, only_once=True)
        except TimeoutError:
            self.outcomes["busy"] += 1
            raise Conflict(
                "A request with this Idempotency-Key is still being answered. Send it again in a moment.",
                code="idempotency_key_in_use",
                headers={"retry-after": "1"},
            ) from None
        told = _opened(entry)
        if told is None:
            self.outcomes["asked"] += 1
            return Asking(self._exact, place, digest, principal, rules, self._clock())
        if told.asked != digest:
            self.outcomes["changed"] += 1
            raise Unprocessable(
                "This Idempotency-Key was used before, with another request. Use a new key for a new request, and the "
                "same path and body for the same one.",
                code="idempotency_key_reused",
            )
        self.outcomes["repeated"] += 1
        return told


class Asking:
    """The first request under a key. It must be landed, however it ends."""

    def __init__(
        self, exact: Exact, place: str, asked: bytes, principal: Principal, rules: Idempotency, began: float
    ) -> None:
        self._exact, self._place, self._asked = exact, place, asked
        self._principal, self._rules, self._began = principal, rules, began
        self._flight = exact.take_off(place)
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S / 3, self._hold)

    @property
    def most_bytes(self) -> int:
        """A longer answer is not kept."""
        return self._rules.max_bytes

    def _hold(self) -> None:
        """The other workers go on waiting. A worker that was killed says nothing more."""
        self._exact.hold(self._place)
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S / 3, self._hold)

    def keep(self, headers: Mapping[str, str], body: bytes, *, streamed: bool = False) -> None:
        """The whole answer has reached its client. What it said about limits is not true any more when it is
        repeated."""
        lasting = {name: value for name, value in headers.items() if not name.startswith("x-ratelimit-")}
        told, who, rules = Told(self._asked, lasting, body, streamed), self._principal, self._rules
        entry = Entry(
            self._began, rules.ttl_s, who.project, "", who.key_id, "", "", None, _encode(told)
        )
        self._exact.put(self._place, entry, life=rules.ttl_s, max_bytes=rules.max_bytes)

    def land(self) -> None:
        self._timer.cancel()
        self._flight.land(handed_over=True)


def _key_in(headers: Mapping[str, str]) -> str:
    key = headers[HEADER]
    if not 0 < len(key) <= _LONGEST or not key.isprintable():
        raise BadRequest(
            f"An Idempotency-Key has 1 to {_LONGEST} printable characters.", code="invalid_idempotency_key"
        )
    return key


def _place(principal: Principal, key: str) -> str:
    return _digest(principal.project.encode(), principal.key_id.encode(), key.encode()).hex()


def _digest(*parts: bytes) -> bytes:
    """Of parts of which only the last may hold a zero byte."""
    return hashlib.sha256(_PARTING.join(parts)).digest()


def _opened(entry: Entry | None) -> Told | None:
    if entry is None:
        return None
    try:
        return _decode(entry.answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
