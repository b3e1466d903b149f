"""``/metrics`` of several workers: every scrape shows all of them, whichever it meets, each under its own ``worker``
label. Sums over workers would run backwards when one of them starts again; labelled counters do not, and
``sum without (worker) (rate(...))`` is right at any time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from gateway.sharing.bus import Bus
from gateway.telemetry.metrics import Metrics

_Family = tuple[str, str, str, list[list[Any]]]


class Gathered:
    """``worker`` is this one's number, ``group`` names those behind the same port; "" for a single process."""

    def __init__(self, metrics: Metrics, bus: Bus, *, worker: str, group: str) -> None:
        self._metrics, self._bus = metrics, bus
        self._worker, self._group = worker, group
        bus.hear("metrics", lambda group: self._told() if group == self._group else None)

    async def render(self) -> bytes:
        """The exposition text. A worker that does not answer at once is missing from this scrape."""
        if not self._group:
            return self._metrics.render()
        answers = [self._told(), *await self._bus.ask("metrics", self._group)]
        return generate_latest(cast(CollectorRegistry, _Together(answers)))

    def _told(self) -> list[Any]:
        """[worker, families]; a family is (name, type, help, [[sample, labels, value]])."""
        families: list[_Family] = []
        for metric in self._metrics.collect():
            samples = [[one.name, one.labels, one.value] for one in metric.samples]
            families.append((metric.name, metric.type, metric.documentation, samples))
        return [self._worker, families]


class _Together:
    """As much of a registry as rendering needs."""

    def __init__(self, answers: list[list[Any]]) -> None:
        self._answers = sorted(answers, key=lambda one: str(one[0]))

    def collect(self) -> Iterator[Metric]:
        found: dict[str, Metric] = {}
        for worker, families in self._answers:
            for name, kind, documentation, samples in families:
                metric = found.setdefault(name, Metric(name, documentation, kind))
                for sample, labels, value in samples:
                    metric.add_sample(sample, {**labels, "worker": worker}, value)
        yield from found.values()
        here = GaugeMetricFamily("understudy_workers", "Workers that are part of this scrape.")
        here.add_metric([], float(len(self._answers)))
        yield here
