"""Routing strategies. The union below is at once the registry, the YAML schema and the list in error messages:
adding a strategy is one file and one line here."""

from optimizer.routing.strategies.bandit import Bandit
from optimizer.routing.strategies.cascade import Cascade
from optimizer.routing.strategies.least_cost import LeastCost
from optimizer.routing.strategies.least_latency import LeastLatency
from optimizer.routing.strategies.ordered import Ordered
from optimizer.routing.strategies.race import Race
from optimizer.routing.strategies.track import Track
from optimizer.routing.strategies.weighted import Weighted

StrategySettings = Ordered | Weighted | Cascade | LeastCost | LeastLatency | Bandit | Race | Track

__all__ = ["Bandit", "Cascade", "LeastCost", "LeastLatency", "Ordered", "Race", "StrategySettings", "Track", "Weighted"]
