"""How answers are scored. Scorers render and parse; whoever runs a judge calls it."""

from optimizer.scorers.agreement import Comparison, agrees

__all__ = ["Comparison", "agrees"]
