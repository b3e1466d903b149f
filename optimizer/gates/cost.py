"""Gate: the student's answers are cheap enough beside the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from optimizer.gates.evidence import GateResult, Outcome, Terms, Verdict, Watched, wealths
from optimizer.stats.clusters import by_session
from optimizer.stats.intervals import clustered_wilson

_ENOUGH = 60
"""Answered calls after which a teacher whose price nobody knows is taken for one without a price."""


class Cost(Watched, frozen=True, kw_only=True, tag="cost", tag_field="type", forbid_unknown_fields=True):
    """H0: an answered call costs on average ≥ ``at_most`` of what its teacher costs (more than all counts as all)."""

    at_most: Annotated[float, Meta(gt=0, lt=1)] = 0.5

    def judge(self, outcomes: Sequence[Outcome], terms: Terms) -> GateResult:
        """Passes when an e-process refutes H0 and fails when its mirror refutes "at most"; each errs with probability
        ≤ ``terms.alpha``. Where no price is known there is nothing to compare, and the gate says so and passes.
        """
        answered = [one for one in outcomes if one.answered]
        evidence = by_session(
            (one.call, one.cluster, one.scores["thrift"]) for one in answered if "thrift" in one.scores
        )
        _, best = wealths(evidence.means, 1 - self.at_most, mirrored=False)
        _, against = wealths(evidence.means, 1 - self.at_most, mirrored=True)
        needed = 1 / terms.alpha
        verdict: Verdict = "fail" if against >= needed else "pass" if best >= needed else "not_yet"
        n = sum(size for _, size in evidence.finished)
        low, high = clustered_wilson(evidence.finished, 0.95)
        share = 1 - sum(total for total, _ in evidence.finished) / n if n else 0.0
        numbers = {
            "n": float(n),
            "share": share,
            "share_low": 1 - high,
            "share_high": 1 - low,
            "e_value": best,
            "e_value_against": against,
            "needed": needed,
            "at_most": self.at_most,
        }
        if not n and len(answered) >= _ENOUGH:
            reason = "what the teacher costs is unknown, so there is nothing to compare"
            return GateResult(gate="cost", verdict="pass", reason=reason, numbers=numbers)
        reason = (
            f"an answer costs {share:.2%} of the teacher's price on {n} calls ({1 - high:.2%} to {1 - low:.2%}), limit "
            f"{self.at_most:.0%}: e-values {best:.4g} for and {against:.4g} against, {needed:.4g} decide"
        )
        return GateResult(gate="cost", verdict=verdict, reason=reason, numbers=numbers)
