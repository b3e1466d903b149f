"""Promotion gates. The union below is the registry and the YAML schema: a new gate is one file and one line."""

from optimizer.gates.agreement import Agreement
from optimizer.gates.latency import Latency

GateSettings = Agreement | Latency

__all__ = ["Agreement", "GateSettings", "Latency"]
