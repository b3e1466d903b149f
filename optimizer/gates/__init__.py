"""Promotion gates. The union below is the registry and the YAML schema: a new gate is one file and one line.

Every gate's Settings has ``judge(outcomes, terms) -> GateResult``; ``per_slice`` says what it means for each slice of
the traffic by itself.
"""

from optimizer.gates.agreement import Agreement
from optimizer.gates.cost import Cost
from optimizer.gates.evidence import GateResult, Outcome, Terms, Verdict, terms_of
from optimizer.gates.latency import Latency
from optimizer.gates.quality import Quality
from optimizer.gates.safety import Safety
from optimizer.gates.score import Score
from optimizer.gates.truth import Truth

GateSettings = Agreement | Cost | Latency | Quality | Safety | Score | Truth

__all__ = [
    "Agreement",
    "Cost",
    "GateResult",
    "GateSettings",
    "Latency",
    "Outcome",
    "Quality",
    "Safety",
    "Score",
    "Terms",
    "Truth",
    "Verdict",
    "terms_of",
]
