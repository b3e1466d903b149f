"""The TCP proxy that misbehaves, under the name by which the tests know it; the simulator uses it too."""

from benchmarks.faultproxy import FaultProxy, faultproxy

__all__ = ["FaultProxy", "faultproxy"]
