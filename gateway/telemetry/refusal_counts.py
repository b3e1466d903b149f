"""How often somebody was not let in, by the fixed words for why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.access.refusals import Refusals


class RefusalCounts(Collector):
    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily("understudy_refusals", "Who was not let in, by reason.", labels=["reason"])
        for reason, count in self._refusals.counts.items():
            family.add_metric([reason], count)
        yield family
