"""Several API keys of one provider: the least loaded is taken, one that is refused or limited rests, and the call goes
on with the next. What a single key does is no failure of its candidate; only when no key is left is it told as one.

The decisions (:func:`choose`, :func:`rest_after`) are values in, values out. No key's text is kept or told: a key is
known by its place in the policies and, to the operator's log, by its last four characters.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gateway import errors
from gateway.providers.codec import AttemptFailed, Codec, NobodyAsked, UpstreamRequest
from gateway.providers.keyed import KeyedCodec
from gateway.providers.limit_headers import used_up_for
from gateway.providers.vertex.google_account import TokenNeeded
from gateway.resilience.grants import Grants
from gateway.runtime import Runtime
from gateway.upstreams.reply import Reply
from gateway.upstreams.upstream import Upstream
from optimizer.routing.attempts import Failure

_log = logging.getLogger("understudy.provider_keys")
_REFUSED_S, _REFUSED_MOST_S = 60.0, 600.0
_LIMITED_S, _LIMITED_MOST_S = 1.0, 60.0
_SPILLS = frozenset({"throttled", "credentials"})
_TIMERS_ARE_EARLY_S = 0.005
"""Loops count in milliseconds: who waits exactly as long as a key rests may look again before it is free."""

T = TypeVar("T")
Encode = Callable[[Codec], UpstreamRequest]
Opening = Callable[[Codec], Awaitable[T]]


@dataclass(slots=True)
class KeyState:
    """What is known of one key. Times are monotonic seconds; ``requests`` and ``tokens`` are what is left of this
    minute's allowance (they refill steadily, and debts are paid back)."""

    active: int = 0
    turn: float = 0.0
    """Calls so far by weight; a key that rested does not make up for what it missed."""
    rests_until: float = 0.0
    refused: bool = False
    """Whether it rests because the provider does not take it, not because it is busy."""
    setbacks: int = 0
    requests: float = 0.0
    tokens: float = 0.0
    filled_at: float | None = None
    outcomes: dict[str, int] = field(default_factory=dict)


def free_in(key: KeyedCodec, state: KeyState, now: float) -> float:
    """Seconds until ``key`` may be used; 0 when it may be now."""
    wait = max(0.0, state.rests_until - now)
    if state.filled_at is None:
        return wait
    since = now - state.filled_at
    if key.requests_per_minute is not None:
        wait = max(wait, _until(1.0, key.requests_per_minute, state.requests, since))
    if key.tokens_per_minute is not None:
        wait = max(wait, _until(0.0, key.tokens_per_minute, state.tokens, since))
    return wait


def _until(need: float, per_minute: int, left: float, since: float) -> float:
    """Seconds until ``need`` is there, of what refills steadily and was ``left`` some time ago."""
    return (need - left) * 60 / per_minute - since


def choose(
    keys: Sequence[KeyedCodec], states: Sequence[KeyState], tried: Collection[int], now: float
) -> int | None:
    """The position of the free key with the fewest calls in flight for its weight, then the one whose turn it is
    (start-time fair queueing; Goyal et al., SIGCOMM 1996)."""
    free = [
        (state.active / key.weight, state.turn, position)
        for position, (key, state) in enumerate(zip(keys, states, strict=True))
        if position not in tried and free_in(key, state, now) <= 0
    ]
    return min(free)[2] if free else None


def rest_after(failure: Failure, used_up: float | None, setbacks: int) -> float:
    """Seconds a key rests: what the provider asked for, or what its headers say, else longer with each setback."""
    if failure.kind == "credentials":
        return min(_REFUSED_MOST_S, _REFUSED_S * 2.0 ** min(setbacks, 10))
    if failure.retry_after is not None:
        return failure.retry_after
    return used_up if used_up is not None else min(_LIMITED_MOST_S, _LIMITED_S * 2.0 ** min(setbacks, 10))


