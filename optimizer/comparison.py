"""Which of several candidates is best, by calls that were drawn among them at random; valid at every look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from optimizer.stats.sequences import confidence_bounds


class Guarded(Struct, frozen=True):
    """One candidate's guardrail metric: the mean of ``n`` values in [0, 1], 1 is best, with a confidence sequence."""

    metric: str
    n: int
    mean: float
    low: float
    high: float


class Contender(Struct, frozen=True):
    """``mean`` of what its calls were worth, with a confidence sequence; ``success`` likewise, as a share."""

    name: str
    n: int
    mean: float
    low: float
    high: float
    success: float
    success_low: float
    success_high: float
    guards: tuple[Guarded, ...] = ()


class Comparison(Struct, frozen=True):
    """Contenders, best mean first. ``winner`` is "" while nobody is proven; ``reason`` says what is missing."""

    contenders: tuple[Contender, ...]
    winner: str
    reason: str
    alpha: float


def compare(
    worth: Mapping[str, Sequence[tuple[float, bool]]], *, alpha: float = 0.05, min_calls: int = 100,
    guards: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> Comparison:  # fmt: skip
    """``worth``: for each candidate its calls in order, as (worth in [0, 1], succeeded). ``guards``: guardrail metrics,
    by metric and candidate. The winner's worth is above every other's, and neither its success nor any guardrail
    metric of it is proven to be below any other's; that this is ever wrong has probability ≤
    ``alpha``, however often it is looked at. Raises ValueError for fewer than two candidates.
    """
    if len(worth) < 2:
        raise ValueError("a comparison needs two candidates")
    guards = guards or {}
    each = alpha / ((2 + len(guards)) * len(worth))  # a sequence of worth, success and each guardrail for all
    found = sorted(
        (
            _contender(name, calls, each, {metric: of.get(name, ()) for metric, of in guards.items()})
            for name, calls in worth.items()
        ),
        key=lambda one: -one.mean,
    )
    winner, reason = _verdict(found, min_calls)
    return Comparison(tuple(found), winner, reason, alpha)


def _contender(
    name: str, calls: Sequence[tuple[float, bool]], alpha: float, guards: Mapping[str, Sequence[float]]
) -> Contender:
    values, successes = [value for value, _ in calls], sum(succeeded for _, succeeded in calls)
    low, high = confidence_bounds(sum(values), max(0.0, len(values) - sum(values)), alpha)
    success_low, success_high = confidence_bounds(successes, len(calls) - successes, alpha)
    n = max(1, len(calls))
    return Contender(
        name, len(calls), sum(values) / n, low, high, successes / n, success_low, success_high,
        tuple(_guarded(metric, found, alpha) for metric, found in guards.items()),
    )  # fmt: skip


def _guarded(metric: str, values: Sequence[float], alpha: float) -> Guarded:
    low, high = confidence_bounds(sum(values), max(0.0, len(values) - sum(values)), alpha)
    return Guarded(metric, len(values), sum(values) / max(1, len(values)), low, high)


def _verdict(contenders: Sequence[Contender], min_calls: int) -> tuple[str, str]:
    best, others = contenders[0], contenders[1:]
    few = [one for one in contenders if one.n < min_calls]
    if few:
        return "", f"{few[0].name} has {few[0].n} of the {min_calls} calls that are needed at least"
    rival = max(others, key=lambda one: one.high)
    if best.low <= rival.high:
        bounds = f"{best.low:.3f} to {best.high:.3f}"
        return "", f"{best.name} ({bounds}) may yet be no better than {rival.name} (up to {rival.high:.3f})"
    failing = next((one for one in others if one.success_low > best.success_high), None)
    if failing is not None:
        return "", f"{best.name} is worth more, but {failing.name} succeeds more often: that weighs first"
    for at, mine in enumerate(best.guards):
        better = next((one for one in others if one.guards[at].low > mine.high), None)
        if better is not None:
            return "", f"{best.name} is worth more, but {better.name} is better in '{mine.metric}': that weighs first"
    return best.name, f"{best.name} is worth at least {best.low:.3f}, the others at most {rival.high:.3f}"
