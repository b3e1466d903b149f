"""What a call cost, and what its teacher would have cost. Pure, but for the small running shapes of traffic."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from gateway.concurrency.telling import Ended
from gateway.config import Config, Price
from gateway.context import Exchange, Used
from gateway.money.pricing import cost, price_of, spared_by_cache
from gateway.protocol.chat import Usage, text_length
from gateway.providers import ClassifierProvider
from optimizer.routing.plan import Candidate

_CHARACTERS_PER_TOKEN = 4.0
_UNCOUNTED = frozenset({"images", "audio"})
_MEMORY = 0.02  # weight of the newest call in the running shape


class Shape(Struct, frozen=True):
    """How a task's teacher counts: tokens per character of input and answer, and its cached share of input."""

    calls: int = 0
    input_per_char: float = 1 / _CHARACTERS_PER_TOKEN
    output_per_char: float = 1 / _CHARACTERS_PER_TOKEN
    cached_share: float = 0.0


def learn_shape(shape: Shape, usage: Usage, input_chars: int, output_chars: int) -> Shape:
    """The shape after one more of the teacher's own counts (an exponential mean, plain while it is young)."""
    if usage.estimated or not input_chars or not usage.prompt:
        return shape
    weight = max(_MEMORY, 1 / (shape.calls + 1))
    output = usage.completion / output_chars if output_chars else shape.output_per_char

    def mix(old: float, new: float) -> float:
        return old + weight * (new - old)

    return Shape(
        calls=shape.calls + 1,
        input_per_char=mix(shape.input_per_char, usage.prompt / input_chars),
        output_per_char=mix(shape.output_per_char, output),
        cached_share=mix(shape.cached_share, usage.cached / usage.prompt),
    )


def estimate(shape: Shape, input_chars: int, output_chars: int) -> Usage:
    """What the teacher would count for a call it did not see; marked as an estimate."""
    prompt = max(1, round(input_chars * shape.input_per_char))
    return Usage(
        prompt=prompt,
        completion=max(1, round(output_chars * shape.output_per_char)),
        cached=min(prompt, round(prompt * shape.cached_share)),
        estimated=True,
    )


Pay = Callable[[Usage | None, Price | None], float | None]


def characters(exchange: Exchange) -> int:
    """Characters of all text turns of the request."""
    return text_length(exchange.request.messages)


def price_for(config: Config, candidate: Candidate) -> Price | None:
    """The price of a candidate, by its provider's own table, then by its vendor's; None when unknown."""
    settings = config.providers.get(candidate.provider)
    profile = "" if settings is None or isinstance(settings, ClassifierProvider) else settings.profile
    return price_of(config.prices, candidate.provider, profile, candidate.model)


def _paid(usage: Usage | None, price: Price | None) -> float | None:
    """What a call cost whoever answered it: by its price, else by what that provider itself says."""
    if price is None and usage is not None:
        return usage.told_usd
    return cost(usage, price)


def _worth(usage: Usage | None, price: Price | None) -> float | None:
    return cost(usage or Usage(), price)


def _paid_by(exchange: Exchange, pay: Pay, price: Price | None) -> float | None:
    """By ``pay`` for the answer, or for each response of a call that lasts: a long prompt makes its own one dearer, and
    not the others. None when one is unknown."""
    if not exchange.used:
        return pay(exchange.usage, price)
    paid = [
        None if one.usage is None else pay(one.usage, _price_of(exchange, one, price)) for one in exchange.used
    ]
    return None if None in paid else sum(one for one in paid if one is not None)


def _price_of(exchange: Exchange, used: Used, price: Price | None) -> Price | None:
    """``price``, or that of whoever else used it."""
    return price if used.by is None else price_for(exchange.runtime.config, used.by)


