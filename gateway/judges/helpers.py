"""Who can be asked by a running gateway: the guard models, the configured providers, webhooks."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.context import Exchange
from gateway.errors import GatewayError
from gateway.guardrails.asking import Helpers, NoAnswer
from gateway.judges.models import GuardModels
from gateway.providers.codec import AttemptFailed, Codec, UpstreamRequest
from gateway.providers.failures import object_in
from gateway.resilience.gate import Gate
from gateway.resilience.provider_keys import ProviderKeys
from gateway.surface import address
from gateway.upstreams.asking import Asker
from gateway.upstreams.upstream import Upstream
from gateway.webhooks import sign
from optimizer.routing.plan import Candidate

_LONGEST_S = 60.0
"""The caller's time box is shorter; this only has to end."""

HelpersOf = Callable[[Exchange], Helpers]


def helpers_of(
    models: GuardModels, asker: Asker, keys: ProviderKeys, gate: Gate, upstream: Upstream
) -> HelpersOf:
    return lambda exchange: Connected(models, asker, keys, gate, upstream, exchange)


class Connected:
    """For one call. Providers are asked through their lanes and breakers, and what they cost is the call's."""

    def __init__(
        self, models: GuardModels, asker: Asker, keys: ProviderKeys, gate: Gate, upstream: Upstream, exchange: Exchange
    ) -> None:  # fmt: skip
        self._models, self._asker, self._keys, self._gate = models, asker, keys, gate
        self._upstream, self._exchange, self._runtime = upstream, exchange, exchange.runtime

    async def model(self, question: Mapping[str, Any]) -> Any:
        return await self._models.ask(question)

    async def chat(self, provider: str, model: str, body: Mapping[str, Any]) -> str:
        candidate = Candidate(provider=provider, model=model)
        try:
            with await self._gate.enter(candidate, self._runtime.config.upstreams, _LONGEST_S):
                answer = await self._asker.whole(self._runtime, candidate, body, remaining=_LONGEST_S)
        except (AttemptFailed, GatewayError) as problem:
            raise NoAnswer(f"{provider}/{model}: {problem}") from None
        if answer.usage is not None:
            self._exchange.discarded.append((candidate, answer.usage))
        return answer.text

    async def post(self, provider: str, model: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        raw = msgspec.json.encode({**body, "model": model})

        def request(codec: Codec) -> UpstreamRequest:
            url, headers = address(codec, path, model)
            return UpstreamRequest(url=url, headers=headers, body=raw)

        candidate = Candidate(provider=provider, model=model)
        try:
            with await self._gate.enter(candidate, self._runtime.config.upstreams, _LONGEST_S):
                codec, reply = await self._keys.send(self._runtime, provider, request, remaining=_LONGEST_S)
                try:
                    data = await reply.read()
                finally:
                    reply.release()
                if reply.status != 200:
                    raise codec.refuse(reply.status, reply.headers, data, now=time.time())
                return object_in(provider, data)
        except (AttemptFailed, GatewayError) as problem:
            raise NoAnswer(f"{provider}{path}: {problem}") from None

    async def webhook(self, url: str, secret: str, body: Mapping[str, Any]) -> dict[str, Any]:
        raw = msgspec.json.encode(body)
        headers = sign(secret, f"msg_{secrets.token_hex(12)}", int(time.time()), raw)
        try:
            reply = await self._upstream.send(
                UpstreamRequest(url=url, headers=headers, body=raw), name="webhook", remaining=_LONGEST_S
            )
            try:
                data = await reply.read()
            finally:
                reply.release()
            if reply.status != 200:
                raise NoAnswer(f"the webhook answered {reply.status}")
            return object_in("webhook", data)
        except (AttemptFailed, GatewayError) as problem:
            raise NoAnswer(f"the webhook: {problem}") from None
