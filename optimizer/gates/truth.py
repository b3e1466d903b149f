"""Gate: where clients said what the right answer was, the student is nearly as often right as its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from optimizer.gates.evidence import GateResult, Outcome, PerSlice, Terms, Verdict, wealths
from optimizer.stats.clusters import by_session
from optimizer.stats.intervals import clustered_wilson

STUDENT, TEACHER, HOURS = "truth_student", "truth_teacher", "truth_hours"
"""Of a corrected call: whether the student's and the teacher's answer are the correction (1 or 0), and how many hours
after the call it came."""


class Truth(Struct, frozen=True, tag="truth", tag_field="type", forbid_unknown_fields=True):
    """H0: the student is right on ≤ ``at_least`` − margin of the calls that its teacher is right on. What is right is
    what the client said within ``within_hours`` of the call; where it said nothing, the teacher's answer.
    ``corrections``: how many corrected calls there must be.
    """

    per_slice: ClassVar[PerSlice] = "prove"
    at_least: Annotated[float, Meta(gt=0, le=1)] = 0.95
    margin: Annotated[float, Meta(gt=0, lt=1)] | None = None
    within_hours: Annotated[float, Meta(gt=0, le=720)] = 1.0
    corrections: Annotated[int, Meta(ge=0)] = 0

    def judge(self, outcomes: Sequence[Outcome], terms: Terms) -> GateResult:
        """Paired non-inferiority. With s and t in {0, 1} for "the student is right" and "the teacher is right", and r
        the least worth, Z = (s − r·t + r)/(1 + r) lies in [0, 1] and H0 is E[Z] ≤ r/(1 + r): an e-process plays
        against it, and its mirror at ``at_least`` fails the student. Each errs with probability ≤ ``terms.alpha``
        at whatever moment it is looked at, provided that each outcome is given once its hours are over.
        Interval: 95 %, of the mean of s − r·t.
        """
        margin = terms.margin if self.margin is None else self.margin
        answered = [one for one in outcomes if one.answered]
        least = max(1e-6, self.at_least - margin)
        evidence = by_session((one.call, one.cluster, self._z(one, least)) for one in answered)
        mirror = by_session((one.call, one.cluster, self._z(one, self.at_least)) for one in answered)
        _, best = wealths(evidence.means, least / (1 + least), mirrored=False)
        _, against = wealths(mirror.means, self.at_least / (1 + self.at_least), mirrored=True)
        needed = 1 / terms.alpha
        corrected = [one for one in answered if self._in_time(one)]
        verdict: Verdict = "fail" if against >= needed else "pass" if best >= needed else "not_yet"
        if verdict == "pass" and len(corrected) < self.corrections:
            verdict = "not_yet"
        n = sum(size for _, size in evidence.finished)
        low, high = clustered_wilson(evidence.finished, 0.95)
        mean = sum(total for total, _ in evidence.finished) / n if n else 0.0
        numbers = {
            "n": float(n), "corrected": float(len(corrected)),
            "student_right": sum(one.scores[STUDENT] for one in corrected),
            "teacher_right": sum(one.scores[TEACHER] for one in corrected),
            "surplus": _surplus(mean, least),
            "surplus_low": _surplus(low, least), "surplus_high": _surplus(high, least),
            "e_value": best, "e_value_against": against, "needed": needed, "null": least, "at_least": self.at_least,
        }  # fmt: skip
        reason = self._reason(verdict, numbers)
        return GateResult(gate="truth", verdict=verdict, reason=reason, numbers=numbers)

    def _in_time(self, one: Outcome) -> bool:
        return HOURS in one.scores and one.scores[HOURS] <= self.within_hours

    def _z(self, one: Outcome, worth: float) -> float:
        student, teacher = float(one.agree), 1.0
        if self._in_time(one):
            student, teacher = one.scores[STUDENT], one.scores[TEACHER]
        return (student - worth * teacher + worth) / (1 + worth)

    def _reason(self, verdict: Verdict, numbers: dict[str, float]) -> str:
        said = {"pass": "good enough", "fail": "not good enough", "not_yet": "undecided"}[verdict]
        wanted = f" of {self.corrections} wanted" if self.corrections else ""
        return (
            f"clients corrected {numbers['corrected']:.0f}{wanted} of {numbers['n']:.0f} answered calls: the student "
            f"is right on {numbers['student_right']:.0f}, the teacher on {numbers['teacher_right']:.0f}; {said} for "
            f"{self.at_least:.0%} of the teacher: e-value {numbers['e_value']:.4g} for and "
            f"{numbers['e_value_against']:.4g} against, {numbers['needed']:.4g} decide"
        )


def _surplus(mean: float, worth: float) -> float:
    return mean * (1 + worth) - worth
