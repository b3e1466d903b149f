"""Gate: the student agrees with the teacher on the calls it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from optimizer.gates.evidence import GateResult, Outcome, PerSlice, Terms, Verdict, wealths
from optimizer.stats.clusters import Clustered, by_session
from optimizer.stats.intervals import clustered_wilson


class Agreement(Struct, frozen=True, tag="agreement", tag_field="type", forbid_unknown_fields=True):
    """H0: agreement on answered calls ≤ the task's target − margin. ``margin`` None takes the task's."""

    per_slice: ClassVar[PerSlice] = "prove"
    margin: Annotated[float, Meta(gt=0, lt=1)] | None = None

    def judge(self, outcomes: Sequence[Outcome], terms: Terms) -> GateResult:
        """Passes when an e-process refutes H0, fails when its mirror refutes "agreement ≥ target".

        Both may be looked at after every call: a student at the null passes with probability ≤
        ``terms.alpha``, a student at the target fails with probability ≤ ``terms.alpha``. A failure outweighs
        a pass. Interval: 95 %, for the calls of finished sessions.
        """
        null = terms.target - (terms.margin if self.margin is None else self.margin)
        evidence = by_session((one.call, one.cluster, one.agree) for one in outcomes if one.answered)
        wealth, best = wealths(evidence.means, null, mirrored=False)
        _, against = wealths(evidence.means, terms.target, mirrored=True)
        needed = 1 / terms.alpha
        verdict: Verdict = "fail" if against >= needed else "pass" if best >= needed else "not_yet"
        numbers = _numbers(evidence) | {
            "e_value": best,
            "e_value_now": wealth,
            "e_value_against": against,
            "needed": needed,
            "null": null,
            "target": terms.target,
        }
        return GateResult(
            gate="agreement", verdict=verdict, reason=_reason(verdict, numbers), numbers=numbers
        )


def _numbers(evidence: Clustered) -> dict[str, float]:
    n = sum(size for _, size in evidence.finished)
    agreed = sum(hits for hits, _ in evidence.finished)
    low, high = clustered_wilson(evidence.finished, 0.95)
    return {
        "n": float(n),
        "agreed": float(agreed),
        "agreement": agreed / n if n else 0.0,
        "agreement_low": low,
        "agreement_high": high,
        "sessions": float(len(evidence.finished)),
        "waiting": float(evidence.waiting),
        "late": float(evidence.late),
    }


def _reason(verdict: Verdict, numbers: dict[str, float]) -> str:
    seen = (
        f"{numbers['agreement']:.2%} agreement on {numbers['n']:.0f} answered calls "
        f"({numbers['agreement_low']:.2%} to {numbers['agreement_high']:.2%})"
    )
    if verdict == "pass":
        return (
            f"{seen}; above {numbers['null']:.2%}: e-value {numbers['e_value']:.4g} ≥ {numbers['needed']:.4g}"
        )
    if verdict == "fail":
        against = numbers["e_value_against"]
        return f"{seen}; below {numbers['target']:.2%}: e-value {against:.4g} ≥ {numbers['needed']:.4g}"
    return f"{seen}; undecided: e-value {numbers['e_value']:.4g} of {numbers['needed']:.4g}"
