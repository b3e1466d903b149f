"""Which limits a call falls under, and what a client is told about them. Pure."""

from __future__ import annotations

import calendar
import math
import time
from collections.abc import Iterable

from gateway.config import Config, Limits
from gateway.context import Principal
from gateway.errors import GatewayError, RateLimited, after
from gateway.storage.counting.counters import MONEY, Decision, Line, Rule, Who

NANO = 1_000_000_000
"""Money is counted in billionths of a US dollar: whole numbers add up exactly, whoever adds them."""

AnyLimits = Limits | Principal
_DAY_S = 86_400


def nano(usd: float) -> int:
    """US dollars in billionths, rounded up."""
    return math.ceil(usd * NANO - 1e-6)


def limited(limits: AnyLimits | None) -> bool:
    return limits is not None and (
        limits.requests_per_minute is not None
        or limits.tokens_per_minute is not None
        or limits.concurrency is not None
        or limits.budget_usd_day is not None
        or limits.budget_usd_month is not None
    )


def has_budget(limits: AnyLimits | None) -> bool:
    return limits is not None and (limits.budget_usd_day is not None or limits.budget_usd_month is not None)


def day_of(at: float) -> tuple[str, float]:
    """The UTC day that holds ``at``: its name and its start in unix seconds."""
    start = int(at // _DAY_S) * _DAY_S
    return time.strftime("%Y-%m-%d", time.gmtime(start)), float(start)


def month_of(at: float) -> tuple[str, float]:
    moment = time.gmtime(at)
    return f"{moment.tm_year}-{moment.tm_mon:02}", float(
        calendar.timegm((moment.tm_year, moment.tm_mon, 1, 0, 0, 0))
    )


def ends(rule: Rule) -> float:
    """When a budget's period is over, in unix seconds."""
    if rule.kind == "day":
        return rule.since + _DAY_S
    return month_of(rule.since + 32 * _DAY_S)[1]


def rules_of(
    scopes: Iterable[tuple[Who, str, AnyLimits | None]],
    *,
    tokens: int,
    least_tokens: int,
    cost: int,
    at: float,
) -> tuple[Rule, ...]:
    """The rules of a call at ``at`` (unix seconds). ``tokens``: what it may use, ``least_tokens``: what it
    certainly will; a limit between the two is taken whole rather than refused. ``cost`` in billionths."""
    found: list[Rule] = []
    for who, name, limits in scopes:
        if limits is None:
            continue
        if limits.requests_per_minute is not None:
            found.append(Rule(who, name, "requests", limits.requests_per_minute, 1))
        if limits.tokens_per_minute is not None:
            amount = max(least_tokens, min(tokens, limits.tokens_per_minute))
            found.append(Rule(who, name, "tokens", limits.tokens_per_minute, amount))
        if limits.concurrency is not None:
            found.append(Rule(who, name, "concurrency", limits.concurrency, 1))
        if limits.budget_usd_day is not None:
            found.append(Rule(who, name, "day", nano(limits.budget_usd_day), cost, *day_of(at)))
        if limits.budget_usd_month is not None:
            found.append(Rule(who, name, "month", nano(limits.budget_usd_month), cost, *month_of(at)))
    return tuple(found)


def any_task_limits(config: Config) -> bool:
    return any(limited(task.limits) for task in config.tasks)


# ---------------------------------------------------------------- what a client is told
def rate_headers(decision: Decision) -> dict[str, str]:
    """OpenAI's six headers, each group by the rule that leaves the least; ``reset``: when it is free again."""
    found: dict[str, str] = {}
    for kind in ("requests", "tokens"):
        lines = [
            (max(0, rule.limit - line.used), rule, line)
            for rule, line in zip(decision.rules, decision.lines, strict=True)
            if rule.kind == kind
        ]
        if lines:
            remaining, rule, line = min(lines, key=lambda one: one[0])
            found[f"x-ratelimit-limit-{kind}"] = str(rule.limit)
            found[f"x-ratelimit-remaining-{kind}"] = str(remaining)
            found[f"x-ratelimit-reset-{kind}"] = wire_duration(line.reset)
    return found


def refusal(decision: Decision, now: float) -> GatewayError:
    """The error for a decision without a hold; ``now`` in unix seconds."""
    rule, line = decision.rules[decision.refused], decision.lines[decision.refused]
    headers = rate_headers(decision)
    whose = f"this {'API key' if rule.who == 'key' else rule.who}"
    if rule.kind in MONEY:
        return _quota(rule, line, whose, headers, now)
    if rule.kind == "concurrency":
        return _limited(
            "requests",
            f"Rate limit reached for concurrent requests of {whose}: Limit {rule.limit}. "
            "Wait for one of them to end.",
            {**headers, **after(1.0)},
        )
    unit = "RPM" if rule.kind == "requests" else "TPM"
    if rule.amount > rule.limit:
        return _limited(
            rule.kind,
            f"Request too large for the {rule.kind} per minute ({unit}) of {whose}: Limit {rule.limit}, "
            f"Requested {rule.amount}. Send less text, or ask for a higher limit.",
            {**headers, "x-should-retry": "false"},
        )
    return _limited(
        rule.kind,
        f"Rate limit reached for {rule.kind} per minute ({unit}) of {whose}: Limit {rule.limit}, "
        f"Used {line.used}, Requested {rule.amount}. Please try again in {wire_duration(line.wait)}.",
        {**headers, **after(line.wait)},
    )


def _quota(rule: Rule, line: Line, whose: str, headers: dict[str, str], now: float) -> GatewayError:
    wait = max(1.0, ends(rule) - now)
    left = max(0, rule.limit - line.used) / NANO
    return _limited(
        "insufficient_quota",
        f"You exceeded the budget of {whose}: {rule.limit / NANO:g} US dollars a {rule.kind}, of which "
        f"{left:.6f} are left and this request may need {rule.amount / NANO:.6f}. "
        f"It starts afresh in {wire_duration(wait)} (UTC).",
        {**headers, **after(wait), "x-should-retry": "false"},
        code="insufficient_quota",
    )


def _limited(
    kind: str, message: str, headers: dict[str, str], code: str = "rate_limit_exceeded"
) -> GatewayError:
    error = RateLimited(message, code=code, headers=headers)
    error.kind = kind
    return error


def wire_duration(seconds: float) -> str:
    """A duration as OpenAI writes it: ``6ms``, ``1s``, ``6m0s``; rounded up."""
    if seconds < 1.0:
        return f"{math.ceil(seconds * 1000)}ms"
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60}s"
    return f"{whole // 3600}h{whole % 3600 // 60}m{whole % 60}s"
