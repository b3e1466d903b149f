"""Short of memory: requests with large bodies are refused before they are read, and everything else goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.errors import Unavailable
from gateway.processes.memory_share import SHORT, memory_share

_log = logging.getLogger("understudy.memory")
_LARGE = 64 * 1024
"""Bytes; a body of unknown length counts as large."""
_ENOUGH = SHORT - 0.05
"""Below this share it is over: memory that is given back comes and goes."""
_LOOK_S = 1.0


class Pressure(Collector):
    """``look`` tells the share of memory in use, None where nothing bounds it. Shows it as a metric, too."""

    def __init__(self, look: Callable[[], float | None] = memory_share) -> None:
        self._look = look
        self.share: float | None = None
        self.short = False

    def measure(self) -> None:
        self.share = self._look()
        before, self.short = self.short, (self.share or 0.0) >= (_ENOUGH if self.short else SHORT)
        if self.short != before:
            told = "short: large requests are refused" if self.short else "enough again"
            _log.warning("memory is %s (%.0f %% in use)", told, 100 * (self.share or 0.0))

    async def run(self) -> None:
        while True:
            self.measure()
            await asyncio.sleep(_LOOK_S)

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        if self.share is not None:
            family = GaugeMetricFamily(
                "understudy_memory_share", "Share of the memory that the gateway may use that is in use."
            )
            family.add_metric([], self.share)
            yield family


def large(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a request, by its headers (names in lower case), brings a large body."""
    told = dict(headers)
    if b"transfer-encoding" in told:
        return True
    length = told.get(b"content-length", b"0")
    return length.isdigit() and int(length) > _LARGE


def short_of_memory() -> Unavailable:
    return Unavailable(
        "The gateway is short of memory and takes no large requests for the moment. Try again shortly.",
        code="short_of_memory",
        headers={"retry-after": "5"},
    )
