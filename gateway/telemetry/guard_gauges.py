"""What guardrails in shadow could not be asked: read when the page of metrics is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.judges import Beside


class BesideGauges(Collector):
    def __init__(self, beside: Beside) -> None:
        self._beside = beside

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "understudy_guardrail_shadows_dropped",
            "Questions of guardrails in shadow that were not asked: too many were on their way.",
            labels=["guardrail"],
        )
        for name, count in self._beside.dropped.items():
            family.add_metric([name], count)
        yield family
