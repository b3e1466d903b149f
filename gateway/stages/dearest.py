"""The dearest that a call can become: what its budgets reserve, and which candidate has no known price."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from gateway.config import Price, Task
from gateway.context import Exchange
from gateway.money.accounting import price_for
from gateway.money.pricing import rates
from gateway.providers import ClassifierProvider
from gateway.routing.named import candidates_of
from gateway.routing.needs import needs_of
from gateway.stages.assign import named
from optimizer.routing.plan import Candidate


class Dearest(Struct, frozen=True):
    """US dollars for a million tokens of input and of output, for a thousand searches of the web and of files, for a
    million tokens of sound, which count where a request may have any, and for a minute of an uploaded sound: the rest
    is the same for every request."""

    input: float = 0.0
    output: float = 0.0
    search: float = 0.0
    file_search: float = 0.0
    heard: float = 0.0
    spoken: float = 0.0
    minute: float = 0.0

    def or_dearer(self, other: Dearest) -> Dearest:
        return Dearest(
            max(self.input, other.input), max(self.output, other.output),
            max(self.search, other.search), max(self.file_search, other.file_search),
            max(self.heard, other.heard), max(self.spoken, other.spoken), max(self.minute, other.minute),
        )  # fmt: skip

    def tokens(self, exchange: Exchange) -> tuple[float, float]:
        """What a million tokens of input and of output may cost a request. It is asked for sound only where sound has a
        price."""
        sounds = (self.heard or self.spoken) and "audio" in needs_of(exchange.request, exchange.body, 0).capabilities
        return (max(self.input, self.heard), max(self.output, self.spoken)) if sounds else (self.input, self.output)


LONG = 100_000
"""Tokens of a prompt from which the price of long ones is reserved: those begin higher, and estimates err."""


def dearest(exchange: Exchange, task: Task | None, given: int) -> Dearest | str:
    """The highest prices of all candidates for a prompt of about ``given`` tokens; a name whose price is unknown.
    Searches without a known price count 0: most candidates make none.

    Raises what ``assign`` would for a model that nobody serves.
    """
    runtime, most = exchange.runtime, Dearest()
    for candidate in answering(exchange, task):
        if isinstance(runtime.config.providers.get(candidate.provider), ClassifierProvider):
            continue  # a student costs CPU time, a millionth of what its teacher does
        price: Price | None = price_for(runtime.config, candidate)
        if price is None:
            return candidate.name
        read, written = rates(price, exchange.request.service_tier or "", long=given > LONG)
        beside = (price.search, price.file_search, price.audio_input, price.audio_output, price.minute)
        most = most.or_dearer(Dearest(read, written, *(one or 0.0 for one in beside)))
    return most


def answering(exchange: Exchange, task: Task | None) -> Sequence[Candidate]:
    """Who may answer a call, before anything is chosen."""
    return candidates_of(task, exchange.runtime.policies) if task is not None else (named(exchange),)
