"""May they, now: requests, tokens, concurrency and money, by key, project and task, and a bound on all together.

What a call may use is reserved in one step before it is made and settled when it is written into the ledger: this
stage is also one of ``record``'s observers, so limits, budgets and ledger see the same numbers, whatever the end
was. A request that was let through stays counted; tokens and money that were not used are given back.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence

from msgspec import Struct, structs

from gateway.config import Config, Task
from gateway.context import Answer, Chunk, ChunkStream, Exchange, Principal, Used, WholeAnswer
from gateway.errors import BadRequest, GatewayError, Unavailable
from gateway.metering import limits
from gateway.metering.estimate import Estimator
from gateway.metering.limits import rate_headers, wire_duration
from gateway.metering.searches import searches_of
from gateway.money.accounting import price_for
from gateway.money.pricing import cost
from gateway.pipeline import Handler
from gateway.protocol.answer import arrived_of
from gateway.protocol.chat import PRICED_TIERS
from gateway.runtime import Runtime, asks_for
from gateway.stages.assign import task_of
from gateway.stages.dearest import LONG, Dearest, answering, dearest
from gateway.storage.counting.counters import (
    MONEY,
    WINDOWED,
    Counters,
    Hold,
    MemoryCounters,
    Rule,
    SpendingUnknown,
    Who,
)
from gateway.storage.records import CallRecord

__all__ = ["Limit", "rate_headers", "wire_duration"]

_SLACK_S = 60.0
"""How long after a call's deadline its reservation is given back, when nobody could settle it."""

_PER_MILLION, _PER_THOUSAND = 1_000_000, 1_000


_NEVER = Rule("key", "", "concurrency", 0, 1)
"""No call fits under it. All rules are looked at and the first that does not fit is told, so with this one as the
last they are only looked at."""


class _Charged(Struct, frozen=True):
    """What a call that lasts has been charged with by now: for how many responses; money in billionths of a dollar."""

    responses: int = 0
    tokens: int = 0
    cost: int = 0

    def plus(self, responses: int, tokens: int, cost: int) -> _Charged:
        return _Charged(self.responses + responses, self.tokens + tokens, self.cost + cost)


_NOTHING = _Charged()