class Accountant:
    """Puts usage and cost on an exchange once its answer is known. One per gateway."""

    def __init__(self, catch_up: Callable[[], None] = lambda: None) -> None:
        """``catch_up`` is called before a student's call is estimated."""
        self._catch_up = catch_up
        self._shapes: dict[str, Shape] = {}

    def finished(self, calls: Sequence[Ended]) -> None:
        """An observer of ended calls: learns how teachers count."""
        for one in calls:
            exchange = one.exchange
            rung, task, usage = exchange.answered_by, exchange.task, exchange.usage
            if rung is None or rung.role != "teacher" or task is None or usage is None or exchange.replayed:
                continue
            if (exchange.request.n or 1) == 1:
                shape = self._shapes.get(task.name, Shape())
                self._shapes[task.name] = learn_shape(shape, usage, characters(exchange), len(one.text))

    def settle(self, exchange: Exchange, answer_text: str) -> None:
        """Fills ``usage``, ``cost_usd`` and ``teacher_cost_usd``; None stays None when a price is unknown."""
        self._settle_answer(exchange, answer_text)
        if exchange.discarded:
            spent = [_paid(usage, price_for(exchange.runtime.config, one)) for one, usage in exchange.discarded]
            spent.append(exchange.cost_usd if exchange.answered_by is not None else 0.0)
            known = [one for one in spent if one is not None]
            exchange.cost_usd = sum(known) if len(known) == len(spent) else None

    def _settle_answer(self, exchange: Exchange, answer_text: str) -> None:
        rung = exchange.answered_by
        if exchange.replayed:
            if exchange.given is None:  # else it is known already
                exchange.teacher_cost_usd = self._teacher_cost(exchange)
            return
        if rung is None:
            return
        config = exchange.runtime.config
        if exchange.usage is None and exchange.endpoint in _UNCOUNTED:
            return  # no characters stand for a picture or a sound: the cost stays unknown
        task = exchange.task
        if rung.student is not None:
            self._catch_up()
            shape = self._shapes.get(task.name, Shape()) if task else Shape()
            exchange.usage = estimate(shape, characters(exchange), len(answer_text))
            exchange.cost_usd = exchange.student_cost_usd
        else:
            if exchange.usage is None:
                exchange.usage = estimate(Shape(), characters(exchange), len(answer_text))
            self._priced(exchange, price_for(config, rung.candidate))
        exchange.teacher_cost_usd = self._teacher_cost(exchange)

    @staticmethod
    def _priced(exchange: Exchange, price: Price | None) -> None:
        exchange.cost_usd = _paid_by(exchange, _paid, price)
        exchange.prompt_cache_usd = _paid_by(exchange, spared_by_cache, price)
        share = price.batch if exchange.batch and price is not None else None
        if share is not None:
            exchange.cost_usd = exchange.cost_usd * share if exchange.cost_usd is not None else None
            spared = exchange.prompt_cache_usd
            exchange.prompt_cache_usd = spared * share if spared is not None else None

    def _teacher_cost(self, exchange: Exchange) -> float | None:
        rung, task = exchange.answered_by, exchange.task
        if exchange.replayed:
            return self._spared_cost(exchange)
        if task is None or task.teacher is None or (rung is not None and rung.role == "teacher"):
            return exchange.cost_usd
        teacher = Candidate(provider=task.teacher.provider, model=task.teacher.model)
        return _paid_by(exchange, _worth, price_for(exchange.runtime.config, teacher))

    def _spared_cost(self, exchange: Exchange) -> float | None:
        """What the task's teacher would have cost for a cached answer; without a teacher, whoever gave it."""
        task, candidate = exchange.task, exchange.spared
        if task is not None and task.teacher is not None:
            candidate = Candidate(provider=task.teacher.provider, model=task.teacher.model)
        if candidate is None or exchange.usage is None:
            return None
        return cost(exchange.usage, price_for(exchange.runtime.config, candidate))

    def extra_cost(self, exchange: Exchange, candidate: Candidate, usage: Usage | None) -> float | None:
        """What a re-ask cost on top of the call."""
        return _paid(usage, price_for(exchange.runtime.config, candidate)) if usage else None
