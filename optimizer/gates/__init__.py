"""Promotion gates. The union below is the registry and the YAML schema: a new gate is one file and one line.

Every gate's Settings has ``judge(outcomes, terms) -> GateResult``; ``by_slice`` says whether each slice of the traffic
has to pass it by itself as well.
"""

from optimizer.gates.agreement import Agreement
from optimizer.gates.cost import Cost
from optimizer.gates.evidence import GateResult, Outcome, Terms, Verdict, terms_of
from optimizer.gates.latency import Latency
from optimizer.gates.quality import Quality
from optimizer.gates.safety import Safety
from optimizer.gates.score import Score

GateSettings = Agreement | Cost | Latency | Quality | Safety | Score

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
    "Verdict",
    "terms_of",
]