class Limit:
    """The stage. ``max_concurrent`` calls at once, streams counted until their end; more are shed at once."""

    def __init__(
        self,
        counters: Counters | None = None,
        *,
        max_concurrent: int = 1000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._counters: Counters = counters if counters is not None else MemoryCounters(time.monotonic)
        self._max_concurrent = max_concurrent
        self._clock = clock
        self._estimator = Estimator()
        self._holds: dict[str, tuple[Hold, str]] = {}
        self._charged: dict[str, _Charged] = {}
        self._config: Config | None = None
        self._idle = True
        self._dearest: dict[tuple[str, str, bool], Dearest | str] = {}
        self.in_flight = 0

    async def __call__(self, exchange: Exchange, inner: Handler) -> Answer:
        if self.in_flight >= self._max_concurrent:
            raise Unavailable(
                "The gateway is at its limit of concurrent calls. Try again in a moment.",
                code="overloaded",
                headers={"retry-after": "1"},
            )
        self.in_flight += 1
        try:
            if self._concerns(exchange):
                await self._reserve(exchange)
            answer = await inner(exchange)
        except BaseException:
            self.in_flight -= 1
            raise
        if isinstance(answer, WholeAnswer):
            self.in_flight -= 1
            return answer
        return _Counted(answer, self)

    def in_use(self) -> dict[str, float]:
        return {"calls": self.in_flight, "reservations": len(self._holds)}

    # ------------------------------------------------------------------ before the call
    def _concerns(self, exchange: Exchange) -> bool:
        """Whether anything bounds this call."""
        principal, config = exchange.principal, exchange.runtime.config
        if config is not self._config:
            self._config, self._dearest = config, {}
            self._idle = not config.limits.projects and not limits.any_task_limits(config)
        return principal is not None and not (self._idle and not limits.limited(principal))

    async def _reserve(self, exchange: Exchange) -> None:
        rules, name = self._rules(exchange)
        if rules:
            await self._hold(exchange, rules, name)

    def _rules(self, exchange: Exchange) -> tuple[tuple[Rule, ...], str]:
        """What bounds a call, and the name that its tokens are counted under. Raises BadRequest for an unknown price
        where money is counted."""
        principal = exchange.principal
        assert principal is not None
        task, name, scopes = _scopes(exchange, principal, exchange.runtime)
        given, made = self._estimator.tokens(name, exchange.request)
        given *= self._most_asks(exchange, task)
        paid = not exchange.answered_here and any(limits.has_budget(scope[2]) for scope in scopes)
        lasts = exchange.lasts_s > 0  # and its tokens are counted in the minute they are used in
        rules = limits.rules_of(
            scopes,
            tokens=1 if lasts else given + made,
            least_tokens=1 if lasts else given,
            cost=self._worst_cost(exchange, task, given, made) if paid else 0,
            at=exchange.received_at,
        )
        if exchange.later_turn:  # its request was counted with the first
            rules = tuple(rule for rule in rules if rule.kind != "requests")
        return rules, name

    async def foreseen(self, exchange: Exchange) -> GatewayError | None:
        """What the client would be told now instead of being let through; None when it would be. Nothing is taken."""
        if not self._concerns(exchange):
            return None
        try:
            rules, _ = self._rules(exchange)
            decision = await self._counters.reserve(exchange.call_id, (*rules, _NEVER), ttl=_SLACK_S)
        except SpendingUnknown as problem:
            return _untold(problem)
        except BadRequest as problem:
            return problem
        return limits.refusal(decision, self._clock()) if decision.refused < len(rules) else None

    @staticmethod
    def _most_asks(exchange: Exchange, task: Task | None) -> int:
        """How often the input may be sent: once for each choice, where a candidate gives one at a time."""
        n, runtime = exchange.request.n, exchange.runtime
        if n is None or n < 2:
            return 1
        return max((asks_for(runtime, one, n) for one in answering(exchange, task)), default=1)

    async def _hold(self, exchange: Exchange, rules: tuple[Rule, ...], name: str) -> None:
        ttl = max(exchange.lasts_s, exchange.deadline - exchange.started) + _SLACK_S
        try:
            decision = await self._counters.reserve(exchange.call_id, rules, ttl=ttl)
        except SpendingUnknown as problem:
            raise _untold(problem) from None
        if decision.hold is None:
            exchange.response_headers.update(rate_headers(decision))
            raise limits.refusal(decision, self._clock())
        self._holds[exchange.call_id] = decision.hold, name
        exchange.response_headers.update(rate_headers(decision))

    def _worst_cost(self, exchange: Exchange, task: Task | None, given: int, made: int) -> int:
        """Billionths of a dollar by the dearest candidate that may answer. Raises BadRequest for an unknown
        price: a budget that cannot count a call must not pay for it."""
        tier = exchange.request.service_tier
        name = task.name if task is not None else f"/{exchange.request.model}"
        key = (name, tier if tier in PRICED_TIERS else "", given > LONG)
        found = self._dearest.get(key)
        if found is None:
            if len(self._dearest) > 10_000:
                self._dearest.clear()
            found = self._dearest[key] = dearest(exchange, task, given)
        if isinstance(found, str):
            raise _unpriced(found)
        read, written = found.tokens(exchange)
        tokens = (given * read + made * written) / _PER_MILLION
        searches = searches_of(exchange.body)
        sound = exchange.sound_s / 60 * found.minute
        looked_up = (searches.web * found.search + searches.files * found.file_search) / _PER_THOUSAND
        return limits.nano(tokens + sound + looked_up)

    # ------------------------------------------------------------------ while it lasts
    async def going_on(self, exchange: Exchange, principal: Principal, runtime: Runtime) -> None:
        """Charges a call that lasts with the tokens and the money of its responses so far. Raises RateLimited once a
        budget is spent or a response goes beyond the tokens of its minute, BadRequest for what has no known price,
        Unavailable while nobody can tell."""
        scopes = _scopes(exchange, principal, runtime)[2]
        paid = any(limits.has_budget(scope[2]) for scope in scopes)
        before = self._charged.get(exchange.call_id, _NOTHING)
        fresh = exchange.used[before.responses :]
        if not paid and not fresh:
            return
        tokens = sum(one.usage.total for one in fresh if one.usage is not None)
        cost = self._price(exchange, fresh) if paid else 0
        found = limits.rules_of(scopes, tokens=tokens, least_tokens=tokens, cost=max(1, cost), at=self._clock())
        rules = tuple(one for one in found if one.kind in MONEY or (one.kind == "tokens" and tokens))
        due = [cost if rule.kind in MONEY else tokens for rule in rules]
        if rules:
            await self._charge(exchange, rules, due, before.plus(len(fresh), tokens, cost))

    async def _charge(self, exchange: Exchange, rules: tuple[Rule, ...], due: list[int], after: _Charged) -> None:
        """Whether it may go on or not, it has used what is due."""
        name = f"{exchange.call_id}+{after.responses}"
        try:
            decision = await self._counters.reserve(name, rules, ttl=_SLACK_S)
        except SpendingUnknown as problem:
            raise _untold(problem) from None
        self._charged[exchange.call_id] = after
        self._counters.settle(decision.hold or _now(rules), due)
        if decision.hold is None:
            raise limits.refusal(decision, self._clock())

    @staticmethod
    def _price(exchange: Exchange, used: Sequence[Used]) -> int:
        """Billionths of a dollar. Raises BadRequest for an unknown price."""
        rung, total = exchange.answered_by, 0.0
        if rung is None:
            return 0
        for one in used:
            candidate = one.by or rung.candidate
            paid = cost(one.usage, price_for(exchange.runtime.config, candidate))
            if paid is None and (one.usage is None or one.usage.total):
                raise _unpriced(candidate.name)
            total += paid or 0.0
        return limits.nano(total)

    # ------------------------------------------------------------------ after the call
    def holds(self, exchange: Exchange) -> bool:
        """Whether something is reserved for this call, or was charged already."""
        return exchange.call_id in self._holds or exchange.call_id in self._charged

    def settle(self, exchange: Exchange, record: CallRecord) -> None:
        """Settles what was reserved by what the ledger says (``gateway.stages.record`` asks for it)."""
        held, charged = self._holds.pop(exchange.call_id, None), self._charged.pop(exchange.call_id, _NOTHING)
        if held is None:
            return
        hold, name = held
        answered = bool(record.provider) and not exchange.replayed
        tokens = record.prompt_tokens + record.completion_tokens if answered else 0
        if exchange.lasts_s:
            self._settle_rest(hold, max(0, tokens - charged.tokens))
            tokens = 0
        self._counters.settle(hold, [_used(rule, record, answered, tokens, charged.cost) for rule in hold.rules])
        if answered and record.status == "ok" and not record.tokens_estimated:
            given = record.prompt_tokens // exchange.asked
            self._estimator.learn(name, exchange.request, given, record.completion_tokens)

    def _settle_rest(self, hold: Hold, tokens: int) -> None:
        """The minute that a call began in is long over: what it used last counts now."""
        rules = tuple(rule for rule in hold.rules if rule.kind == "tokens")
        if rules and tokens:
            self._counters.settle(_now(rules), [tokens] * len(rules))

    def learned(self, project: str, task: str, usd: float | None, at: float, runtime: Runtime) -> None:
        """Charges what learning cost on top of a call to its project's and its task's budgets."""
        if not usd:
            return
        found = runtime.tasks.get(task)
        own = found.limits if found is not None else None
        rules = limits.rules_of(
            [("project", project, runtime.config.limits.projects.get(project)), ("task", task, own)],
            tokens=0, least_tokens=0, cost=0, at=at,
        )  # fmt: skip
        money = tuple(rule for rule in rules if rule.kind in MONEY)
        if money:
            cost = limits.nano(usd)
            self._counters.settle(Hold("", money, -1), [cost] * len(money))


def _scopes(
    exchange: Exchange, principal: Principal, runtime: Runtime
) -> tuple[Task | None, str, list[tuple[Who, str, limits.AnyLimits | None]]]:
    """A call's task, the name that its tokens are counted under, and whose limits it falls under."""
    task = task_of(runtime, exchange.request)[0]
    name = task.name if task is not None else exchange.request.model
    project = runtime.config.limits.projects.get(principal.project)
    own = task.limits if task is not None else None
    return task, name, [
        ("key", principal.key_id, principal), ("project", principal.project, project), ("task", name, own)
    ]  # fmt: skip


def _now(rules: Sequence[Rule]) -> Hold:
    """For what was used although it was not reserved."""
    return Hold("", tuple(structs.replace(rule, amount=0) for rule in rules), -1)


def _untold(problem: SpendingUnknown) -> Unavailable:
    return Unavailable(
        "What this budget has spent cannot be told just now, so nothing may be spent. Try again shortly.",
        code="budget_unknown",
        headers={"retry-after": "2"},
        detail=str(problem),
    )


def _unpriced(name: str) -> BadRequest:
    return BadRequest(
        f"The price of '{name}' is unknown, and this call falls under a money budget, which pays known "
        "prices only. Ask the gateway's operator to add it under 'prices' in the policies.",
        param="model",
        code="unknown_price",
    )


def _used(rule: Rule, record: CallRecord, answered: bool, tokens: int, charged: int) -> int:
    """What is settled under a rule; ``charged``: the money that was taken while the call lasted."""
    if rule.kind == "tokens":
        return tokens
    if rule.kind in WINDOWED or rule.kind == "concurrency":
        return rule.amount
    if not answered:
        return 0
    paid = limits.nano(record.cost_usd) if record.cost_usd is not None else rule.amount
    return max(0, paid - charged)


class _Counted:
    """A stream that gives its place back when it is closed: ``record`` does that as soon as it ends or fails."""

    def __init__(self, inner: ChunkStream, limit: Limit) -> None:
        self._inner = inner
        self._limit = limit
        self._held = True
        self.arrived = arrived_of(inner)

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return aiter(self._inner)

    async def aclose(self) -> None:
        self._release()
        await self._inner.aclose()

    def _release(self) -> None:
        if self._held:
            self._held = False
            self._limit.in_flight -= 1
