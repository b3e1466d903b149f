"""Gate: a scorer finds the student's answers good enough in the light of the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from optimizer.gates.evidence import GateResult, Outcome, PerSlice, Terms, Verdict, wealths
from optimizer.scorers import ScorerName
from optimizer.stats.clusters import by_session
from optimizer.stats.intervals import clustered_wilson


class Score(Struct, frozen=True, tag="score", tag_field="type", forbid_unknown_fields=True):
    """H0: the mean score of the answered calls is ≤ ``at_least`` − the margin. ``margin`` None takes the task's."""

    per_slice: ClassVar[PerSlice] = "prove"
    scorer: ScorerName
    at_least: Annotated[float, Meta(gt=0, lt=1)]
    margin: Annotated[float, Meta(gt=0, lt=1)] | None = None

    def judge(self, outcomes: Sequence[Outcome], terms: Terms) -> GateResult:
        """Passes when an e-process refutes H0, fails when its mirror refutes "the mean is ≥ ``at_least``"; each
        errs with probability ≤ ``terms.alpha``, however often it is looked at. Calls that were answered before
        the gate was configured have no score and do not count. Interval: 95 %, approximate.
        """
        null = max(1e-6, self.at_least - (terms.margin if self.margin is None else self.margin))
        evidence = by_session(
            (one.call, one.cluster, one.scores[self.scorer])
            for one in outcomes
            if one.answered and self.scorer in one.scores
        )
        _, best = wealths(evidence.means, null, mirrored=False)
        _, against = wealths(evidence.means, self.at_least, mirrored=True)
        needed = 1 / terms.alpha
        verdict: Verdict = "fail" if against >= needed else "pass" if best >= needed else "not_yet"
        n = sum(size for _, size in evidence.finished)
        low, high = clustered_wilson(evidence.finished, 0.95)
        numbers = {
            "n": float(n),
            "mean": sum(total for total, _ in evidence.finished) / n if n else 0.0,
            "mean_low": low,
            "mean_high": high,
            "e_value": best,
            "e_value_against": against,
            "needed": needed,
            "null": null,
            "at_least": self.at_least,
        }
        reason = f"{self.scorer} " + _reason(verdict, numbers)
        return GateResult(gate=f"score:{self.scorer}", verdict=verdict, reason=reason, numbers=numbers)


def _reason(verdict: Verdict, numbers: dict[str, float]) -> str:
    seen = (
        f"{numbers['mean']:.3f} on {numbers['n']:.0f} answered calls "
        f"({numbers['mean_low']:.3f} to {numbers['mean_high']:.3f})"
    )
    if verdict == "pass":
        return (
            f"{seen}; above {numbers['null']:.3f}: e-value {numbers['e_value']:.4g} ≥ {numbers['needed']:.4g}"
        )
    if verdict == "fail":
        against = numbers["e_value_against"]
        return f"{seen}; below {numbers['at_least']:.3f}: e-value {against:.4g} ≥ {numbers['needed']:.4g}"
    return f"{seen}; undecided: e-value {numbers['e_value']:.4g} of {numbers['needed']:.4g}"
