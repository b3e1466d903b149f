"""What became of requests that came with an ``Idempotency-Key``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.caching.repeats import Repeats


class RepeatCounts(Collector):
    def __init__(self, repeats: Repeats) -> None:
        self._repeats = repeats

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "understudy_idempotent_requests", "Requests with an Idempotency-Key.", labels=["outcome"]
        )
        for outcome, count in self._repeats.outcomes.items():
            family.add_metric([outcome], count)
        yield family
