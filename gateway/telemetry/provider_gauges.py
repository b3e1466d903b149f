"""Who is left out at the moment, by provider: names of the policies only, because clients may name models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.control import Control
from gateway.resilience.breakers import Breakers


class ProviderGauges(Collector):
    def __init__(self, breakers: Breakers, control: Control) -> None:
        self._breakers, self._control = breakers, control

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        unwell = GaugeMetricFamily(
            "understudy_provider_unwell", "1 while a provider's health check fails.", labels=["provider"]
        )
        broken = GaugeMetricFamily(
            "understudy_provider_open_breakers", "Candidates of a provider whose breaker is open.",
            labels=["provider"],
        )  # fmt: skip
        counts = self._breakers.open_by_provider()
        for name in sorted(self._control.runtime().config.providers):
            unwell.add_metric([name], float(self._breakers.unwell(name)))
            broken.add_metric([name], counts[name])
        yield from (unwell, broken)