class Lease:
    """One call's hold on a key; given back once, by whichever end comes first."""

    __slots__ = ("_open", "_state")

    def __init__(self, key: KeyedCodec, state: KeyState, now: float, turn: float = 0.0) -> None:
        """``turn`` is the one at which the keys of this provider stand."""
        self._state, self._open = state, True
        state.active += 1
        state.turn = max(state.turn, turn) + 1 / key.weight
        _refill(key, state, now)
        state.requests -= 1

    def used(self, tokens: int) -> None:
        """What the call has cost of the minute's tokens, told at its end."""
        self._state.tokens -= tokens

    def leave(self) -> None:
        if self._open:
            self._open = False
            self._state.active -= 1


def _refill(key: KeyedCodec, state: KeyState, now: float) -> None:
    requests, tokens = float(key.requests_per_minute or 0), float(key.tokens_per_minute or 0)
    if state.filled_at is None:
        state.requests, state.tokens = requests, tokens
    else:
        share = (now - state.filled_at) / 60
        state.requests = min(requests, state.requests + share * requests)
        state.tokens = min(tokens, state.tokens + share * tokens)
    state.filled_at = now


Use = Callable[[KeyedCodec, KeyState], Awaitable[T]]


class ProviderKeys:
    """Sends with whichever key is best. What is known of the keys outlives every change of the policies."""

    def __init__(self, upstream: Upstream, clock: Callable[[], float] = time.monotonic) -> None:
        self._upstream, self._clock = upstream, clock
        self._grants = Grants(upstream)
        self._states: dict[str, KeyState] = {}
        self._turns: dict[str, float] = {}

    def in_use(self) -> dict[str, float]:
        return {"provider_keys": sum(state.active for state in self._states.values())}

    async def send(
        self, runtime: Runtime, provider: str, encode: Encode, *, remaining: float
    ) -> tuple[Codec, Reply]:
        """An answer whose headers have arrived, and the codec that reads it. Raises AttemptFailed."""
        keys = runtime.keyed.get(provider)
        if keys is not None:
            return await self._sent(provider, keys, encode, remaining)
        codec = runtime.codecs[provider]
        try:
            request = encode(codec)
        except TokenNeeded as needed:
            began = self._clock()
            await self._grants.fill(needed.grant, provider, remaining=remaining)
            remaining -= self._clock() - began
            request = encode(codec)
        return codec, await self._upstream.send(request, name=provider, remaining=remaining)

    async def close(self) -> None:
        await self._grants.close()

    def codec(self, runtime: Runtime, provider: str) -> Codec:
        """The codec with the key that is best now, for what holds no lease."""
        keys = runtime.keyed.get(provider)
        if keys is None:
            return runtime.codecs[provider]
        states = [self._states.setdefault(key.id, KeyState()) for key in keys]
        return keys[choose(keys, states, (), self._clock()) or 0].codec

    async def open(self, runtime: Runtime, provider: str, opening: Opening[T]) -> tuple[T, Lease | None]:
        """What ``opening`` opened with the best key, which is held until the lease is left; None where there is but one
        key. Raises AttemptFailed, as ``opening`` does for a provider that will not."""
        keys = runtime.keyed.get(provider)
        if keys is None:
            return await opening(runtime.codecs[provider]), None

        async def use(key: KeyedCodec, state: KeyState) -> tuple[T, Lease]:
            lease = self._lease(provider, key, state)
            try:
                opened = await opening(key.codec)
            except BaseException as problem:
                lease.leave()
                if isinstance(problem, AttemptFailed):
                    self._setback(provider, key, state, problem.failure, None)
                raise
            self._well(state, {})
            return opened, lease

        return await self._spill(provider, keys, use)

    async def _sent(
        self, provider: str, keys: Sequence[KeyedCodec], encode: Encode, remaining: float
    ) -> tuple[Codec, Reply]:
        until = self._clock() + remaining

        async def use(key: KeyedCodec, state: KeyState) -> tuple[Codec, Reply]:
            return key.codec, await self._with(provider, key, state, encode, until - self._clock())

        return await self._spill(provider, keys, use)

    async def _spill(self, provider: str, keys: Sequence[KeyedCodec], use: Use[T]) -> T:
        states = [self._states.setdefault(key.id, KeyState()) for key in keys]
        tried = set[int]()
        last: AttemptFailed | None = None
        while (position := choose(keys, states, tried, self._clock())) is not None:
            tried.add(position)
            try:
                return await use(keys[position], states[position])
            except AttemptFailed as problem:
                if problem.failure.kind not in _SPILLS:
                    raise
                last = problem
        raise self._exhausted(provider, keys, states, last)

    def _lease(self, provider: str, key: KeyedCodec, state: KeyState) -> Lease:
        turn = self._turns[provider] = max(state.turn, self._turns.get(provider, 0.0))
        return Lease(key, state, self._clock(), turn)

    async def _with(
        self, provider: str, key: KeyedCodec, state: KeyState, encode: Encode, remaining: float
    ) -> Reply:
        """One request with one key. Raises AttemptFailed; the key then rests if that was the key's doing."""
        lease, reply = self._lease(provider, key, state), None
        try:
            reply = await self._upstream.send(encode(key.codec), name=provider, remaining=remaining)
            if reply.status >= 400:
                body = await reply.read()
                raise key.codec.refuse(reply.status, reply.headers, body, now=time.time())
        except BaseException as problem:
            lease.leave()
            if reply is not None:
                reply.release()
            if isinstance(problem, AttemptFailed):
                self._setback(provider, key, state, problem.failure, reply)
            raise
        self._well(state, reply.headers)
        reply.lease = lease
        return reply

    def _well(self, state: KeyState, headers: Mapping[str, str]) -> None:
        state.setbacks, state.refused = 0, False
        state.outcomes["ok"] = state.outcomes.get("ok", 0) + 1
        wait = used_up_for(headers, time.time())
        if wait:
            state.rests_until = max(state.rests_until, self._clock() + wait)

    def _setback(
        self, provider: str, key: KeyedCodec, state: KeyState, failure: Failure, reply: Reply | None
    ) -> None:
        state.outcomes[failure.kind] = state.outcomes.get(failure.kind, 0) + 1
        if failure.kind not in _SPILLS:
            return
        used_up = used_up_for(reply.headers, time.time()) if reply is not None else None
        rest = rest_after(failure, used_up, state.setbacks)
        state.setbacks += 1
        state.refused = failure.kind == "credentials"
        state.rests_until = max(state.rests_until, self._clock() + rest)
        why = "the provider refused it" if state.refused else "the provider limits it"
        _log.warning(
            "provider '%s': key %d (%s) rests for %.0f s: %s", provider, key.index, key.hint, rest, why
        )

    def _exhausted(
        self,
        provider: str,
        keys: Sequence[KeyedCodec],
        states: Sequence[KeyState],
        last: AttemptFailed | None,
    ) -> AttemptFailed:
        """No key is left. Only when one of them will do again is the client told to wait; none of this is its fault."""
        now = self._clock()
        waits = [
            free_in(key, state, now) for key, state in zip(keys, states, strict=True) if not state.refused
        ]
        if not waits:
            refused = _refused(provider)
            return last or NobodyAsked(Failure(kind="credentials", status=refused.status), refused)
        wait = min(waits)
        error = errors.RateLimited(
            f"The provider '{provider}' is limiting the gateway's requests.",
            code="rate_limit_exceeded",
            headers=errors.after(wait),
        )
        kind = NobodyAsked if last is None else AttemptFailed
        again = wait + _TIMERS_ARE_EARLY_S
        return kind(Failure(kind="throttled", status=error.status, retry_after=again), error)

    def seen(self, runtime: Runtime) -> list[tuple[str, int, KeyState, bool]]:
        """(provider, index, what is known, whether it rests) of every key that was used, for the metrics."""
        now = self._clock()
        return [
            (provider, key.index, state, free_in(key, state, now) > 0)
            for provider, keys in runtime.keyed.items()
            for key in keys
            if (state := self._states.get(key.id)) is not None
        ]


def _refused(provider: str) -> errors.UpstreamFailed:
    return errors.UpstreamFailed(
        f"The provider '{provider}' refused the gateway's own credentials. "
        "This is for the gateway's operator to mend, not for you.",
        code="provider_credentials",
    )
