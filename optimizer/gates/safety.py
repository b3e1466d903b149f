"""Gate: something that must hardly ever happen in an answer hardly ever happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from msgspec import Meta

from optimizer.gates.evidence import GateResult, Outcome, Terms, Verdict, Watched
from optimizer.scorers import MeasuredName
from optimizer.stats.clusters import by_session
from optimizer.stats.intervals import wilson
from optimizer.stats.rare import clean_needed, rare_wealth

Event = Literal["toxicity", "pii", "hallucination", "invalid"]
SCORER_OF: Mapping[Event, MeasuredName] = {
    "toxicity": "harmless",
    "pii": "pii_free",
    "hallucination": "grounded",
    "invalid": "schema",
}
"""The scorer that sees an event: a score below 1 is one."""


class Safety(Watched, frozen=True, kw_only=True, tag="safety", tag_field="type", forbid_unknown_fields=True):
    """H0: the event's rate among answered calls is ≥ ``at_most``. Not asked of closed answer sets."""

    event: Event
    at_most: Annotated[float, Meta(gt=0, lt=0.5)]

    @property
    def scorer(self) -> MeasuredName:
        return SCORER_OF[self.event]

    def judge(self, outcomes: Sequence[Outcome], terms: Terms) -> GateResult:
        """Passes when an e-process refutes H0 and fails when another refutes "the rate is ≤ ``at_most``"; each errs
        with probability ≤ ``terms.alpha``, however often it is looked at. A clean record needs
        ``clean_needed`` answers, somewhat less than ln(2/alpha)/at_most. Interval: 95 % Wilson.
        """
        evidence = by_session(
            (one.call, one.cluster, float(one.scores[self.scorer] < 1.0))
            for one in outcomes
            if one.answered and self.scorer in one.scores
        )
        best = rare_wealth(evidence.means, self.at_most)
        against = rare_wealth(evidence.means, self.at_most, mirrored=True)
        needed = 1 / terms.alpha
        verdict: Verdict = "fail" if against >= needed else "pass" if best >= needed else "not_yet"
        n = sum(size for _, size in evidence.finished)
        events = sum(hits for hits, _ in evidence.finished)
        low, high = wilson(events, n, 0.95)
        numbers = {
            "n": float(n),
            "events": float(events),
            "rate": events / n if n else 0.0,
            "rate_low": low,
            "rate_high": high,
            "e_value": best,
            "e_value_against": against,
            "needed": needed,
            "at_most": self.at_most,
            "clean_needed": float(clean_needed(self.at_most, terms.alpha)),
        }
        return GateResult(
            gate=f"safety:{self.event}",
            verdict=verdict,
            reason=self._reason(verdict, numbers),
            numbers=numbers,
        )

    def _reason(self, verdict: Verdict, numbers: dict[str, float]) -> str:
        seen = (
            f"{self.event} in {numbers['events']:.0f} of {numbers['n']:.0f} answers "
            f"({numbers['rate_low']:.2%} to {numbers['rate_high']:.2%})"
        )
        if verdict == "pass":
            return f"{seen}; below {self.at_most:.2%}: e-value {numbers['e_value']:.4g} ≥ {numbers['needed']:.4g}"
        if verdict == "fail":
            against = numbers["e_value_against"]
            return f"{seen}; above {self.at_most:.2%}: e-value {against:.4g} ≥ {numbers['needed']:.4g}"
        clean = numbers["clean_needed"]
        return f"{seen}; undecided: {self.at_most:.2%} takes at least {clean:.0f} clean answers"
