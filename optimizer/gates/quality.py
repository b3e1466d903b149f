"""Gate: the student is nearly as good as its teacher in the eyes of a judge, and of people where they labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from optimizer.gates.evidence import GateResult, Outcome, PerSlice, Terms, Verdict, wealths
from optimizer.stats.clusters import by_session
from optimizer.stats.intervals import clustered_wilson
from optimizer.stats.multiplicity import spend
from optimizer.stats.ppi import Estimate, powered

_FIRST_LOOK = 60
"""Labels at which people's word is first looked at; then at each doubling."""


class Quality(Struct, frozen=True, tag="quality", tag_field="type", forbid_unknown_fields=True):
    """H0: the student is worth ≤ ``at_least`` − margin of its teacher, where a call is worth 1 to the better answer and
    ½ to each of two equally good ones. ``labels``: how many human labels the judge must have been held against.
    """

    per_slice: ClassVar[PerSlice] = "prove"
    at_least: Annotated[float, Meta(gt=0, le=1)] = 0.95
    margin: Annotated[float, Meta(gt=0, lt=1)] | None = None
    labels: Annotated[int, Meta(ge=0)] = 0

    def judge(self, outcomes: Sequence[Outcome], terms: Terms) -> GateResult:
        """Paired non-inferiority. With J in {0, ½, 1} the judge's word on a call, "worth r of the teacher" is
        E[J] = r(1 − E[J]), so H0 is E[J] ≤ r/(1 + r), against which an e-process plays; its mirror fails the student.
        Each errs with probability ≤ ``terms.alpha`` as far as the judge can be trusted. Where people labelled some of
        the calls, the prediction-powered bound of *their* preference must clear the same null, at looks that spend
        ``terms.alpha`` (approximate: it rests on the central limit theorem).
        """
        margin = terms.margin if self.margin is None else self.margin
        null, target = _preference(max(1e-6, self.at_least - margin)), _preference(self.at_least)
        judged = [one for one in outcomes if one.answered and "judge" in one.scores]
        evidence = by_session((one.call, one.cluster, one.scores["judge"]) for one in judged)
        _, best = wealths(evidence.means, null, mirrored=False)
        _, against = wealths(evidence.means, target, mirrored=True)
        needed = 1 / terms.alpha
        people = _people(judged, terms.alpha)
        verdict: Verdict = "fail" if against >= needed else "pass" if best >= needed else "not_yet"
        low, high = clustered_wilson(evidence.finished, 0.95)
        n = sum(size for _, size in evidence.finished)
        mean = sum(total for total, _ in evidence.finished) / n if n else 0.0
        labelled = sum("human" in one.scores for one in judged)
        numbers = {
            "n": float(n), "preference": mean, "preference_low": low, "preference_high": high, "worth": _worth(mean),
            "e_value": best, "e_value_against": against, "needed": needed, "null": null, "at_least": self.at_least,
            "labels": float(labelled),
        }  # fmt: skip
        if people is not None:
            numbers |= {"human": people.mean, "human_low": people.low, "human_high": people.high}
            if people.high < target:
                verdict = "fail"
            elif verdict == "pass" and people.low <= null:
                verdict = "not_yet"
        if verdict == "pass" and labelled < self.labels:
            verdict = "not_yet"
        return GateResult(
            gate="quality", verdict=verdict, reason=self._reason(verdict, numbers), numbers=numbers
        )

    def _reason(self, verdict: Verdict, numbers: dict[str, float]) -> str:
        seen = (
            f"worth {numbers['worth']:.1%} of the teacher to the judge on {numbers['n']:.0f} calls "
            f"(preferred {numbers['preference']:.1%}, {numbers['preference_low']:.1%} to "
            f"{numbers['preference_high']:.1%})"
        )
        if "human" in numbers:
            seen += (
                f", preferred {numbers['human']:.1%} by people ({numbers['human_low']:.1%} to "
                f"{numbers['human_high']:.1%}, prediction-powered from {numbers['labels']:.0f} labels)"
            )
        else:
            seen += f", not held against people ({numbers['labels']:.0f} labels)"
        said = {"pass": "good enough", "fail": "not good enough", "not_yet": "undecided"}[verdict]
        values = f"e-value {numbers['e_value']:.4g} for and {numbers['e_value_against']:.4g} against"
        return f"{seen}; {said} for {self.at_least:.0%}: {values}, {numbers['needed']:.4g} decide"


def _preference(worth: float) -> float:
    return worth / (1 + worth)


def _worth(preference: float) -> float:
    return preference / (1 - preference) if preference < 1 else float("inf")


def _people(judged: Sequence[Outcome], alpha: float) -> Estimate | None:
    """The students' preference among people at the last look that is due; None before the first."""
    labelled = [at for at, one in enumerate(judged) if "human" in one.scores]
    looks = (len(labelled) // _FIRST_LOOK).bit_length()
    if not looks:
        return None
    seen = set(labelled[: (_FIRST_LOOK << looks) // 2])
    return powered(
        [one.scores["judge"] for at, one in enumerate(judged) if at not in seen],
        [(judged[at].scores["human"], judged[at].scores["judge"]) for at in sorted(seen)],
        2 * spend(alpha, looks),
    )
