"""What to do when an attempt failed: pure decisions, the sleeping is done elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from email.utils import parsedate_to_datetime
from typing import Literal

from msgspec import Struct

FailureKind = Literal[
    "refused",
    "throttled",
    "failed",
    "timeout",
    "credentials",
    "busy",
    "content_filter",
    "context_length",
    "unsupported",
    "invalid",
]
"""``refused``: the request's own fault, of which ``content_filter`` and ``context_length`` are two that another
model may not find; ``busy``: our own bound on calls to this provider; ``credentials``: our own key;
``unsupported``: this candidate has no such parameter, so it was not asked at all; ``invalid``: it answered, and
not in the form that was asked for."""

FALLBACK: tuple[FailureKind, ...] = (
    "throttled",
    "failed",
    "timeout",
    "credentials",
    "busy",
    "unsupported",
    "invalid",
)
"""What another candidate is asked after, unless the policies choose otherwise."""

_FINAL = frozenset({"refused", "content_filter", "context_length", "credentials", "busy", "unsupported", "invalid"})


class Failure(Struct, frozen=True):
    """One failed attempt. ``retry_after`` is what the provider asked for, in seconds, if it did so sensibly."""

    kind: FailureKind
    status: int
    retry_after: float | None = None


class Retry(Struct, frozen=True):
    """Try the same candidate again after ``delay`` seconds."""

    delay: float


class NextCandidate(Struct, frozen=True):
    """Leave this candidate and go on with the plan."""


class GiveUp(Struct, frozen=True):
    """The request itself is at fault, or nothing is left to try."""


Next = Retry | NextCandidate | GiveUp


def after_failure(
    failure: Failure,
    *,
    attempt: int,
    attempts_left: int,
    more_candidates: bool,
    may_retry: bool,
    remaining: float,
    base: float,
    cap: float,
    draw: float,
    fallback_on: Collection[str] = FALLBACK,
) -> Next:
    """The step after ``failure`` of try number ``attempt`` (from 1) at a candidate.

    Kinds in ``fallback_on`` go to the next candidate at once when there is one. What the same candidate would
    only say again gives up; the rest is tried again with full jitter (uniform in [0, base · 2^(attempt-1)], at
    most ``cap``; AWS Architecture Blog, "Exponential Backoff and Jitter", 2015), or after the provider's
    Retry-After. A Retry-After longer than ``cap``, or past the deadline (``remaining`` seconds), is the client's
    to wait for.
    """
    if more_candidates and failure.kind in fallback_on:
        return NextCandidate()
    if failure.kind in _FINAL or attempts_left <= 0 or not may_retry:
        return GiveUp()
    delay = draw * min(cap, base * 2 ** (attempt - 1))
    if failure.retry_after is not None:
        if failure.retry_after > cap:
            return GiveUp()
        delay = max(delay, failure.retry_after)
    return Retry(delay) if delay < remaining else GiveUp()


def sensible_retry_after(value: str | None, now: float) -> float | None:
    """Seconds from a Retry-After header (seconds or an HTTP date); None for junk, negatives and over a day."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return seconds if 0 <= seconds <= 86_400 else None


class RetryBudget(Struct, frozen=True):
    """Retries may be at most ``share`` of the recent requests, plus a few to get started. Old counts are
    halved every ten seconds, so that a quiet hour buys no storm."""

    since: float = 0.0
    requests: float = 0.0
    retries: float = 0.0

    def with_request(self, now: float) -> RetryBudget:
        if now - self.since > 10.0:
            return RetryBudget(now, self.requests / 2 + 1, self.retries / 2)
        return RetryBudget(self.since, self.requests + 1, self.retries)

    def allows(self, share: float) -> bool:
        return self.retries < 5 + share * self.requests

    def with_retry(self) -> RetryBudget:
        return RetryBudget(self.since, self.requests, self.retries + 1)
