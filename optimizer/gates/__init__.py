"""Promotion gates. The union below is the registry and the YAML schema: a new gate is one file and one line.

Every gate's Settings has ``judge(outcomes, terms) -> GateResult``; ``by_slice`` says whether each slice of the traffic
has to pass it by itself as well.
"""

from optimizer.gates.agreement import Agreement
from optimizer.gates.evidence import GateResult, Outcome, Terms, Verdict, terms_of
from optimizer.gates.latency import Latency
from optimizer.gates.score import Score

GateSettings = Agreement | Latency | Score

__all__ = [
    "Agreement",
    "GateResult",
    "GateSettings",
    "Latency",
    "Outcome",
    "Score",
    "Terms",
    "Verdict",
    "terms_of",
]
