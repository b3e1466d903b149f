"""How often schemas were compiled, found and refused, and what the compiled ones hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.schemas.cache import Schemas


class SchemaGauges(Collector):
    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("understudy_schemas", "JSON Schemas of clients.", labels=["name"])
        for name, value in self._schemas.counts().items():
            family.add_metric([name], value)
        yield family
