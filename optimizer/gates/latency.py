"""Gate: the student answers fast enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from optimizer.gates.evidence import GateResult, Outcome, Terms, Verdict, Watched
from optimizer.stats.intervals import percentile, quantile_ranks
from optimizer.stats.multiplicity import spend

_QUANTILE = 0.95


class Latency(Watched, frozen=True, kw_only=True, tag="latency", tag_field="type", forbid_unknown_fields=True):
    """The 95th percentile of the student's own time is at most ``max_p95_ms``."""

    max_p95_ms: Annotated[float, Meta(gt=0)] = 500.0
    min_calls: Annotated[int, Meta(ge=1)] = 60

    def judge(self, outcomes: Sequence[Outcome], terms: Terms) -> GateResult:
        """Passes when an upper bound of the percentile keeps the limit, fails when a lower bound breaks it.

        The bounds are order statistics, so they hold for any distribution of independent times. They are
        looked at only after min_calls, 2·min_calls, 4·min_calls … calls, and ``terms.delta`` is spent over
        these looks, so that judging after every call costs nothing.
        """
        looks = (len(outcomes) // self.min_calls).bit_length()
        judged = (self.min_calls << looks) // 2 if looks else 0
        seen = sorted(one.latency_ms for one in outcomes[:judged])
        numbers = {"n": float(len(outcomes)), "judged": float(len(seen)), "max_p95_ms": self.max_p95_ms}
        if not seen:
            reason = f"{len(outcomes)} of {self.min_calls} calls that the percentile needs"
            return GateResult(gate="latency", verdict="not_yet", reason=reason, numbers=numbers)
        low, high = quantile_ranks(len(seen), _QUANTILE, spend(terms.delta, looks))
        numbers["p95_ms"] = percentile(seen, _QUANTILE) or 0.0
        if low is not None:
            numbers["p95_low_ms"] = seen[low - 1]
        if high is not None:
            numbers["p95_high_ms"] = seen[high - 1]
        return GateResult(
            gate="latency", verdict=self._verdict(numbers), reason=_reason(numbers), numbers=numbers
        )

    def _verdict(self, numbers: dict[str, float]) -> Verdict:
        if numbers.get("p95_low_ms", 0.0) > self.max_p95_ms:
            return "fail"
        return "pass" if numbers.get("p95_high_ms", float("inf")) <= self.max_p95_ms else "not_yet"


def _reason(numbers: dict[str, float]) -> str:
    low, high = numbers.get("p95_low_ms"), numbers.get("p95_high_ms")
    bounds = f"{'?' if low is None else f'{low:.3g}'} to {'?' if high is None else f'{high:.3g}'} ms"
    return (
        f"95th percentile {numbers['p95_ms']:.3g} ms ({bounds}) of {numbers['judged']:.0f} calls, "
        f"limit {numbers['max_p95_ms']:.3g} ms"
    )
