"""What is taken at the moment and must be given back: all of it is 0 when nobody is being served. A number that stays
up while the gateway is idle is a leak, which is what the simulator and the soak (``benchmarks``) look at.

What is kept of calls that have ended is another matter: it grows up to a bound and stays there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Taken = Callable[[], Mapping[str, float]]
Keeps = Callable[[], Mapping[str, int]]


class InUse(Collector):
    """``sources`` give numbers by what is taken."""

    def __init__(self, *sources: Taken) -> None:
        self._sources = sources

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "understudy_in_use", "What calls hold at the moment; all 0 while nobody is served.", labels=["what"]
        )
        for source in self._sources:
            for what, count in source().items():
                family.add_metric([what], count)
        yield family
        with suppress(RuntimeError):  # no loop runs here: nothing to count
            tasks = GaugeMetricFamily("understudy_tasks", "Tasks of the event loop.")
            tasks.add_metric([], len(asyncio.all_tasks()))
            yield tasks


class Kept(Collector):
    """``sources``, by what they keep, tell ``entries`` and ``bytes``; none of what is kept elsewhere, as in Redis."""

    def __init__(self, sources: Mapping[str, Keeps]) -> None:
        self._sources = sources

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        many = GaugeMetricFamily("understudy_kept", "What is kept of ended calls, up to its bounds.", labels=["what"])
        size = GaugeMetricFamily("understudy_kept_bytes", "The same in bytes of texts and answers.", labels=["what"])
        for what, source in self._sources.items():
            if told := source():
                many.add_metric([what], told["entries"])
                size.add_metric([what], told["bytes"])
        yield from (many, size)
